"""The workflow makes the same files as the commands by hand, also after kills, and repeats no work.

These tests need the engine (make test-workflow). A survey is processed from images to submissions, once by hand and
once by the workflow. The tests run in order on the same survey.
"""

import contextlib
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

import numpy as np
import pytest
import small_house
from tiny import ROOT

BLENDS = ("blended_predictions_uniform", "blended_predictions", "blended_predictions_separate")

pytestmark = pytest.mark.skipif(not small_house.ENGINE.exists(), reason="no engine: make test-workflow installs it")


def rules_of(text: str) -> set[str]:
    """Return the rules that an engine ran, from its output."""
    return set(re.findall(r"^(?:local)?rule (\w+):", text, re.MULTILINE)) - {"all"}


def submissions(root: Path) -> dict[str, bytes]:
    return {name: (root / f"predictions/final/blended/{name}.csv.gz").read_bytes() for name in BLENDS}


def wait_for(engine: subprocess.Popen, holds: Callable[[], object]) -> None:
    """Wait until a condition holds; fails if the engine ends first."""
    while not holds():
        assert engine.poll() is None, engine.communicate()[0]
        time.sleep(0.1)


def holder(root: Path, lock: str) -> int | None:
    """Return the process that holds a lock, or None."""
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
    """Return the submissions of the README's commands."""
    root = survey.with_name("by_hand")
    shutil.copytree(survey, root)
    small_house.run_by_hand(house, root, BLENDS)
    return submissions(root)


@pytest.fixture(scope="module")
def made(house: Path, survey: Path) -> Path:
    """Return a survey that the workflow has finished, after a kill of its engine and a kill of one job."""
    root = survey.with_name("made")
    shutil.copytree(survey, root)
    with small_house.start(house, root) as engine:
        wait_for(engine, lambda: holder(root, "try_small.train") or holder(root, "try_small_pysex.train"))
        engine.kill()
    with small_house.start(house, root) as engine:  # at once: jobs of the first engine may still be ending
        wait_for(engine, lambda: holder(root, "try_small.predict.2of3"))
        os.kill(holder(root, "try_small.predict.2of3"), signal.SIGKILL)
        out, _ = engine.communicate()
    assert engine.returncode == 1 and "Error in rule predict" in out
    assert "rule predict" in small_house.run(house, root)
    return root


def test_the_workflow_makes_the_bytes_of_the_commands_by_hand(made: Path, by_hand: dict[str, bytes]):
    assert submissions(made) == by_hand
    assert gzip.decompress(by_hand["blended_predictions"]).count(b"\n") == 1 + 12


def test_killed_processes_leave_nothing(made: Path):
    assert not list((made / "analysis" / "locks").glob("*"))
    assert not list((made / "analysis").glob("checkpoints/*"))
    assert not [path.name for path in made.rglob("*") if path.name.endswith(".part") or ".partial" in path.name]
    assert not [path for path in (made / ".snakemake" / "incomplete").rglob("*") if path.is_file()]


def test_a_second_run_does_nothing(house: Path, made: Path):
    assert "Nothing to be done" in small_house.run(house, made)


def test_a_second_engine_in_the_same_folder_is_refused(house: Path, made: Path):
    with (made / ".snakemake" / "engine.lock").open("r+") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        with small_house.start(house, made, "--forcerun", "report") as engine:
            out, _ = engine.communicate()
    assert engine.returncode != 0 and "another engine is at work" in out
    assert "Nothing to be done" in small_house.run(house, made)


def test_a_changed_label_repeats_only_the_rules_that_depend_on_it(house: Path, made: Path):
    table = made / "data" / "raw" / "training_solutions_rev1.csv"
    lines = table.read_text().splitlines(keepends=True)
    row, names = lines[3].rstrip("\n").split(","), lines[0].rstrip("\n").split(",")
    round_one, between = names.index("Class7.1"), names.index("Class7.2")  # both lead to the same question
    assert row[round_one] != row[between]
    row[round_one], row[between] = row[between], row[round_one]
    table.write_text("".join([*lines[:3], ",".join(row) + "\n", *lines[4:]]))
    again = {"prepare", "train", "predict", "merge", "blend", "submission", "report"}
    before = submissions(made)
    assert rules_of(small_house.run(house, made)) == again
    assert all(content != before[name] for name, content in submissions(made).items())
    assert "Nothing to be done" in small_house.run(house, made)


