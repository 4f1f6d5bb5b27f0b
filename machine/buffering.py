"""Generators that run ahead of their consumer, in a process or in a thread.

Source: documentation of 2014, 3.2.1.
"""

import atexit
import contextlib
import multiprocessing
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection

from machine.processes import exit_with_parent

_END = "end"
_ITEM = "item"
_ERROR = "error"


def _feed_process(source_gen: Iterator, receiver: Connection, sender: Connection) -> None:
    exit_with_parent()
    receiver.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        for item in source_gen:
            sender.send((_ITEM, item))
        sender.send((_END, None))
    except Exception as error:
        try:
            sender.send((_ERROR, error))
        except Exception:  # an exception that cannot be pickled is sent as text
            sender.send((_ERROR, RuntimeError(f"{type(error).__name__}: {error}")))
    finally:
        getattr(source_gen, "close", lambda: None)()


def buffered_gen_mp(source_gen: Iterator, buffer_size: int = 2, sleep_time: float = 1) -> Iterator:
    """Run a slow generator in a forked process that keeps up to `buffer_size` items ready.

    An exception of the source is raised here, and a RuntimeError when the process dies. The process ends with the
    source, with this generator, or with the program. 2014's scripts pass `sleep_time`; it is ignored, as nothing polls.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_feed_process, args=(source_gen, receiver, sender))

    def receive() -> Iterator:
        while True:
            try:
                message, value = receiver.recv()
            except (EOFError, OSError):
                process.join()
                status = process.exitcode
                raise RuntimeError(f"the process that fills the buffer ended with exit status {status}") from None
            if message == _END:
                return
            if message == _ERROR:
                raise value
            yield value

    def stop() -> None:
        process.terminate()
        process.join(5)
        if process.is_alive():
            process.kill()
            process.join()

    process.start()
    sender.close()  # only the process keeps a copy, so the pipe ends when the process dies
    atexit.register(stop)
    items = threaded_gen(receive(), buffer_size)
    try:
        for item in items:  # noqa: UP028 `yield from` would join the thread first, which waits for the process
            yield item
    finally:
        atexit.unregister(stop)
        stop()
        items.close()
        receiver.close()


def threaded_gen(source_gen: Iterator, buffer_size: int = 2) -> Iterator:
    """Run a generator in a thread that keeps up to `buffer_size` items ready; raises the source's exceptions."""
    items: queue.Queue = queue.Queue(maxsize=buffer_size)
    stopped = threading.Event()

    def put(message: str, value: object) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                return items.put((message, value), timeout=0.1)

    def feed() -> None:
        try:
            for item in source_gen:
                put(_ITEM, item)
                if stopped.is_set():
                    return
            put(_END, None)
        except BaseException as error:
            put(_ERROR, error)
        finally:
            getattr(source_gen, "close", lambda: None)()

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    try:
        while True:
            message, value = items.get()
            if message == _END:
                return
            if message == _ERROR:
                raise value
            yield value
    finally:
        stopped.set()
        thread.join()
