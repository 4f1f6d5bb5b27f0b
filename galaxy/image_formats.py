"""The format of a file, by its first bytes, and files that are read with suspicion.

The names of the formats are those of `SUFFIXES`. A file that cannot be read raises Unreadable.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from machine.shared_folders import is_of_system

# The formats that are read, and the endings of their files' names.
SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "TIFF": (".tif", ".tiff"),
    "WebP": (".webp",),
    "AVIF": (".avif",),
    "FITS": (
        *(".fits", ".fit", ".fts", ".fz", ".fits.gz", ".fit.gz", ".fits.fz"),
        *(".fits.bz2", ".fit.bz2", ".fits.xz", ".fit.xz", ".fits.z", ".fit.z"),
    ),
}
# The first bytes of a file, its format, and its description in messages. A packed file is expected to hold FITS.
_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG", "a JPEG image"),
    (b"\x89PNG\r\n\x1a\n", "PNG", "a PNG image"),
    (b"II*\0", "TIFF", "a TIFF image"),
    (b"MM\0*", "TIFF", "a TIFF image"),
    (b"II+\0", "TIFF", "a TIFF image"),
    (b"MM\0+", "TIFF", "a TIFF image"),
    (b"SIMPLE", "FITS", "a FITS image"),
    (b"\x1f\x8b", "FITS", "a gzip file"),
    (b"BZh", "FITS", "a bzip2 file"),
    (b"\xfd7zXZ\0", "FITS", "an xz file"),
    (b"\x1f\x9d", "FITS", "a file packed by compress"),
    (b"\x28\xb5\x2f\xfd", None, "a Zstandard file: unpack it"),
    (b"GIF8", None, "a GIF image"),
    (b"BM", None, "a BMP image"),
    (b"\xff\x0a", None, "a JPEG XL image"),
    (b"\0\0\0\x0cJXL ", None, "a JPEG XL image"),
    (b"\0\0\0\x0cjP  ", None, "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", None, "a JPEG 2000 image"),
    (b"\x93NUMPY", None, "a NumPy array (.npy): save it as FITS"),
    (b"\x89HDF\r\n\x1a\n", None, "an HDF5 file: save its images as FITS"),
    (b"PAR1", None, "a Parquet table"),
    (b"%PDF", None, "a PDF document"),
    (b"PK", None, "a zip archive"),
    (b"<", None, "a web page"),
    (b"\0\0\0\0", None, "zeros"),
)


class Unreadable(ValueError):
    """A file that cannot be read; the message is a reason, to be written after the file's name."""


def identify(start: bytes) -> tuple[str | None, str]:
    """Return the format (None for one that is not read) and the description of a file, from its first 16 bytes."""
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WebP", "a WebP image"
    if start[4:8] == b"ftyp":  # files of ISO's media format: what follows is the brand
        return ("AVIF", "an AVIF image") if start[8:12] in (b"avif", b"avis") else (None, "a HEIF image or a film")
    for signature, format_name, description in _SIGNATURES:
        if start.startswith(signature):
            return format_name, description
    if not start:
        return None, "nothing"
    return None, "text" if all(9 <= byte < 127 for byte in start) else "something else"


def format_of(path: Path) -> tuple[str, int]:
    """Return the format of an image file and its size in bytes; raises Unreadable."""
    with _reasons():
        size = _size(path)
        with path.open("rb") as file:
            start = file.read(16)
    if not start:
        raise Unreadable("is empty")
    format_name, description = identify(start)
    if format_name is None:
        raise Unreadable(
            f"is not an image that can be read: expected JPEG, PNG, TIFF, WebP, AVIF or FITS, got {description}"
        )
    return format_name, size


def read_content(path: Path | str, max_bytes: int) -> bytes:
    """Read a regular file of at most `max_bytes`; raises Unreadable."""
    with _reasons():
        if (size := _size(path)) > max_bytes:
            raise Unreadable(f"is too large: expected at most {max_bytes} bytes, got {size}")
        with open(path, "rb", buffering=0) as file:
            return file.read()


def _size(path: Path | str) -> int:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would block for ever
        raise Unreadable("is not a file")
    return status.st_size


@contextlib.contextmanager
def _reasons() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise Unreadable("is missing") from None
    except OSError as error:
        if is_of_system(error):
            raise
        raise Unreadable(f"cannot be read ({error.strerror})") from None
