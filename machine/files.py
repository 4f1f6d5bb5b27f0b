"""Files: products are written whole or not at all, and inputs are checked while they are read.

Every product is written through `replacing`. Inputs are opened with `open_file`, which accepts regular files only.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np


class DataError(Exception):
    """The user's input is not as expected; the message says what was expected, what came and what to do next."""


@contextlib.contextmanager
def replacing(path: str | Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which replaces `path` when the block succeeds and is removed otherwise.

    `durable=False` skips fsync, 10 ms per file; after a power cut the file may then be empty. Raises DataError for an
    OSError of the block or of the replacement: no room, no permission, no folder.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            if durable:
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
            temporary.replace(path)
            if durable:
                _sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error.strerror or error}); an earlier file there is unchanged; "
            "make room, allow writing or name another folder with --root, and run this again"
        ) from error


def _sync_folder(folder: Path) -> None:
    """Write the names in a folder to disk, on systems that allow it, so that they survive a power cut."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def link_or_copy(source: Path, target: Path) -> None:
    """Create a hard link `target` to a file, or a copy with its time where the file system has no such links."""
    with replacing(target, durable=False) as temporary:
        try:
            os.link(os.path.realpath(source), temporary)
        except OSError:
            shutil.copyfile(source, temporary)
            shutil.copystat(source, temporary)


def need_room(folder: Path, num_bytes: int, remedy: str) -> None:
    """Raise DataError, with the remedy, unless the disk of a folder has `num_bytes` free."""
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise DataError(f"expected {num_bytes / 1e6:.1f} MB free in {folder}, got {free / 1e6:.1f} MB; {remedy}")


def remove_leftovers(*products: Path) -> None:
    """Remove the temporary files `.NAME.PID.part` that killed processes left; names of products may contain `*`."""
    for product in products:
        for leftover in product.parent.glob(f".{product.name}.*.part"):
            pid = leftover.name.split(".")[-2]
            # Containers reuse process numbers, so a file with this process's number is from an earlier process.
            if pid.isdigit() and (int(pid) == os.getpid() or not is_running(int(pid))):
                with contextlib.suppress(OSError):
                    leftover.unlink()


def is_running(pid: int) -> bool:
    """Return whether a process with this number exists, of any user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to another user
        return True
    return True


def first_line(error: Exception) -> str:
    """Return the start of an error's message as one printable line; a hostile file may have chosen its text."""
    line = (str(error) or type(error).__name__).partition("\n")[0]
    return "".join(character if character.isprintable() else "?" for character in line[:200])


def duplicate(ids: np.ndarray) -> int | None:
    """Return a number that occurs twice in ids (n,), or None."""
    ordered = np.sort(ids)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    return int(twice[0]) if len(twice) else None


def open_file(path: str | Path, hint: str) -> BinaryIO:
    """Open a regular file for reading; raises DataError, with the hint, for any other path."""
    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # opening a pipe would block
            raise DataError(f"{path}: expected a regular file, got a folder, pipe or device; move it away and {hint}")
        return path.open("rb")
    except FileNotFoundError:
        raise DataError(f"{path} is missing; {hint}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); allow reading or {hint}") from None
