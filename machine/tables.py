"""Tables in four formats with one content: Parquet, CSV, FITS and ECSV, written a part at a time.

Names of files may hold any byte but a table is text: what can not be printed is written as Python writes it (a newline
as \\n, a backslash doubled), and in FITS, which is ASCII, what is not ASCII likewise. Fractions that are unknown are
empty; in FITS, NaN. CSV has no place for units and provenance: they lie beside it, in NAME.csv-metadata.json.

Source: Pence et al. 2010 (FITS 3.0); Astropy's ECSV 1.0; W3C, Metadata Vocabulary for Tabular Data (CSVW).
"""

import codecs
import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from machine.files import DataError, first_line, replacing

SUFFIXES = (".parquet", ".csv", ".fits", ".ecsv")
PROVENANCE = b"provenance"
MAX_ROWS = 10**8
_HINT = "name a table that can be read"
# Of a Parquet file: what readers skip or read at a time.
_ROWS_A_GROUP = 4096


def printable(text: str, ascii_only: bool = False) -> str:
    """Return a text in which what can not be printed, and with `ascii_only` what is not ASCII, is escaped."""
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(_escaped(character, ascii_only) for character in text)


def _escaped(character: str, ascii_only: bool) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable() and (character.isascii() or not ascii_only):
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def original(text: str) -> str:
    """Return the text of which `printable` is `text`."""
    if "\\" not in text:
        return text
    pieces = re.split(r"(\\(?:\\|[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}))", text)
    return "".join(
        codecs.decode(piece, "unicode_escape") if number % 2 else piece for number, piece in enumerate(pieces)
    )


def field(name: str, kind: pa.DataType, description: str, unit: str = "") -> pa.Field:
    """Return a column of a schema; `unit` is empty where there is none, as for fractions."""
    return pa.field(name, kind, metadata={b"description": description.encode(), b"unit": unit.encode()})


def _noted(of: pa.Field, what: bytes) -> str:
    return (of.metadata or {}).get(what, b"").decode()


def passed_fields(passed: dict[str, np.ndarray], taken: Iterable[str]) -> list[tuple[pa.Field, np.ndarray]]:
    """Return the columns that pass through, as plain types under names that all formats bear and nobody else has."""
    used = {name.lower() for name in taken}
    found = []
    for name, values in passed.items():
        plain = re.sub(r"\W", "_", name, flags=re.ASCII)[:60] or "column"
        plain = plain if plain[0].isalpha() else f"_{plain}"
        number, unique = 1, plain
        while unique.lower() in used:
            number += 1
            unique = f"{plain}_{number}"
        used.add(unique.lower())
        kinds = {"b": pa.bool_(), "i": pa.int64(), "u": pa.int64(), "f": pa.float64()}
        kind = kinds.get(values.dtype.kind, pa.string())
        if kind == pa.string():
            values = np.array(["" if _is_missing(value) else printable(str(value)) for value in values], dtype=object)
        found.append((field(unique, kind, f"passed through: {printable(name)}"), values))
    return found


def _is_missing(value: object) -> bool:
    return value is None or value is np.ma.masked or (isinstance(value, float) and np.isnan(value))


def write(path: Path, schema: pa.Schema, tables: Iterable[pa.Table], num_rows: int) -> None:
    """Write tables of one schema, one after another, to a file of one of the SUFFIXES, whole or not at all.

    `tables` is gone through twice for FITS, whose columns of text have one width.
    """
    writers = {".parquet": _write_parquet, ".csv": _write_csv, ".fits": _write_fits, ".ecsv": _write_ecsv}
    with replacing(path) as temporary:
        writers[path.suffix](temporary, schema, tables, num_rows)
    if path.suffix == ".csv":
        with replacing(path.with_name(f"{path.name}-metadata.json")) as temporary:
            temporary.write_text(json.dumps(_csv_metadata(path.name, schema), indent=1))


