"""Rows on disk in parts: the same rows in each part, resumed after a kill, removed where the run is another."""

from pathlib import Path

import pyarrow as pa
import pytest

from catalogue import row_store
from catalogue.row_store import RowStore


@pytest.fixture(autouse=True)
def three_rows_per_part(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(row_store, "ROWS_PER_PART", 3)


def rows_from(start: int, stop: int) -> pa.Table:
    return pa.table({"row": list(range(start, stop)), "name": [f"galaxy {row}" for row in range(start, stop)]})


def fill(store: RowStore, indices: list[int]) -> None:
    for index in indices:
        start, stop = store.rows(index)
        store.save(index, rows_from(start, stop), [f"WebP {row}".encode() for row in range(start, stop)])


@pytest.mark.parametrize(("num_rows", "ranges"), [(0, []), (2, [(0, 2)]), (3, [(0, 3)]), (7, [(0, 3), (3, 6), (6, 7)])])
def test_parts_cover_all_rows_once(num_rows: int, ranges: list[tuple[int, int]], tmp_path: Path):
    store = RowStore(tmp_path / "a.csv", "run", num_rows)
    assert [store.rows(index) for index in range(len(store))] == ranges
    assert store.missing == list(range(len(ranges)))


def test_tables_come_in_order_whatever_the_order_of_writing(tmp_path: Path):
    store = RowStore(tmp_path / "a.csv", "run", 7)
    fill(store, [2, 0, 1])
    assert [table["row"].to_pylist() for table in store] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [table.column_names for table in store.tables(["name"])] == [["name"]] * 3
    assert store.missing == []


def test_the_same_run_resumes_with_the_missing_parts(tmp_path: Path):
    fill(RowStore(tmp_path / "a.csv", "run", 7), [0, 2])
    # What a killed process leaves: the file that it was writing.
    (tmp_path / ".a.csv.parts" / ".000001.parquet.999999999.part").write_bytes(b"half")
    store = RowStore(tmp_path / "a.csv", "run", 7)
    assert store.missing == [1] and not list(store.folder.glob("*.part")) + list(store.folder.glob(".*.part"))


@pytest.mark.parametrize("changed", ["identity", "pictures", "note"])
def test_another_run_begins_anew(changed: str, tmp_path: Path):
    store = RowStore(tmp_path / "a.csv", "run", 7)
    fill(store, [0, 1, 2])
    if changed == "note":
        (store.folder / "identity.json").write_text("{")
    other = RowStore(tmp_path / "a.csv", "other" if changed == "identity" else "run", 7, changed == "pictures")
    assert other.missing == [0, 1, 2]


def test_pictures_are_those_of_the_rows_and_no_column_of_the_table(tmp_path: Path):
    store = RowStore(tmp_path / "a.csv", "run", 7, with_pictures=True)
    fill(store, [0, 2])
    store.save(1, rows_from(3, 6), [None, b"WebP 4", None])
    assert list(store.pictures([0, 2, 3, 4, 6])) == [b"WebP 0", b"WebP 2", None, b"WebP 4", b"WebP 6"]
    assert list(store.pictures([])) == []
    assert {tuple(table.column_names) for table in store} == {("row", "name")}


def test_a_part_without_its_rows_is_missing_although_it_has_pictures(tmp_path: Path):
    store = RowStore(tmp_path / "a.csv", "run", 3, with_pictures=True)
    fill(store, [0])
    (store.folder / "000000.parquet").unlink()
    assert store.missing == [0]


def test_removed_parts_leave_nothing(tmp_path: Path):
    store = RowStore(tmp_path / "a.csv", "run", 3)
    fill(store, [0])
    store.remove()
    assert list(tmp_path.iterdir()) == []
