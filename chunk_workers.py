"""Chunks of examples made by worker processes that write straight into shared memory.

No image travels through a pipe. The workers live as long as the generator; the next chunk is made while the consumer
uses the current one. A worker that dies ends the generator with an error, and workers end when their parent does.
"""

import concurrent.futures
import ctypes
import itertools
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool

import cv2
import numpy as np

import load_data

# Makes the examples of some images, given the position of the first in the chunk and their indices: for each image, the
# views under each of its transforms.
Maker = Callable[[int, np.ndarray], Iterable[list[list[np.ndarray]]]]

# The chunk buffers of this worker process: [buffer][view], each (chunk_size, rows, columns, 3) float32.
_buffers: list[list[np.ndarray]] = []

# Images a task: large enough that handing out tasks costs nothing, small enough that the workers end together.
_TASK_SIZE = 32


def default_num_workers() -> int:
    """Return the number of processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _map_buffers(raw: Sequence[ctypes.Array], chunk_size: int, sizes: Sequence[tuple[int, int]]) -> list:
    shapes = [(chunk_size, *size, 3) for size in sizes]
    ends = np.cumsum([np.prod(shape) for shape in shapes])[:-1]
    flat = [np.split(np.frombuffer(memory, dtype=np.float32), ends) for memory in raw]
    return [[part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)] for parts in flat]


def _start_worker(raw: Sequence[ctypes.Array], chunk_size: int, sizes: Sequence, folders: load_data.Folders) -> None:
    load_data.exit_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    cv2.setNumThreads(0)
    load_data.adopt(folders)
    _buffers[:] = _map_buffers(raw, chunk_size, sizes)


def _fill(buffers: list[np.ndarray], first_row: int, examples: Iterable[list[list[np.ndarray]]]) -> None:
    row = first_row
    for views_of_transforms in examples:
        for views in views_of_transforms:
            for buffer, view in zip(buffers, views, strict=True):
                buffer[row] = view
            row += 1


def _run_task(which: int, rows: int, make: Maker, first: int, indices: np.ndarray) -> None:
    _fill(_buffers[which], first * rows, make(first, indices))


def make_chunks(
    plan: Iterator[tuple[np.ndarray, Maker]],
    chunk_size: int,
    sizes: Sequence[tuple[int, int]],
    rows: int,
    num_workers: int | None,
    start_method: str | None,
    reuse_buffers: bool,
) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
    """Yield the arrays of each planned chunk and the indices of its images, while the next chunk is being made.

    A plan is a pair for each chunk: the indices of its images, and the function that makes their examples, `rows`
    for each image. Rows that no image fills are zero.
    """
    num_workers = default_num_workers() if num_workers is None else num_workers
    start_method = start_method or ("fork" if sys.platform == "linux" else "spawn")
    context = multiprocessing.get_context(start_method)
    length = sum(chunk_size * height * width * 3 for height, width in sizes)
    raw = [context.RawArray(ctypes.c_float, length) for _ in range(2)]
    buffers = _map_buffers(raw, chunk_size, sizes)
    executor = concurrent.futures.ProcessPoolExecutor(
        num_workers, context, _start_worker, (raw, chunk_size, sizes, load_data.folders)
    )

    def submit(number: int, chunk: tuple[np.ndarray, Maker] | None) -> list[concurrent.futures.Future]:
        if chunk is None:
            return []
        indices, make = chunk
        starts = range(0, len(indices), _TASK_SIZE)
        return [executor.submit(_run_task, number % 2, rows, make, i, indices[i : i + _TASK_SIZE]) for i in starts]

    try:
        current = next(plan, None)
        pending = submit(0, current)
        for number in itertools.count():
            if current is None:
                return
            for task in pending:
                task.result()
            arrays, indices = buffers[number % 2], current[0]
            current = next(plan, None)
            pending = submit(number + 1, current)
            for array in arrays:
                array[len(indices) * rows :] = 0
            yield (list(arrays) if reuse_buffers else [array.copy() for array in arrays]), indices
    except BrokenProcessPool:
        raise BrokenProcessPool(
            "a worker process died while it made a chunk, perhaps for want of memory; "
            "run again with a smaller --chunk-size or fewer --num-workers"
        ) from None
    finally:
        executor.shutdown(cancel_futures=True)
