"""Writers of tables in five formats, a batch of rows at a time, so that a table may exceed the memory.

Unknown fractions are empty cells, and NaN in FITS. Missing whole numbers are empty cells, and TNULL in FITS. Vectors
of one length are arrays in Parquet, FITS, ECSV and VOTable; lists of different lengths are lists in Parquet; elsewhere
both are JSON. CSV has no place for units, provenance and a seal: they are written beside it, to
NAME.csv-metadata.json, with a checksum of the table.
`tables` describes the text and reads the formats.

Rows of CSV and ECSV are written with `csv`, since pyarrow.csv quotes all texts and astropy writes only whole tables.
FITS rows are written as bytes after astropy's header, since its StreamingHDU does not name a full disk.

Source: Pence et al. 2010 (FITS 3.0); Astropy's ECSV 1.0; IVOA VOTable 1.4; W3C, Metadata Vocabulary for Tabular Data
(CSVW).
"""

import csv
import io
import json
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from machine import seals
from machine.files import DataError, file_checksum, open_file, read_text, replacing, shown
from machine.products import Product
from machine.seals import Seal
from machine.tables import escaped, inert, printable, provenance

# Of the seal in the metadata of Parquet; the column of a sample that names its table.
SEAL = b"seal"
_SAMPLE_OF = "sample_of"
_MAX_SAMPLE_BYTES = 2**24
# Rows of a group in Parquet, which readers skip or read as a whole.
_ROWS_PER_GROUP = 4096
_FITS_BLOCK = 2880  # bytes
_SIGNED_BYTE = -128  # TZERO
# Of each column type: in ECSV, in FITS, in a FITS row, in VOTable.
TYPES = {
    pa.string(): ("str", "A", "S", "unicodeChar"),
    pa.bool_(): ("bool", "L", "i1", "boolean"),
    # FITS and VOTable have no signed byte: FITS stores it plus 128 (TZERO), VOTable as a short.
    pa.int8(): ("i1", "B", "u1", "short"),
    pa.uint8(): ("u1", "B", "u1", "unsignedByte"),
    pa.int16(): ("i2", "I", ">i2", "short"),
    pa.int32(): ("i4", "J", ">i4", "int"),
    pa.int64(): ("i8", "K", ">i8", "long"),
    pa.float32(): ("f4", "E", ">f4", "float"),
    pa.float64(): ("f8", "D", ">f8", "double"),
}


def write(
    path: Path, schema: pa.Schema, batches: Iterable[pa.Table], num_rows: int, source: str = seals.NO_SOURCE
) -> None:
    """Write batches of `num_rows` rows in all to a file with one of `tables.SUFFIXES`, whole or not at all.

    FITS iterates over `batches` twice, since its text columns have a fixed width. `source` is that of the table's seal.
    Raises DataError when the file cannot be written.
    """
    writers = {".parquet": _write_parquet, ".fits": _write_fits, ".ecsv": _write_ecsv, ".vot": _write_votable}
    held = {".parquet": ("list", "vector"), ".csv": ()}.get(path.suffix, ("vector",))
    if as_text := [column.name for column in schema if (shape := _shape_of(column.type)) and shape not in held]:
        print(
            f"{shown(path.name)}: columns {', '.join(as_text)} hold lists, which are written as text", file=sys.stderr
        )
    if path.suffix == ".csv":
        return _write_csv(path, schema, batches, source)
    with replacing(path, sealed=True) as temporary:
        writers[path.suffix](temporary, schema, batches, num_rows, seals.blank(source))


def products(path: Path, source: str | None = None) -> list[Product]:
    """Return the files that `write` writes: the table, and beside a CSV its metadata."""
    if path.suffix != ".csv":
        return [Product(path, source)]
    return [Product(path, source, _csv_seal), Product(_metadata_beside(path), source_beside(path, source))]


def source_beside(path: Path, source: str | None) -> str | None:
    """Return the source of a file beside a table: any may be replaced (None) once the table was removed."""
    return source if os.path.lexists(path) else None


def sample_product(path: Path, output: Path) -> Product:
    """Return the file that `write_sample` writes for a table `output`."""
    return Product(path, read_seal=partial(_sample_seal, catalogue=output.stem))


