"""Tables in three formats read the same, without loss of digits; anything else is one line."""

import builtins
from pathlib import Path

import numpy as np
import pandas
import pytest

from machine.files import DataError
from survey import tables

TABLE = pandas.DataFrame(
    {
        "id_str": ["J1", "with, comma", "x"],
        "GalaxyID": [587722981736120347, 2, 3],
        "a_fraction": [0.25, np.nan, 1.0],
        "b_count": [3, 0, 40],
    }
)


def write(path: Path) -> Path:
    if path.suffix == ".csv":
        TABLE.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        pytest.importorskip("pyarrow")
        TABLE.to_parquet(path)
    else:
        pytest.importorskip("astropy.table").Table.from_pandas(TABLE).write(path)
    return path


formats = pytest.mark.parametrize("suffix", [".csv", ".parquet", ".fits"])


@formats
def test_columns_are_read_by_name(tmp_path: Path, suffix: str):
    path = write(tmp_path / f"table{suffix}")
    assert tables.column_names(path) == list(TABLE)
    table = tables.read_columns(path, ["b_count", "id_str", "GalaxyID", "a_fraction"])
    assert list(table) == ["b_count", "id_str", "GalaxyID", "a_fraction"]
    assert table["id_str"].tolist() == TABLE["id_str"].tolist()
    assert [str(cell) for cell in table["GalaxyID"]] == ["587722981736120347", "2", "3"]
    np.testing.assert_array_equal(pandas.to_numeric(table["a_fraction"]), TABLE["a_fraction"])
    np.testing.assert_array_equal(pandas.to_numeric(table["b_count"]), TABLE["b_count"])


@formats
@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: b"\0\xff" * 50, lambda data: data[:20]])
def test_a_damaged_table_is_told_in_one_line(tmp_path: Path, suffix: str, damage):
    path = write(tmp_path / f"table{suffix}")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=rf"table\{suffix} can not be read as a table \(.+\)") as raised:
        tables.read_columns(path, tables.column_names(path))
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(("suffix", "package"), [(".parquet", "pyarrow"), (".fits", "astropy")])
def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, package: str):
    path = tmp_path / f"table{suffix}"
    path.write_bytes(b"x")
    imported = builtins.__import__

    def without(name: str, *arguments: object) -> object:
        if name.startswith(package):
            raise ImportError(name)
        return imported(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=rf"to read this table, install {package} \(pip install {package}\)"):
        tables.column_names(path)


def test_what_is_no_table_by_its_name_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"expected a table that ends with \.csv, \.parquet, \.fits, \.fit, got"):
        tables.column_names(tmp_path / "votes.xlsx")
    with pytest.raises(DataError, match="is missing; name a table"):
        tables.column_names(tmp_path / "votes.csv")


def test_too_large_a_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path / "table.csv")
    monkeypatch.setattr(tables, "MAX_BYTES", 9)
    with pytest.raises(DataError, match="expected at most 9 bytes, got"):
        tables.column_names(path)


def test_rows_that_are_longer_than_the_header_are_refused(tmp_path: Path):
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2,3\n4,5,6\n")
    with pytest.raises(DataError, match="can not be read as a table"):
        tables.read_columns(path, ["a", "b"])


def test_a_header_of_excel_is_read(tmp_path: Path):
    path = tmp_path / "table.csv"
    path.write_bytes('\ufeff"id_str", "a, b"\r\nx, 1\r\n'.encode())
    assert tables.column_names(path) == ["id_str", "a, b"]
    assert tables.read_columns(path, ["a, b"])["a, b"].tolist() == ["1"]
