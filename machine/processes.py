"""Pools of worker processes, which end with their parent and report their faults in one line."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial

from machine.cores import available_cores
from machine.files import DataError, first_line
from machine.memory import give_back_freed_memory


def default_start_method() -> str:
    """Return the start method of this system: fork on Linux, where it is safe, else spawn."""
    return "fork" if sys.platform == "linux" else "spawn"


def exit_with_parent() -> None:
    """End this process when its parent ends or is killed."""
    # Ask multiprocessing for the parent: os.getppid() differs once the parent is dead.
    process = multiprocessing.parent_process()
    parent = os.getppid() if process is None else process.pid

    def watch() -> None:
        if os.getppid() != parent:  # the fork server is the system's parent, or the parent is dead
            process.join()
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@dataclass(frozen=True)
class Start:
    """The function that a worker calls first, and its arguments."""

    initializer: Callable[..., None] | None = None
    arguments: tuple = ()


def _start_worker(start: Start) -> None:
    """Start a worker: it ends with its parent, and its parent handles Ctrl-C and SIGUSR1."""
    try:
        exit_with_parent()
    except RuntimeError:  # no thread can be started: the parent reports a worker that died
        os._exit(1)
    for name in ("SIGINT", "SIGUSR1"):  # batch systems send SIGUSR1 to all processes of a job
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    # The parent's handler, which a fork inherits, would keep a broken pool from terminating its workers.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if start.initializer is not None:
        start.initializer(*start.arguments)


@contextlib.contextmanager
def pool(
    num_workers: int | None,
    start: Start = Start(),
    start_method: str | None = None,
    remedy: str = "fewer --num-workers",
) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of `num_workers` processes, one per core for None; the end of the block cancels waiting tasks.

    Raises BrokenProcessPool when a worker dies, and DataError when a worker cannot be started or runs out of memory.
    The messages advise to run again with the `remedy`.
    """
    context = multiprocessing.get_context(start_method or default_start_method())
    if context.get_start_method() == "fork":
        give_back_freed_memory()
    with contextlib.ExitStack() as stack:
        try:
            executor = ProcessPoolExecutor(num_workers or available_cores(), context, _start_worker, (start,))
            _start_all(executor)
        except (OSError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "start new thread" not in str(error):
                raise
            reason = getattr(error, "strerror", error)
            raise DataError(
                f"worker processes cannot be started ({reason}); run again with {remedy}, or make room in "
                "/dev/shm for their locks (mount -o remount,size=64M /dev/shm)"
            ) from None
        stack.callback(executor.shutdown, cancel_futures=True)
        try:
            yield executor
        except BrokenProcessPool:
            raise BrokenProcessPool(
                f"a worker process died, perhaps because memory ran out; run again with {remedy}"
            ) from None
        except MemoryError as error:
            reason = first_line(error) or "none is left"
            raise DataError(f"memory ran out ({reason}); run again with {remedy}") from None


def _start_all(executor: ProcessPoolExecutor) -> None:
    before = set(multiprocessing.active_children())
    try:
        executor.submit(int)
    except (OSError, RuntimeError):
        # The pool does not know the workers that did start; they would wait for tasks without end.
        for process in set(multiprocessing.active_children()) - before:
            process.kill()
            process.join()
        raise


@contextlib.contextmanager
def mapping(num_workers: int | None, chunksize: int, start: Start = Start()) -> Iterator[Callable]:
    """Yield a `map` over `num_workers` processes, one per core for None, which takes `chunksize` items at a time.

    Raises BrokenProcessPool when a process dies.
    """
    if num_workers == 1:
        yield map
        return
    with pool(num_workers, start, "spawn") as executor:
        yield partial(executor.map, chunksize=chunksize)
