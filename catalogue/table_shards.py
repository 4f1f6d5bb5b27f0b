"""A catalogue in shards, one table per machine, and their merge. Each table notes its index and its run."""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from machine import seals, table_writers, tables
from machine.files import DataError, first_line, open_file, shown

_KEY = b"shard"
_NOTE = re.compile(rb"([0-9]{1,9})/([0-9]{1,9}) (\w+)(?: ([0-9a-f]{12}))?")
# Rows of a batch: a table may be larger than the memory.
MAX_ROWS = 2**14


def shard_path(output: Path, index: int, num_shards: int) -> Path:
    """Return the table of a shard of a catalogue; `index` is counted from 1."""
    return output.with_name(f"{output.stem}.{index}of{num_shards}.parquet")


def shards_beside(output: Path) -> list[Path]:
    """Return the tables of shards in the folder of a catalogue."""
    name = re.compile(rf"{re.escape(output.stem)}\.\d+of\d+\.parquet")
    return [path for path in output.parent.glob("*.parquet") if name.fullmatch(path.name)]


def with_shard_note(
    schema: pa.Schema, index: int, num_shards: int, identity: str, source: str = seals.NO_SOURCE
) -> pa.Schema:
    """Return a shard's columns with a note: its index, the number of shards, identity and source of the whole run."""
    return schema.with_metadata({**schema.metadata, _KEY: f"{index}/{num_shards} {identity} {source}".encode()})


def shard_order(schema: pa.Schema) -> int:
    """Return the index of a shard from the note in its schema; 0 for a table that is no shard."""
    note = _NOTE.fullmatch((schema.metadata or {}).get(_KEY, b""))
    return int(note[1]) if note else 0


@dataclass(frozen=True)
class _Shard:
    """A table of a shard: its columns, its index, the number of shards, identity and source of the whole run."""

    path: Path
    schema: pa.Schema
    num_rows: int
    index: int
    num_shards: int
    identity: str
    source: str


def _read_shard(path: Path) -> _Shard:
    """Read what a shard says of itself; raises DataError for another file and for a damaged one."""
    with open_file(path, "make it with --shard, or name the tables of the other shards") as file:
        seal = seals.read(path)
        if seal is not None and not seal.is_whole:
            raise DataError(f"{path} was changed or damaged after it was written; delete it and make it again")
        try:
            metadata = parquet.read_metadata(file)
            schema = metadata.schema.to_arrow_schema()
            note = _NOTE.fullmatch((schema.metadata or {}).get(_KEY, b""))
        except Exception as error:  # a damaged footer can raise anything
            raise DataError(f"{path} is not a table of a --shard ({first_line(error)}); name those") from None
    if note is None or not 1 <= int(note[1]) <= int(note[2]):
        raise DataError(f"{path} is not a table of a --shard; name those")
    for column in schema:
        data_type = column.type
        if pa.types.is_list(data_type) or pa.types.is_fixed_size_list(data_type):
            data_type = data_type.value_type
        if data_type not in table_writers.TYPES:
            raise DataError(
                f"{path} is not a table of a --shard: {shown(column.name)} has type {column.type}; name those"
            )
    try:
        tables.provenance(schema)
    except DataError as error:
        raise DataError(f"{path} is not a table of a --shard ({error}); name those") from None
    source = seals.NO_SOURCE if note[4] is None else note[4].decode()
    return _Shard(path, schema, metadata.num_rows, int(note[1]), int(note[2]), note[3].decode(), source)


class MergedShards:
    """The rows of all shards in order. Iterating yields a table for each batch of rows, any number of times.

    Raises DataError with the file's name where a file is not a shard, is of another run, is there twice or is missing.
    """

    def __init__(self, paths: Sequence[Path]):
        shards: dict[int, _Shard] = {}
        for shard in map(_read_shard, paths):
            first = next(iter(shards.values()), shard)
            if (shard.num_shards, shard.identity, shard.source) != (first.num_shards, first.identity, first.source):
                raise DataError(
                    f"{shard.path} is of another run than {first.path}; make both with the same images and options"
                )
            if other := shards.get(shard.index):
                raise DataError(
                    f"{shard.path} is shard {shard.index}/{shard.num_shards} a second time, beside {other.path}; "
                    "name one"
                )
            if not shard.schema.equals(first.schema, check_metadata=False):
                raise DataError(f"{shard.path} has other columns than {first.path}; make both again")
            shards[shard.index] = shard
        num_shards = first.num_shards
        if len(shards) < num_shards:
            missing = next(index for index in itertools.count(1) if index not in shards)
            raise DataError(f"expected {num_shards} shards, but {missing}/{num_shards} is missing; make it, or name it")
        ordered = [shards[index] for index in sorted(shards)]
        self.files = [shard.path for shard in ordered]
        schema, omitted = ordered[0].schema, (_KEY, table_writers.SEAL)
        self.schema = schema.with_metadata({key: text for key, text in schema.metadata.items() if key not in omitted})
        self.num_rows = sum(shard.num_rows for shard in ordered)
        self.source = first.source

    def __iter__(self) -> Iterator[pa.Table]:
        for path in self.files:
            try:
                with open_file(path, "make it again") as content, parquet.ParquetFile(content) as file:
                    for group in range(file.num_row_groups):
                        for batch in file.iter_batches(MAX_ROWS, row_groups=[group]):
                            yield pa.Table.from_batches([batch]).cast(self.schema)
            except (OSError, pa.ArrowException) as error:
                raise DataError(f"{path} is damaged ({first_line(error)}); delete it and make it again") from None
