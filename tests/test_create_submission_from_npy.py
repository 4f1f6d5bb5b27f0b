"""The submission: Kaggle's format, every float32 given back, and what is refused."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from conftest import Survey, draw_votes
from hypothesis import given, settings
from hypothesis import strategies as st

import create_submission_from_npy
import decision_tree
import load_data


@pytest.fixture
def predictions() -> np.ndarray:
    return draw_votes(8, np.random.default_rng(5)).astype(np.float32)


def read_lines(path: Path) -> list[list[str]]:
    with gzip.open(path, "rt") as file:
        return [line.rstrip("\n").split(",") for line in file]


def test_format(prepared_survey: Survey, predictions: np.ndarray, run_main, capsys):
    path = prepared_survey.root / "blend.npy.gz"
    load_data.save_gz(path, predictions)
    run_main(create_submission_from_npy, path, "--root", prepared_survey.root)
    header, *rows = read_lines(prepared_survey.root / "blend.csv.gz")
    assert header == ["GalaxyID", *decision_tree.COLUMN_NAMES]
    assert [row[0] for row in rows] == ["7", "31", "100", "205", "1003", "20011", "100024", "900080"]
    written = np.array([[float(cell) for cell in row[1:]] for row in rows])
    np.testing.assert_array_equal(written.astype(np.float32), predictions)
    assert "wrote 8 rows" in capsys.readouterr().out


def test_rows_follow_the_ids_file(prepared_survey: Survey, predictions: np.ndarray, run_main):
    ids = prepared_survey.test_ids[::-1]
    load_data.save_array(prepared_survey.root / "data" / "test_ids.npy", ids)
    path = prepared_survey.root / "blend.npy.gz"
    load_data.save_gz(path, predictions)
    run_main(create_submission_from_npy, path, "--root", prepared_survey.root)
    assert [int(row[0]) for row in read_lines(prepared_survey.root / "blend.csv.gz")[1:]] == ids.tolist()


def test_same_numbers_give_the_same_bytes(tmp_path: Path, predictions: np.ndarray):
    ids = np.arange(8)
    for name in ("one.csv.gz", "another.csv.gz"):
        load_data.write_submission(tmp_path / name, ids, predictions)
    content = (tmp_path / "one.csv.gz").read_bytes()
    assert content == (tmp_path / "another.csv.gz").read_bytes()
    assert content[4:8] == bytes(4), "the header of the gzip file holds a time"


def test_float32_that_are_hard_to_write_come_back(tmp_path: Path):
    one = np.float32(1)
    numbers = np.zeros((1, 37), np.float32)
    numbers[0, :6] = np.nextafter(one, np.float32(0)), 1e-45, 1.1754944e-38, 1 / 3, np.float32(0.1), one
    load_data.write_submission(tmp_path / "hard.csv.gz", np.array([1]), numbers)
    cells = read_lines(tmp_path / "hard.csv.gz")[1][1:]
    np.testing.assert_array_equal(np.array(cells, np.float64).astype(np.float32), numbers[0])


def test_rounding_past_the_ends_is_no_error(tmp_path: Path):
    numbers = np.zeros((1, 37), np.float32)
    numbers[0, :2] = np.nextafter(np.float32(1), np.float32(2)), -1e-9
    load_data.write_submission(tmp_path / "ends.csv.gz", np.array([1]), numbers)
    assert len(read_lines(tmp_path / "ends.csv.gz")) == 2


def test_files_that_are_missing_or_named_otherwise(prepared_survey: Survey, predictions: np.ndarray, run_main):
    root = prepared_survey.root
    with pytest.raises(load_data.DataError, match=r"absent\.npy\.gz is missing"):
        run_main(create_submission_from_npy, root / "absent.npy.gz", "--root", root)
    np.save(root / "blend.npy", predictions)
    with pytest.raises(load_data.DataError, match=r"ends with \.npy\.gz"):
        run_main(create_submission_from_npy, root / "blend.npy", "--root", root)
    (root / "data" / "test_ids.npy").unlink()
    load_data.save_gz(root / "blend.npy.gz", predictions)
    with pytest.raises(load_data.DataError, match=r"run create_test_ids_file\.py first"):
        run_main(create_submission_from_npy, root / "blend.npy.gz", "--root", root)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    ids=st.lists(st.integers(0, 10**18 - 1), min_size=1, max_size=5, unique=True),
    values=st.lists(st.floats(0, 1, width=32), min_size=37, max_size=37),
)
def test_any_float32_comes_back(tmp_path_factory, ids, values):
    path = tmp_path_factory.mktemp("submission") / "any.csv.gz"
    load_data.write_submission(path, np.array(ids), np.tile(np.array(values, np.float32), (len(ids), 1)))
    rows = read_lines(path)[1:]
    assert [int(row[0]) for row in rows] == ids
    for row in rows:
        np.testing.assert_array_equal(np.array(row[1:], np.float64).astype(np.float32), np.array(values, np.float32))
