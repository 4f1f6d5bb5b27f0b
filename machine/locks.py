"""Locks: one process at a time does a piece of work, and the system releases the lock of a process that is killed.

A lock is an `fcntl` lock on a file that names the process and host that hold it; the file is removed at the end. On a
shared folder it holds for all machines: NFS 4 keeps it while the client renews its lease, and releases it about 90
seconds after a machine is lost. A file system without locks gives a warning, and the work continues. `filelock` does
not name the holder, keeps the files, and falls back to a lock that survives a kill.
"""

import contextlib
import errno
import os
import re
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from machine.files import DataError, shown
from machine.workflow_engine import patience

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

_HELD = (errno.EACCES, errno.EAGAIN)
# The content of a lock file: process and host.
_HOLDER = re.compile(rb"|[0-9]{1,10} [^\s]{0,300}")
# The locks that threads of this process hold, such as cells of a notebook.
_own: set[str] = set()
_registering = threading.Lock()
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@contextlib.contextmanager
def alone(path: Path, work: str) -> Iterator[None]:
    """Hold the lock `path` during the block; `work` names the work in messages, "training of NAME".

    Folders that were made for the lock are removed at the end if they are empty. Raises DataError, with process and
    host, when another process holds the lock. A job of a workflow engine first waits for `workflow_engine.patience()`
    seconds.
    """
    missing = [folder for folder in path.parents if not folder.exists()]
    name = os.path.realpath(path)
    # The system grants a process its own lock again, and the end of either block would release both.
    with _registering:
        if name in _own:
            raise DataError(_held_by(work, _holder()))
        _own.add(name)
    try:
        descriptor = _take_in_time(path, work, time.monotonic() + patience())
    except BaseException:
        _own.discard(name)
        raise
    try:
        yield
    finally:
        _own.discard(name)
        if descriptor is not None:
            with contextlib.suppress(OSError):
                path.unlink()  # while it is locked: `_is_named` shows a waiting process that the file is gone
            os.close(descriptor)
        with contextlib.suppress(OSError):  # a folder that holds results by now stays
            for folder in missing:
                folder.rmdir()


def _take_in_time(path: Path, work: str, until: float) -> int | None:
    is_announced = False
    while True:
        try:
            return _take(path, work)
        except _Held as held:
            if time.monotonic() >= until:
                raise DataError(str(held)) from None
            if not is_announced:
                print(f"waiting: {held}", flush=True)
            is_announced = True
            time.sleep(0.2)


class _Held(Exception):
    """Another process holds a lock; the message names it."""


def _take(path: Path, work: str) -> int | None:
    """Return the descriptor of the locked file, None on a system or file system without locks."""
    if fcntl is None:
        return None
    try:
        while True:
            descriptor = _open(path)
            _refuse_foreign(descriptor, path)
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = os.read(descriptor, 200).decode("utf-8", "replace")
                os.close(descriptor)
                if error.errno in _HELD:
                    raise _Held(_held_by(work, holder)) from None
                if error.errno in _WITHOUT_LOCKS:
                    print(f"no locks in {path.parent} ({error.strerror}): do not run {work} twice at once", flush=True)
                    return None
                raise
            if _is_named(descriptor, path):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, _holder().encode())
                return descriptor
            os.close(descriptor)  # the earlier holder removed this file meanwhile
    except OSError as error:
        if file := next((folder for folder in path.parents if folder.exists() and not folder.is_dir()), None):
            raise DataError(
                f"{file}: expected a folder, got a file; move it or name another folder with --root"
            ) from error
        raise DataError(
            f"{path} cannot be written ({error.strerror or error}); allow writing or name another folder with --root"
        ) from error


def _refuse_foreign(descriptor: int, path: Path) -> None:
    """Raise DataError, and close the file, unless it is empty or names a process, as a lock file does."""
    is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
    if not is_file or not _HOLDER.fullmatch(os.pread(descriptor, 400, 0)):
        os.close(descriptor)
        raise DataError(f"{shown(path)} is needed for a lock, and is not of this project; move it away")


def _open(path: Path, attempts: int = 10) -> int:
    """Open a lock file, and make its folders; an earlier holder may remove them in between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    except FileNotFoundError:
        if attempts == 1:
            raise
        return _open(path, attempts - 1)


def _is_named(descriptor: int, path: Path) -> bool:
    """Return whether an open file still has the name `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _holder() -> str:
    """Return the content of the lock files of this process."""
    return f"{os.getpid()} {socket.gethostname()}"


def _held_by(work: str, holder: str) -> str:
    process, _, host = holder.partition(" ")
    name = f"process {process} on {host}" if process.isdigit() else "another process"
    return f"{work} is under way already, in {name}; wait for it, end it, or choose another --root"
