"""Runs that are killed again and again end as if nothing had happened, bit for bit, and leave nothing behind.

A short form for every day; with TORTURE=1 in the environment, at least twenty kills of training and of prediction.
"""

import contextlib
import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tiny import ROOT, TINY, assert_same_result, processes_of_session, write_analysis

from engine import prediction, training
from engine.experiment import Steps
from machine.arrays import load_gz, load_pickle
from survey.folders import Folders

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and /dev/shm")

LONG = bool(os.environ.get("TORTURE"))
KILLS = 24
EIGHT_CHUNKS = dataclasses.replace(TINY, num_chunks=8, learning_rate=Steps({0: 0.04, 5: 0.004}))

# Kills itself some seconds after its imports, or when the n-th file with such a name is half written, is whole but not
# yet in its place, or just is.
SCRIPT = f"""
import os, sys, threading, time
sys.path[:0] = {[str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)]!r}
import test_torture
from engine import prediction_shards

def die():
    os.kill(os.getpid(), 9)
    time.sleep(60)

def die_after(seconds):
    time.sleep(float(seconds))
    die()

def die_at(when, what, count):
    replace, left = os.replace, int(count)

    def killing_replace(source, target):
        nonlocal left
        left -= str(target).endswith(what)
        if left == 0:
            if when == "half":
                os.truncate(source, os.path.getsize(source) // 2)
            if when == "after":
                replace(source, target)
            die()
        replace(source, target)

    os.replace = killing_replace

if __name__ == "__main__":
    how = sys.argv.pop(1).split(":")
    if len(how) == 1:
        threading.Thread(target=die_after, args=how, daemon=True).start()
    else:
        die_at(*how)
    prediction_shards.PredictionStore.INTERVAL = 0.0
    test_torture.main()
"""

FLAGS = ("--device", "cpu", "--num-workers", "1")


def main() -> None:
    """Run what the victim's command line names."""
    {"train": training.main, "predict": prediction.main}[sys.argv.pop(1)](EIGHT_CHUNKS)


def used_shared_memory() -> set[int]:
    """Return the inodes in /dev/shm that a living process has mapped; a semaphore's maps have another name."""
    inodes = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):  # the process has ended
            inodes |= {int(line.split()[4]) for line in maps.read_text().splitlines() if "/dev/shm/" in line}
    return inodes


class Victim:
    """A script that is killed in a session of its own, and what it leaves behind."""

    def __init__(self, root: Path, what: str, *flags: str):
        self.root, self.kills = root, 0
        self.script = root / "torture.py"
        self.script.write_text(SCRIPT)
        self.arguments = [what, "--root", str(root), *FLAGS, *flags]
        self.inputs = set(self.products())
        self.in_shared_memory = set(os.listdir("/dev/shm"))

    def products(self) -> list[Path]:
        folders = (self.root / "analysis", self.root / "predictions")
        return sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())

    def new_in_shared_memory(self) -> set[str]:
        """Return the names that no living process uses: other tests have theirs meanwhile."""
        used, names = used_shared_memory(), set()
        for name in set(os.listdir("/dev/shm")) - self.in_shared_memory:
            # Beside another test process, names of semaphores cannot be attributed: killed workers leave some.
            if "PYTEST_XDIST_WORKER" in os.environ and name.startswith("sem."):
                continue
            with contextlib.suppress(FileNotFoundError):
                if Path("/dev/shm", name).stat().st_ino not in used:
                    names.add(name)
        return names

    def remove_products(self) -> None:
        for path in set(self.products()) - self.inputs:
            path.unlink()

    def is_killed(self, how: str) -> bool:
        """Run the script, which kills itself unless it ends before; return whether it did."""
        process = subprocess.Popen(
            [sys.executable, self.script, how, *self.arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        output, _ = process.communicate(timeout=300)
        assert process.returncode in (0, -signal.SIGKILL), output
        self.kills += process.returncode != 0
        # The names that other programs have there meanwhile come and go.
        deadline = time.monotonic() + 30
        while (
            left := processes_of_session(process.pid) or self.new_in_shared_memory()
        ) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not left
        assert len(list(self.root.rglob(".*.part"))) <= 1
        return process.returncode != 0

    def finish(self) -> None:
        """Run the script undisturbed."""
        assert not self.is_killed("3600")

    def torture(self, rounds: Iterator[list[str]], finish: Callable[[], object], same: Callable[..., None]) -> None:
        """Kill it in each of a round's ways, let it finish, and compare with what an undisturbed run gives."""
        expected, names = finish(), self.products()
        for ways in rounds:
            self.remove_products()
            for how in ways:
                if not self.is_killed(how):
                    break
            same(finish(), expected)
            assert self.products() == names


def draw_rounds(victim: Victim, longest: float, files: tuple[str, ...]) -> Iterator[list[str]]:
    """Draw ways to be killed, most of them at a random point in time, until it was killed often enough."""
    rng = random.Random(2014)
    while victim.kills < KILLS:
        ways = [f"{rng.uniform(0, longest):.3f}" for _ in range(rng.randint(1, 5))]
        ways.append(f"{rng.choice(('half', 'before', 'after'))}:{rng.choice(files)}:{rng.randint(1, 2)}")
        rng.shuffle(ways)
        yield ways


def test_training(prepared_survey):
    victim = Victim(prepared_survey.root, "train", "--checkpoint-every", "1")

    def train() -> dict:
        victim.finish()
        return load_pickle(Folders(victim.root).analysis("tiny"), "the test")

    rounds = iter([["half:.pt:3", "before:.pt:3"]])
    if LONG:
        start = time.monotonic()
        train()
        rounds = draw_rounds(victim, 1.5 * (time.monotonic() - start), (".pt", ".pt", ".pkl", ".json", ".csv.gz"))
    victim.torture(rounds, train, assert_same_result)
    assert victim.kills >= (KILLS if LONG else 2)


def test_prediction(prepared_survey):
    write_analysis()
    victim = Victim(prepared_survey.root, "predict", "--chunk-size", "60")

    def predict() -> np.ndarray:
        victim.finish()
        folders = Folders(victim.root)
        return np.concatenate([load_gz(folders.augmented(name, "tiny")) for name in ("valid", "test")])

    rounds = iter([["before:test/tiny.partial.npz:3"]])
    if LONG:
        start = time.monotonic()
        predict()
        rounds = draw_rounds(victim, 1.5 * (time.monotonic() - start), (".npz", ".npy.gz"))
    victim.torture(rounds, predict, np.testing.assert_array_equal)
    assert victim.kills >= (KILLS if LONG else 1)
