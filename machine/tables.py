"""Tables in CSV, Parquet, FITS, ECSV and VOTable with one content: how they are read. `table_writers` writes them.

A file name may hold any byte, but a table is text. Characters that cannot be printed are therefore escaped as in Python
(a newline as \\n, a backslash doubled); FITS is ASCII, so all other characters are escaped there as well. In CSV
and ECSV the first character of a text that a spreadsheet would run (`=`, `+`, `-`, `@`) is escaped, too (`\\x3d`).
pyarrow, pandas and astropy are imported by the functions that need them: a survey in CSV needs pandas only.

CSV may be separated by commas, semicolons or tabs, and packed with gzip.

Source: Pence et al. 2010 (FITS 3.0); Astropy's ECSV 1.0; IVOA VOTable 1.4.
"""

import codecs
import csv
import gzip
import io
import json
import os
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from machine import seals
from machine.files import DataError, first_line, open_file
from machine.table_cells import TableColumn, is_missing, of_arrow, of_astropy, of_pandas

if TYPE_CHECKING:
    import pandas
    import pyarrow as pa

# Endings of tables that are written.
SUFFIXES = (".parquet", ".csv", ".fits", ".ecsv", ".vot")
PROVENANCE = b"provenance"
# Four times Galaxy Zoo 2's largest table: 240,000 galaxies and 230 columns.
MAX_BYTES = 2**31
# Bytes of a table that is unpacked.
MAX_UNPACKED = 2**29
_FORMATS = {
    **dict.fromkeys((".csv", ".tsv", ".csv.gz", ".tsv.gz"), "csv"),
    **dict.fromkeys((".fits", ".fit"), "fits"),
    **dict.fromkeys((".vot", ".votable"), "votable"),
    ".parquet": "parquet",
    ".ecsv": "ecsv",
}
_PACKAGES = {"parquet": "pyarrow", "fits": "astropy", "ecsv": "astropy", "votable": "astropy"}
_SEPARATORS = ",;\t"
# What pandas calls columns without a name.
_UNNAMED = "Unnamed: "
# Of a Parquet table: rows, and bytes of its cells in memory.
MAX_ROWS, MAX_MEMORY = 2**23, 2**29
_ROWS_PER_BATCH = 1024
_MAX_DEPTH = 8
_MAX_HEADER_BYTES = 2**16
_HINT = "name a table that can be read"
# Characters with which a spreadsheet lets a formula begin.
_FORMULAS = "=+-@\uff1d\uff0b\uff0d\uff20"
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
# Columns of the catalogue that stay text in CSV: the id 007 is not 7.
_TEXT_COLUMNS = ("id_str", "file_loc", "status", "reason", "object", "most_likely_path", "framing")


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
    return _guarded(path, None, _names)


def read_cells(path: Path, names: Sequence[str]) -> "pandas.DataFrame":
    """Read some columns of a table as they stand; empty cells are NaN.

    Cells of a CSV are text, since a float64 would lose the last digits of an id of eighteen. Raises DataError for a
    file that is not a table, and for one of more than MAX_BYTES.
    """

    def read(path: Path, table_format: str) -> "pandas.DataFrame":
        import pandas

        columns = _read(path, table_format, list(names), as_text=True)
        return pandas.DataFrame({name: _cells(column.values) for name, column in columns.items()})

    return _guarded(path, None, read)


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
    columns = _guarded(path, suffix, lambda path, table_format: _read(path, table_format, None, False))
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


