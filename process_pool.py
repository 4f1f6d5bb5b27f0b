"""A `map` over the images of a survey that uses several processes."""

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import load_data


def _start_worker(folders: load_data.Folders) -> None:
    # Ctrl-C ends the parent, which ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    load_data.exit_with_parent()
    load_data.adopt(folders)


@contextlib.contextmanager
def mapping(num_workers: int | None, chunksize: int) -> Iterator:
    """Yield a `map` that hands `chunksize` items at a time to so many processes; all cores for None.

    The processes know the folders in use, and end with this one. Raises BrokenProcessPool when one of them dies.
    """
    if num_workers == 1:
        yield map
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_workers, context, _start_worker, (load_data.folders,))
    try:
        yield partial(pool.map, chunksize=chunksize)
    finally:
        pool.shutdown(cancel_futures=True)