def write_sample(path: Path, table: pa.Table, output: Path) -> None:
    """Write rows of a table `output` as CSV for a first look, fractions with three digits after the point.

    The last column has the table's name without its suffix.
    """
    table = table.append_column(_SAMPLE_OF, pa.array([printable(output.stem)] * len(table), pa.string()))
    are_floats = [pa.types.is_floating(column.type) for column in table.columns]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table.column_names)
        for cells in _cells(table, for_spreadsheets=True):
            pairs = zip(cells, are_floats, strict=True)
            writer.writerow(f"{float(cell):.3f}" if is_float and cell else cell for cell, is_float in pairs)


def _note(column: pa.Field, key: bytes) -> str:
    return (column.metadata or {}).get(key, b"").decode()


def _cells(table: pa.Table, for_spreadsheets: bool = False) -> Iterator[list[str]]:
    """Yield the rows of a table as text: the shortest exact form of a number, nothing for NaN.

    `for_spreadsheets`: texts that a spreadsheet would run as a formula are escaped (`tables.inert`).
    """
    columns = []
    for column in table.columns:
        if _shape_of(column.type):
            columns.append(["" if value is None else json.dumps(value) for value in column.to_pylist()])
        elif pa.types.is_floating(column.type):
            columns.append(["" if value != value else str(value) for value in column.to_numpy()])
        elif column.null_count:
            columns.append(["" if value is None else str(value) for value in column.to_pylist()])
        else:
            columns.append([str(value) for value in column.to_numpy()])
        if for_spreadsheets and column.type == pa.string():
            columns[-1] = list(map(inert, columns[-1]))
    yield from map(list, zip(*columns, strict=True))


def _shape_of(data_type: pa.DataType) -> str:
    """Return what a cell holds beside a single value: a "vector" of the column's length, or a "list"; else ""."""
    if pa.types.is_fixed_size_list(data_type):
        return "vector"
    return "list" if pa.types.is_list(data_type) else ""


def _holds_signed_bytes(data_type: pa.DataType) -> bool:
    return (data_type.value_type if _shape_of(data_type) == "vector" else data_type) == pa.int8()


def _write_parquet(path: Path, schema: pa.Schema, batches: Iterable[pa.Table], num_rows: int, seal: str) -> None:
    schema = schema.with_metadata({**(schema.metadata or {}), SEAL: seal.encode()})
    waiting: list[pa.Table] = []
    # A file, since pyarrow takes names of UTF-8 only.
    with path.open("wb") as file, parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in batches:
            waiting.append(batch)
            if sum(map(len, waiting)) >= _ROWS_PER_GROUP:
                writer.write_table(pa.concat_tables(waiting).replace_schema_metadata(schema.metadata))
                waiting = []
        if waiting:
            writer.write_table(pa.concat_tables(waiting).replace_schema_metadata(schema.metadata))


def _write_csv(path: Path, schema: pa.Schema, batches: Iterable[pa.Table], source: str) -> None:
    """Write a CSV and its metadata, which know the earlier table as well until the new one has its place."""
    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(schema.names)
    earlier = _checksums_of(path)
    with replacing(path) as temporary:
        _write_rows(temporary, header.getvalue(), batches)
        checksum = file_checksum(temporary)
        _write_csv_metadata(path, schema, [checksum, *earlier], source)
    if earlier:
        _write_csv_metadata(path, schema, [checksum], source)


def _metadata_beside(path: Path) -> Path:
    return path.with_name(f"{path.name}-metadata.json")


def _write_csv_metadata(path: Path, schema: pa.Schema, checksums: list[str], source: str) -> None:
    values = {"seal": seals.blank(source), "sha256": checksums, **_csv_metadata(path.name, schema)}
    with replacing(_metadata_beside(path), sealed=True) as temporary:
        temporary.write_text(json.dumps(values, indent=1))


def _checksums_of(path: Path) -> list[str]:
    """Return the checksums of a CSV that its metadata know."""
    try:
        checksums = json.loads(read_text(_metadata_beside(path), "delete it"))["sha256"]
        return [str(checksum) for checksum in checksums][:3]
    except (DataError, ValueError, KeyError, TypeError, RecursionError):
        return []


