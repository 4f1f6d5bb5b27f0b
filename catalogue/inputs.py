"""The files to be catalogued, in a stable order, from folders, files, lists and tables of files.

The order is that of the arguments; within a folder that of the names, within a list or a table that of the rows.
"""

import contextlib
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from catalogue.targets import FileTarget, Target
from galaxy.image_formats import SUFFIXES, Unreadable, format_of
from galaxy.image_names import chosen, parse
from machine.files import DataError, first_line, open_file
from machine.table_cells import TableColumn

LISTS = (".txt", ".list", ".lst")
TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet", ".ecsv", ".vot", ".votable")
MAX_LIST_BYTES = 2**30
# Suffixes of images, the longest first.
_ENDINGS = sorted((suffix for of_format in SUFFIXES.values() for suffix in of_format), key=len, reverse=True)
_ID, _FILE = "id_str", "file_loc"
# float64 holds every whole number up to this one.
MAX_EXACT = 2**53


class FileTargets(Sequence[FileTarget]):
    """Targets that are created from file names on access: millions of `Path` objects take gigabytes."""

    def __init__(self, names: Sequence[str]):
        self._names = names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int | slice) -> "FileTarget | FileTargets":
        names = self._names[index]
        return FileTargets(names) if isinstance(index, slice) else FileTarget(Path(names))


class Selection(Sequence):
    """Some rows of a sequence, by their indices, looked up on access."""

    def __init__(self, sequence: Sequence, indices: np.ndarray):
        self._sequence, self._indices = sequence, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int | slice) -> object:
        selected = self._indices[index]
        return Selection(self._sequence, selected) if isinstance(index, slice) else self._sequence[int(selected)]


@dataclass(frozen=True)
class Inputs:
    """The rows of a catalogue before they are made: `ids`, `names` of files as the user gave them, `targets`.

    `known` has the columns (n,) that are known beforehand, by name. All have one length.
    """

    ids: list[str]
    names: list[str]
    targets: Sequence[Target]
    known: dict[str, np.ndarray | TableColumn] = field(default_factory=dict)
    # The list or table that names the files, where there is one.
    lists: Sequence[Path] = ()

    def __len__(self) -> int:
        return len(self.targets)

    def rows(self, start: int, stop: int) -> "Inputs":
        """Return rows `start` to `stop`."""
        kept = slice(start, stop)
        known = {name: column[kept] for name, column in self.known.items()}
        return Inputs(self.ids[kept], self.names[kept], self.targets[kept], known, self.lists)

    def files(self) -> Iterator[Path]:
        """Yield all files that are read: the images, and the lists and tables that name them."""
        yield from self.lists
        for target in self.targets:
            yield from parse(target.path).paths


def find(arguments: Sequence[str], excluded: Sequence[Path] = ()) -> Inputs:
    """Find the files that a command line names; raises DataError for a missing file, and where there are no images.

    `excluded` files, such as the table to be written, are not inputs.
    """
    if len(arguments) == 1 and (table := _table_suffix(Path(arguments[0]))):
        return _read_table(Path(arguments[0]), table)
    skipped = {os.path.abspath(path) for path in excluded}
    names = [name for argument in arguments for name in _names(argument) if os.path.abspath(name) not in skipped]
    if not names:
        raise DataError(f"expected images in {arguments[0]}, found none; name a folder, files, a list or a table")
    lists = [path for path in map(Path, arguments) if path.suffix.lower() in LISTS and os.path.isfile(path)]
    return Inputs(_ids(names), names, FileTargets(names), lists=lists)


def choose_images(inputs: Inputs, hdu: str | None, bands: Sequence[str]) -> Inputs:
    """Return inputs whose FITS files are read at an HDU, or as these bands, red first."""
    if not hdu and not bands:
        return inputs
    endings = SUFFIXES["FITS"]
    names = [chosen(name, hdu, tuple(bands)) if name.lower().endswith(endings) else name for name in inputs.names]
    return Inputs(inputs.ids, names, FileTargets(names), inputs.known, inputs.lists)


def with_every_image(inputs: Inputs) -> Inputs:
    """Return inputs with an input for each image of light of a FITS file, such as the chips of a camera."""
    from galaxy.fits_images import images_in

    ids, names, rows = [], [], []
    for row, (ident, name) in enumerate(zip(inputs.ids, inputs.names, strict=True)):
        file = parse(name).path
        each = [name]
        with contextlib.suppress(Unreadable):  # reading it gives the reason
            if format_of(file)[0] == "FITS":
                each = images_in(Path(name))
        names += each
        ids += [ident] if len(each) == 1 else [ident + image[len(os.fspath(file)) :] for image in each]
        rows += [row] * len(each)
    known = {name: column[np.array(rows, int)] for name, column in inputs.known.items()}
    return Inputs(ids, names, FileTargets(names), known, inputs.lists)


def _names(argument: str) -> Iterator[str]:
    path = Path(argument)
    if os.path.isdir(path):
        yield from _files_below(argument)
    elif path.suffix.lower() in LISTS and os.path.isfile(path):
        yield from (os.fspath(_beside(path, name)) for name in _lines(path))
    elif _table_suffix(path):
        raise DataError(f"{argument} is a table: expected it alone, without other files; run once for each table")
    elif all(os.path.lexists(each) for each in parse(argument).paths):
        yield argument
    elif "://" in argument:
        raise DataError(f"{argument} is a URL: expected a file or a folder; download it first")
    elif any(mark in argument for mark in "*?"):
        raise DataError(
            f"{argument} is missing; if it is a pattern, leave the quotes out, so that the shell expands it"
        )
    else:
        raise DataError(f"{argument} is missing; name a folder, files, a list or a table")