def _write_parquet(path: Path, schema: pa.Schema, tables: Iterable[pa.Table], num_rows: int) -> None:
    waiting: list[pa.Table] = []
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for table in tables:
            waiting.append(table)
            if sum(map(len, waiting)) >= _ROWS_A_GROUP:
                writer.write_table(pa.concat_tables(waiting))
                waiting = []
        if waiting:
            writer.write_table(pa.concat_tables(waiting))


def _cells(table: pa.Table) -> Iterator[list[str]]:
    """Yield the rows of a table as text; numbers as short as they are exact, nothing where nothing is known."""
    columns = []
    for column in table.columns:
        values = column.to_numpy()
        if pa.types.is_floating(column.type):
            columns.append(["" if value != value else str(value) for value in values])
        else:
            columns.append([str(value) for value in values])
    yield from map(list, zip(*columns, strict=True))


def _write_csv(path: Path, schema: pa.Schema, tables: Iterable[pa.Table], num_rows: int) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(schema.names)
        for table in tables:
            writer.writerows(_cells(table))


def _csv_metadata(name: str, schema: pa.Schema) -> dict:
    columns = [
        {"name": each.name, "dc:description": _noted(each, b"description"), "unit": _noted(each, b"unit")}
        for each in schema
    ]
    return {
        "@context": "http://www.w3.org/ns/csvw",
        "url": name,
        "tableSchema": {"columns": columns},
        "provenance": provenance(schema),
    }


def provenance(schema: pa.Schema) -> dict:
    """Return where a table comes from, as it was noted when it was made."""
    return json.loads((schema.metadata or {}).get(PROVENANCE, b"{}"))


def _write_ecsv(path: Path, schema: pa.Schema, tables: Iterable[pa.Table], num_rows: int) -> None:
    from astropy.table import Column, Table

    kinds = {pa.string(): "str", pa.bool_(): "bool", pa.int32(): "i4", pa.int64(): "i8", pa.float32(): "f4"}
    empty = Table(meta=provenance(schema))
    for each in schema:
        empty[each.name] = Column([], dtype=kinds.get(each.type, "f8"), description=_noted(each, b"description"))
        if unit := _noted(each, b"unit"):
            empty[each.name].unit = unit
    header = io.StringIO()
    empty.write(header, format="ascii.ecsv", delimiter=",")
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(header.getvalue().rstrip("\n") + "\n")
        writer = csv.writer(file, lineterminator="\n")
        for table in tables:
            writer.writerows(_cells(table))


def _write_fits(path: Path, schema: pa.Schema, tables: Iterable[pa.Table], num_rows: int) -> None:
    from astropy.io import fits

    texts = [each.name for each in schema if each.type == pa.string()]
    widths = dict.fromkeys(texts, 1)
    for table in tables:
        for name in texts:
            widths[name] = max([widths[name], *(len(_ascii(text)) for text in table[name].to_pylist())])
    formats = {pa.bool_(): "L", pa.int32(): "J", pa.int64(): "K", pa.float32(): "E", pa.float64(): "D"}
    kinds = {pa.bool_(): "i1", pa.int32(): ">i4", pa.int64(): ">i8", pa.float32(): ">f4", pa.float64(): ">f8"}
    columns, dtype = [], []
    for each in schema:
        is_text = each.type == pa.string()
        form = f"{widths[each.name]}A" if is_text else formats[each.type]
        columns.append(fits.Column(each.name, form, unit=_noted(each, b"unit") or None))
        dtype.append((each.name, f"S{widths[each.name]}" if is_text else kinds[each.type]))
    hdu = fits.BinTableHDU.from_columns(columns, nrows=0, name="CATALOGUE")
    for number, each in enumerate(schema, start=1):
        hdu.header.set(f"TCOMM{number}", printable(_noted(each, b"description"), True)[:68])
    for line in json.dumps(provenance(schema), ensure_ascii=True, indent=0).splitlines():
        for start in range(0, len(line), 70):
            hdu.header.add_comment(line[start : start + 70])
    hdu.header["NAXIS2"] = num_rows
    with path.open("wb") as file:
        file.write(fits.PrimaryHDU().header.tostring().encode("ascii"))
        file.write(hdu.header.tostring().encode("ascii"))
        size = 0
        for table in tables:
            rows = np.zeros(len(table), dtype=dtype)
            for each in schema:
                rows[each.name] = _fits_values(table[each.name])
            size += file.write(rows.tobytes())
        file.write(bytes(-size % 2880))


