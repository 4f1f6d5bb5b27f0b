"""Targets read and framed by worker processes ahead of their consumer, in order.

A file that kills its worker process becomes a rejected row.
"""

import contextlib
import multiprocessing
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from catalogue.flags import UNREADABLE
from catalogue.framing import Frame
from catalogue.targets import Recipe, Rejected, Target
from machine.processes import Start, pool

# Targets per worker that are read ahead.
AHEAD = 6
KILLED = Rejected(UNREADABLE, "ended the process that read it")

_lock = contextlib.nullcontext()


def _start(lock: contextlib.AbstractContextManager) -> None:
    global _lock
    _lock = lock
    # Libraries of image formats print complaints; the table has the reason.
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 2)


def frame_target(target: Target, recipe: Recipe) -> Frame | Rejected:
    """Frame a target in this worker process; large images are decoded one at a time."""
    return target.frame(recipe, lambda: _lock)


def framed_ahead(targets: Sequence[Target], recipe: Recipe, num_workers: int) -> Iterator[Frame | Rejected]:
    """Yield the frame of each target, or why it has none, in order; with 0 workers, in this process."""
    if num_workers == 0:
        yield from (target.frame(recipe) for target in targets)
        return
    done = 0
    while done < len(targets):
        for result in _until_one_dies(targets[done:], recipe, num_workers, num_workers * AHEAD):
            yield result
            done += 1
        # A worker died: frame the targets in flight again, one at a time, to know which one killed it.
        suspects = targets[done : done + num_workers * AHEAD]
        for count, result in enumerate(_until_one_dies(suspects, recipe, 1, 1), start=1):
            yield result
            done += 1
            if count == len(suspects):
                break
        else:
            if suspects:
                yield KILLED
                done += 1


def _until_one_dies(
    targets: Sequence[Target], recipe: Recipe, num_workers: int, ahead: int
) -> Iterator[Frame | Rejected]:
    if not targets:
        return
    waiting: deque[Future] = deque()
    with _workers(num_workers) as executor:
        try:
            for target in targets:
                waiting.append(executor.submit(frame_target, target, recipe))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            return


@contextlib.contextmanager
def _workers(num_workers: int) -> Iterator[ProcessPoolExecutor]:
    # Spawned, not forked: this process has threads of ONNX Runtime.
    lock = multiprocessing.get_context("spawn").Lock()
    with pool(num_workers, Start(_start, (lock,)), "spawn") as executor:
        yield executor
