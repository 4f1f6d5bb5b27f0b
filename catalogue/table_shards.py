"""A catalogue in shards, each a table that says which part of what it is, and all of them together."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from machine.files import DataError, first_line

_KEY = b"shard"


def shard_path(output: Path, number: int, of: int) -> Path:
    """Return the table of a shard of a catalogue."""
    return output.with_name(f"{output.stem}.{number}of{of}.parquet")


def shards_beside(output: Path) -> list[Path]:
    """Return the tables of shards that lie where those of a catalogue do."""
    name = re.compile(rf"{re.escape(output.stem)}\.\d+of\d+\.parquet")
    return [path for path in output.parent.glob("*.parquet") if name.fullmatch(path.name)]


def noted(schema: pa.Schema, number: int, of: int, identity: str) -> pa.Schema:
    """Return a shard's columns, noting which it is, of how many, and what the whole depends on."""
    return schema.with_metadata({**schema.metadata, _KEY: f"{number}/{of} {identity}".encode()})


def _read_note(path: Path) -> tuple[int, int, str]:
    """Return the number of a table's shard, of how many, and what the whole depends on."""
    if not path.is_file():
        raise DataError(f"{path} is missing; make it with --shard, or name the tables that there are")
    try:
        schema = parquet.read_schema(path)
        match = re.fullmatch(rb"(\d+)/(\d+) (\w+)", (schema.metadata or {}).get(_KEY, b""))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is no table of a --shard ({first_line(error)}); name those") from None
    if match is None:
        raise DataError(f"{path} is no table of a --shard; name those")
    return int(match[1]), int(match[2]), match[3].decode()


class Together:
    """The tables of all shards, in order, some rows at a time, as often as is asked.

    Raises DataError, naming the file, where one is no shard, of another run, there twice, or missing.
    """

    def __init__(self, paths: Sequence[Path]):
        shards: dict[int, Path] = {}
        runs: dict[tuple[int, str], Path] = {}
        for path in paths:
            number, *run = _read_note(path)
            if other := next((runs[key] for key in runs if key != tuple(run)), None):
                raise DataError(f"{path} is of another run than {other}; make both with the same images and options")
            if number in shards:
                raise DataError(f"{path} is shard {number}/{run[0]} a second time, beside {shards[number]}; name one")
            runs[tuple(run)] = shards[number] = path
        [(of, _)] = runs
        if missing := sorted(set(range(1, of + 1)) - set(shards)):
            raise DataError(f"expected {of} shards, but {missing[0]}/{of} is missing; make it, or name it")
        self.files = [shards[number] for number in sorted(shards)]
        schema = parquet.read_schema(self.files[0])
        self.schema = schema.with_metadata({name: value for name, value in schema.metadata.items() if name != _KEY})
        self.num_rows = sum(parquet.read_metadata(path).num_rows for path in self.files)

    def __iter__(self) -> Iterator[pa.Table]:
        for path in self.files:
            with parquet.ParquetFile(path) as file:
                for number in range(file.num_row_groups):
                    yield file.read_row_group(number).cast(self.schema)
