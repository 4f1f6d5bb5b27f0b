"""Tables in CSV, Parquet, FITS, ECSV and VOTable with one content: how they are read. `table_writers` writes them.

A file name may hold any byte, but a table is text. Characters that cannot be printed are therefore escaped as in Python
(a newline as \\n, a backslash doubled); FITS is ASCII, so all other characters are escaped there as well. In CSV
and ECSV the first character of a text that a spreadsheet would run (`=`, `+`, `-`, `@`) is escaped, too (`\\x3d`).
pyarrow and pandas are imported by the functions that need them: a survey in CSV needs pandas only.
`table_readers` reads the formats, in a process with limits of memory and time.
"""

import codecs
import json
import os
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from machine import seals, table_readers
from machine.files import DataError, first_line, open_file
from machine.limited import LimitError, limited
from machine.table_cells import TableColumn, is_missing

if TYPE_CHECKING:
    import pandas
    import pyarrow as pa

# Endings of tables that are written.
SUFFIXES = (".parquet", ".csv", ".fits", ".ecsv", ".vot")
PROVENANCE = b"provenance"
# Four times Galaxy Zoo 2's largest table: 240,000 galaxies and 230 columns.
MAX_BYTES = 2**31
# Of the process that reads a table: memory beside four times its bytes (packed: 16 times), and processor time beside a
# second for each MiB.
_READ_BYTES, _READ_SECONDS = 2**29, 10
_FORMATS = {
    **dict.fromkeys((".csv", ".tsv", ".csv.gz", ".tsv.gz"), "csv"),
    **dict.fromkeys((".fits", ".fit"), "fits"),
    **dict.fromkeys((".vot", ".votable"), "votable"),
    ".parquet": "parquet",
    ".ecsv": "ecsv",
}
_PACKAGES = {"parquet": "pyarrow", "fits": "astropy", "ecsv": "astropy", "votable": "astropy"}
_MAX_DEPTH = 8
_HINT = "name a table that can be read"
# Characters with which a spreadsheet lets a formula begin.
_FORMULAS = "=+-@\uff1d\uff0b\uff0d\uff20"
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def printable(text: str, ascii_only: bool = False) -> str:
    """Escape the characters that cannot be printed, and with `ascii_only` those that are not ASCII."""
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(escaped(character, ascii_only) for character in text)


def escaped(character: str, ascii_only: bool) -> str:
    """Return one character as `printable` writes it."""
    if character == "\\":
        return "\\\\"
    if character.isprintable() and (character.isascii() or not ascii_only):
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def inert(text: str) -> str:
    """Escape the first character of a text that a spreadsheet would run as a formula; numbers stay numbers.

    Full-width signs count, and so do signs after spaces. `original` undoes it.
    """
    start = text.lstrip()[:1]
    if not start or start not in _FORMULAS or _NUMBER.fullmatch(text):
        return text
    spaces = text[: len(text) - len(text.lstrip())]
    code = f"\\x{ord(start):02x}" if start.isascii() else f"\\u{ord(start):04x}"
    return f"{spaces}{code}{text[len(spaces) + 1 :]}"


def original(text: str) -> str:
    """Undo `printable` and `inert`."""
    if "\\" not in text:
        return text
    # The last code point is 10ffff.
    pieces = re.split(r"(\\(?:\\|[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U00(?:0[0-9a-f]|10)[0-9a-f]{4}))", text)
    return "".join(codecs.decode(piece, "unicode_escape") if index % 2 else piece for index, piece in enumerate(pieces))


def field(name: str, data_type: "pa.DataType", description: str, unit: str = "") -> "pa.Field":
    """Return a column of a schema; `unit` is empty for numbers without one, such as fractions."""
    import pyarrow as pa

    return pa.field(name, data_type, metadata={b"description": description.encode(), b"unit": unit.encode()})


def provenance(schema: "pa.Schema") -> dict:
    """Return the provenance that was stored with a table: models, versions, options; raises DataError."""
    try:
        values = json.loads((schema.metadata or {}).get(PROVENANCE, b"{}"))
    except (ValueError, RecursionError):
        raise DataError("its provenance is not JSON") from None
    if not isinstance(values, dict) or not is_flat(values, _MAX_DEPTH):
        raise DataError(f"its provenance is not an object of at most {_MAX_DEPTH} levels")
    return values


