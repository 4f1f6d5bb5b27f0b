"""The command line of all scripts: folders, numbers, durations, and an end in one line."""

import argparse

import pytest

from machine.command_line import hms, natural_int, positive_int, run_script, script_parser
from machine.files import DataError


def test_parser_and_numbers_from_a_command_line():
    arguments = script_parser("words").parse_args([])
    assert (arguments.root, arguments.data) == (".", None)
    assert positive_int("12") == 12
    with pytest.raises(argparse.ArgumentTypeError, match="at least 1, got 0"):
        positive_int("0")


@pytest.mark.parametrize("error", [DataError("no such galaxy"), PermissionError("no such galaxy")])
def test_run_script_turns_bad_input_into_one_line(error: Exception):
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        run_script(main)
    assert ended.value.code == "error: no such galaxy"


def test_run_script_when_interrupted_and_when_wrong():
    def interrupted() -> None:
        raise KeyboardInterrupt

    def wrong() -> None:
        raise TypeError("a mistake of ours keeps its stack trace")

    with pytest.raises(SystemExit) as ended:
        run_script(interrupted)
    assert ended.value.code == 130
    with pytest.raises(TypeError, match="a mistake of ours"):
        run_script(wrong)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "00:00:00"), (59.9, "00:00:59"), (61, "00:01:01"), (3600, "01:00:00"), (67 * 3600 + 125, "67:02:05")],
)
def test_hms(seconds: float, written: str):
    assert hms(seconds) == written


@pytest.mark.parametrize(
    ("text", "bound"), [("-1", "of at least 0"), ("many", "of at least 0"), (str(2**63), r"below 2\*\*63")]
)
def test_a_number_out_of_bounds_is_refused_with_the_bound(text: str, bound: str):
    assert natural_int(str(2**63 - 1)) == 2**63 - 1
    with pytest.raises(argparse.ArgumentTypeError, match=f"expected a whole number {bound}, got {text}"):
        natural_int(text)
