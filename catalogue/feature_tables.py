"""Catalogues with features, read a batch at a time: ten million rows need no more memory than ten thousand.

Features are whole numbers of eight bits. Products of them are whole numbers below 2**53, which double precision adds
without rounding: results depend neither on batches nor on shards.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import compute, parquet

from catalogue.columns import FEATURE_COLUMN, NO_FEATURES
from catalogue.graph_checks import MAX_FEATURES
from catalogue.table_shards import shard_order
from machine import seals, table_writers, tables
from machine.files import DataError, first_line, open_file, shown

_HINT = "make the catalogue with --features, as Parquet"
# Rows of a batch, and bytes of its cells at most.
_ROWS, _MAX_BATCH_BYTES = 2**15, 2**28
# Bytes that a reader buffers of a column.
_BUFFERED = 2**20


class FeatureTables:
    """The rows of one or several Parquet catalogues with features, in order; shards of one catalogue by their index.

    A row is addressed by its index over all files. Raises DataError for a file without features and for a damaged one.
    """

    def __init__(self, paths: Sequence[Path]):
        if not paths:
            raise DataError("expected catalogues to search, got none; name them with --from")
        headers = {path: _read_header(path) for path in dict.fromkeys(map(Path, paths))}
        self.paths = sorted(headers, key=lambda path: shard_order(headers[path].schema.to_arrow_schema()))
        schemas = [headers[path].schema.to_arrow_schema() for path in self.paths]
        self.schema, self.first_rows = schemas[0], [0]
        self.model = _model_of(schemas[0])
        for path, schema in zip(self.paths, schemas, strict=True):
            if not schema.equals(self.schema, check_metadata=False):
                raise DataError(f"{path} has other columns than {self.paths[0]}; search them one after the other")
            if _model_of(schema) != self.model:
                raise DataError(
                    f"{path} has features of another model than {self.paths[0]}; make both with the same --model"
                )
            self.first_rows.append(self.first_rows[-1] + headers[path].num_rows)
        self.num_features = self.schema.field(FEATURE_COLUMN).type.list_size

    def __len__(self) -> int:
        return self.first_rows[-1]

    def batches(self, names: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield the columns `names` of all rows in batches, each with the index of its first row."""
        for path, first_row in zip(self.paths, self.first_rows, strict=False):
            with _reading(path), parquet.ParquetFile(path, buffer_size=_BUFFERED) as file:
                for batch in file.iter_batches(_ROWS, columns=list(names)):
                    if batch.nbytes > _MAX_BATCH_BYTES:
                        raise DataError(f"{path}: expected at most {_MAX_BATCH_BYTES:,} bytes in {_ROWS:,} rows")
                    yield first_row, batch
                    first_row += len(batch)

    def features(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield indices (n,) of rows that have features, and the features (n, k), int8, in batches."""
        for first_row, batch in self.batches([FEATURE_COLUMN]):
            values, known = matrix_of(batch.column(0))
            yield np.flatnonzero(known) + first_row, values if known.all() else values[known]

    def find(self, names: Sequence[str]) -> dict[str, list[int]]:
        """Return the indices of the rows with each of the identifiers `names`."""
        found: dict[str, list[int]] = {name: [] for name in names}
        wanted = pa.array(list(found), pa.string())
        for first_row, batch in self.batches(["id_str"]) if found else ():
            ids = batch.column(0).cast(pa.string())
            for row in np.flatnonzero(compute.is_in(ids, value_set=wanted).to_numpy(zero_copy_only=False)):
                found[ids[int(row)].as_py()].append(first_row + int(row))
        return found

    def take(self, rows: Sequence[int], names: Sequence[str] | None = None) -> pa.Table:
        """Return rows in the order of their indices `rows`, with all columns or with `names`."""
        rows = np.asarray(rows, dtype=np.int64)
        order, parts = np.argsort(rows, kind="stable"), []
        columns = self.schema.names if names is None else list(names)
        for path, start, stop in zip(self.paths, self.first_rows, self.first_rows[1:], strict=False):
            own = rows[order][(rows[order] >= start) & (rows[order] < stop)] - start
            if len(own):
                parts += _take(path, own, columns)
        if not parts:
            return pa.schema([self.schema.field(name) for name in columns]).empty_table()
        return pa.concat_tables(parts).take(pa.array(np.argsort(order, kind="stable")))


def matrix_of(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return features as a matrix (n, k), int8, and which rows have some."""
    size = column.type.list_size
    known = column.is_valid().to_numpy(zero_copy_only=False)
    flat = column.values.slice(column.offset * size, len(column) * size)
    known = known & ((flat.null_count == 0) | (flat.is_valid().to_numpy(zero_copy_only=False).reshape(-1, size).all(1)))
    values = flat.fill_null(NO_FEATURES).to_numpy(zero_copy_only=False).reshape(len(column), size)
    return values, known & (values[:, 0] != NO_FEATURES)


def _take(path: Path, rows: np.ndarray, names: list[str]) -> Iterator[pa.Table]:
    """Yield the rows (ascending indices) of a file, a table for each of its groups."""
    with _reading(path), parquet.ParquetFile(path) as file:
        start = 0
        for group in range(file.num_row_groups):
            stop = start + file.metadata.row_group(group).num_rows
            own = rows[(rows >= start) & (rows < stop)] - start
            for batch in file.iter_batches(_ROWS, row_groups=[group], columns=names) if len(own) else ():
                inside = own[(own >= 0) & (own < len(batch))]
                if len(inside):
                    yield pa.Table.from_batches([batch]).take(pa.array(inside)).select(names)
                own = own - len(batch)
            start = stop


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raise DataError for any fault of a Parquet file within the block."""
    try:
        yield
    except (OSError, pa.ArrowException, ValueError) as error:
        raise DataError(f"{path} is damaged ({first_line(error)}); make it again") from None


def _read_header(path: Path) -> parquet.FileMetaData:
    with open_file(path, _HINT) as file:
        try:
            metadata = parquet.read_metadata(file)
            schema = metadata.schema.to_arrow_schema()
        except Exception as error:  # a damaged footer can raise anything
            raise DataError(f"{path} is not a Parquet table ({first_line(error)}); {_HINT}") from None
    seal = seals.read(path)
    if seal is not None and not seal.is_whole:
        raise DataError(f"{path} was changed or damaged after it was written; make it again")
    names = schema.names
    if FEATURE_COLUMN not in names or "id_str" not in names:
        raise DataError(f"{path} has no column {FEATURE_COLUMN if 'id_str' in names else 'id_str'}; {_HINT}")
    if len(set(names)) < len(names):
        raise DataError(f"{path} has two columns of one name; {_HINT}")
    data_type = schema.field(FEATURE_COLUMN).type
    if not pa.types.is_fixed_size_list(data_type) or data_type.value_type != pa.int8():
        raise DataError(f"{path}: expected lists of int8 of one length as features, got {data_type}; {_HINT}")
    if not 1 <= data_type.list_size <= MAX_FEATURES:
        raise DataError(f"{path}: expected 1 to {MAX_FEATURES} features, got {data_type.list_size}; {_HINT}")
    for column in schema:
        own_type = column.type.value_type if pa.types.is_nested(column.type) else column.type
        if own_type not in (*table_writers.TYPES, pa.large_string()):
            raise DataError(f"{path}: {shown(column.name)} has type {column.type}, which a catalogue has not; {_HINT}")
    try:
        tables.provenance(schema)
    except DataError as error:
        raise DataError(f"{path}: {error}; {_HINT}") from None
    return metadata


def _model_of(schema: pa.Schema) -> str | None:
    """Return the checksum of the model that made the features of a table; None if the table does not name it."""
    note = tables.provenance(schema).get("features of")
    return str(note.get("sha256")) if isinstance(note, dict) else None
