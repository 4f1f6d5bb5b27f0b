"""Chunks of examples made by worker processes that write straight into shared memory.

No image travels through a pipe. The workers live as long as the generator; the next chunk is made while the consumer
uses the current one. A worker that dies ends the generator with an error, and workers end when their parent does.
"""

import ctypes
import mmap
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import DTypeLike
from skimage.transform import AffineTransform

from machine import processes
from machine.cores import available_cores
from machine.memory import keep_freed_memory, take_shared
from survey import folders
from survey.draws import Draw
from survey.folders import Folders
from survey.views import Views


class Plan(Protocol):
    """What is to be known of each image of a chunk, a row each: its index, or a Draw."""

    def __len__(self) -> int: ...
    def __getitem__(self, rows: slice) -> "Plan": ...


# Writes the examples of some images into their rows of the buffers: make(outs, plan).
Maker = Callable[[list[np.ndarray], Plan], None]
Memory = mmap.mmap | ctypes.Array

# Images a task at most: few enough that handing out tasks costs nothing.
_TASK_SIZE = 64


@dataclass(frozen=True)
class Workers:
    """How chunks are made: by how many processes (all cores for None), started how, with which memory.

    With `reuse_buffers`, the arrays that are yielded are overwritten once the chunk after the next one is asked for,
    which spares a copy. `start_method` is one of multiprocessing's.
    """

    num_workers: int | None = None
    start_method: str | None = None
    reuse_buffers: bool = False


@dataclass(frozen=True)
class Layout:
    """The arrays of a chunk: (num_rows, *shape) each, of which an image fills `rows`."""

    num_rows: int
    shapes: Sequence[tuple[int, ...]]
    rows: int = 1
    dtype: DTypeLike = np.float32

    @property
    def num_bytes(self) -> int:
        """The bytes of one chunk."""
        return self.num_rows * sum(int(np.prod(shape)) for shape in self.shapes) * np.dtype(self.dtype).itemsize

    def map(self, memory: Memory) -> list[list[np.ndarray]]:
        """Return the arrays of the two chunks that lie in memory, [chunk][array]."""
        shapes = [(self.num_rows, *shape) for shape in self.shapes]
        ends = np.cumsum([np.prod(shape) for shape in shapes])[:-1]
        flat = [np.split(half, ends) for half in np.split(np.frombuffer(memory, dtype=self.dtype), 2)]
        return [[part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)] for parts in flat]


# The chunk buffers of this worker process: [buffer][array].
_buffers: list[list[np.ndarray]] = []


def _start_worker(in_use: Folders, memory: Memory, layout: Layout) -> None:
    folders.adopt(in_use)
    cv2.setNumThreads(0)
    keep_freed_memory()
    _buffers[:] = layout.map(memory)


def _run_task(which: int, rows: slice, make: Maker, plan: Plan) -> None:
    try:
        make([array[rows] for array in _buffers[which]], plan)
    except cv2.error as error:
        if error.code != cv2.Error.StsNoMem:
            raise
        raise MemoryError(error.err) from None


class DoubleBuffer:
    """Two chunks in shared memory: one is made by the workers while the other one is used."""

    def __init__(self, make: Maker, layout: Layout, memory: Memory, executor: ProcessPoolExecutor, num_workers: int):
        self.make, self.layout, self.executor, self.num_workers = make, layout, executor, num_workers
        self.buffers = layout.map(memory)
        self.number = 0
        self.tasks: list[Future] = []

    def submit(self, plan: Plan) -> None:
        """Have the workers begin with a chunk."""
        rows = self.layout.rows
        size = self.task_size(len(plan))
        for first in range(0, len(plan), size):
            piece = plan[first : first + size]
            place = slice(first * rows, (first + len(piece)) * rows)
            self.tasks.append(self.executor.submit(_run_task, self.number % 2, place, self.make, piece))

    def task_size(self, num: int) -> int:
        """Return the images a task, so that all workers have some and end together."""
        return max(1, min(_TASK_SIZE, -(-num // (2 * self.num_workers))))

    def collect(self, num: int) -> list[np.ndarray]:
        """Wait for the chunk that was submitted, of `num` images; rows that none of them fills are zero."""
        for task in self.tasks:
            task.result()
        arrays = self.buffers[self.number % 2]
        for array in arrays:
            array[num * self.layout.rows :] = 0
        self.number, self.tasks = self.number + 1, []
        return list(arrays)


def make_chunks(
    make: Maker, plans: Iterator[Plan], layout: Layout, workers: Workers
) -> Iterator[tuple[list[np.ndarray], Plan]]:
    """Yield the arrays of each planned chunk and its plan, while the next chunk is being made."""
    num_workers = workers.num_workers or available_cores()
    start_method = workers.start_method or processes.default_start_method()
    memory = take_shared(2 * layout.num_bytes, start_method, "a smaller --chunk-size")
    start = processes.Start(_start_worker, (folders.current, memory, layout))
    remedy = "a smaller --chunk-size or fewer --num-workers"
    with processes.pool(num_workers, start, start_method, remedy) as executor:
        buffer = DoubleBuffer(make, layout, memory, executor, num_workers)
        plan = next(plans, None)
        if plan is not None:
            buffer.submit(plan)
        while plan is not None:
            arrays, made = buffer.collect(len(plan)), plan
            plan = next(plans, None)
            if plan is not None:
                buffer.submit(plan)
            yield arrays if workers.reuse_buffers else [array.copy() for array in arrays], made


def drawn_chunks(
    views: Views, draws: Iterator[Draw], chunk_size: int, workers: Workers
) -> Iterator[tuple[list[np.ndarray], Draw]]:
    """Yield the views (chunk_size, rows, columns, 3) of each draw, and the draw."""
    return make_chunks(views.write_drawn, draws, Layout(chunk_size, views.shapes), workers)


def fixed_chunks(
    views: Views,
    indices: np.ndarray,
    subset: str,
    transforms: Sequence[AffineTransform],
    chunk_size: int,
    workers: Workers,
) -> Iterator[tuple[list[np.ndarray], int]]:
    """Yield the views (chunk_size, rows, columns, 3) of images under fixed transforms, and how many rows are filled.

    All transforms of an image stand together; a chunk holds whole images only, its other rows are zero.
    """
    make = partial(views.write_fixed, subset=subset, transforms=transforms)
    yield from whole_images(make, indices, Layout(chunk_size, views.shapes, rows=len(transforms)), workers)


def whole_images(
    make: Maker, indices: np.ndarray, layout: Layout, workers: Workers
) -> Iterator[tuple[list[np.ndarray], int]]:
    """Yield the arrays of chunks, and how many rows are filled: as many whole images as a chunk holds, in order."""
    images_a_chunk = layout.num_rows // layout.rows
    if images_a_chunk < 1:
        raise ValueError(
            f"expected a chunk_size of at least {layout.rows}, the transforms of one image, got {layout.num_rows}"
        )
    indices = np.asarray(indices)
    plans = (indices[start : start + images_a_chunk] for start in range(0, len(indices), images_a_chunk))
    for arrays, made in make_chunks(make, plans, layout, workers):
        yield arrays, len(made) * layout.rows