def _ascii(text: str) -> str:
    """Return a printable text, whose backslashes are doubled already, in ASCII."""
    return text if text.isascii() else "".join(c if c == "\\" else _escaped(c, True) for c in text)


def _fits_values(column: pa.ChunkedArray) -> np.ndarray:
    if column.type == pa.string():
        return np.array([_ascii(text).encode("ascii") for text in column.to_pylist()])
    values = column.to_numpy()
    return np.where(values, ord("T"), ord("F")) if column.type == pa.bool_() else values


def read_columns(path: Path, suffix: str | None = None) -> dict[str, np.ndarray]:
    """Read any table of the four formats: columns by name, texts as they were before `printable`.

    Numbers that are missing are NaN, texts that are missing are empty. Raises DataError for what is no such table.
    """
    suffix = suffix or path.suffix
    try:
        columns = {".parquet": _read_parquet, ".csv": _read_csv}.get(suffix, _read_astropy)(path, suffix)
    except Exception as error:  # a damaged file can raise anything
        raise DataError(f"{path} is no {suffix[1:]} table ({first_line(error)}); {_HINT}") from None
    return {name: _as_read(values) for name, values in columns.items()}


def _as_read(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind in "biuf":
        return values.astype(values.dtype.newbyteorder("=")) if values.dtype.kind != "b" else values
    return np.array(["" if _is_missing(value) else original(str(value)) for value in values], dtype=object)


def _read_parquet(path: Path, suffix: str) -> dict[str, np.ndarray]:
    table = parquet.read_table(path)
    return {name: table[name].to_pandas().to_numpy() for name in table.column_names}


def _read_csv(path: Path, suffix: str) -> dict[str, np.ndarray]:
    import pandas

    # An id of digits is a text all the same: 007 is not 7.
    texts = dict.fromkeys(("id_str", "file_loc", "status", "reason", "object", "most_likely_path", "framing"), str)
    table = pandas.read_csv(path, dtype=texts, keep_default_na=False, na_values=[""], float_precision="round_trip")
    return {name: table[name].to_numpy() for name in table}


def _read_astropy(path: Path, suffix: str) -> dict[str, np.ndarray]:
    from astropy.table import Table

    # A file of ours: astropy leaves one that it fails on open.
    with path.open("rb") as file:
        table = Table.read(file, format="fits") if suffix == ".fits" else Table.read(path, format="ascii.ecsv")
    columns = {}
    for name in table.colnames:
        values = table[name]
        if values.dtype.kind == "f":
            columns[name] = np.ma.filled(np.ma.asarray(values), np.nan)
        elif values.dtype.kind == "S":
            columns[name] = np.char.decode(np.asarray(values), "ascii").astype(object)
        else:
            columns[name] = np.asarray(np.ma.filled(values, "")) if values.dtype.kind in "UO" else np.asarray(values)
    return columns


def write_sample(path: Path, table: pa.Table) -> None:
    """Write some rows as CSV for a first look: numbers with three digits after the point."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table.column_names)
        kinds = [column.type for column in table.columns]
        for cells in _cells(table):
            writer.writerow(
                f"{float(cell):.3f}" if pa.types.is_floating(kind) and cell else cell
                for cell, kind in zip(cells, kinds, strict=True)
            )
