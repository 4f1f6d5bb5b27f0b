"""Tables in four formats with one content: their columns, and how they are read. `table_writers` writes them.

A file name may hold any byte, but a table is text. Characters that cannot be printed are therefore escaped as in Python
(a newline as \\n, a backslash doubled); FITS is ASCII, so all other characters are escaped there as well.
pyarrow, pandas and astropy are imported by the functions that need them: a survey in CSV needs pandas only.

Source: Pence et al. 2010 (FITS 3.0); Astropy's ECSV 1.0.
"""

import codecs
import csv
import json
import os
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from machine.files import DataError, first_line, open_file

if TYPE_CHECKING:
    import pandas
    import pyarrow as pa

SUFFIXES = (".parquet", ".csv", ".fits", ".ecsv")
PROVENANCE = b"provenance"
# Four times Galaxy Zoo 2's largest table: 240,000 galaxies and 230 columns.
MAX_BYTES = 2**31
_FORMATS = {".csv": "csv", ".parquet": "parquet", ".fits": "fits", ".fit": "fits", ".ecsv": "ecsv"}
_PACKAGES = {"parquet": "pyarrow", "fits": "astropy", "ecsv": "astropy"}
_MAX_HEADER_BYTES = 2**16
_HINT = "name a table that can be read"
# Columns of the catalogue that stay text in CSV: the id 007 is not 7.
_TEXT_COLUMNS = ("id_str", "file_loc", "status", "reason", "object", "most_likely_path", "framing")
_MAX_EXACT = 2**53  # float64 holds every whole number below


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


def original(text: str) -> str:
    """Undo `printable`."""
    if "\\" not in text:
        return text
    pieces = re.split(r"(\\(?:\\|[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}))", text)
    return "".join(codecs.decode(piece, "unicode_escape") if index % 2 else piece for index, piece in enumerate(pieces))


def field(name: str, data_type: "pa.DataType", description: str, unit: str = "") -> "pa.Field":
    """Return a column of a schema; `unit` is empty for numbers without one, such as fractions."""
    import pyarrow as pa

    return pa.field(name, data_type, metadata={b"description": description.encode(), b"unit": unit.encode()})


def passed_fields(passed: dict[str, np.ndarray], taken: Iterable[str]) -> "list[tuple[pa.Field, np.ndarray]]":
    """Return the columns that pass through, with plain types and unique names that are valid in all formats.

    No name equals one of `taken`, in upper or lower case.
    """
    import pyarrow as pa

    types = {"b": pa.bool_(), "i": pa.int64(), "u": pa.int64(), "f": pa.float64()}
    used = {name.lower() for name in taken}
    columns = []
    for name, values in passed.items():
        unique = _unique_name(name, used)
        used.add(unique.lower())
        data_type = types.get(values.dtype.kind, pa.string())
        if data_type == pa.string():
            values = np.array(["" if _is_missing(value) else printable(str(value)) for value in values], dtype=object)
        columns.append((field(unique, data_type, f"passed through: {printable(name)}"), values))
    return columns


def _unique_name(name: str, used: set[str]) -> str:
    """Return a name of ASCII letters, digits and underscores that is not in `used`, which holds lower case."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)[:60] or "column"
    plain = plain if plain[0].isalpha() else f"_{plain}"
    candidate, suffix = plain, 1
    while candidate.lower() in used:
        suffix += 1
        candidate = f"{plain}_{suffix}"
    return candidate


def _is_missing(value: object) -> bool:
    return value is None or value is np.ma.masked or (isinstance(value, float) and np.isnan(value))


def provenance(schema: "pa.Schema") -> dict:
    """Return the provenance that was stored with a table: models, versions, options."""
    return json.loads((schema.metadata or {}).get(PROVENANCE, b"{}"))


def column_names(path: Path) -> list[str]:
    """Return the names of a table's columns; raises DataError for a file that is not a table."""
    return _guarded(path, path.suffix, _names)


def read_cells(path: Path, names: Sequence[str]) -> "pandas.DataFrame":
    """Read some columns of a table as they stand; empty cells are NaN.

    Cells of a CSV are text, since a float64 would lose the last digits of an id of eighteen. Raises DataError for a
    file that is not a table, and for one of more than MAX_BYTES.
    """

    def read(path: Path, table_format: str) -> "pandas.DataFrame":
        import pandas

        return pandas.DataFrame(_read(path, table_format, list(names), as_text=True))

    return _guarded(path, path.suffix, read)


