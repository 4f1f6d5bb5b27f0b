"""Peers in processes of their own, the survey that they run on, and the resources that a command takes.

Peers in separate processes share no allocator, threads or libraries.
"""

import contextlib
import dataclasses
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
from unittest import mock

import cv2
import torch

from benchmarks.measuring import Timing, timing
from engine.network import use_precision
from survey import decoded_cache, folders, images
from survey.folders import Folders, adopt, use_folders

ROOT = Path(__file__).resolve().parent.parent
INTERVAL = 0.5
# Builds the function that is timed, which does a round of work.
Build = Callable[[], Callable[[], object]]


def _serve(build: Build, threads: int, connection: Connection) -> None:
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads if threads > 1 else 0)
    use_precision("tf32")  # the same for all peers
    work = build()
    _seconds(work)  # warm-up
    connection.send(None)
    while connection.recv():
        connection.send(_seconds(work))


def _seconds(work: Callable[[], object]) -> float:
    """Do a round of work and return its seconds, with the work of an accelerator."""
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


@contextlib.contextmanager
def _peer(build: Build, threads: int) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(build, threads, theirs))
    with mock.patch.dict(os.environ, OMP_NUM_THREADS=str(threads)):  # read when OpenMP is loaded
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
    """Return the seconds per item of each peer's rounds, A B C A B C ...; a round has so many `items`."""
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


def repeated(make: Callable[[], Iterator]) -> Iterator:
    """Iterate again and again."""
    while True:
        yield from make()


@dataclass(frozen=True)
class Work:
    """The first `num` training galaxies of a survey, for peers in other processes."""

    folders: Folders
    num: int

    def paths(self) -> list[Path]:
        """Use the folders in this process and return the JPEGs."""
        folder = adopt(self.folders).images("train")
        return [Path(images.image_path(folder, id)) for id in images.ids_of("train")[: self.num]]


@contextlib.contextmanager
def prepared(root: Path | None, num_train: int, num_test: int = 8) -> Iterator[Folders]:
    """Use a prepared survey; without a root, simulate one of that size, and delete it afterwards."""
    before = folders.current
    with tempfile.TemporaryDirectory() as temporary:
        if root is None:
            root = Path(temporary)
            print(f"simulating {num_train + num_test} galaxies", flush=True)
            run_command("simulate_galaxies", "--num-train", num_train, "--num-test", num_test, "--root", root)
            for name in ("create_train_ids_file", "create_test_ids_file", "convert_training_labels_to_npy"):
                run_command(name, "--root", root)
        try:
            yield use_folders(root)
        finally:
            adopt(before)


@contextlib.contextmanager
def with_and_without_cache(root: Path | None, num_train: int) -> Iterator[tuple[Work, Work]]:
    """Yield the first galaxies of a prepared survey (see `prepared`), read from JPEGs and from the decoded cache."""
    with prepared(root, num_train) as current, tempfile.TemporaryDirectory() as ram:
        num = min(num_train, len(images.ids_of("train")))
        work, cached = (Work(dataclasses.replace(current, ram=Path(ram, name)), num) for name in ("none", ""))
        cached.paths()
        decoded_cache.build("train")
        yield work, cached


def run_command(name: str, *arguments: object) -> None:
    """Run one of the project's scripts without its output."""
    command = [sys.executable, ROOT / f"{name}.py", *arguments]
    subprocess.run([str(each) for each in command], check=True, stdout=subprocess.DEVNULL)


@dataclass(frozen=True)
class Watched:
    """Seconds of a command, processor seconds and peak memory (bytes) of all its processes, and its exit status."""

    seconds: float
    processor_seconds: float
    peak: int
    status: int


def watched(command: Sequence[object], kill_after: float | None = None) -> Watched:
    """Run a script of this project and measure it; kill it after so many seconds.

    The peak is the largest sum of proportional set sizes (shared pages count once), sampled every half second.
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
    """Return the memory of a process and its descendants in bytes; shared pages count once (Linux)."""
    total, waiting = 0, [pid]
    while waiting:
        current = Path("/proc", str(waiting.pop()))
        try:
            lines = (current / "smaps_rollup").read_text().splitlines()
            total += 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            # Each thread has child processes of its own.
            for task in (current / "task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except OSError:  # it has ended
            continue
    return total
