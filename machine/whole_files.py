"""Files: products are written whole or not at all, and inputs are checked while they are read.

Every product is written through `replacing`. Inputs are opened with `open_file`, which accepts regular files only.
"""

import contextlib
import errno
import functools
import hashlib
import os
import platform
import re
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from machine import seals

# The longest name of a file on usual file systems.
MAX_NAME_BYTES = 255
_DAY = 86_400.0


class DataError(Exception):
    """The user's input is not as expected; the message says what was expected, what came and what to do next."""


@contextlib.contextmanager
def replacing(path: str | Path, durable: bool = True, sealed: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which replaces `path` when the block succeeds and is removed otherwise.

    `durable=False` skips fsync, 10 ms per file; after a power cut the file may then be empty. `sealed`: the block wrote
    a blank seal (`machine.seals`), which gets its checksum. Raises DataError for an OSError of the block or of the
    replacement: no room, no permission, no folder.
    """
    path = Path(path)
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            if sealed:
                seals.press(temporary)
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
            "make room, allow writing or name another folder, and run this again"
        ) from error


def temporary_path(path: Path) -> Path:
    """Return the temporary file of this process beside `path`: `.NAME.PID@HOST.part`."""
    return path.with_name(f".{path.name}.{os.getpid()}@{_host()}.part")


@functools.cache
def _host() -> str:
    """Return six digits for this machine since its start, and this container: where a process number has a meaning."""
    texts = [platform.node()]
    with contextlib.suppress(OSError):
        texts += [Path("/proc/sys/kernel/random/boot_id").read_text(), os.readlink("/proc/self/ns/pid")]
    return hashlib.sha256("".join(texts).encode()).hexdigest()[:6]


def fault_of_name(path: Path) -> str | None:
    """Return the reason why no file can be written beside its temporary and hidden files under this name, or None."""
    longest = len(os.fsencode(temporary_path(path).name)) + 6  # process numbers have up to seven digits
    if longest > MAX_NAME_BYTES:
        return f"has a name of {len(os.fsencode(path.name))} bytes, which is too long by {longest - MAX_NAME_BYTES}"
    return None


def shown(path: object, limit: int | None = 300) -> str:
    """Return a path or another text as printable text of one line, with at most `limit` characters."""
    text = str(path)
    text = text if limit is None or len(text) <= limit else f"{text[: limit - 103]}...{text[-100:]}"
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


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


def file_checksum(path: Path) -> str:
    """Return the SHA-256 of a regular file; raises DataError for another one."""
    with open_file(path, "name another file") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def need_room(folder: Path, num_bytes: int, remedy: str) -> None:
    """Raise DataError, with the remedy, unless the disk of a folder has `num_bytes` free."""
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise DataError(f"expected {num_bytes / 1e6:.1f} MB free in {folder}, got {free / 1e6:.1f} MB; {remedy}")


def remove_leftovers(*products: Path) -> None:
    """Remove the temporary files that killed processes left; names of products may contain `*`.

    Of another machine or container, whose processes are unknown here, only files of an earlier day are removed.
    """
    for product in products:
        name = re.escape(product.name).replace(r"\*", ".*")
        pattern = re.compile(rf"\.{name}\.([0-9]+)(?:@([0-9a-f]+))?\.part", re.DOTALL)
        with contextlib.suppress(OSError), os.scandir(product.parent) as entries:
            for entry in list(entries):
                match = pattern.fullmatch(entry.name)
                if match and _is_left(entry, int(match[1]), match[2]):
                    with contextlib.suppress(OSError):
                        os.unlink(entry.path)


def _is_left(entry: os.DirEntry, pid: int, host: str | None) -> bool:
    if host not in (None, _host()):
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > _DAY
    # Containers reuse process numbers: without a host, a file with this process's number is from an earlier process.
    return not is_running(pid) or (host is None and pid == os.getpid())


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


def open_file(path: str | Path, hint: str) -> BinaryIO:
    """Open a regular file for reading; raises DataError, with the hint, for any other path."""
    path = Path(path)
    try:
        # To open a device can have effects. A pipe that comes after this look does not block.
        is_regular = stat.S_ISREG(path.stat().st_mode)
        file = open(path, "rb", opener=_open_at_once) if is_regular else None  # noqa: SIM115
        if file is not None and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            file = None
    except FileNotFoundError:
        raise DataError(f"{path} is missing; {hint}") from None
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
            raise DataError(f"{path} cannot be opened ({error.strerror}); allow more open files (ulimit -n)") from None
        reason = getattr(error, "strerror", None) or first_line(error)
        raise DataError(f"{path} cannot be read ({reason}); allow reading or {hint}") from None
    if file is None:
        raise DataError(f"{path}: expected a regular file, got a folder, pipe or device; move it away and {hint}")
    return file


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_text(path: Path, hint: str, max_bytes: int = 2**24) -> str:
    """Read a regular file of text; raises DataError, with the hint, for another file and for a larger one."""
    with open_file(path, hint) as file:
        content = file.read(min(os.fstat(file.fileno()).st_size, max_bytes) + 1)
    if len(content) > max_bytes:
        raise DataError(f"{path}: expected at most {max_bytes:,} bytes; {hint}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path}: expected text in UTF-8; {hint}") from None
