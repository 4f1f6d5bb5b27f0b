"""Folders on network file systems, which can be lost during a run: the fault is reported in one line.

A hung mount blocks its caller. So a daemon thread looks at a folder first.
"""

import contextlib
import errno
import os
import threading
from pathlib import Path

from machine.whole_files import DataError

PATIENCE = 60.0
_NAMES = ("ESTALE", "EIO", "ENOTCONN", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "EREMOTEIO", "ENODEV", "ESHUTDOWN")
_LOST = {getattr(errno, name) for name in _NAMES if hasattr(errno, name)}
# One file can cause an EIO.
_OF_SYSTEM = {errno.EMFILE, errno.ENFILE} | _LOST - {errno.EIO}


def is_lost(error: BaseException | None) -> bool:
    """Return whether an error, or one in its chain of causes, reports a lost file system."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _LOST:
            return True
        error = error.__cause__ or error.__context__
    return False


def is_of_system(error: BaseException) -> bool:
    """Return whether an error says nothing about the file that was to be read: all files after it would fail, too."""
    return isinstance(error, OSError) and error.errno in _OF_SYSTEM


def touch(folder: Path, seconds: float = PATIENCE) -> None:
    """Look at a folder, which may be missing; raises DataError when its file system does not answer in time."""
    looking = threading.Thread(target=_look, args=(folder,), daemon=True)
    looking.start()
    looking.join(seconds)
    if looking.is_alive():
        raise DataError(
            f"{folder} does not answer within {seconds:g} seconds; check that its file system is mounted and its "
            "server runs, and run this again"
        )


def _look(folder: Path) -> None:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        next(entries, None)
