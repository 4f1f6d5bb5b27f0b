"""Peers in processes of their own, the survey that they run on, and what a script's processes take.

A peer in its own process shares neither allocator nor threads nor libraries with another one.
"""

import contextlib
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
import torch

from benchmarks.measuring import Timing, timing
from engine.network import use_precision
from survey import folders, images
from survey.folders import Folders, adopt, use_folders

ROOT = Path(__file__).resolve().parent.parent
# Builds the function that is timed, which does a round of work.
Build = Callable[[], Callable[[], object]]


def _serve(build: Build, threads: int, connection: Connection) -> None:
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads if threads > 1 else 0)
    use_precision("tf32")  # the same for all peers
    work = build()
    _finish(work)  # warm-up
    connection.send(None)
    while connection.recv():
        start = time.perf_counter()
        _finish(work)
        connection.send(time.perf_counter() - start)


def _finish(work: Callable[[], object]) -> None:
    """Do a round of work, that of an accelerator included, which else would be timed by its launches."""
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()


@contextlib.contextmanager
def _openmp_threads(threads: int) -> Iterator[None]:
    before = os.environ.copy()
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _peer(build: Build, threads: int) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(build, threads, theirs))
    with _openmp_threads(threads):  # read when its libraries are loaded
        process.start()
    theirs.close()
    try:
        yield ours
        ours.send(False)
    finally:
        ours.close()
        process.join(10)
        process.kill()


def in_turns(peers: Mapping[str, Build], items: int, repeats: int, threads: int = 1) -> dict[str, Timing]:
    """Return the seconds an item of each peer's rounds, A B C A B C ...; `items` are what a round works through."""
    seconds = {name: [] for name in peers}
    with contextlib.ExitStack() as stack:
        connections = {name: stack.enter_context(_peer(build, threads)) for name, build in peers.items()}
        for connection in connections.values():
            connection.recv()
        for _ in range(repeats):
            for name, connection in connections.items():
                connection.send(True)
                seconds[name].append(connection.recv() / items)
    return {name: timing(each) for name, each in seconds.items()}


@dataclass(frozen=True)
class Work:
    """The first `num` training galaxies of a survey, which peers in other processes look at."""

    folders: Folders
    num: int

    def paths(self) -> list[Path]:
        """Use the folders in this process and return the JPEGs."""
        folder = adopt(self.folders).images("train")
        return [Path(images.image_path(folder, id)) for id in images.ids_of("train")[: self.num]]


@contextlib.contextmanager
def prepared(root: Path | None, num_train: int, num_test: int = 8) -> Iterator[Folders]:
    """Use a prepared survey, or simulate one of that size and prepare it; it vanishes afterwards."""
    before = folders.current
    with tempfile.TemporaryDirectory() as temporary:
        if root is None:
            root = Path(temporary)
            print(f"simulating {num_train + num_test} galaxies", flush=True)
            steps = [
                ["simulate_galaxies.py", "--num-train", num_train, "--num-test", num_test],
                ["create_train_ids_file.py"],
                ["create_test_ids_file.py"],
                ["convert_training_labels_to_npy.py"],
            ]
            for step in steps:
                command = [sys.executable, ROOT / step[0], *step[1:], "--root", root]
                subprocess.run([str(each) for each in command], check=True, stdout=subprocess.DEVNULL)
        try:
            yield use_folders(root)
        finally:
            adopt(before)


INTERVAL = 0.5


@dataclass(frozen=True)
class Watched:
    """What a command took: seconds, processor seconds of all its processes, their memory at its peak in bytes."""

    seconds: float
    processor_seconds: float
    peak: int
    status: int


def watched(command: Sequence[object], kill_after: float | None = None) -> Watched:
    """Run a script of this project, killed after so many seconds, and return what it took.

    The peak is that of proportional set sizes, pages that processes share counted once, looked at every half second.
    """
    before, peak, start = resource.getrusage(resource.RUSAGE_CHILDREN), 0, time.monotonic()
    process = subprocess.Popen([sys.executable, *map(str, command)], cwd=ROOT)
    while process.poll() is None:
        peak = max(peak, memory(process.pid))
        if kill_after is not None and time.monotonic() - start > kill_after:
            process.kill()
        time.sleep(INTERVAL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Watched(time.monotonic() - start, used, peak, process.returncode)


def memory(pid: int) -> int:
    """Return the memory of a process and of those that it started, shared pages counted once (Linux), bytes."""
    total, waiting = 0, [pid]
    while waiting:
        current = Path("/proc", str(waiting.pop()))
        try:
            lines = (current / "smaps_rollup").read_text().splitlines()
            total += 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            # Each thread has processes of its own.
            for task in (current / "task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except OSError:  # it has ended
            continue
    return total