def read_columns(path: Path, suffix: str | None = None) -> dict[str, np.ndarray]:
    """Read a table as arrays by column name, with texts as they were before `printable`.

    `suffix` names the format of a file whose own suffix does not. Missing numbers are NaN, missing texts are empty.
    Raises DataError for a file that is not a table, and for one of more than MAX_BYTES.
    """
    columns = _guarded(path, suffix or path.suffix, lambda path, table_format: _read(path, table_format, None, False))
    return {name: _restored(values) for name, values in columns.items()}


def _restored(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind in "biuf":
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    return np.array(["" if _is_missing(value) else original(str(value)) for value in values], dtype=object)


def _guarded(path: Path, suffix: str, read: Callable[[Path, str], Any]) -> Any:
    """Return `read(path, format)`; raises DataError, in one line, for any fault of the file."""
    table_format = _FORMATS.get(suffix.lower())
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
    if table_format == "ecsv":
        return _astropy_table(path, table_format).colnames
    from astropy.io import fits

    with path.open("rb") as file, fits.open(file) as hdus:
        for hdu in hdus:
            if isinstance(hdu, fits.BinTableHDU | fits.TableHDU):
                return list(hdu.columns.names)
    raise ValueError("it holds no table")


def _csv_names(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig") as file:
        header = file.readline(_MAX_HEADER_BYTES)
    if not header.strip():
        raise ValueError("its first line is empty; expected a header")
    if not header.endswith("\n"):
        raise ValueError("its first line is not a header, or the only line")
    return [name.strip() for name in next(csv.reader([header], skipinitialspace=True))]


def _read(path: Path, table_format: str, names: list[str] | None, as_text: bool) -> dict[str, np.ndarray]:
    """Read the columns `names`, all for None; with `as_text`, cells of a CSV stay text."""
    if table_format == "csv":
        columns = _csv_columns(path, as_text)
        return columns if names is None else {name: columns[name] for name in names}
    if table_format == "parquet":
        from pyarrow import parquet

        table = parquet.read_table(path, columns=names)
        return {name: table[name].to_pandas().to_numpy() for name in names or table.column_names}
    table = _astropy_table(path, table_format)
    return {name: _plain(table[name]) for name in names or table.colnames}


def _csv_columns(path: Path, as_text: bool) -> dict[str, np.ndarray]:
    import pandas

    if as_text:
        options = {"dtype": str, "skipinitialspace": True}
    else:
        options = {"dtype": dict.fromkeys(_TEXT_COLUMNS, str), "keep_default_na": False, "na_values": [""]}
    with warnings.catch_warnings():
        # pandas only warns when it drops the last cells of rows that are longer than the header.
        warnings.simplefilter("error", pandas.errors.ParserWarning)
        table = pandas.read_csv(path, index_col=False, encoding="utf-8-sig", float_precision="round_trip", **options)
    return {name.strip(): table[name].to_numpy() for name in table}


def _astropy_table(path: Path, table_format: str) -> Any:
    from astropy.table import Table

    # astropy does not close a file that it opened and failed to read.
    with path.open("rb") as file:
        return Table.read(file, format="fits") if table_format == "fits" else Table.read(path, format="ascii.ecsv")


def _plain(values: Any) -> np.ndarray:
    """Return a column of an astropy table as an array without a mask: NaN for missing numbers, "" for missing texts."""
    kind = values.dtype.kind
    if kind == "S":
        return np.char.decode(np.asarray(values), "utf-8").astype(object)
    if kind == "f":
        return np.ma.filled(np.ma.asarray(values), np.nan)
    if kind in "UO":
        return np.asarray(np.ma.filled(values, ""))
    if kind in "iu" and np.ma.getmaskarray(values).any():
        values = np.ma.asarray(values)
        exact = np.abs(values.compressed().astype(np.float64)).max(initial=0) < _MAX_EXACT
        return values.astype(np.float64 if exact else object).filled(np.nan)
    return np.asarray(values)
