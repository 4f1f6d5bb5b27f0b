"""Pools of worker processes that never outlast who started them, and that say in one line what ended them."""

import contextlib
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial

import load_data
from freed_memory import give_back_freed_memory


def start_worker(folders: load_data.Folders) -> None:
    """Begin a worker's life: it ends with its parent, leaves Ctrl-C to it, and reads where it reads."""
    load_data.exit_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A forked worker inherits the parent's handlers; a pool that lost one worker could not end the others with them.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    load_data.adopt(folders)


@contextlib.contextmanager
def pool(
    num_workers: int | None,
    start_method: str | None = None,
    *,
    initializer: Callable[..., None] = start_worker,
    initargs: tuple = (),
    remedy: str = "fewer --num-workers",
) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of so many processes, all cores for None, that ends with the block, its waiting tasks cancelled.

    `initializer` is given the folders and `initargs`. Raises BrokenProcessPool when a worker dies, and DataError when
    one can not be started or runs out of memory, with what to do next: to run again with the `remedy`.
    """
    context = multiprocessing.get_context(start_method or ("fork" if sys.platform == "linux" else "spawn"))
    if context.get_start_method() == "fork":
        give_back_freed_memory()
    with contextlib.ExitStack() as stack:
        try:
            executor = ProcessPoolExecutor(num_workers, context, initializer, (load_data.folders, *initargs))
            stack.callback(executor.shutdown, cancel_futures=True)
            _start_all(executor)
        except OSError as error:
            raise load_data.DataError(
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
            reason = load_data.first_line(error) or "none is left"
            raise load_data.DataError(f"memory ran out ({reason}); run again with {remedy}") from None


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
def mapping(num_workers: int | None, chunksize: int) -> Iterator:
    """Yield a `map` that hands `chunksize` items at a time to so many processes; all cores for None.

    The processes know the folders in use, and end with this one. Raises BrokenProcessPool when one of them dies.
    """
    if num_workers == 1:
        yield map
        return
    with pool(num_workers, "spawn") as executor:
        yield partial(executor.map, chunksize=chunksize)
