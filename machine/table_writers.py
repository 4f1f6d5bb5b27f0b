"""Writers of tables in four formats, a batch of rows at a time, so that a table may exceed the memory.

Unknown fractions are empty cells, and NaN in FITS. CSV has no place for units and provenance: they are written beside
it, to NAME.csv-metadata.json. `tables` describes the text and reads the formats.

Rows of CSV and ECSV are written with `csv`, since pyarrow.csv quotes all texts and astropy writes only whole tables.
FITS rows are written as bytes after astropy's header, since its StreamingHDU does not name a full disk.

Source: Pence et al. 2010 (FITS 3.0); Astropy's ECSV 1.0; W3C, Metadata Vocabulary for Tabular Data (CSVW).
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from machine.files import replacing
from machine.tables import escaped, printable, provenance

# Rows of a group in Parquet, which readers skip or read as a whole.
_ROWS_PER_GROUP = 4096
_FITS_BLOCK = 2880  # bytes
# Of each column type: in ECSV, in FITS, in a FITS row.
_TYPES = {
    pa.string(): ("str", "A", "S"),
    pa.bool_(): ("bool", "L", "i1"),
    pa.int32(): ("i4", "J", ">i4"),
    pa.int64(): ("i8", "K", ">i8"),
    pa.float32(): ("f4", "E", ">f4"),
    pa.float64(): ("f8", "D", ">f8"),
}


def write(path: Path, schema: pa.Schema, batches: Iterable[pa.Table], num_rows: int) -> None:
    """Write batches of `num_rows` rows in all to a file with one of `tables.SUFFIXES`, whole or not at all.

    FITS iterates over `batches` twice, since its text columns have a fixed width. Raises DataError when the file cannot
    be written.
    """
    writers = {".parquet": _write_parquet, ".csv": _write_csv, ".fits": _write_fits, ".ecsv": _write_ecsv}
    with replacing(path) as temporary:
        writers[path.suffix](temporary, schema, batches, num_rows)
    if path.suffix == ".csv":
        with replacing(path.with_name(f"{path.name}-metadata.json")) as temporary:
            temporary.write_text(json.dumps(_csv_metadata(path.name, schema), indent=1))


def write_sample(path: Path, table: pa.Table) -> None:
    """Write rows as CSV for a first look, fractions with three digits after the point."""
    are_floats = [pa.types.is_floating(column.type) for column in table.columns]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table.column_names)
        for cells in _cells(table):
            pairs = zip(cells, are_floats, strict=True)
            writer.writerow(f"{float(cell):.3f}" if is_float and cell else cell for cell, is_float in pairs)


def _note(column: pa.Field, key: bytes) -> str:
    return (column.metadata or {}).get(key, b"").decode()


def _cells(table: pa.Table) -> Iterator[list[str]]:
    """Yield the rows of a table as text: the shortest exact form of a number, nothing for NaN."""
    columns = []
    for column in table.columns:
        values = column.to_numpy()
        if pa.types.is_floating(column.type):
            columns.append(["" if value != value else str(value) for value in values])
        else:
            columns.append([str(value) for value in values])
    yield from map(list, zip(*columns, strict=True))


def _write_parquet(path: Path, schema: pa.Schema, batches: Iterable[pa.Table], num_rows: int) -> None:
    waiting: list[pa.Table] = []
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            waiting.append(batch)
            if sum(map(len, waiting)) >= _ROWS_PER_GROUP:
                writer.write_table(pa.concat_tables(waiting))
                waiting = []
        if waiting:
            writer.write_table(pa.concat_tables(waiting))


def _write_csv(path: Path, schema: pa.Schema, batches: Iterable[pa.Table], num_rows: int) -> None:
    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(schema.names)
    _write_rows(path, header.getvalue(), batches)


def _write_rows(path: Path, header: str, batches: Iterable[pa.Table]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(header)
        writer = csv.writer(file, lineterminator="\n")
        for batch in batches:
            writer.writerows(_cells(batch))


def _csv_metadata(name: str, schema: pa.Schema) -> dict:
    columns = [
        {"name": column.name, "dc:description": _note(column, b"description"), "unit": _note(column, b"unit")}
        for column in schema
    ]
    return {
        "@context": "http://www.w3.org/ns/csvw",
        "url": name,
        "tableSchema": {"columns": columns},
        "provenance": provenance(schema),
    }


def _write_ecsv(path: Path, schema: pa.Schema, batches: Iterable[pa.Table], num_rows: int) -> None:
    from astropy.table import Column, Table

    empty = Table(meta=provenance(schema))
    for column in schema:
        dtype, description = _TYPES[column.type][0], _note(column, b"description")
        empty[column.name] = Column([], dtype=dtype, description=description, unit=_note(column, b"unit") or None)
    header = io.StringIO()
    empty.write(header, format="ascii.ecsv", delimiter=",")
    _write_rows(path, header.getvalue().rstrip("\n") + "\n", batches)


def _write_fits(path: Path, schema: pa.Schema, batches: Iterable[pa.Table], num_rows: int) -> None:
    from astropy.io import fits

    widths = _text_widths(schema, batches)
    columns, dtype = [], []
    for column in schema:
        _, form, row_type = _TYPES[column.type]
        if width := widths.get(column.name):
            form, row_type = f"{width}{form}", f"{row_type}{width}"
        columns.append(fits.Column(column.name, form, unit=_note(column, b"unit") or None))
        dtype.append((column.name, row_type))
    hdu = fits.BinTableHDU.from_columns(columns, nrows=0, name="CATALOGUE")
    for index, column in enumerate(schema, start=1):
        hdu.header.set(f"TCOMM{index}", printable(_note(column, b"description"), True)[:68])
    for line in json.dumps(provenance(schema), ensure_ascii=True, indent=0).splitlines():
        for start in range(0, len(line), 70):
            hdu.header.add_comment(line[start : start + 70])
    hdu.header["NAXIS2"] = num_rows
    with path.open("wb") as file:
        file.write(fits.PrimaryHDU().header.tostring().encode("ascii"))
        file.write(hdu.header.tostring().encode("ascii"))
        size = 0
        for batch in batches:
            rows = np.zeros(len(batch), dtype=dtype)
            for name in batch.column_names:
                rows[name] = _fits_values(batch[name])
            size += file.write(rows.tobytes())
        file.write(bytes(-size % _FITS_BLOCK))


def _text_widths(schema: pa.Schema, batches: Iterable[pa.Table]) -> dict[str, int]:
    """Return the width in characters, at least 1, of each text column."""
    widths = {column.name: 1 for column in schema if column.type == pa.string()}
    for batch in batches if widths else ():
        for name in widths:
            widths[name] = max([widths[name], *(len(_ascii(text)) for text in batch[name].to_pylist())])
    return widths


def _ascii(text: str) -> str:
    """Return a printable text, whose backslashes are doubled already, in ASCII."""
    if text.isascii():
        return text
    return "".join(character if character == "\\" else escaped(character, True) for character in text)


def _fits_values(column: pa.ChunkedArray) -> np.ndarray:
    if column.type == pa.string():
        return np.array([_ascii(text).encode("ascii") for text in column.to_pylist()])
    values = column.to_numpy()
    return np.where(values, ord("T"), ord("F")) if column.type == pa.bool_() else values
