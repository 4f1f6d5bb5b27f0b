"""Files that appear whole or not at all, and that are read with suspicion: arrays and pickles."""

import contextlib
import gzip
import math
import mmap
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike

from machine.plain_pickle import PlainUnpickler

# What an array may take where its shape is not known beforehand: ten times the competition's predictions.
MAX_ARRAY_BYTES = 2**28
# Kinds of numbers: truth values, integers, floats. `load_gz` and `save_gz` take complex ones, text and dates as well:
# all that NumPy writes without pickling objects, but structures.
_NUMBERS = "biuf"
_WITHOUT_OBJECTS = _NUMBERS + "cSUmM"
# No byte of a gzip file gives more than so many (zlib's "Maximum Compression Factor").
_MAX_INFLATION = 1032


class DataError(Exception):
    """What a user gave is not what was expected; the message says what came and what to do next."""


@contextlib.contextmanager
def replacing(path: str | Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place when the block ends well, and vanishes otherwise.

    Unless it is to be `durable`, the disk is not waited for, ten milliseconds a file: a power cut, which nothing else
    brings about, may leave it empty. Raises DataError where the block or the replacement ends with an OSError: no
    room, no permission, no folder.
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
                _keep_names(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{path} can not be written ({error.strerror or error}); what stood there before is unchanged; "
            "make room, allow writing or name another folder with --root, and run this again"
        ) from error


def _keep_names(folder: Path) -> None:
    """Have a folder's new names outlive a power cut, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name where the file system allows that, and copy it elsewhere; its time is kept."""
    with replacing(target, durable=False) as temporary:
        try:
            os.link(os.path.realpath(source), temporary)
        except OSError:
            shutil.copyfile(source, temporary)
            shutil.copystat(source, temporary)


def need_room(folder: Path, num_bytes: int, remedy: str) -> None:
    """Raise DataError, with what to do about it, unless a folder's disk has room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise DataError(f"expected {num_bytes / 1e6:.1f} MB free in {folder}, got {free / 1e6:.1f} MB; {remedy}")


def remove_leftovers(*products: Path) -> None:
    """Remove the temporary files `.NAME.PID.part` of products, whose names may hold `*`, where no such process runs."""
    for product in products:
        for part in product.parent.glob(f".{product.name}.*.part"):
            pid = part.name.split(".")[-2]
            # Containers hand out the same number again and again: one that is this process's own was another's.
            if pid.isdigit() and (int(pid) == os.getpid() or not is_running(int(pid))):
                with contextlib.suppress(OSError):
                    part.unlink()


def is_running(pid: int) -> bool:
    """Say whether there is a process of that number, whoever's it is."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another's
        return True
    return True


def save_array(path: str | Path, array: np.ndarray) -> None:
    """Write a `.npy` file, whole or not at all."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)


def first_line(error: Exception) -> str:
    """Return the start of an error's message as one printable line, whatever a strange file had it say."""
    line = (str(error) or type(error).__name__).partition("\n")[0]
    return "".join(character if character.isprintable() else "?" for character in line[:200])


def duplicate(ids: np.ndarray) -> int | None:
    """Return a number that stands twice in ids (n,), None where there is none."""
    ordered = np.sort(ids)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    return int(twice[0]) if len(twice) else None


def open_file(path: str | Path, hint: str) -> BinaryIO:
    """Open a file for reading; raises DataError where there is none, with a hint what to do about it."""
    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # to open a pipe would wait for ever
            raise DataError(f"{path} is to be a file, and is none; move it away, and {hint}")
        return path.open("rb")
    except FileNotFoundError:
        raise DataError(f"{path} is missing; {hint}") from None
    except OSError as error:
        raise DataError(f"{path} can not be read ({error.strerror}); allow it, or {hint}") from None


def _read_header(file: BinaryIO, kinds: str) -> tuple[tuple[int, ...], np.dtype, bool]:
    """Read a `.npy` header: shape, dtype, whether in Fortran order; raises ValueError unless it is of these kinds.

    Version 1.0 is what they are written in; its header has 65,535 bytes at most.
    """
    if (version := np.lib.format.read_magic(file)) != (1, 0):
        raise ValueError(f"expected format version 1.0, got {version[0]}.{version[1]}")
    try:
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception as error:  # the header is a Python expression: a damaged one can raise anything
        raise ValueError(f"its header can not be read: {first_line(error)}") from None
    # True, which Python takes for a whole number, is no length.
    if dtype.kind not in kinds or not all(type(length) is int and 0 <= length < 2**48 for length in shape):
        raise ValueError(f"expected {_words(kinds)}, its header says {dtype} {shape}")
    return shape, dtype, fortran_order


def _words(kinds: str) -> str:
    return "numbers" if kinds == _NUMBERS else "numbers, text or dates"


def _read_values(file: BinaryIO, shape: tuple[int, ...], dtype: np.dtype, fortran_order: bool) -> np.ndarray:
    """Read an array's values up to the end of the file."""
    array = np.empty(shape, dtype, order="F" if fortran_order else "C")
    rest = memoryview(array.reshape(-1, order="A").view(np.uint8))
    while rest:
        if not (length := file.readinto(rest)):
            raise ValueError(f"it ends {len(rest)} bytes early")
        rest = rest[length:]
    if file.read(1):  # reading to the end has gzip compare its checksum
        raise ValueError("more bytes than the array has")
    return array


def _describe(shape: tuple[int | None, ...]) -> str:
    lengths = ["n" if length is None else str(length) for length in shape]
    return f"({', '.join(lengths)}{',' * (len(lengths) == 1)})"


def load_array(
    path: str | Path, made_by: str, shape: tuple[int | None, ...] | None = None, kind: type[np.generic] = np.generic
) -> np.ndarray:
    """Read a `.npy` or `.npy.gz` file of numbers; when it is missing, the error names the script that makes it.

    The header is compared with the `shape` expected (None for any length) and the `kind` (np.floating, np.integer)
    before room is made for the values. Where a length is not given, the array takes at most MAX_ARRAY_BYTES.
    """
    return _load(path, made_by, shape, kind, _NUMBERS)


def _load(
    path: str | Path, made_by: str, shape: tuple[int | None, ...] | None, kind: type[np.generic], kinds: str
) -> np.ndarray:
    path = Path(path)
    with open_file(path, f"run {made_by} first") as raw:
        file = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
        try:
            got, dtype, fortran_order = _read_header(file, kinds)
            fits = shape is None or (
                len(got) == len(shape) and all(n in (None, length) for n, length in zip(shape, got, strict=True))
            )
            if not fits or not np.issubdtype(dtype, kind):
                words = {np.floating: "floats ", np.integer: "integers "}.get(kind, "shape ")
                expected = f"{words}{_describe(shape) if shape is not None else ''}"
                raise DataError(f"{path}: expected {expected}, got {dtype} {got}; delete it and run {made_by} again")
            # A length of nought would hide the others.
            num_bytes = math.prod(max(length, 1) for length in got) * dtype.itemsize
            held = os.fstat(raw.fileno()).st_size * (1 if file is raw else _MAX_INFLATION)
            allowed = MAX_ARRAY_BYTES if shape is None or None in shape else num_bytes
            if allowed < num_bytes <= held:
                raise DataError(
                    f"{path}: expected at most {allowed} bytes, as its shape is not known, its header says {dtype} "
                    f"{got}; name the shape that is expected, or run {made_by} again"
                )
            if num_bytes > allowed or math.prod(got) * dtype.itemsize > held:
                raise ValueError(f"expected at most {min(allowed, held)} bytes, its header says {dtype} {got}")
            return _read_values(file, got, dtype, fortran_order)
        except (ValueError, EOFError, OSError, zlib.error) as error:
            raise DataError(f"{path} is no NumPy array ({first_line(error)}); run {made_by} again") from None


def load_pickle(path: str | Path, made_by: str) -> object:
    """Read a pickle of NumPy arrays and plain values, of today or of Python 2; anything else is refused unread."""
    with open_file(path, f"run {made_by} first") as file:
        try:
            # A map reads no more than there is, however long a value says that it is.
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return PlainUnpickler(content, len(content)).load()
        except Exception as error:  # a damaged pickle can raise anything
            raise DataError(f"{path} can not be read ({first_line(error)}); run {made_by} again") from None


def _check_name(path: str | Path) -> None:
    if not str(path).endswith((".npy.gz", ".npy")):
        raise DataError(f"expected a file name that ends with .npy.gz or .npy, got {path}; rename the file")


def load_gz(
    path: str | Path, shape: tuple[int | None, ...] | None = None, kind: type[np.generic] = np.generic
) -> np.ndarray:
    """Read an array from a `.npy.gz` or `.npy` file, of the types that `save_gz` takes.

    `shape` and `kind` say what is expected, as for `load_array`; without a shape, or with one that leaves a length
    open, an array of more than MAX_ARRAY_BYTES (256 MiB) is refused. Raises DataError.
    """
    _check_name(path)
    return _load(path, "the script that writes it", shape, kind, _WITHOUT_OBJECTS)


def save_gz(path: str | Path, array: ArrayLike) -> None:
    """Write an array as `.npy.gz`, or as `.npy` where the name ends so, whole or not at all.

    Numbers, text and dates are written; raises DataError for objects, which would be pickled, and for structures.
    """
    _check_name(path)
    array = np.asanyarray(array)
    if array.dtype.kind not in _WITHOUT_OBJECTS:
        raise DataError(f"expected {_words(_WITHOUT_OBJECTS)} to write to {path}, got {array.dtype}; convert the array")
    if not str(path).endswith(".gz"):
        return save_array(path, array)
    with replacing(path) as temporary, gzip.open(temporary, "wb", compresslevel=6) as file:
        np.save(file, array)
