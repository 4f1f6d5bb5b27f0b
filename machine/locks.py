"""One process at a time: a lock that the system lets go of when its process ends, however that came.

The lock is on a file beside what it protects, of which the first process holds a byte range (`fcntl`). Where a file
system has no locks, as some network file systems, a line says so and the work goes on. On a shared folder it holds for
all machines: NFS 4 keeps it for as long as its client renews its lease, and gives it back some 90 seconds after a
machine that is lost.
"""

import contextlib
import errno
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from machine.files import DataError
from machine.workflow_engine import patience

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

_HELD = (errno.EACCES, errno.EAGAIN)
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@contextlib.contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
    """Hold the lock `path` during the block; `what` names the work, "training of NAME", in messages.

    Raises DataError where another process holds it, with that process and its host: at once, or, below an engine, when
    that one does not end soon.
    """
    descriptor = _take_in_time(path, what, time.monotonic() + patience())
    try:
        yield
    finally:
        if descriptor is not None:
            with contextlib.suppress(OSError):
                path.unlink()  # while it is held: who waits on the old file finds that its name is gone
            os.close(descriptor)


def _take_in_time(path: Path, what: str, until: float) -> int | None:
    told = False
    while True:
        try:
            return _take(path, what)
        except _Held as held:
            if time.monotonic() >= until:
                raise DataError(str(held)) from None
            if not told:
                print(f"waiting: {held}", flush=True)
            told = True
            time.sleep(0.2)


class _Held(Exception):
    """Another process holds a lock; the message says who."""


def _take(path: Path, what: str) -> int | None:
    """Return the descriptor of the locked file; None where there are no locks."""
    if fcntl is None:
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = os.read(descriptor, 200).decode("utf-8", "replace")
                os.close(descriptor)
                if error.errno in _HELD:
                    raise _Held(_held_by(what, holder)) from None
                if error.errno in _WITHOUT_LOCKS:
                    print(f"no locks in {path.parent} ({error.strerror}): see to it that {what} runs once", flush=True)
                    return None
                raise
            if _is_named(descriptor, path):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()} {socket.gethostname()}".encode())
                return descriptor
            os.close(descriptor)  # its name went to another file meanwhile
    except OSError as error:
        raise DataError(
            f"{path} can not be written ({error.strerror or error}); allow writing or name another folder with --root"
        ) from error


def _is_named(descriptor: int, path: Path) -> bool:
    """Say whether an open file still has that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _held_by(what: str, holder: str) -> str:
    process, _, host = holder.partition(" ")
    who = f"process {process} on {host}" if process.isdigit() else "another process"
    return f"{what} is under way already, in {who}; wait for it, end it, or choose another --root"