def _csv_seal(path: Path) -> Seal | None:
    """Return the seal of a CSV: that of its metadata."""
    seal = seals.read(_metadata_beside(path))
    if seal is None or not path.is_file():
        return None
    return Seal(seal.source, seal.is_whole and file_checksum(path) in _checksums_of(path))


def _sample_seal(path: Path, catalogue: str) -> Seal | None:
    """Return a seal for a sample whose rows all name their table."""
    try:
        with open_file(path, "") as file:
            content = file.read(_MAX_SAMPLE_BYTES).decode("utf-8")
        last_cells = [row[-1] for row in csv.reader(io.StringIO(content, newline="")) if row]
    except (DataError, OSError, ValueError, csv.Error):
        return None
    expected = [_SAMPLE_OF, *[inert(printable(catalogue))] * (len(last_cells) - 1)]
    return Seal(seals.NO_SOURCE) if last_cells == expected else None


def _write_rows(path: Path, header: str, batches: Iterable[pa.Table]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(header)
        writer = csv.writer(file, lineterminator="\n")
        for batch in batches:
            writer.writerows(_cells(batch, for_spreadsheets=True))


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


def _write_ecsv(path: Path, schema: pa.Schema, batches: Iterable[pa.Table], num_rows: int, seal: str) -> None:
    from astropy.table import Column, Table

    empty = Table(meta={"seal": seal, **provenance(schema)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy warns of units that it does not know
        for column in schema:
            data_type, shape = column.type, (0,)
            if _shape_of(data_type) == "vector":
                data_type, shape = data_type.value_type, (0, data_type.list_size)
            dtype = TYPES.get(data_type, TYPES[pa.string()])[0]
            notes = {"description": _note(column, b"description"), "unit": _note(column, b"unit") or None}
            empty[column.name] = Column(np.empty(shape, dtype), **notes)
    header = io.StringIO()
    empty.write(header, format="ascii.ecsv", delimiter=",")
    _write_rows(path, header.getvalue().rstrip("\n") + "\n", batches)


def _write_fits(path: Path, schema: pa.Schema, batches: Iterable[pa.Table], num_rows: int, seal: str) -> None:
    from astropy.io import fits

    widths, nulls = _scan(schema, batches)
    columns, dtype = [], []
    for column in schema:
        unit = printable(_note(column, b"unit"), True)[:68] or None
        if column.name in widths:
            form, row_type, shape = f"{widths[column.name]}A", f"S{widths[column.name]}", ()
        else:
            is_vector = _shape_of(column.type) == "vector"
            _, form, row_type, _ = TYPES[column.type.value_type if is_vector else column.type]
            shape = (column.type.list_size,) if is_vector else ()
            form = f"{shape[0]}{form}" if is_vector else form
        null, offset = nulls.get(column.name), _SIGNED_BYTE if _holds_signed_bytes(column.type) else None
        null = null if offset is None or null is None else null - offset
        columns.append(fits.Column(column.name, form, unit=unit, null=null, bzero=offset))
        dtype.append((column.name, row_type, shape))
    hdu = fits.BinTableHDU.from_columns(columns, nrows=0, name="CATALOGUE")
    for index, column in enumerate(schema, start=1):
        hdu.header.set(f"TCOMM{index}", printable(_note(column, b"description"), True)[:68])
    for line in json.dumps(provenance(schema), ensure_ascii=True, indent=0).splitlines():
        for start in range(0, len(line), 70):
            hdu.header.add_comment(line[start : start + 70])
    hdu.header["NAXIS2"] = num_rows
    with path.open("wb") as file:
        primary = fits.PrimaryHDU().header
        primary.add_comment(seal)
        file.write(primary.tostring().encode("ascii"))
        file.write(hdu.header.tostring().encode("ascii"))
        size = 0
        for batch in batches:
            rows = np.zeros(len(batch), dtype=dtype)
            for name in batch.column_names:
                rows[name] = _fits_values(batch[name], nulls.get(name))
            size += file.write(rows.tobytes())
        file.write(bytes(-size % _FITS_BLOCK))


def _scan(schema: pa.Schema, batches: Iterable[pa.Table]) -> tuple[dict[str, int], dict[str, int]]:
    """Return the width in characters, at least 1, of each column of text, and TNULL of whole numbers with gaps."""
    texts = [column for column in schema if column.type == pa.string() or _shape_of(column.type) == "list"]
    widths = {column.name: 1 for column in texts}
    whole = {column.name: column.type for column in schema if pa.types.is_integer(column.type)}
    gaps: set[str] = set()
    lowest: set[str] = set()
    for batch in batches if widths or whole else ():
        for name in widths:
            widths[name] = max([widths[name], *map(len, _ascii_cells(batch[name]))])
        for name, data_type in whole.items():
            if batch[name].null_count:
                gaps.add(name)
            limit = _limits(data_type)[0]
            if (batch[name].drop_null().to_numpy() == limit).any():
                lowest.add(name)
    return widths, {name: _limits(whole[name])[name in lowest] for name in gaps}


def _limits(data_type: pa.DataType) -> tuple[int, int]:
    """Return values that stand for a gap in whole numbers: the first unless it occurs as a value."""
    limits = np.iinfo(data_type.to_pandas_dtype())
    return (limits.min, limits.max) if limits.min < 0 else (limits.max, limits.min)


def _ascii_cells(column: pa.ChunkedArray) -> list[str]:
    """Return texts, and lists as JSON, in ASCII; the backslashes of printable texts are doubled already."""
    cells = ["" if cell is None else cell if isinstance(cell, str) else json.dumps(cell) for cell in column.to_pylist()]
    return [cell if cell.isascii() else "".join(_ascii(character) for character in cell) for cell in cells]


def _ascii(character: str) -> str:
    return character if character == "\\" else escaped(character, True)


def _fits_values(column: pa.ChunkedArray, null: int | None) -> np.ndarray:
    if column.type == pa.string() or _shape_of(column.type) == "list":
        return np.array([cell.encode("ascii") for cell in _ascii_cells(column)])
    if _holds_signed_bytes(column.type):
        values = column.combine_chunks()
        shape = (len(values), column.type.list_size) if _shape_of(column.type) else (len(values),)
        values = values.flatten() if len(shape) > 1 else values.fill_null(0 if null is None else null)
        return (values.to_numpy(zero_copy_only=False).astype(np.int16) - _SIGNED_BYTE).astype(np.uint8).reshape(shape)
    if _shape_of(column.type) == "vector":
        array = column.combine_chunks()
        values = array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), column.type.list_size)
        return np.where(values, ord("T"), ord("F")) if values.dtype == bool else values
    if column.type == pa.bool_():
        values = np.where(column.fill_null(False).to_numpy(), ord("T"), ord("F"))
        return np.where(column.is_null().to_numpy(), 0, values)
    return (column if null is None else column.fill_null(null)).to_numpy()


def _write_votable(path: Path, schema: pa.Schema, batches: Iterable[pa.Table], num_rows: int, seal: str) -> None:
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f"<!-- {seal} -->",
        '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">',
        f'<RESOURCE><TABLE name="catalogue" nrows="{num_rows}">',
        f"<DESCRIPTION>{escape(json.dumps(provenance(schema)))}</DESCRIPTION>",
    ]
    for column in schema:
        is_vector = _shape_of(column.type) == "vector"
        data_type = TYPES.get(column.type.value_type if is_vector else column.type, TYPES[pa.string()])[3]
        attributes = {"name": column.name, "datatype": data_type}
        if is_vector or data_type == "unicodeChar":
            attributes["arraysize"] = str(column.type.list_size) if is_vector else "*"
        if unit := _note(column, b"unit"):
            attributes["unit"] = unit
        text = " ".join(f"{name}={quoteattr(value)}" for name, value in attributes.items())
        lines.append(f"<FIELD {text}><DESCRIPTION>{escape(_note(column, b'description'))}</DESCRIPTION></FIELD>")
    vectors = [_shape_of(column.type) == "vector" for column in schema]
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("\n".join([*lines, "<DATA><TABLEDATA>\n"]))
        for batch in batches:
            for cells in _cells(batch):
                texts = (
                    cell.strip("[]").replace(",", " ") if is_vector else escape(cell)
                    for cell, is_vector in zip(cells, vectors, strict=True)
                )
                file.write(f"<TR>{''.join(f'<TD>{text}</TD>' for text in texts)}</TR>\n")
        file.write("</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>\n")
