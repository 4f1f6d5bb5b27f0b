"""What checks whole scripts tells one that does not go on, or that leaves the wrong images out; they are stand-ins."""

import sys

import fake_script
import pytest
from proofs import failed

from benchmarks import gpu_scripts
from benchmarks.gpu_setting import Setting


def after_both(what: str) -> set[str]:
    return {f"{what} SIGTERM", f"{what} SIGKILL"}


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        ("none", set()),
        ("starts anew", after_both("goes on after")),
        ("loses steps", {"goes on after SIGTERM"}),
        ("hides the signal", {"status after SIGTERM"}),
        ("fails later", after_both("status of the run after")),
        (
            "leaves nothing",
            {*after_both("status of the run after"), "results of both, SIGTERM", "results of both, SIGKILL"},
        ),
        ("goes elsewhere", after_both("parameters after")),
        ("rounds otherwise", set()),
    ],
)
def test_a_run_that_was_ended_is_judged(setting: Setting, fault: str, what: set[str]):
    assert failed(gpu_scripts.kills(setting, [sys.executable, fake_script.__file__, fault])) == what


def test_where_runs_are_the_same_to_bits_so_is_one_that_went_on(setting: Setting):
    setting.known["determinism", "bit for bit, deterministic"] = True
    command = [sys.executable, fake_script.__file__]
    assert failed(gpu_scripts.kills(setting, [*command, "rounds otherwise"])) == after_both("bit for bit after")
    assert not failed(gpu_scripts.kills(setting, [*command, "none"]))


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        ("none", set()),
        ("fails to train", {"status, train"}),
        ("fails to skip", {"status, skip"}),
        ("predicts too much", {"most, valid", "most, test"}),
        ("forgets mean votes", {f"mean votes for what is broken, {part}" for part in ("valid", "test")}),
        ("writes nothing", {"status, predict", "status, skip", "shapes, test"}),
        ("loses a row", {"shapes, valid"}),
        ("shifts rows", {"other rows without what is broken, test"}),
    ],
)
def test_predictions_are_judged(setting: Setting, fault: str, what: set[str]):
    trial = [sys.executable, fake_script.__file__, fault]
    found = failed(gpu_scripts.scripts(setting, trial))
    assert found >= what and bool(found) == bool(what)
