"""Tables in four formats read the same, without loss of digits; a damaged table gives one line."""

import builtins
from pathlib import Path

import numpy as np
import pandas
import pytest
from astropy.table import MaskedColumn, Table
from hypothesis import given
from hypothesis import strategies as st

from machine import tables
from machine.files import DataError
from machine.passed_columns import passed_fields

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


formats = pytest.mark.parametrize("suffix", [".csv", ".parquet", ".fits", ".ecsv"])


@formats
def test_columns_are_read_by_name(tmp_path: Path, suffix: str):
    path = write(tmp_path / f"table{suffix}")
    assert tables.column_names(path) == list(TABLE)
    table = tables.read_cells(path, ["b_count", "id_str", "GalaxyID", "a_fraction"])
    assert list(table) == ["b_count", "id_str", "GalaxyID", "a_fraction"]
    assert table["id_str"].tolist() == TABLE["id_str"].tolist()
    assert [str(cell) for cell in table["GalaxyID"]] == ["587722981736120347", "2", "3"]
    np.testing.assert_array_equal(pandas.to_numeric(table["a_fraction"]), TABLE["a_fraction"])
    np.testing.assert_array_equal(pandas.to_numeric(table["b_count"]), TABLE["b_count"])


@formats
@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: b"\0\xff" * 50, lambda data: data[:20]])
def test_a_damaged_table_gives_one_line(tmp_path: Path, suffix: str, damage):
    path = write(tmp_path / f"table{suffix}")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        DataError, match=rf"table\{suffix} is not a readable {suffix[1:]} table \(.+\); name a table"
    ) as raised:
        tables.read_cells(path, tables.column_names(path))
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


def test_a_file_name_of_another_format_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"expected a table that ends with \.csv, .*\.fits, .*\.vot.*, got"):
        tables.column_names(tmp_path / "votes.xlsx")
    with pytest.raises(DataError, match="is missing; name a table"):
        tables.column_names(tmp_path / "votes.csv")


def test_a_table_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path / "table.csv")
    monkeypatch.setattr(tables, "MAX_BYTES", 9)
    for read in (tables.column_names, tables.read_columns, lambda path: tables.read_cells(path, ["id_str"])):
        with pytest.raises(DataError, match="expected a table of at most 9 bytes, got"):
            read(path)


def test_rows_that_are_longer_than_the_header_are_refused(tmp_path: Path):
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2,3\n4,5,6\n")
    with pytest.raises(DataError, match="is not a readable csv table"):
        tables.read_cells(path, ["a", "b"])


def test_a_header_of_excel_is_read(tmp_path: Path):
    path = tmp_path / "table.csv"
    path.write_bytes('\ufeff"id_str", "a, b"\r\nx, 1\r\n'.encode())
    assert tables.column_names(path) == ["id_str", "a, b"]
    assert tables.read_cells(path, ["a, b"])["a, b"].tolist() == ["1"]


@formats
def test_all_columns_are_read_as_numbers_and_exact_texts(tmp_path: Path, suffix: str):
    columns = tables.read_columns(write(tmp_path / f"table{suffix}"))
    assert list(columns) == list(TABLE)
    assert columns["id_str"].tolist() == TABLE["id_str"].tolist()
    for name in ("GalaxyID", "b_count"):
        assert columns[name].dtype == np.int64 and columns[name].tolist() == TABLE[name].tolist()
    assert columns["a_fraction"].dtype == np.float64
    np.testing.assert_array_equal(columns["a_fraction"], TABLE["a_fraction"])


@pytest.mark.parametrize("suffix", [".fits", ".ecsv"])
def test_whole_numbers_that_are_missing_are_not_numbers(tmp_path: Path, suffix: str):
    missing = [False, True, False]
    table = Table(
        {
            "small": MaskedColumn([1, 2, -3], mask=missing),
            "large": MaskedColumn([587722981736120347, 2, 3], mask=missing),
        }
    )
    table.write(tmp_path / f"table{suffix}")
    columns = tables.read_columns(tmp_path / f"table{suffix}")
    assert columns["small"].tolist() == [1, None, -3]
    assert columns["large"].tolist() == [587722981736120347, None, 3]
    cells = tables.read_cells(tmp_path / f"table{suffix}", ["large"])["large"]
    assert cells[0] == 587722981736120347 and cells.isna().tolist() == missing


def test_an_id_of_digits_stays_text_in_a_csv(tmp_path: Path):
    (tmp_path / "table.csv").write_text("id_str,file_loc,n\n007, a.jpg,7\nNA,b.jpg,8\n")
    columns = tables.read_columns(tmp_path / "table.csv")
    assert columns["id_str"].tolist() == ["007", "NA"] and columns["file_loc"].tolist() == [" a.jpg", "b.jpg"]
    assert columns["n"].tolist() == [7, 8]


@given(st.text(st.characters(exclude_categories=()), max_size=20))
def test_escaped_names_can_be_restored(text: str):
    for ascii_only in (False, True):
        shown = tables.printable(text, ascii_only)
        assert shown.isprintable() and (shown.isascii() or not ascii_only)
        assert tables.original(shown) == text


def test_a_file_that_is_not_a_table_gives_one_line(tmp_path: Path):
    for suffix in tables.SUFFIXES:
        for bad in (b"", b"\0" * 100, b"SIMPLE  = T", b"PAR1"):
            (tmp_path / f"a{suffix}").write_bytes(bad)
            if suffix == ".csv" and bad in (b"SIMPLE  = T", b"PAR1", b"\0" * 100):
                continue  # a table of one column without rows
            with pytest.raises(DataError, match="is not a readable") as refused:
                tables.read_columns(tmp_path / f"a{suffix}")
            assert str(refused.value).isprintable()


def test_columns_that_pass_through_have_unique_valid_names():
    values = np.arange(2)
    passed = passed_fields({"ra": values, "RA": values, "ä b": values, "7": values, "": values}, ["ra"])
    assert [column.name for column, _ in passed] == ["ra_2", "RA_3", "___b", "_7", "column"]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=HYPERLINK(A1)", "\\x3dHYPERLINK(A1)"), ("+1+2", "\\x2b1+2"), ("-a", "\\x2da"), ("@SUM(1)", "\\x40SUM(1)"),
        (" =1+2", " \\x3d1+2"), ("\uff1d1+2", "\\uff1d1+2"), ("-1.5", "-1.5"), ("+3e-4", "+3e-4"), ("a=b", "a=b"),
        ("", ""),
    ],
)  # fmt: skip
def test_formulas_of_spreadsheets_are_escaped_and_restored(text: str, written: str):
    assert tables.inert(text) == written and tables.original(written) == text


def test_a_comma_at_the_end_of_the_header_makes_no_column(tmp_path: Path):
    (tmp_path / "t.csv").write_text("id_str,z,\n1,0.5,\n2,,\n")
    assert list(tables.read_columns(tmp_path / "t.csv")) == ["id_str", "z"]
