"""Chunks of examples made by worker processes that write straight into shared memory.

No image travels through a pipe. The workers live as long as the generator; the next chunk is made while the consumer
uses the current one. A worker that dies ends the generator with an error, and workers end when their parent does.
"""

import concurrent.futures
import contextlib
import ctypes
import itertools
import mmap
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import DTypeLike

import load_data
import process_pool
from freed_memory import keep_freed_memory

# Writes the examples of some images into their rows of the buffers, given what the plan says of these images.
Maker = Callable[..., None]

# The chunk buffers of this worker process: [buffer][array], each (chunk_size, *shape).
_buffers: list[list[np.ndarray]] = []

# Images a task: large enough that handing out tasks costs nothing, small enough that the workers end together.
_TASK_SIZE = 64


def default_num_workers() -> int:
    """Return the number of processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _available_memory() -> float:
    """Return the bytes of memory that may be had, where the system tells."""
    found = [float("inf")]
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # no limit is written "max"
            found.append(int(Path("/sys/fs/cgroup", limit).read_text()))
    return min(found)


def _take_memory(num_bytes: int, start_method: str) -> mmap.mmap | ctypes.Array:
    """Return memory that worker processes will share; raises DataError unless there is enough."""
    hint = "run again with a smaller --chunk-size"
    size, available = f"{num_bytes / 1e9:.2f} GB", _available_memory()
    if num_bytes > available:
        raise load_data.DataError(f"expected {size} of memory for two chunks, got {available / 1e9:.2f} GB; {hint}")
    if start_method == "fork":
        # What is inherited needs no name, and no room on the RAM drive, which is small in containers.
        try:
            return mmap.mmap(-1, num_bytes)
        except OSError as error:
            raise load_data.DataError(f"{size} of memory for two chunks can not be had ({error}); {hint}") from None
    # Else they live in files, whose want of room later would end whoever touches them without a word.
    places = [path for path in (Path("/dev/shm"), Path(tempfile.gettempdir())) if path.is_dir()]
    free = max(shutil.disk_usage(path).free for path in places)
    if num_bytes > free:
        raise load_data.DataError(
            f"expected {size} free in {' or '.join(map(str, places))} for two chunks, got {free / 1e9:.2f} GB; "
            f"enlarge it (mount -o remount,size=4G /dev/shm), or {hint}"
        )
    return multiprocessing.get_context(start_method).RawArray(ctypes.c_byte, num_bytes)


def _map_buffers(
    memory: mmap.mmap | ctypes.Array, shapes: Sequence[tuple[int, ...]], dtype: DTypeLike
) -> list[list[np.ndarray]]:
    ends = np.cumsum([np.prod(shape) for shape in shapes])[:-1]
    flat = [np.split(half, ends) for half in np.split(np.frombuffer(memory, dtype=dtype), 2)]
    return [[part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)] for parts in flat]


def _start_worker(
    folders: load_data.Folders, memory: mmap.mmap | ctypes.Array, shapes: Sequence[tuple[int, ...]], dtype: DTypeLike
) -> None:
    process_pool.start_worker(folders)
    cv2.setNumThreads(0)
    keep_freed_memory()
    _buffers[:] = _map_buffers(memory, shapes, dtype)


def _run_task(which: int, rows: slice, make: Maker, about: Sequence[np.ndarray | None]) -> None:
    try:
        make([buffer[rows] for buffer in _buffers[which]], *about)
    except cv2.error as error:
        if error.code != cv2.Error.StsNoMem:
            raise
        raise MemoryError(error.err) from None


def make_chunks(
    make: Maker,
    plan: Iterator[tuple[np.ndarray | None, ...]],
    chunk_size: int,
    shapes: Sequence[tuple[int, ...]],
    rows: int,
    num_workers: int | None,
    start_method: str | None,
    reuse_buffers: bool,
    dtype: DTypeLike = np.float32,
) -> Iterator[tuple[list[np.ndarray], tuple[np.ndarray | None, ...]]]:
    """Yield the arrays (chunk_size, *shape) of each planned chunk and its plan, while the next chunk is being made.

    A plan says what is to be known of each image, in arrays with a row for each; `make` gets some of these rows, and
    the rows of the chunk's arrays to write into, `rows` for each image. Rows that no image fills are zero.
    """
    num_workers = default_num_workers() if num_workers is None else num_workers
    start_method = start_method or ("fork" if sys.platform == "linux" else "spawn")
    shapes = [(chunk_size, *shape) for shape in shapes]
    num_bytes = 2 * sum(int(np.prod(shape)) for shape in shapes) * np.dtype(dtype).itemsize
    memory = _take_memory(num_bytes, start_method)
    buffers = _map_buffers(memory, shapes, dtype)
    pool = process_pool.pool(
        num_workers,
        start_method,
        initializer=_start_worker,
        initargs=(memory, shapes, dtype),
        remedy="a smaller --chunk-size or fewer --num-workers",
    )
    with pool as executor:

        def submit(number: int, about: tuple[np.ndarray | None, ...] | None) -> list[concurrent.futures.Future]:
            tasks = []
            for first in range(0, len(about[0]) if about else 0, _TASK_SIZE):
                some = [each if each is None else each[first : first + _TASK_SIZE] for each in about]
                of_rows = slice(first * rows, (first + len(some[0])) * rows)
                tasks.append(executor.submit(_run_task, number % 2, of_rows, make, some))
            return tasks

        current = next(plan, None)
        pending = submit(0, current)
        for number in itertools.count():
            if current is None:
                return
            for task in pending:
                task.result()
            arrays, about = buffers[number % 2], current
            current = next(plan, None)
            pending = submit(number + 1, current)
            for array in arrays:
                array[len(about[0]) * rows :] = 0
            yield (list(arrays) if reuse_buffers else [array.copy() for array in arrays]), about
