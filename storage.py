"""Files that appear whole or not at all, and that are read with suspicion: arrays, pickles, submissions."""

import contextlib
import gzip
import os
import pickle
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

import decision_tree


class DataError(Exception):
    """What a user gave is not what was expected; the message says what came and what to do next."""


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place when the block ends well, and vanishes otherwise."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save_array(path: str | Path, array: np.ndarray) -> None:
    """Write a `.npy` file, whole or not at all."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, for messages that are to be one line."""
    return str(error).partition("\n")[0]


def load_array(path: str | Path, made_by: str) -> np.ndarray:
    """Read a `.npy` or `.npy.gz` file; when it is missing, the error names the script that makes it."""
    path = Path(path)
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            array = np.load(file, allow_pickle=False)
            if file.read(1):  # reading to the end has gzip compare its checksum
                raise ValueError("more bytes than the array has")
            return array
    except FileNotFoundError:
        raise DataError(f"{path} is missing; run {made_by} first") from None
    except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is no NumPy array ({first_line(error)}); run {made_by} again") from None


def _latin1(text: str, encoding: str) -> bytes:
    """Stand in for `_codecs.encode`, by which pickles of protocol 2 carry bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return text.encode(encoding)


class _PlainUnpickler(pickle.Unpickler):
    """Admits NumPy arrays and plain values only: a pickle can name any function, and would have it called."""

    ADMITTED: ClassVar[dict[tuple[str, str], object]] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _latin1,
    }
    # What rebuilds arrays and scalars is NumPy's own affair: ask NumPy. Its home was `core` before version 2.
    for _value, _protocol in ((np.empty(1), 2), (np.empty(1), 5), (np.float64(), 2)):
        _rebuild = _value.__reduce_ex__(_protocol)[0]
        ADMITTED[_rebuild.__module__, _rebuild.__name__] = _rebuild
        ADMITTED[_rebuild.__module__.replace("._core.", ".core."), _rebuild.__name__] = _rebuild

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self.ADMITTED:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, and only NumPy arrays and plain values are read")
        return self.ADMITTED[module, name]


def load_pickle(path: str | Path, made_by: str) -> object:
    """Read a pickle of NumPy arrays and plain values, of today or of Python 2; anything else is refused unread."""
    try:
        with Path(path).open("rb") as file:
            return _PlainUnpickler(file, encoding="latin1").load()
    except FileNotFoundError:
        raise DataError(f"{path} is missing; run {made_by} first") from None
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(f"{path} can not be read ({first_line(error)}); run {made_by} again") from None


def _check_gz(path: str | Path) -> None:
    if not str(path).endswith(".npy.gz"):
        raise DataError(f"expected a file name that ends with .npy.gz, got {path}")


def load_gz(path: str | Path) -> np.ndarray:
    """Read an array that `save_gz` wrote."""
    _check_gz(path)
    return load_array(path, "the script that writes it (predict_augmented_npy_*.py, ensemble_predictions_npy.py)")


def save_gz(path: str | Path, array: np.ndarray) -> None:
    """Write an array as `.npy.gz`, whole or not at all."""
    _check_gz(path)
    with replacing(path) as temporary, gzip.open(temporary, "wb", compresslevel=6) as file:
        np.save(file, array)


def write_submission(path: str | Path, ids: np.ndarray, predictions: np.ndarray) -> None:
    """Write predictions (n, 37) of the test images ids (n,) in Kaggle's format, `.csv.gz`, whole or not at all.

    The same numbers give the same bytes. Raises DataError for another shape, a NaN or a value outside [0, 1].
    """
    expected = (len(ids), decision_tree.NUM_ANSWERS)
    if predictions.shape != expected:
        raise DataError(f"{path}: expected predictions {expected}, a row for each test id, got {predictions.shape}")
    if np.isnan(predictions).any():
        raise DataError(f"{path}: expected numbers, got NaN for GalaxyID {ids[np.isnan(predictions).any(axis=1)][0]}")
    low, high = predictions.min(initial=0), predictions.max(initial=1)
    if low < -1e-6 or high > 1 + 1e-6:  # averages of float32 may round past the ends
        raise DataError(f"{path}: expected predictions within [0, 1], got {low:g} to {high:g}")
    row_format = "%d" + ",%.9g" * decision_tree.NUM_ANSWERS + "\n"  # nine digits give a float32 back
    with (
        replacing(path) as temporary,
        temporary.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as file,
    ):
        file.write(",".join(("GalaxyID", *decision_tree.COLUMN_NAMES)).encode() + b"\n")
        for img_id, row in zip(ids.tolist(), predictions.tolist(), strict=True):
            file.write((row_format % (img_id, *row)).encode())
