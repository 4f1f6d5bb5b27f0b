"""The command line of all scripts: folders, numbers, durations, and an end in one line."""

import argparse
import sys
from pathlib import Path

from machine.command_line import Parser, hms, natural_int, positive_int, run_script, script_parser

import pytest
from tiny import ROOT

from machine import command_line
from machine.files import DataError
from machine.version import VERSION


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
        raise TypeError("a mistake\nof ours")

    with pytest.raises(SystemExit) as ended:
        run_script(interrupted)
    assert ended.value.code == 130
    with pytest.raises(SystemExit) as ended:
        run_script(wrong)
    start, _, path = ended.value.code.partition(" with the traceback in ")
    assert start == "error: unexpected TypeError: a mistake; this is a fault of the project: report it"
    assert 'raise TypeError("a mistake\\nof ours")' in Path(path).read_text()
    Path(path).unlink()


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


@pytest.fixture
def parser() -> Parser:
    parser = Parser("words", examples=("command --output a.csv",))
    parser.group("output").add_argument("--output", required=True, metavar="FILE", help="the table")
    parser.group("output").add_argument("--report", metavar="HTML")
    return parser


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--ouput", "a.csv"], "unknown flag --ouput; did you mean --output?"),
        (["--ouput=a.csv"], "unknown flag --ouput; did you mean --output?"),
        (["--output", "a.csv", "--xyz"], "unknown flag --xyz; see --help for all flags"),
        ([], "the following arguments are required: --output"),
    ],
)
def test_a_misspelt_flag_is_named_with_its_nearest(parser: Parser, arguments: list[str], hint: str, capsys):
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(arguments)
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert hint in line


def test_words_after_a_double_dash_are_values(parser: Parser):
    parser.add_argument("words", nargs="*")
    assert parser.parse_args(["--output=a.csv", "--", "--xyz"]).words == ["--xyz"]


def test_help_shows_groups_and_examples(parser: Parser):
    text = parser.format_help()
    assert text.index("\noutput:\n") < text.index("\n  --output FILE") < text.index("\nexamples:\n  command --out")


def test_version_is_printed_without_the_required_flags(parser: Parser, capsys):
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.endswith(f"of version {VERSION}\n")


class TestBeforeTheStart:
    def test_an_exception_is_one_line(self, capsys: pytest.CaptureFixture[str]):
        end = command_line._end_before_start
        end(ImportError, ModuleNotFoundError("No module named 'torch'"), None)
        end(ZeroDivisionError, ZeroDivisionError("a\nb"), None)
        end(OSError, OSError("gone"), None)
        end(ImportError, ImportError("a.so: failed to map segment from shared object"), None)
        end(KeyboardInterrupt, KeyboardInterrupt(), None)
        first, second, third, fourth, fifth = capsys.readouterr().err.splitlines()
        assert first.startswith("error: No module named 'torch'; install the packages of requirements.txt")
        assert second.startswith("error: unexpected ZeroDivisionError: a; this is a fault of the project")
        assert third == "error: gone"
        assert fourth.startswith("error: memory ran out (ImportError: a.so: failed to map segment")
        assert fifth == "interrupted before the start; run the same command again"
        Path(second.rpartition(" ")[2]).unlink()

    def test_it_is_set_for_commands_only(self, monkeypatch: pytest.MonkeyPatch):
        assert sys.excepthook is not command_line._end_before_start
        for script, is_command in ((ROOT / "prepare_data.py", True), (ROOT / "tests" / "a.py", False)):
            monkeypatch.setattr(sys.modules["__main__"], "__file__", str(script), raising=False)
            assert command_line._is_command() is is_command
