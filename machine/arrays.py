"""Arrays and pickles in files: written whole or not at all, and checked while they are read."""

import gzip
import math
import mmap
import pickle
import zipfile
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike

from machine import seals
from machine.gzip_writer import GzipWriter
from machine.plain_pickle import PlainUnpickler
from machine.seals import Seal
from machine.whole_files import DataError, first_line, open_file, replacing

# The largest array of an unknown shape: ten times the competition's predictions.
MAX_ARRAY_BYTES = 2**28
# dtype.kind of truth values, integers and floats. `load_gz` and `save_gz` accept complex numbers, text and dates, too:
# every dtype that NumPy writes without a pickle, except structures.
_NUMBERS = "biuf"
_WITHOUT_OBJECTS = _NUMBERS + "cSUmM"
_BLOCK_BYTES = 2**20


def duplicate(ids: np.ndarray) -> int | None:
    """Return a number that occurs twice in ids (n,), or None."""
    ordered = np.sort(ids)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    return int(twice[0]) if len(twice) else None


def save_array(path: str | Path, array: np.ndarray) -> None:
    """Write a `.npy` file, whole or not at all."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        write_array(file, array)


def write_array(file: BinaryIO | GzipWriter, array: np.ndarray) -> None:
    """Write an array to an open file, as `np.save` does.

    To a file of Python, `np.save` writes in C, and does not notice that the last kilobytes find no room.
    """
    np.save(SimpleNamespace(write=file.write), array, allow_pickle=False)


def _read_header(file: BinaryIO, kinds: str) -> tuple[tuple[int, ...], np.dtype, bool]:
    """Read a `.npy` header: shape, dtype, whether in Fortran order; raises ValueError for a dtype of other kinds.

    NumPy writes version 1.0, whose header has at most 65,535 bytes.
    """
    if (version := np.lib.format.read_magic(file)) != (1, 0):
        raise ValueError(f"expected format version 1.0, got {version[0]}.{version[1]}")
    try:
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception as error:  # the header is a Python expression: a damaged one can raise anything
        raise ValueError(f"its header cannot be read: {first_line(error)}") from None
    # True is an int in Python, but it is not a length.
    if dtype.kind not in kinds or not all(type(length) is int and 0 <= length < 2**48 for length in shape):
        raise ValueError(f"expected {_words(kinds)}, its header says {dtype} {shape}")
    return shape, dtype, fortran_order


def _words(kinds: str) -> str:
    return "numbers" if kinds == _NUMBERS else "numbers, text or dates"


def _read_values(file: BinaryIO, shape: tuple[int, ...], dtype: np.dtype, fortran_order: bool) -> np.ndarray:
    """Read the values of an array up to the end of the file; the memory grows with the bytes that come."""
    num_bytes = math.prod(shape) * dtype.itemsize
    values = bytearray()
    while length := min(num_bytes - len(values), _BLOCK_BYTES):
        if not (block := file.read(length)):
            raise ValueError(f"it ends {num_bytes - len(values)} bytes early")
        values += block
    if file.read(1):  # at the end of the file, gzip compares its checksum
        raise ValueError("more bytes than the array has")
    return np.ndarray(shape, dtype, values, order="F" if fortran_order else "C")


def _describe(shape: tuple[int | None, ...] | None) -> str:
    if shape is None:
        return ""
    lengths = ["n" if length is None else str(length) for length in shape]
    return f" ({', '.join(lengths)}{',' * (len(lengths) == 1)})"


def load_array(
    path: str | Path, made_by: str, shape: tuple[int | None, ...] | None = None, dtype: type[np.generic] = np.generic
) -> np.ndarray:
    """Read a `.npy` or `.npy.gz` file of numbers; when it is missing, the error names the script that makes it.

    The header is compared with the expected `shape` (None for any length) and `dtype` (np.floating, np.integer) before
    the values are read. When a length is not given, the array has at most MAX_ARRAY_BYTES. Raises DataError.
    """
    return _load(path, made_by, shape, dtype, _NUMBERS)


def _load(
    path: str | Path, made_by: str, shape: tuple[int | None, ...] | None, dtype: type[np.generic], kinds: str
) -> np.ndarray:
    path = Path(path)
    with open_file(path, f"run {made_by} first") as raw:
        file = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
        try:
            got_shape, got_dtype, fortran_order = _read_header(file, kinds)
            if not _agrees(got_shape, shape) or not np.issubdtype(got_dtype, dtype):
                words = {np.floating: "floats", np.integer: "integers"}.get(dtype, "shape")
                raise DataError(
                    f"{path}: expected {words}{_describe(shape)}, got {got_dtype} {got_shape}; delete it and run "
                    f"{made_by} again"
                )
            is_open = shape is None or None in shape
            if is_open and math.prod(got_shape) * got_dtype.itemsize > MAX_ARRAY_BYTES:
                raise DataError(
                    f"{path}: expected at most {MAX_ARRAY_BYTES} bytes, as its shape is not known, its header says "
                    f"{got_dtype} {got_shape}; name the shape that is expected, or run {made_by} again"
                )
            return _read_values(file, got_shape, got_dtype, fortran_order)
        except (ValueError, EOFError, OSError, zlib.error) as error:
            raise DataError(f"{path} is not a NumPy array ({first_line(error)}); run {made_by} again") from None


def _agrees(got: tuple[int, ...], expected: tuple[int | None, ...] | None) -> bool:
    if expected is None:
        return True
    return len(got) == len(expected) and all(n in (None, length) for n, length in zip(expected, got, strict=True))


def load_pickle(path: str | Path, made_by: str) -> object:
    """Read a pickle of NumPy arrays and plain values, from Python 2 or 3; nothing else in it is executed.

    Raises DataError for a missing file and for a pickle that is damaged or holds other objects.
    """
    with open_file(path, f"run {made_by} first") as file:
        if (seal := seals.read(Path(path))) and not seal.is_whole:
            raise DataError(f"{path} was changed or damaged after it was written; delete it and run {made_by} again")
        try:
            # A read from a memory map returns at most the bytes of the file, for any length that the pickle states.
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return PlainUnpickler(content, len(content)).load()
        except Exception as error:  # a damaged pickle can raise anything
            raise DataError(f"{path} cannot be read ({first_line(error)}); run {made_by} again") from None


def _check_name(path: str | Path) -> None:
    if not str(path).endswith((".npy.gz", ".npy")):
        raise DataError(f"expected a file name that ends with .npy.gz or .npy, got {path}; rename the file")


def load_gz(
    path: str | Path, shape: tuple[int | None, ...] | None = None, dtype: type[np.generic] = np.generic
) -> np.ndarray:
    """Read an array from a `.npy.gz` or `.npy` file, of the types that `save_gz` writes.

    `shape` and `dtype` are the expected ones, as for `load_array`. When a length of the shape is not given, an array of
    more than MAX_ARRAY_BYTES (256 MiB) is refused. Raises DataError.
    """
    _check_name(path)
    return _load(path, "the script that writes it", shape, dtype, _WITHOUT_OBJECTS)


def save_gz(path: str | Path, array: ArrayLike, source: str = seals.NO_SOURCE) -> None:
    """Write an array of numbers, text or dates as `.npy.gz` or `.npy`, by the name's ending, whole or not at all.

    `source` is that of the seal, for which `.npy` has no room. Raises DataError for objects,
    which would be pickled, and for structures.
    """
    _check_name(path)
    array = np.asanyarray(array)
    if array.dtype.kind not in _WITHOUT_OBJECTS:
        raise DataError(f"expected {_words(_WITHOUT_OBJECTS)} to write to {path}, got {array.dtype}; convert the array")
    if not str(path).endswith(".gz"):
        return save_array(path, array)
    with replacing(path, sealed=True) as temporary, temporary.open("wb") as raw, GzipWriter(raw, source) as file:
        write_array(file, array)


def save_pickle(path: str | Path, value: object, source: str = seals.NO_SOURCE) -> None:
    """Write a pickle of arrays and plain values, whole or not at all; its seal follows the pickle's last byte."""
    with replacing(path, sealed=True) as temporary, temporary.open("wb") as file:
        pickle.dump(value, file, protocol=4)
        file.write(seals.blank(source).encode() + b"\n")


