"""Chunks of examples, written by worker processes directly into shared memory.

No pixels pass through a pipe. The workers run as long as the generator, and make the next chunk while the consumer uses
the current one. If a worker dies, the generator raises an error. The workers end with their parent.
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
    """The inputs of a chunk, one row per image: indices, or a Draw."""

    def __len__(self) -> int: ...
    def __getitem__(self, rows: slice) -> "Plan": ...


# make(outs, plan) writes the examples of a plan into its rows of the buffers.
Maker = Callable[[list[np.ndarray], Plan], None]
Memory = mmap.mmap | ctypes.Array

# What lowers the memory of chunks, for messages.
_SMALLER = "a smaller --chunk-size (the number of examples stays the same)"
# The most images per task; the submission of tasks then takes no measurable time.
_TASK_SIZE = 64


@dataclass(frozen=True)
class Workers:
    """The worker processes: their number (None: all cores), their start method, and the use of buffers.

    With `reuse_buffers`, the yielded arrays are the shared buffers, without a copy: they are overwritten when the chunk
    after the next one is requested. `start_method` is one of multiprocessing's.
    """

    num_workers: int | None = None
    start_method: str | None = None
    reuse_buffers: bool = False


@dataclass(frozen=True)
class Layout:
    """The arrays of a chunk: (num_rows, *shape) for each shape; one image fills `rows` rows."""

    num_rows: int
    shapes: Sequence[tuple[int, ...]]
    rows: int = 1
    dtype: DTypeLike = np.float32

    @property
    def num_bytes(self) -> int:
        """The bytes of one chunk."""
        return self.num_rows * sum(int(np.prod(shape)) for shape in self.shapes) * np.dtype(self.dtype).itemsize

    def map(self, memory: Memory) -> list[list[np.ndarray]]:
        """Return the arrays of the two chunks in `memory`, [chunk][array]."""
        shapes = [(self.num_rows, *shape) for shape in self.shapes]
        ends = np.cumsum([np.prod(shape) for shape in shapes])[:-1]
        flat = [np.split(half, ends) for half in np.split(np.frombuffer(memory, dtype=self.dtype), 2)]
        return [[array.reshape(shape) for array, shape in zip(arrays, shapes, strict=True)] for arrays in flat]


# The buffers of this worker process: [buffer][array].
_buffers: list[list[np.ndarray]] = []


def _start_worker(in_use: Folders, memory: Memory, layout: Layout) -> None:
    folders.adopt(in_use)
    cv2.setNumThreads(0)
    keep_freed_memory()
    _buffers[:] = layout.map(memory)


def _run_task(buffer: int, rows: slice, make: Maker, plan: Plan) -> None:
    try:
        make([array[rows] for array in _buffers[buffer]], plan)
    except cv2.error as error:
        if error.code != cv2.Error.StsNoMem:
            raise
        raise MemoryError(error.err) from None


class DoubleBuffer:
    """Two chunks in shared memory: the workers write one while the consumer reads the other."""

    def __init__(self, make: Maker, layout: Layout, memory: Memory, executor: ProcessPoolExecutor, num_workers: int):
        self.make, self.layout, self.executor, self.num_workers = make, layout, executor, num_workers
        self.buffers = layout.map(memory)
        self.num_collected = 0
        self.tasks: list[Future] = []

    def submit(self, plan: Plan) -> None:
        """Hand a chunk to the workers."""
        rows = self.layout.rows
        size = self.task_size(len(plan))
        for first in range(0, len(plan), size):
            piece = plan[first : first + size]
            filled = slice(first * rows, (first + len(piece)) * rows)
            self.tasks.append(self.executor.submit(_run_task, self.num_collected % 2, filled, self.make, piece))

    def task_size(self, num: int) -> int:
        """Return the number of images per task: every worker gets tasks, and all finish at about the same time."""
        return max(1, min(_TASK_SIZE, -(-num // (2 * self.num_workers))))

    def collect(self, num: int) -> list[np.ndarray]:
        """Wait for the submitted chunk of `num` images; set the rows after the last image to zero."""
        for task in self.tasks:
            task.result()
        arrays = self.buffers[self.num_collected % 2]
        for array in arrays:
            array[num * self.layout.rows :] = 0
        self.num_collected, self.tasks = self.num_collected + 1, []
        return list(arrays)


def make_chunks(
    make: Maker, plans: Iterator[Plan], layout: Layout, workers: Workers
) -> Iterator[tuple[list[np.ndarray], Plan]]:
    """Yield the arrays of each planned chunk and its plan; the workers make the next chunk meanwhile."""
    num_workers = workers.num_workers or available_cores()
    start_method = workers.start_method or processes.default_start_method()
    memory = take_shared(2 * layout.num_bytes, start_method, _SMALLER)
    start = processes.Start(_start_worker, (folders.current, memory, layout))
    with processes.pool(num_workers, start, start_method, f"{_SMALLER} or fewer --num-workers") as executor:
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
    """Yield the views of each draw, one array (chunk_size, rows, columns, 3) per view, and the draw."""
    return make_chunks(views.write_drawn, draws, Layout(chunk_size, views.shapes), workers)


def fixed_chunks(
    views: Views,
    indices: np.ndarray,
    subset: str,
    transforms: Sequence[AffineTransform],
    chunk_size: int,
    workers: Workers,
) -> Iterator[tuple[list[np.ndarray], int]]:
    """Yield the views of images under fixed transforms, one array (chunk_size, rows, columns, 3) per view.

    Yields the number of filled rows as well. The transforms of an image are consecutive rows. A chunk contains complete
    images only; its other rows are zero.
    """
    make = partial(views.write_fixed, subset=subset, transforms=transforms)
    yield from whole_images(make, indices, Layout(chunk_size, views.shapes, rows=len(transforms)), workers)


def whole_images(
    make: Maker, indices: np.ndarray, layout: Layout, workers: Workers
) -> Iterator[tuple[list[np.ndarray], int]]:
    """Yield the arrays of chunks of complete images, in order, and the number of filled rows."""
    images_per_chunk = layout.num_rows // layout.rows
    if images_per_chunk < 1:
        raise ValueError(
            f"expected a chunk_size of at least {layout.rows}, the transforms of one image, got {layout.num_rows}"
        )
    indices = np.asarray(indices)
    plans = (indices[start : start + images_per_chunk] for start in range(0, len(indices), images_per_chunk))
    for arrays, made in make_chunks(make, plans, layout, workers):
        yield arrays, len(made) * layout.rows