def test_a_removed_catalogue_is_measured_again_when_a_rule_needs_it(house: Path, made: Path):
    (made / "data" / "pysex_params_gen2_test.npy.gz").unlink()
    assert "Nothing to be done" in small_house.run(house, made, "-n")
    assert "extract" in rules_of(small_house.run(house, made, "-n", "--forcerun", "train"))


def test_models_are_found_by_pattern_and_an_unknown_name_is_refused(house: Path, survey: Path, tmp_path: Path):
    config = tmp_path / "config.yaml"
    config.write_text("models: ['*maxout2048*', 'finetune_*', small]\n")
    out = small_house.run(house, survey, "-n", "-q", "rules", "--configfile", str(config))
    found = [*ROOT.glob("predict_augmented_npy_*maxout2048*.py"), *ROOT.glob("predict_augmented_npy_finetune_*.py")]
    assert set(re.findall(r"^train +(\d+)$", out, re.MULTILINE)) == {str(len(found) + 1)}
    config.write_text("models: [nobody]\n")
    with small_house.start(house, survey, "-n", "--configfile", str(config)) as engine:
        out, _ = engine.communicate()
    assert engine.returncode != 0 and "nobody matches none of predict_augmented_npy_*.py" in out


def test_the_engine_s_linter_accepts_the_rules(house: Path, survey: Path):
    with small_house.start(house, survey, "--lint") as engine:
        out, _ = engine.communicate()
    assert "Lints for rule train" in out
    # Commands run in the project's own environment.
    assert set(re.findall(r"^    \* (.+):$", out, re.MULTILINE)) == {
        "Specify a conda environment or container for each rule."
    }, out


# Words of the command line at each stage.
STAGES = {
    "prepare": "prepare_data.py",
    "extract": "extract_pysex_params_gen2.py",
    "train": "try_small",
    "predict": "--shard",
    "merge": "--merge-shards",
    "blend": "ensemble_predictions_npy.py",
    "submission": "create_submission_from_npy.py",
    "report": "show_results.py",
}


def command_at(root: Path, words: str) -> int | None:
    """Return a process that runs the command of a stage below a root, or None."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            # The command, not the shell that it replaces.
            if words in line and "python" in line.split(" ")[0] and Path(os.readlink(entry / "cwd")) == root:
                return int(entry.name)
    return None


@pytest.mark.skipif("TORTURE" not in os.environ, reason="takes minutes: TORTURE=1")
@pytest.mark.parametrize("killed", ["engine", "job", "both"])
@pytest.mark.parametrize("seed", range(3))
def test_a_kill_at_each_stage_keeps_the_result(
    house: Path, survey: Path, by_hand: dict[str, bytes], killed: str, seed: int
):
    root = survey.with_name(f"killed_{killed}_{seed}")
    shutil.copytree(survey, root)
    rng, at = np.random.default_rng(seed), []
    for stage, words in STAGES.items():
        with small_house.start(house, root) as engine:
            # Other jobs continue after a kill, so the engine may have no work left for the last stages.
            while engine.poll() is None and command_at(root, words) is None:
                time.sleep(0.1)
            time.sleep(rng.uniform(0, 1.5))  # while it imports, reads, computes or writes
            victims = [command_at(root, words)] if killed != "engine" else []
            victims += [engine.pid] if killed != "job" else []
            if engine.poll() is None and None not in victims:
                for victim in victims:
                    os.kill(victim, signal.SIGKILL)
                at.append(stage)
            engine.communicate()
    assert len(at) >= len(STAGES) // 2, at  # a short job may end before it is killed
    small_house.run(house, root)
    assert submissions(root) == by_hand
    assert "Nothing to be done" in small_house.run(house, root)
    assert not list((root / "analysis" / "locks").glob("*"))
    assert not [path for path in root.rglob("*") if path.name.endswith(".part") or ".partial" in path.name]