def _files_below(folder: str) -> Iterator[str]:
    """Yield the files below a folder but for hidden ones. Each folder is visited once, also where links form a loop."""
    waiting, seen = [folder], set()
    while waiting:
        current = waiting.pop()
        try:
            status = os.stat(current)
            if (inode := (status.st_dev, status.st_ino)) in seen:
                continue
            seen.add(inode)
            with os.scandir(current) as scan:
                entries = sorted((entry for entry in scan if not entry.name.startswith(".")), key=lambda e: e.name)
        except OSError as error:
            raise DataError(f"{current} cannot be read ({error.strerror}); allow it, or name other folders") from None
        folders = [entry.path for entry in entries if _is_folder(entry)]
        yield from (entry.path for entry in entries if not _is_folder(entry))
        waiting += reversed(folders)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _lines(path: Path) -> list[str]:
    """Return the file names of a list: one per line, or separated by NUL characters (`find -print0`)."""
    content = _content(path)
    separator = b"\0" if b"\0" in content else b"\n"
    lines = [line.removesuffix(b"\r") if separator == b"\n" else line for line in content.split(separator)]
    return [os.fsdecode(line) for line in lines if line.strip()]


def _content(path: Path) -> bytes:
    with open_file(path, "name another list") as file:
        if (size := os.fstat(file.fileno()).st_size) > MAX_LIST_BYTES:
            raise DataError(f"{path}: expected at most {MAX_LIST_BYTES:,} bytes, got {size:,}; split it")
        return file.read()


def _beside(table: Path, name: str) -> Path:
    """Return the file that a list or table names: relative to the current folder, else to that of the table."""
    path = Path(name)
    return path if path.is_absolute() or os.path.exists(path) else table.parent / path


def _ids(names: Sequence[str]) -> list[str]:
    """Return the id of each file: its name without the suffix; where two files share it, the whole name as given."""
    stems = [_stem(name) for name in names]
    counts = Counter(stems)
    return [stem if counts[stem] == 1 else name for stem, name in zip(stems, names, strict=True)]


def _stem(name: str) -> str:
    if "[" in name and (path := parse(name).path) != Path(name) and name.startswith(os.fspath(path)):  # `a.fits[SCI,2]`
        return _stem(os.fspath(path)) + name[len(os.fspath(path)) :]
    base = os.path.basename(name)
    lower = base.lower()
    return next((base[: -len(end)] for end in _ENDINGS if lower.endswith(end) and len(base) > len(end)), base)


def _table_suffix(path: Path) -> str | None:
    """Return the suffix of a table; None for other files. FITS is a table if it has one and no image."""
    suffix = path.suffix.lower()
    if not os.path.isfile(path):
        return None
    if suffix in SUFFIXES["FITS"] and _is_fits_table(path):
        return ".fits"
    return next((ending for ending in TABLES if path.name.lower().endswith(ending)), None)


def _is_fits_table(path: Path) -> bool:
    from astropy.io import fits

    from galaxy.fits_hdus import images_of

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(path) as hdus:
                with contextlib.suppress(Unreadable):
                    return not images_of(hdus)
                return isinstance(hdus[1], fits.BinTableHDU)
    except Exception:  # reading it as an image gives the better message
        return False


def _read_table(path: Path, suffix: str) -> Inputs:
    from machine.tables import read_table

    columns = {name.strip(): column for name, column in read_table(path, suffix).items()}
    ids, names = (_texts(path, name, columns.pop(_named(path, columns, name)).values) for name in (_ID, _FILE))
    if not ids:
        raise DataError(f"{path}: expected rows, got none")
    try:
        targets = FileTargets([os.fspath(_beside(path, name)) for name in names])
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: a {_FILE} is not a file name ({first_line(error)}); correct it") from None
    return Inputs(ids, names, targets, columns, [path])


def _named(path: Path, columns: Mapping[str, object], name: str) -> str:
    """Return the column that is called `name`, in upper or lower case; raises DataError."""
    if name in columns:
        return name
    if same := [each for each in columns if each.lower() == name]:
        return same[0]
    raise DataError(
        f"{path} is a table: expected columns {_ID} and {_FILE}, but {name} is missing; rename yours, or name an image"
    )


def _texts(path: Path, name: str, values: np.ndarray) -> list[str]:
    """Return ids or names of files as texts; a missing one is empty. Raises DataError for numbers that lost digits."""
    if values.dtype.kind == "f":
        lost = values[np.isfinite(values) & ((values != np.floor(values)) | (np.abs(values) > MAX_EXACT))]
        if len(lost):
            raise DataError(
                f"{path}: expected whole numbers or text in {name}, got {lost[0]!s}, which lost digits; "
                "store the ids as text"
            )
        values = np.ma.MaskedArray(np.nan_to_num(values).astype(np.int64), ~np.isfinite(values))
    return ["" if value is None else str(value) for value in values.tolist()]
