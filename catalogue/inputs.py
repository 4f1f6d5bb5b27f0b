"""What is to be catalogued, in a stable order: folders, files, lists and tables of files.

The order is that of the command line; within a folder that of the names, within a list or a table that of the rows.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from galaxy.image_formats import SUFFIXES
from machine.files import DataError, first_line

LISTS = (".txt", ".list", ".lst")
TABLES = (".csv", ".parquet", ".ecsv")
MAX_LIST_BYTES = 2**30
_ID, _FILE = "id_str", "file_loc"


class Paths(Sequence[Path]):
    """Paths that are made of their names as they are asked for, since millions of them take gigabytes."""

    def __init__(self, names: Sequence[str]):
        self._names = names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int | slice) -> "Path | Paths":
        return Paths(self._names[index]) if isinstance(index, slice) else Path(self._names[index])


class Rows(Sequence):
    """Rows of a sequence by their numbers, looked up as they are asked for."""

    def __init__(self, of: Sequence, numbers: np.ndarray):
        self._of, self._numbers = of, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int | slice) -> object:
        return Rows(self._of, self._numbers[index]) if isinstance(index, slice) else self._of[int(self._numbers[index])]


@dataclass(frozen=True)
class Inputs:
    """What is to be catalogued: `names` as they were given, `paths` where they are, `ids`; columns that pass through.

    All are of one length; `passed` holds arrays by the names of their columns.
    """

    ids: list[str]
    names: list[str]
    paths: Sequence[Path]
    passed: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.paths)

    def part(self, start: int, stop: int) -> "Inputs":
        """Return rows `start` to `stop`."""
        rows = slice(start, stop)
        passed = {name: column[rows] for name, column in self.passed.items()}
        return Inputs(self.ids[rows], self.names[rows], self.paths[rows], passed)


def find(arguments: Sequence[str], left_out: Sequence[Path] = ()) -> Inputs:
    """Return what a command line names; raises DataError for a name that is nothing, and for no image at all.

    `left_out` are files of folders that are none of the inputs, such as the table to be written.
    """
    if len(arguments) == 1 and (table := _table_suffix(Path(arguments[0]))):
        return _of_table(Path(arguments[0]), table)
    skipped = {os.path.abspath(path) for path in left_out}
    names = [name for argument in arguments for name in _names(argument) if os.path.abspath(name) not in skipped]
    if not names:
        raise DataError(f"expected images in {arguments[0]}, found none; name a folder, files, a list or a table")
    return Inputs(_ids(names), names, Paths(names))


def _names(argument: str) -> Iterator[str]:
    path = Path(argument)
    if path.is_dir():
        yield from _files_below(argument)
    elif path.suffix.lower() in LISTS and path.is_file():
        yield from (os.fspath(_beside(path, name)) for name in _lines(path))
    elif _table_suffix(path):
        raise DataError(f"{argument} is a table: expected it alone, without other files; run once for each table")
    elif os.path.lexists(path):
        yield argument
    else:
        raise DataError(f"{argument} is missing; name a folder, files, a list or a table")


def _files_below(folder: str) -> Iterator[str]:
    """Yield the files below a folder, hidden ones left out; each folder once, however links lead back to it."""
    waiting, seen = [folder], set()
    while waiting:
        current = waiting.pop()
        try:
            status = os.stat(current)
            if (place := (status.st_dev, status.st_ino)) in seen:
                continue
            seen.add(place)
            with os.scandir(current) as entries:
                found = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda e: e.name)
        except OSError as error:
            raise DataError(f"{current} can not be read ({error.strerror}); allow it, or name other folders") from None
        folders = [entry.path for entry in found if _is_folder(entry)]
        yield from (entry.path for entry in found if not _is_folder(entry))
        waiting += reversed(folders)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _lines(path: Path) -> list[str]:
    """Return the file names of a list, one a line; with NUL characters between them where it has any (find -print0)."""
    content = _content(path)
    separator = b"\0" if b"\0" in content else b"\n"
    lines = [line.removesuffix(b"\r") if separator == b"\n" else line for line in content.split(separator)]
    return [os.fsdecode(line) for line in lines if line.strip()]


def _content(path: Path) -> bytes:
    if (size := path.stat().st_size) > MAX_LIST_BYTES:
        raise DataError(f"{path}: expected at most {MAX_LIST_BYTES:,} bytes, got {size:,}; split it")
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} can not be read ({error.strerror}); allow it") from None


def _beside(of: Path, name: str) -> Path:
    """Return the file that a list or table names: as it stands, or else from the folder of the list or table."""
    path = Path(name)
    return path if path.is_absolute() or path.exists() else of.parent / path


def _ids(names: Sequence[str]) -> list[str]:
    """Return an id for each file: its name without the suffix; where that stands twice, its name as it was given."""
    stems = [_stem(name) for name in names]
    counts = Counter(stems)
    return [stem if counts[stem] == 1 else name for stem, name in zip(stems, names, strict=True)]


def _stem(name: str) -> str:
    base = os.path.basename(name)
    endings = sorted((suffix for of_kind in SUFFIXES.values() for suffix in of_kind), key=len, reverse=True)
    lower = base.lower()
    return next((base[: -len(end)] for end in endings if lower.endswith(end) and len(base) > len(end)), base)


def _table_suffix(path: Path) -> str | None:
    """Return the kind of table that a file is; a FITS file is one where it has a table and no image before it."""
    suffix = path.suffix.lower()
    if not path.is_file():
        return None
    if suffix in SUFFIXES["FITS"] and _is_fits_table(path):
        return ".fits"
    return suffix if suffix in TABLES else None


def _is_fits_table(path: Path) -> bool:
    from astropy.io import fits

    try:
        with fits.open(path) as hdus:
            return hdus[0].header.get("NAXIS") == 0 and isinstance(hdus[1], fits.BinTableHDU) and not hdus[1].is_image
    except Exception:  # which reading it as an image says better
        return False


def _of_table(path: Path, suffix: str) -> Inputs:
    from machine.tables import read_columns

    columns = read_columns(path, suffix)
    if missing := [name for name in (_ID, _FILE) if name not in columns]:
        raise DataError(f"{path}: expected columns {_ID} and {_FILE}, but {missing[0]} is missing; rename yours")
    ids, names = ([str(value) for value in columns.pop(name)] for name in (_ID, _FILE))
    if not ids:
        raise DataError(f"{path}: expected rows, got none")
    try:
        paths = Paths([os.fspath(_beside(path, name)) for name in names])
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: a {_FILE} is no file name ({first_line(error)})") from None
    return Inputs(ids, names, paths, {name: _in_64_bits(values) for name, values in columns.items()})


def _in_64_bits(values: np.ndarray) -> np.ndarray:
    """Return a column, as text where it holds whole numbers that 64 bits with a sign can not: in all of its rows."""
    beyond = values.dtype == np.uint64 and len(values) and values.max() > np.iinfo(np.int64).max
    return values.astype(str).astype(object) if beyond else values