def save_named(path: str | Path, durable: bool = True, compressed: bool = False, **arrays: ArrayLike) -> None:
    """Write arrays by name as `.npz`, whole or not at all; the comment of the zip is a seal."""
    with replacing(path, durable, sealed=True) as temporary:
        write_named(temporary, compressed, **arrays)


def write_named(path: Path, compressed: bool = False, **arrays: ArrayLike) -> None:
    """Write arrays by name to a temporary file `.npz` with a blank seal."""
    with path.open("wb") as file:
        (np.savez_compressed if compressed else np.savez)(file, **arrays)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = seals.blank().encode()


def load_named(path: str | Path) -> dict[str, np.ndarray]:
    """Read all arrays of a `.npz` file that this project wrote; raises DataError for a damaged one, and names it."""
    with open_file(path, "make it again") as file:
        try:
            if (seal := seals.read(Path(path))) is None or not seal.is_whole:
                raise ValueError("its seal is missing or differs")
            with np.load(file, allow_pickle=False) as arrays:
                return dict(arrays)
        except Exception as error:  # a damaged zip can raise anything
            raise DataError(f"{path} is damaged ({first_line(error)}); delete it and run this again") from None


def load_arrays(path: str | Path, remedy: str) -> dict[str, np.ndarray]:
    """Read the arrays of numbers of a `.npz` file of any source, by name, in the order of names.

    Raises DataError, with the remedy, for a damaged file and for more than MAX_ARRAY_BYTES in all.
    """
    with open_file(path, remedy) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                if (num_bytes := sum(member.file_size for member in archive.infolist())) > MAX_ARRAY_BYTES:
                    raise ValueError(f"expected at most {MAX_ARRAY_BYTES} bytes, got {num_bytes}")
                arrays = {}
                for name in sorted(archive.namelist()):
                    with archive.open(name) as member:
                        arrays[name.removesuffix(".npy")] = _read_values(member, *_read_header(member, _NUMBERS))
                return arrays
        except Exception as error:  # a damaged zip can raise anything
            raise DataError(f"{path} is not a file of arrays ({first_line(error)}); {remedy}") from None


def save_rows(path: Path, rows: np.ndarray, source: str) -> None:
    """Write rows of numbers of unfinished work as `.npy`, whole or not at all; a seal follows the last number."""
    with replacing(path, sealed=True) as temporary, temporary.open("wb") as file:
        write_array(file, rows)
        file.write(seals.blank(source).encode())


def load_rows(path: Path, source: str) -> np.ndarray | None:
    """Read what `save_rows` wrote; None for rows of another source, a damaged file, or none."""
    if seals.read(path) != Seal(source):
        return None
    try:
        with open_file(path, "") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except (DataError, ValueError, OSError):
        return None


def read_seal(path: Path) -> Seal | None:
    """Return a seal for a `.npy` or `.npz` file that begins as one, which may be cut or damaged.

    It is for `.npy`, which has no room for a seal of its own, and for unfinished rows, which are made again.
    """
    start = b"PK\3\4" if path.suffix == ".npz" else np.lib.format.MAGIC_PREFIX
    try:
        with open_file(path, "") as file:
            head = file.read(len(start))
    except DataError:
        return None
    return Seal(seals.NO_SOURCE) if head == start else None
