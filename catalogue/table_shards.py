"""A catalogue in shards, one table per machine, and their merge. Each table notes its index and its run."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from machine.files import DataError, first_line

_KEY = b"shard"


def shard_path(output: Path, index: int, num_shards: int) -> Path:
    """Return the table of a shard of a catalogue; `index` is counted from 1."""
    return output.with_name(f"{output.stem}.{index}of{num_shards}.parquet")


def shards_beside(output: Path) -> list[Path]:
    """Return the tables of shards in the folder of a catalogue."""
    name = re.compile(rf"{re.escape(output.stem)}\.\d+of\d+\.parquet")
    return [path for path in output.parent.glob("*.parquet") if name.fullmatch(path.name)]


def with_shard_note(schema: pa.Schema, index: int, num_shards: int, identity: str) -> pa.Schema:
    """Return a shard's columns with a note: its index, the number of shards, the identity of the whole run."""
    return schema.with_metadata({**schema.metadata, _KEY: f"{index}/{num_shards} {identity}".encode()})


def _read_note(path: Path) -> tuple[int, int, str]:
    """Return the index of a shard, the number of shards, and the identity of the whole run."""
    if not path.is_file():
        raise DataError(f"{path} is missing; make it with --shard, or name the tables of the other shards")
    try:
        schema = parquet.read_schema(path)
        match = re.fullmatch(rb"(\d+)/(\d+) (\w+)", (schema.metadata or {}).get(_KEY, b""))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is not a table of a --shard ({first_line(error)}); name those") from None
    if match is None:
        raise DataError(f"{path} is not a table of a --shard; name those")
    return int(match[1]), int(match[2]), match[3].decode()


class MergedShards:
    """The rows of all shards in order. Iterating yields one table per row group, any number of times.

    Raises DataError with the file's name where a file is not a shard, is of another run, is there twice or is missing.
    """

    def __init__(self, paths: Sequence[Path]):
        shards: dict[int, Path] = {}
        runs: dict[tuple[int, str], Path] = {}
        for path in paths:
            index, *run = _read_note(path)
            if other := next((runs[key] for key in runs if key != tuple(run)), None):
                raise DataError(f"{path} is of another run than {other}; make both with the same images and options")
            if index in shards:
                raise DataError(f"{path} is shard {index}/{run[0]} a second time, beside {shards[index]}; name one")
            runs[tuple(run)] = shards[index] = path
        [(num_shards, _)] = runs
        if missing := sorted(set(range(1, num_shards + 1)) - set(shards)):
            raise DataError(
                f"expected {num_shards} shards, but {missing[0]}/{num_shards} is missing; make it, or name it"
            )
        self.files = [shards[index] for index in sorted(shards)]
        schema = parquet.read_schema(self.files[0])
        self.schema = schema.with_metadata({name: value for name, value in schema.metadata.items() if name != _KEY})
        self.num_rows = sum(parquet.read_metadata(path).num_rows for path in self.files)

    def __iter__(self) -> Iterator[pa.Table]:
        for path in self.files:
            with parquet.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    yield file.read_row_group(group).cast(self.schema)
