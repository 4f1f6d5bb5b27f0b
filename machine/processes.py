"""Pools of worker processes that never outlive who started them, and that say in one line what ended them."""

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
    """Return how workers are started here: forked where that is safe, spawned elsewhere."""
    return "fork" if sys.platform == "linux" else "spawn"


def exit_with_parent() -> None:
    """End this process when its parent ends, however that came: no orphan outlives a killed run."""
    # As the parent knows itself: one that is killed right now already is no more who the system says.
    process = multiprocessing.parent_process()
    parent = os.getppid() if process is None else process.pid

    def watch() -> None:
        if os.getppid() != parent:  # a server forked this process, or nobody is left
            process.join()
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@dataclass(frozen=True)
class Start:
    """How a worker's life begins: what is called there first, with which arguments."""

    initializer: Callable[..., None] | None = None
    arguments: tuple = ()


def _start_worker(start: Start) -> None:
    """Begin a worker's life: it ends with its parent, and leaves Ctrl-C and SIGUSR1 to it."""
    exit_with_parent()
    for name in ("SIGINT", "SIGUSR1"):  # batch systems send the latter to all processes of a job
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    # A forked worker inherits the parent's handlers; a pool that lost one worker could not end the others with them.
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
    """Yield a pool of so many processes, all cores for None, that ends with the block, its waiting tasks cancelled.

    Raises BrokenProcessPool when a worker dies, and DataError when one can not be started or runs out of memory, with
    what to do next: to run again with the `remedy`.
    """
    context = multiprocessing.get_context(start_method or default_start_method())
    if context.get_start_method() == "fork":
        give_back_freed_memory()
    with contextlib.ExitStack() as stack:
        try:
            executor = ProcessPoolExecutor(num_workers or available_cores(), context, _start_worker, (start,))
            stack.callback(executor.shutdown, cancel_futures=True)
            _start_all(executor)
        except OSError as error:
            raise DataError(
                f"worker processes can not be started ({error.strerror}); run again with {remedy}, and see that "
                "/dev/shm has room for their locks (mount -o remount,size=64M /dev/shm)"
            ) from None
        try:
            yield executor
        except BrokenProcessPool:
            raise BrokenProcessPool(
                f"a worker process died, perhaps for want of memory; run again with {remedy}"
            ) from None
        except MemoryError as error:
            reason = first_line(error) or "none is left"
            raise DataError(f"memory ran out ({reason}); run again with {remedy}") from None


def _start_all(executor: ProcessPoolExecutor) -> None:
    before = set(multiprocessing.active_children())
    try:
        executor.submit(int)
    except OSError:
        # The pool does not know of those that did start, which would wait for it for ever.
        for process in set(multiprocessing.active_children()) - before:
            process.kill()
            process.join()
        raise


@contextlib.contextmanager
def mapping(num_workers: int | None, chunksize: int, start: Start = Start()) -> Iterator[Callable]:
    """Yield a `map` that hands `chunksize` items at a time to so many processes; all cores for None.

    Raises BrokenProcessPool when one of them dies.
    """
    if num_workers == 1:
        yield map
        return
    with pool(num_workers, start, "spawn") as executor:
        yield partial(executor.map, chunksize=chunksize)
