"""Functions that read hostile input, in a process with limits of memory and of processor time.

A library may allocate any amount of memory for a small file. The process is forked, so that it costs milliseconds and
imports nothing; only its result comes back. Other systems than Linux have no such limits: there the function runs in
this process.

Source: Linux, setrlimit(2).
"""

import gc
import os
import pickle
import select
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from machine.files import DataError, first_line

# Of libraries whose exceptions have no type of their own for it.
_OUT_OF_MEMORY = ("out of memory", "bad_alloc", "bad allocation", "allocate memory", "bfc_arena", "malloc of size")


# Seconds of waiting per second of processor time: a busy machine is slow, a process that hangs never ends.
_PATIENCE = 20


class LimitError(DataError):
    """A function exceeded its memory or its time; the message says which."""


def limited(function: Callable[..., Any], *arguments: object, num_bytes: int, seconds: int) -> Any:
    """Return `function(*arguments)` from a process that may allocate `num_bytes` more and compute for `seconds`.

    An exception of the function is raised here. Raises LimitError where a limit is exceeded or the process dies.
    """
    if sys.platform != "linux":
        return function(*arguments)
    for stream in (sys.stdout, sys.stderr):  # otherwise both processes would write what waits
        if stream is not None:
            stream.flush()
    reader, writer = os.pipe()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the function needs no other thread of this process
            child = os.fork()
    except OSError as error:
        os.close(reader)
        os.close(writer)
        raise DataError(f"a process cannot be started ({error.strerror}); allow more (ulimit -u)") from None
    if child == 0:
        os.close(reader)
        _work(writer, function, arguments, num_bytes, seconds)
    os.close(writer)
    try:
        with open(reader, "rb") as file:
            waiting = select.poll()
            waiting.register(file, select.POLLIN)
            if not waiting.poll(1000 * _PATIENCE * seconds):
                os.kill(child, signal.SIGXCPU)
            outcome = pickle.load(file)
    except (EOFError, pickle.UnpicklingError):
        outcome = None
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        _, status = os.waitpid(child, 0)
    if outcome is None:  # the process died
        is_late = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU
        raise LimitError(f"it takes more than {seconds} s" if is_late else f"it takes more than {_size(num_bytes)}")
    error, result = outcome
    if error is not None:
        if isinstance(error, MemoryError):
            raise LimitError(f"it takes more than {_size(num_bytes)}") from None
        raise error
    return result


def _work(
    writer: int, function: Callable[..., Any], arguments: tuple[object, ...], num_bytes: int, seconds: int
) -> NoReturn:
    """Run the function in the forked process and write its outcome; the process ends here in any case."""
    # Destructors of objects of the parent may wait for its threads, which this process does not have.
    gc.disable()
    status = 1
    try:
        for name in (signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):  # the parent's handlers
            signal.signal(name, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _limit(num_bytes, seconds)
        try:
            outcome = None, function(*arguments)
        except Exception as error:
            outcome = _plain(error), None
        with open(writer, "wb") as file:
            pickle.dump(outcome, file, protocol=5)
        status = 0
    finally:
        os._exit(status)


def _plain(error: Exception) -> Exception:
    """Return an exception that can be pickled: a library's own becomes a ValueError or a MemoryError."""
    for known in (DataError, MemoryError, ImportError):
        if isinstance(error, known):
            return known(str(error))
    is_memory = any(words in str(error).lower() for words in _OUT_OF_MEMORY)
    return MemoryError() if is_memory else ValueError(first_line(error))


def _limit(num_bytes: int, seconds: int) -> None:
    import resource

    # Addresses are not counted: libraries reserve more than they use.
    used = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData"))
    for limit, value in (
        (resource.RLIMIT_DATA, 1024 * int(used.split()[1]) + num_bytes),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, hard))


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.0f} MiB of memory"
