"""The workflow makes what the commands make by hand, whatever is killed on the way, and nothing twice.

Runs where the engine is installed (make test-workflow). A survey is brought from its images to submissions, once by
hand and once by the workflow, and the tests follow its life in order.
"""

import fcntl
import gzip
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import small_house
from tiny import ROOT

BLENDS = ("blended_predictions_uniform", "blended_predictions", "blended_predictions_separate")

pytestmark = pytest.mark.skipif(not small_house.ENGINE.exists(), reason="no engine: make test-workflow installs it")


def rules_of(text: str) -> set[str]:
    """Return the rules that an engine says it runs."""
    return set(re.findall(r"^(?:local)?rule (\w+):", text, re.MULTILINE)) - {"all"}


def submissions(root: Path) -> dict[str, bytes]:
    return {name: (root / f"predictions/final/blended/{name}.csv.gz").read_bytes() for name in BLENDS}


def wait_for(engine: subprocess.Popen, holds: Callable[[], object]) -> None:
    """Wait until something holds that a running engine brings about."""
    while not holds():
        assert engine.poll() is None, engine.communicate()[0]
        time.sleep(0.1)


def holder(root: Path, lock: str) -> int | None:
    """Return the process that holds a lock, None where nobody does."""
    path = root / "analysis" / "locks" / lock
    text = path.read_text() if path.exists() else ""
    return int(text.split()[0]) if text else None


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_house.build(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("surveys") / "pristine"
    small_house.simulate(root)
    return root


@pytest.fixture(scope="module")
def by_hand(house: Path, survey: Path) -> dict[str, bytes]:
    """Return the submissions that the README's commands make."""
    root = survey.with_name("by_hand")
    shutil.copytree(survey, root)
    small_house.run_by_hand(house, root, BLENDS)
    return submissions(root)


@pytest.fixture(scope="module")
def made(house: Path, survey: Path) -> Path:
    """Return a survey that the workflow has finished, after its engine and, apart, one of its jobs were killed."""
    root = survey.with_name("made")
    shutil.copytree(survey, root)
    with small_house.start(house, root) as engine:
        wait_for(engine, lambda: holder(root, "try_small.train") or holder(root, "try_small_pysex.train"))
        engine.kill()
    with small_house.start(house, root) as engine:  # at once: what the first one left may still be ending
        wait_for(engine, lambda: holder(root, "try_small.predict.2of3"))
        os.kill(holder(root, "try_small.predict.2of3"), signal.SIGKILL)
        out, _ = engine.communicate()
    assert engine.returncode == 1 and "Error in rule predict" in out
    assert "rule predict" in small_house.run(house, root)
    return root


def test_it_makes_the_bytes_that_the_commands_make_by_hand(made: Path, by_hand: dict[str, bytes]):
    assert submissions(made) == by_hand
    assert gzip.decompress(by_hand["blended_predictions"]).count(b"\n") == 1 + 12


def test_what_was_killed_has_left_nothing(made: Path):
    assert not list((made / "analysis" / "locks").iterdir())
    assert not list((made / "analysis").glob("checkpoints/*"))
    assert not [path.name for path in made.rglob("*") if path.name.endswith(".part") or ".partial" in path.name]
    assert not [path for path in (made / ".snakemake" / "incomplete").rglob("*") if path.is_file()]


def test_run_again_it_does_nothing(house: Path, made: Path):
    assert "Nothing to be done" in small_house.run(house, made)


def test_two_engines_are_not_at_work_in_one_place(house: Path, made: Path):
    with (made / ".snakemake" / "engine.lock").open("r+") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        with small_house.start(house, made, "--forcerun", "report") as engine:
            out, _ = engine.communicate()
    assert engine.returncode != 0 and "another engine is at work" in out
    assert "Nothing to be done" in small_house.run(house, made)


def test_what_a_label_bears_on_is_made_again_and_nothing_else(house: Path, made: Path):
    table = made / "data" / "raw" / "training_solutions_rev1.csv"
    before = table.read_text()
    lines = before.splitlines(keepends=True)
    row = lines[3].rstrip("\n").split(",")
    row[1], row[2] = row[2], row[1]  # smooth, and not
    table.write_text("".join([*lines[:3], ",".join(row) + "\n", *lines[4:]]))
    again = {"prepare", "train", "predict", "merge", "blend", "submission", "report"}
    assert rules_of(small_house.run(house, made, "-n")) == again


def test_a_catalogue_that_is_gone_is_measured_again_for_those_that_read_it(house: Path, made: Path):
    (made / "data" / "pysex_params_gen2_test.npy.gz").unlink()
    assert "extract" in rules_of(small_house.run(house, made, "-n"))


def test_models_are_found_by_pattern_and_a_stranger_is_named(house: Path, survey: Path, tmp_path: Path):
    config = tmp_path / "config.yaml"
    config.write_text("models: ['*maxout2048*', 'finetune_*', small]\n")
    out = small_house.run(house, survey, "-n", "-q", "rules", "--configfile", str(config))
    found = [*ROOT.glob("predict_augmented_npy_*maxout2048*.py"), *ROOT.glob("predict_augmented_npy_finetune_*.py")]
    assert set(re.findall(r"^train +(\d+)$", out, re.MULTILINE)) == {str(len(found) + 1)}
    config.write_text("models: [nobody]\n")
    with small_house.start(house, survey, "-n", "--configfile", str(config)) as engine:
        out, _ = engine.communicate()
    assert engine.returncode != 0 and "nobody is none of predict_augmented_npy_*.py" in out


def test_the_rules_are_in_order_for_the_engine_s_linter(house: Path, survey: Path):
    with small_house.start(house, survey, "--lint") as engine:
        out, _ = engine.communicate()
    assert "Lints for rule train" in out
    # Commands run in the project's own environment.
    assert set(re.findall(r"^    \* (.+):$", out, re.MULTILINE)) == {
        "Specify a conda environment or container for each rule."
    }, out
