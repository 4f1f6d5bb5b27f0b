"""Kaggle's format: every float32 is given back, and the same numbers give the same bytes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import draw_labels, read_submission

from machine.files import DataError
from survey.submission import write_submission


@pytest.fixture
def predictions() -> np.ndarray:
    return draw_labels(8, np.random.default_rng(5)).astype(np.float32)


def test_same_numbers_give_the_same_bytes(tmp_path: Path, predictions: np.ndarray):
    ids = np.arange(8)
    for name in ("one.csv.gz", "another.csv.gz"):
        write_submission(tmp_path / name, ids, predictions)
    content = (tmp_path / "one.csv.gz").read_bytes()
    assert content == (tmp_path / "another.csv.gz").read_bytes()
    assert content[4:8] == bytes(4), "the header of the gzip file holds a time"


def test_float32_that_are_hard_to_write_come_back(tmp_path: Path):
    one = np.float32(1)
    numbers = np.zeros((1, 37), np.float32)
    numbers[0, :6] = np.nextafter(one, np.float32(0)), 1e-45, 1.1754944e-38, 1 / 3, np.float32(0.1), one
    write_submission(tmp_path / "hard.csv.gz", np.array([1]), numbers)
    cells = read_submission(tmp_path / "hard.csv.gz")[1][1:]
    np.testing.assert_array_equal(np.array(cells, np.float64).astype(np.float32), numbers[0])


def test_rounding_past_the_ends_is_no_error(tmp_path: Path):
    numbers = np.zeros((1, 37), np.float32)
    numbers[0, :2] = np.nextafter(np.float32(1), np.float32(2)), -1e-9
    write_submission(tmp_path / "ends.csv.gz", np.array([1]), numbers)
    assert len(read_submission(tmp_path / "ends.csv.gz")) == 2


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    ids=st.lists(st.integers(0, 10**18 - 1), min_size=1, max_size=5, unique=True),
    values=st.lists(st.floats(0, 1, width=32), min_size=37, max_size=37),
)
def test_any_float32_comes_back(tmp_path_factory, ids, values):
    path = tmp_path_factory.mktemp("submission") / "any.csv.gz"
    write_submission(path, np.array(ids), np.tile(np.array(values, np.float32), (len(ids), 1)))
    rows = read_submission(path)[1:]
    assert [int(row[0]) for row in rows] == ids
    for row in rows:
        np.testing.assert_array_equal(np.array(row[1:], np.float64).astype(np.float32), np.array(values, np.float32))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda p: p[:-1], r"expected predictions \(8, 37\), one row per test id, got \(7, 37\); predict again"),
        (lambda p: p[:, :-1], r"got \(8, 36\)"),
        (lambda p: np.where(np.arange(8)[:, None] == 3, np.nan, p), "got NaN for GalaxyID 23; train the model again"),
        (lambda p: p + 0.5, r"within \[0, 1\], got 0 to 1\.[0-9]+; predict again"),
    ],
)
def test_what_makes_no_submission_is_refused_and_replaces_none(tmp_path: Path, predictions, change, complaint: str):
    path = tmp_path / "s.csv.gz"
    write_submission(path, np.arange(20, 28), predictions)
    before = path.read_bytes()
    with pytest.raises(DataError, match=complaint):
        write_submission(path, np.arange(20, 28), change(predictions))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
