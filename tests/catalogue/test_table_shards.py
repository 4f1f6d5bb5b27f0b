"""Tables of several machines and their merge."""

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from catalogue.table_shards import MergedShards, shard_path, shards_beside, with_shard_note
from machine.files import DataError

SCHEMA = pa.schema([pa.field("row", pa.int64(), metadata={b"unit": b"pix"})], metadata={b"provenance": b"{}"})


def write_shard(folder: Path, index: int, num_shards: int, rows: list[int], run: str = "abc") -> Path:
    path = shard_path(folder / "sky.fits", index, num_shards)
    table = pa.table({"row": rows}, schema=with_shard_note(SCHEMA, index, num_shards, run))
    parquet.write_table(table, path, row_group_size=2)
    return path


def test_shards_are_merged_in_order_without_their_notes(tmp_path: Path):
    third, first, second = (
        write_shard(tmp_path, index, 3, rows) for index, rows in ((3, [9]), (1, [0, 1, 2, 3, 4]), (2, []))
    )
    merged = MergedShards([third, first, second])
    for _ in range(2):
        assert [table["row"].to_pylist() for table in merged if len(table)] == [[0, 1], [2, 3], [4], [9]]
    assert merged.num_rows == 6
    assert merged.schema.equals(SCHEMA, check_metadata=True)
    assert all(table.schema.equals(SCHEMA, check_metadata=True) for table in merged)


def test_shards_are_found_by_the_name_of_the_catalogue(tmp_path: Path):
    own = {write_shard(tmp_path, index, 12, []) for index in (1, 12)}
    for name in ("sky.parquet", "sky.2of3.csv", "sky.aof3.parquet", "other.1of2.parquet", "skyx.1of2.parquet"):
        (tmp_path / name).touch()
    assert set(shards_beside(tmp_path / "sky.fits")) == own
    assert {path.name for path in own} == {"sky.1of12.parquet", "sky.12of12.parquet"}


def test_a_set_that_is_not_one_whole_catalogue_is_refused(tmp_path: Path):
    first, second = write_shard(tmp_path, 1, 2, [1]), write_shard(tmp_path, 2, 2, [2])
    with pytest.raises(DataError, match="expected 2 shards, but 1/2 is missing"):
        MergedShards([second])
    with pytest.raises(DataError, match=r"is shard 1/2 a second time"):
        MergedShards([first, second, first])
    (tmp_path / "other").mkdir()
    for stranger in (write_shard(tmp_path / "other", 2, 2, [2], "def"), write_shard(tmp_path, 2, 3, [2])):
        with pytest.raises(DataError, match=rf"{stranger} is of another run than {first}"):
            MergedShards([first, stranger])


@pytest.mark.parametrize("content", [None, b"", b"PAR1 text", "a table without a note"])
def test_a_file_that_is_not_a_shard_is_named(content: bytes | str | None, tmp_path: Path):
    path = tmp_path / "a.parquet"
    if isinstance(content, str):
        parquet.write_table(pa.table({"row": [1]}), path)
    elif content is not None:
        path.write_bytes(content)
    expected = "is missing; make it with --shard" if content is None else "is not a table of a --shard"
    with pytest.raises(DataError, match=rf"a\.parquet {expected}") as refused:
        MergedShards([path])
    assert "\n" not in str(refused.value)