def _guarded(path: Path, suffix: str | None, read: Callable[[Path, str], Any]) -> Any:
    """Return `read(path, format)`; raises DataError, in one line, for any fault of the file."""
    table_format = _FORMATS.get((suffix or ending_of(path) or "").lower())
    if table_format is None:
        raise DataError(f"expected a table that ends with {', '.join(_FORMATS)}, got {path}")
    with open_file(path, _HINT) as file:
        if (size := os.fstat(file.fileno()).st_size) > MAX_BYTES:
            raise DataError(f"{path}: expected a table of at most {MAX_BYTES} bytes, got {size}; split it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # astropy warns of units that it does not know
            return read(path, table_format)
    except ImportError as error:
        package = _PACKAGES.get(table_format, error.name)
        raise DataError(f"{path}: to read this table, install {package} (pip install {package})") from None
    except Exception as error:  # a damaged table can raise anything
        raise DataError(f"{path} is not a readable {table_format} table ({first_line(error)}); {_HINT}") from None


def _names(path: Path, table_format: str) -> list[str]:
    if table_format == "csv":
        return _csv_names(path)
    if table_format == "parquet":
        from pyarrow import parquet

        return list(parquet.read_schema(path).names)
    if table_format in ("ecsv", "votable"):
        return _astropy_table(path, table_format).colnames
    from astropy.io import fits

    with path.open("rb") as file, fits.open(file) as hdus:
        for hdu in hdus:
            if isinstance(hdu, fits.BinTableHDU | fits.TableHDU):
                return list(hdu.columns.names)
    raise ValueError("it holds an image, and no table")


def _csv_names(path: Path) -> list[str]:
    header, separator = _csv_header(path)
    return [
        name.strip() for name in next(csv.reader([header], skipinitialspace=separator != "\t", delimiter=separator))
    ]


def _csv_header(path: Path) -> tuple[str, str]:
    """Return the first line of a CSV, and the separator that cuts it into the most columns."""
    with _csv_content(path) as file:
        header = io.TextIOWrapper(file, _encoding(path), newline="").readline(_MAX_HEADER_BYTES)
    if not header.strip():
        raise ValueError("its first line is empty; expected a header")
    if not header.endswith(("\n", "\r")):
        raise ValueError("its first line is not a header, or the only line")
    return header, max(_SEPARATORS, key=lambda separator: len(next(csv.reader([header], delimiter=separator))))


def _csv_content(path: Path) -> IO[bytes]:
    """Return the bytes of a CSV, unpacked."""
    if path.suffix.lower() != ".gz":
        return path.open("rb")
    with gzip.open(path) as file:
        content = file.read(MAX_UNPACKED + 1)
    if len(content) > MAX_UNPACKED:
        raise ValueError(f"it unpacks to more than {MAX_UNPACKED} bytes; unpack it")
    return io.BytesIO(content)


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        return "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _read(path: Path, table_format: str, names: list[str] | None, as_text: bool) -> dict[str, TableColumn]:
    """Read the columns `names`, all for None; with `as_text`, cells of a CSV stay text."""
    if table_format == "csv":
        columns = _csv_columns(path, as_text)
        return columns if names is None else {name: columns[name] for name in names}
    if table_format == "parquet":
        table = _parquet_table(path, names)
        return {name: of_arrow(table[name], table.schema.field(name)) for name in names or table.column_names}
    table = _astropy_table(path, table_format)
    return {name: of_astropy(table[name]) for name in names or table.colnames}


def _parquet_table(path: Path, names: list[str] | None) -> "pa.Table":
    """Read a Parquet table in batches, up to a limit: equal rows take almost no bytes in a file."""
    import pyarrow as pa
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        if (num_rows := file.metadata.num_rows) > MAX_ROWS:
            raise ValueError(f"expected at most {MAX_ROWS:,} rows, got {num_rows:,}; split it")
        batches, num_bytes = [], 0
        for batch in file.iter_batches(_ROWS_PER_BATCH, columns=names):
            batches.append(batch)
            num_bytes += batch.nbytes
            if num_bytes > MAX_MEMORY:
                raise ValueError(f"its cells take more than {MAX_MEMORY:,} bytes; split it")
        return pa.Table.from_batches(batches, batches[0].schema if batches else file.schema_arrow)


def _csv_columns(path: Path, as_text: bool) -> dict[str, TableColumn]:
    import pandas

    header, separator = _csv_header(path)
    if as_text:
        options = {"dtype": str, "skipinitialspace": True}
    else:
        names = next(csv.reader([header.rstrip("\r\n")], delimiter=separator))
        texts = {name: str for name in names if name.strip().lower() in _TEXT_COLUMNS}
        # Nullable types: whole numbers with gaps keep all digits.
        options = {"dtype": texts, "keep_default_na": False, "na_values": [""], "dtype_backend": "numpy_nullable"}
    with warnings.catch_warnings(), _csv_content(path) as file:
        # pandas only warns when it drops the last cells of rows that are longer than the header.
        warnings.simplefilter("error", pandas.errors.ParserWarning)
        options |= {"index_col": False, "encoding": _encoding(path), "float_precision": "round_trip"}
        table = pandas.read_csv(file, sep=separator, **options)
    # A comma at the end of the header makes a column without a name and without cells.
    named = [name for name in table if not (name.startswith(_UNNAMED) and table[name].isna().all())]
    return {name.strip(): of_pandas(table[name]) for name in named}


def _astropy_table(path: Path, table_format: str) -> Any:
    from astropy.table import Table

    if table_format == "votable":
        return Table.read(path, format="votable", table_id=0)
    # astropy does not close a file that it opened and failed to read.
    with path.open("rb") as file:
        if table_format == "ecsv":
            return Table.read(path, format="ascii.ecsv")
        table = Table.read(file, format="fits")
    for index, name in enumerate(table.colnames, start=1):
        table[name].description = table[name].description or table.meta.get(f"TCOMM{index}")
    return table
