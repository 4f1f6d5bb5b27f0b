"""Tables that people have: CSV, Parquet and FITS, read by the names of their columns.

Columns are read as they stand: text for CSV, in which a number of eighteen digits would lose its last ones. pyarrow
and astropy are imported where such a table is read; nothing else needs them.
"""

import csv
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from machine.files import DataError, first_line, open_file

if TYPE_CHECKING:
    import pandas

# Galaxy Zoo 2's largest table, 240,000 galaxies and 230 columns, is a quarter of this.
MAX_BYTES = 2**31
_MAX_HEADER_BYTES = 2**16
_FORMATS = {".csv": "csv", ".parquet": "parquet", ".fits": "fits", ".fit": "fits"}
_HINT = "name a table with --labels"


def column_names(path: Path) -> list[str]:
    """Return the names of a table's columns; raises DataError for anything that is no table."""
    return _read(path, None)


def read_columns(path: Path, names: Sequence[str]) -> "pandas.DataFrame":
    """Read some columns of a table: text, numbers, or both as objects; what is empty is NaN."""
    return _read(path, list(names))


def _read(path: Path, names: list[str] | None) -> "list[str] | pandas.DataFrame":
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        raise DataError(f"expected a table that ends with {', '.join(_FORMATS)}, got {path}")
    with open_file(path, _HINT) as file:
        if (size := os.fstat(file.fileno()).st_size) > MAX_BYTES:
            raise DataError(f"{path}: expected at most {MAX_BYTES} bytes, got {size}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of units that astropy does not know
            return {"csv": _read_csv, "parquet": _read_parquet, "fits": _read_fits}[kind](path, names)
    except ImportError as error:
        package = {"parquet": "pyarrow", "fits": "astropy"}.get(kind, error.name)
        raise DataError(f"{path}: to read this table, install {package} (pip install {package})") from None
    except Exception as error:  # a damaged table can raise anything
        raise DataError(f"{path} can not be read as a table ({first_line(error)})") from None


def _read_csv(path: Path, names: list[str] | None) -> "list[str] | pandas.DataFrame":
    import pandas

    if names is None:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline(_MAX_HEADER_BYTES)
        if not header.strip():
            raise ValueError("its first line is empty, and no header")
        if not header.endswith("\n"):
            raise ValueError("its first line is no header, or the only one")
        return [name.strip() for name in next(csv.reader([header], skipinitialspace=True))]
    with warnings.catch_warnings():
        # Where rows are longer than the header, pandas would drop their last cells with no more than a warning.
        warnings.simplefilter("error")
        table = pandas.read_csv(path, dtype=str, index_col=False, skipinitialspace=True, encoding="utf-8-sig")
    table.columns = [name.strip() for name in table.columns]
    return table[names]


def _read_parquet(path: Path, names: list[str] | None) -> "list[str] | pandas.DataFrame":
    from pyarrow import parquet

    if names is None:
        return list(parquet.read_schema(path).names)
    return parquet.read_table(path, columns=names).to_pandas()


def _read_fits(path: Path, names: list[str] | None) -> "list[str] | pandas.DataFrame":
    from astropy.table import Table

    if names is None:
        from astropy.io import fits

        with fits.open(path) as units:
            for unit in units:
                if isinstance(unit, fits.BinTableHDU | fits.TableHDU):
                    return list(unit.columns.names)
        raise ValueError("it holds no table")
    table = Table.read(path, format="fits")[names]
    table.convert_bytestring_to_unicode()
    return table.to_pandas()