def is_flat(values: object, depth: int) -> bool:
    """Return whether nested lists and objects have at most `depth` levels."""
    if not isinstance(values, dict | list):
        return True
    below = values.values() if isinstance(values, dict) else values
    return depth > 0 and all(is_flat(value, depth - 1) for value in below)


def column_names(path: Path) -> list[str]:
    """Return the names of a table's columns; raises DataError for a file that is not a table."""
    return _guarded(path, None, table_readers.names_of)


def read_cells(path: Path, names: Sequence[str]) -> "pandas.DataFrame":
    """Read some columns of a table as they stand; empty cells are NaN.

    Cells of a CSV are text, since a float64 would lose the last digits of an id of eighteen. Raises DataError for a
    file that is not a table, and for one of more than MAX_BYTES.
    """
    columns = _guarded(path, None, table_readers.read, list(names), True)
    import pandas

    return pandas.DataFrame({name: _cells(column.values) for name, column in columns.items()})


def _cells(values: np.ndarray) -> np.ndarray:
    """Return values with NaN for gaps: numbers, and texts or whole numbers as objects."""
    if isinstance(values, np.ma.MaskedArray):
        return values.astype(object).filled(np.nan)
    if values.ndim > 1:
        return np.array([*map(list, values), None], object)[:-1]
    if values.dtype == object:
        return np.array([*(np.nan if value is None else value for value in values), None], object)[:-1]
    return values


def read_table(path: Path, suffix: str | None = None) -> dict[str, TableColumn]:
    """Read a table by column name, with texts as they were before `printable`; a missing text is empty.

    `suffix` names the format of a file whose own suffix does not. Raises DataError for a file that is not a table, and
    for one of more than MAX_BYTES.
    """
    columns = _guarded(path, suffix, table_readers.read, None, False)
    sealed = path.with_name(f"{path.name}-metadata.json") if path.suffix.lower() == ".csv" else path
    # Other programs do not escape: in their tables, C:\new.jpg is a name.
    restore = str if seals.read(sealed) is None else original
    return {
        name: TableColumn(_restored(column.values, restore), column.unit, column.description)
        for name, column in columns.items()
    }


def read_columns(path: Path, suffix: str | None = None) -> dict[str, np.ndarray]:
    """Read the values of a table by column name, as `read_table` does."""
    return {name: column.values for name, column in read_table(path, suffix).items()}


def _restored(values: np.ndarray, restore: Callable[[str], str]) -> np.ndarray:
    if values.dtype != object or any(isinstance(value, list) for value in values):
        return values
    return np.array(["" if is_missing(value) else restore(str(value)) for value in values], dtype=object)


def ending_of(path: Path) -> str | None:
    """Return the ending that names the format of a table, such as `.csv.gz`; None for other files."""
    name = path.name.lower()
    return max((ending for ending in _FORMATS if name.endswith(ending)), key=len, default=None)


def _guarded(path: Path, suffix: str | None, read: Callable[..., Any], *arguments: object) -> Any:
    """Return `read(path, format, *arguments)`; raises DataError, in one line, for any fault of the file."""
    table_format = _FORMATS.get((suffix or ending_of(path) or "").lower())
    if table_format is None:
        raise DataError(f"expected a table that ends with {', '.join(_FORMATS)}, got {path}")
    with open_file(path, _HINT) as file:
        if (size := os.fstat(file.fileno()).st_size) > MAX_BYTES:
            raise DataError(f"{path}: expected a table of at most {MAX_BYTES} bytes, got {size}; split it")
    num_bytes = _READ_BYTES + size * (16 if path.suffix.lower() == ".gz" else 4)
    try:
        table_readers.prepare(table_format)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # astropy warns of units that it does not know
            arguments = path, table_format, *arguments
            return limited(read, *arguments, num_bytes=num_bytes, seconds=_READ_SECONDS + size // 2**20)
    except LimitError as error:
        raise DataError(f"{path}: to read this table, {error}; split it") from None
    except ImportError as error:
        package = _PACKAGES.get(table_format, error.name)
        raise DataError(f"{path}: to read this table, install {package} (pip install {package})") from None
    except Exception as error:  # a damaged table can raise anything
        raise DataError(f"{path} is not a readable {table_format} table ({first_line(error)}); {_HINT}") from None
