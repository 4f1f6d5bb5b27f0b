"""Files, and objects of fields, read and framed by worker processes, in order.

A file that ends its process is a reason like any other.
"""

import contextlib
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from catalogue.field_cutouts import Place, framed
from catalogue.framing import Frame, frame
from galaxy.image_files import read
from galaxy.image_formats import Unreadable
from machine.processes import Start, pool

# Files that are read ahead, a worker.
AHEAD = 6
KILLER = "ended the process that read it"


@dataclass(frozen=True)
class Recipe:
    """How a file becomes a frame: its stretch, the choice of framing, the Petrosian radius of training images."""

    stretch: str | None
    framing: str
    radius: float


class NotJudged(str):
    """The reason why an object of a field is not judged."""


def prepare(path: Path | Place, recipe: Recipe, alone: Callable = contextlib.nullcontext) -> Frame | str:
    """Read and frame a file, or an object of a field; a text is the reason why it can not be."""
    try:
        if isinstance(path, Place):
            if path.reason:
                return path.reason if path.field is None else NotJudged(path.reason)
            return framed(path, recipe.stretch, recipe.radius)
        return frame(read(path, recipe.stretch, alone), recipe.framing, recipe.radius)
    except Unreadable as reason:
        return str(reason)
    except (ValueError, OverflowError, MemoryError) as error:
        return f"can not be measured ({type(error).__name__})"


_lock = contextlib.nullcontext()


def _start(lock: contextlib.AbstractContextManager) -> None:
    global _lock
    _lock = lock
    # Libraries of image formats complain there, and what they complain of is in the table.
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 2)


def _prepare(path: Path | Place, recipe: Recipe) -> Frame | str:
    return prepare(path, recipe, lambda: _lock)


def prepared(paths: Sequence[Path | Place], recipe: Recipe, num_workers: int) -> Iterator[Frame | str]:
    """Yield what becomes of each path, in order; with 0 workers, in this process."""
    if num_workers == 0:
        yield from (prepare(path, recipe) for path in paths)
        return
    done = 0
    while done < len(paths):
        for result in _until_one_dies(paths[done:], recipe, num_workers, num_workers * AHEAD):
            yield result
            done += 1
        # What the workers were at when one died is read again, a file at a time, so that one file is blamed.
        suspects = paths[done : done + num_workers * AHEAD]
        for number, result in enumerate(_until_one_dies(suspects, recipe, 1, 1), start=1):
            yield result
            done += 1
            if number == len(suspects):
                break
        else:
            if suspects:
                yield KILLER
                done += 1


def _until_one_dies(
    paths: Sequence[Path | Place], recipe: Recipe, num_workers: int, ahead: int
) -> Iterator[Frame | str]:
    if not paths:
        return
    waiting: deque[Future] = deque()
    with _workers(num_workers) as executor:
        try:
            for path in paths:
                waiting.append(executor.submit(_prepare, path, recipe))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            return


@contextlib.contextmanager
def _workers(num_workers: int) -> Iterator[ProcessPoolExecutor]:
    # Not forked: this process has threads of the network's runtime.
    lock = multiprocessing.get_context("spawn").Lock()
    with pool(num_workers, Start(_start, (lock,)), "spawn") as executor:
        yield executor
