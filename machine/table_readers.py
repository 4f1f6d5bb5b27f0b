"""Readers of five formats of tables: the names of columns, and columns as the file has them.

A small file can ask for any memory or time: numbers in its header, rows that are stored once, packed zeros. Therefore
`machine.tables` calls these readers in a process with limits. pyarrow, pandas and astropy are imported by the functions
that need them.

CSV may be separated by commas, semicolons or tabs, and packed with gzip.

Source: Pence et al. 2010 (FITS 3.0); Astropy's ECSV 1.0; IVOA VOTable 1.4.
"""

import csv
import gzip
import importlib
import io
import math
import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from xml.parsers import expat

from machine.table_cells import TableColumn, of_arrow, of_astropy, of_pandas

if TYPE_CHECKING:
    import pyarrow as pa

_MODULES = {"csv": "pandas", "parquet": "pyarrow.parquet"}
_SEPARATORS = ",;\t"
# What pandas calls columns without a name.
_UNNAMED = "Unnamed: "
# Of a Parquet table: rows, and bytes of its cells in memory.
MAX_ROWS, MAX_MEMORY = 2**23, 2**29
_ROWS_PER_BATCH = 1024
_MAX_HEADER_BYTES = 2**16
# Of a VOTable: rows and elements of a cell that its attributes announce, and levels.
_MAX_ANNOUNCED, _MAX_LEVELS = 2**27, 100
# Columns of the catalogue that stay text in CSV: the id 007 is not 7.
_TEXT_COLUMNS = ("id_str", "file_loc", "status", "reason", "object", "most_likely_path", "framing")


def prepare(table_format: str) -> None:
    """Import what reads a format, so that a forked process need not; raises ImportError."""
    importlib.import_module(_MODULES.get(table_format, "astropy.table"))


def names_of(path: Path, table_format: str) -> list[str]:
    """Return the names of a table's columns."""
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
    with io.TextIOWrapper(_csv_content(path), _encoding(path), newline="") as file:
        header = file.readline(_MAX_HEADER_BYTES)
    if not header.strip():
        raise ValueError("its first line is empty; expected a header")
    if not header.endswith(("\n", "\r")):
        raise ValueError("its first line is not a header, or the only line")
    return header, max(_SEPARATORS, key=lambda separator: len(next(csv.reader([header], delimiter=separator))))


def _csv_content(path: Path) -> IO[bytes]:
    """Return the bytes of a CSV, unpacked."""
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        return "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def read(path: Path, table_format: str, names: list[str] | None, as_text: bool) -> dict[str, TableColumn]:
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
        for batch in file.iter_batches(_ROWS_PER_BATCH, columns=names, use_threads=False):
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
        header_names = next(csv.reader([header.rstrip("\r\n")], delimiter=separator))
        texts = {name: str for name in header_names if name.strip().lower() in _TEXT_COLUMNS}
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
        _check_votable(path)
        return Table.read(path, format="votable", table_id=0)
    # astropy does not close a file that it opened and failed to read.
    with path.open("rb") as file:
        if table_format == "ecsv":
            return Table.read(path, format="ascii.ecsv")
        table = Table.read(file, format="fits")
    for index, name in enumerate(table.colnames, start=1):
        table[name].description = table[name].description or table.meta.get(f"TCOMM{index}")
    return table


def _check_votable(path: Path) -> None:
    """Raise ValueError for a VOTable that refers to other files, defines entities, or announces vast arrays."""
    level = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal level
        level += 1
        if level > _MAX_LEVELS:
            raise ValueError(f"it has more than {_MAX_LEVELS} levels")
        tag = name.rpartition(":")[2]
        if tag == "STREAM" and "href" in attributes:
            raise ValueError("its rows are in another file; expected a table in one file")
        announced = attributes.get("nrows" if tag == "TABLE" else "arraysize", "")
        lengths = [int(text) for text in announced.replace("*", "").split("x") if text.strip().isdigit()]
        if math.prod(lengths) > _MAX_ANNOUNCED:
            raise ValueError(f"it announces {announced[:40]} rows or elements, expected at most {_MAX_ANNOUNCED:,}")

    def end(name: str) -> None:
        nonlocal level
        level -= 1

    def refuse(*arguments: object) -> None:
        raise ValueError("it defines entities of XML")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.EntityDeclHandler = start, end, refuse
    with path.open("rb") as file:
        parser.ParseFile(file)
