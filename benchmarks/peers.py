"""Peers that each run in a process of their own, so that none lives with another's allocator, threads or libraries."""

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection

import cv2
import torch

from benchmarks.measuring import Timing, timing
from engine.network import use_precision

# Builds what is to be timed: a function that does a round of work.
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
