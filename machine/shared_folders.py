"""Folders on network file systems, which can be lost: told in one line, where the system tells it at all.

A file system that hangs keeps whoever asks it for anything. So a folder is first asked by a thread that can be left.
"""

import contextlib
import errno
import os
import threading
from pathlib import Path

from machine.files import DataError

PATIENCE = 60.0
_NAMES = ("ESTALE", "EIO", "ENOTCONN", "ETIMEDOUT", "EHOSTDOWN", "EHOSTUNREACH", "EREMOTEIO", "ENODEV", "ESHUTDOWN")
_LOST = {getattr(errno, name) for name in _NAMES if hasattr(errno, name)}


def is_lost(error: BaseException | None) -> bool:
    """Say whether an error, or one that it was raised for, tells of a file system that is gone."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _LOST:
            return True
        error = error.__cause__ or error.__context__
    return False


def touch(folder: Path, seconds: float = PATIENCE) -> None:
    """Look at a folder, there or not; raises DataError where its file system does not answer for so many seconds."""
    looking = threading.Thread(target=_look, args=(folder,), daemon=True)
    looking.start()
    looking.join(seconds)
    if looking.is_alive():
        raise DataError(
            f"{folder} does not answer within {seconds:g} seconds; see that its file system is mounted and its server "
            "runs, and run this again"
        )


def _look(folder: Path) -> None:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        next(entries, None)
