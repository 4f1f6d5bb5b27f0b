"""No command loses a file, none depends on where it was killed, and damaged intermediate files are detected.

A short form for every day; with TORTURE=1 in the environment, all files of all commands, and all operations on files.
With TORTURE_STEP=7 too, a run is killed at each seventh of the operations.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
from harness import Trial, undisturbed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs a fork server, pipes and links")

LONG = bool(os.environ.get("TORTURE"))
STEP = int(os.environ.get("TORTURE_STEP", 1))
OBSTACLES = ("foreign", "input", "folder", "pipe", "link", "dangling")
DAMAGES = ("flipped", "cut", "empty")
# Commands that take part in the short form, and the operations at which they are killed, as parts of all.
SHORT = ("ensemble", "submission", "preparation", "simulation")
KILLED_AT = {"ensemble": (0.5,), "simulation": (0.6,), "decoded maps": (0.4,)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "folder"


def put(obstacle: str, path: Path, an_input: Path) -> None:
    """Put an obstacle where a command writes a file."""
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    if obstacle == "foreign":
        path.write_text("what somebody wrote\n")
    elif obstacle == "input":
        os.link(an_input, path)
    elif obstacle == "folder":
        path.mkdir()
        (path / "mine.txt").write_text("what somebody wrote\n")
    elif obstacle == "pipe":
        os.mkfifo(path)
    else:
        target = path.parent.parent / "elsewhere.txt"
        if obstacle == "link":
            target.write_text("what somebody wrote\n")
        path.symlink_to(target)


def obstructed() -> Iterator[object]:
    """Yield commands and obstacles."""
    for index, name in enumerate(harness.COMMANDS if LONG else SHORT):
        for obstacle in OBSTACLES if LONG else (OBSTACLES[index % len(OBSTACLES)],):
            yield pytest.param(name, obstacle, id=f"{name}, {obstacle}")


@pytest.mark.parametrize(("name", "obstacle"), list(obstructed()))
def test_nothing_that_is_in_the_way_is_lost(name: str, obstacle: str, folder: Path):
    _, products, _ = undisturbed(name)
    for product in sorted(products)[: None if LONG else 1]:
        trial = Trial(name, folder)
        put(obstacle, trial.path(product), trial.path(trial.command.an_input))
        before = trial.snapshot()
        outcome = trial.run()
        after = trial.snapshot()
        lost = {file for file, content in before.items() if after.get(file) != content}
        assert not lost, (product, outcome.text)
        if is_cache(product) and outcome.status == 0:
            continue
        # Of images, a message names the folder.
        assert any(name in outcome.message for name in (Path(product).name, str(Path(product).parent))), product


def is_cache(product: str) -> bool:
    """Return whether a file only saves time, so that a command works without it."""
    return product.startswith("analysis/images_")


def operations(name: str) -> list[int]:
    """Return where a command is killed: before and after each operation on a file."""
    _, _, num_operations = undisturbed(name)
    if LONG:
        return list(range(0, 2 * num_operations, STEP))
    return [round(part * (2 * num_operations - 1)) for part in KILLED_AT[name]]


@pytest.mark.parametrize("name", harness.COMMANDS if LONG else KILLED_AT)
def test_a_killed_run_ends_as_an_undisturbed_one(name: str, folder: Path):
    expected, _, _ = undisturbed(name)
    for kill_at in operations(name):
        trial = Trial(name, folder)
        killed = trial.run(kill_at=kill_at)
        assert killed.status in (-9, 0), (kill_at, killed.text)
        outcome = trial.run()
        assert outcome.status == 0, (kill_at, outcome.text)
        assert differences(trial.snapshot(), expected) == [], kill_at


def differences(contents: dict[str, object], expected: dict[str, object]) -> list[str]:
    """Return the names of files that differ, are missing or are too many."""
    return sorted(name for name in contents.keys() | expected.keys() if contents.get(name) != expected.get(name))


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[len(content) // 2] ^= 4
    path.write_bytes({"flipped": content, "cut": content[: len(content) // 2], "empty": b""}[how])


def intermediate_files(name: str, folder: Path) -> dict[str, int]:
    """Return the files that only an unfinished run has, and where a run is killed that leaves them."""
    expected, _, num_operations = undisturbed(name)
    left = {}
    for kill_at in range(0, 2 * num_operations, STEP) if LONG else [num_operations]:
        trial = Trial(name, folder)
        if trial.run(kill_at=kill_at).status == -9:
            left |= {file: kill_at for file in trial.new() if not (file in expected or is_temporary(file))}
    return left


def is_temporary(name: str) -> bool:
    """Return whether no command reads a file: it is removed, or locked."""
    return (name.endswith((".part", ".lock")) and "decoded" not in name) or name.startswith("analysis/locks/")


RESUMED = ("catalogue", "field", "training", "prediction", "extraction gen2", "decoded maps", "own galaxies")


@pytest.mark.parametrize("name", RESUMED if LONG else ())
def test_damaged_intermediate_files_are_made_again_or_named(name: str, folder: Path):
    expected, _, _ = undisturbed(name)
    for file, kill_at in intermediate_files(name, folder).items():
        for how in DAMAGES:
            trial = Trial(name, folder)
            trial.run(kill_at=kill_at)
            if not trial.path(file).is_file():
                continue  # a name with a process number
            damage(trial.path(file), how)
            outcome = trial.run()
            if outcome.status == 0:
                assert differences(trial.snapshot(), expected) == [], (file, how)
            else:
                assert Path(file).name in outcome.message, (file, how)


# A file of one command, and the command that reads it.
READ_BY = {
    "prediction": "analysis/final/tiny.pkl",
    "norms": "analysis/final/tiny.pkl",
    "ensemble": "predictions/final/augmented/test/b.npy.gz",
    "submission": "test_a.npy.gz",
    "merged catalogue": "c.2of2.parquet",
}


@pytest.mark.parametrize("name", READ_BY if LONG else ("submission",))
@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_files_of_other_commands_are_named(name: str, how: str, folder: Path):
    trial = Trial(name, folder)
    damage(trial.path(READ_BY[name]), how)
    assert Path(READ_BY[name]).name in trial.run().message
