"""Galaxies and fields of a page as plain values."""

import json
from dataclasses import replace

import made_pages
import numpy as np
import pytest

from galaxy.decision_tree import GALAXY_ZOO_2
from report.galaxies import (
    MARKS_PER_SIDE,
    MAX_FIELD_BYTES,
    MAX_ROWS,
    Galaxies,
    address,
    numbers,
    parts,
    short,
    spread_evenly,
)


def test_more_rows_than_a_page_can_show_are_refused():
    with pytest.raises(ValueError, match="at most 5000 galaxies"):
        Galaxies(
            GALAXY_ZOO_2,
            ["a"] * (MAX_ROWS + 1),
            np.zeros((MAX_ROWS + 1, 37)),
            [None] * (MAX_ROWS + 1),
            [""] * (MAX_ROWS + 1),
        )
    with pytest.raises(ValueError, match="expected votes, pictures and paths of 1 galaxies"):
        Galaxies(GALAXY_ZOO_2, ["a"], np.zeros((2, 37)), [None], [""])
    large = replace(made_pages.field(1), picture=b"\xff\xd8\xff" + bytes(MAX_FIELD_BYTES // 2))
    with pytest.raises(ValueError, match="pictures of fields of at most"):
        Galaxies(GALAXY_ZOO_2, ["a"], np.zeros((1, 37)), [None], [""], fields=[large, large])


@pytest.mark.parametrize(("number", "most"), [(0, 3), (1, 3), (3, 3), (4, 3), (10, 3), (12_345, 5_000)])
def test_rows_are_spread_evenly(number: int, most: int):
    rows = spread_evenly(number, most)
    assert len(rows) == min(number, most) == len(set(rows.tolist()))
    if number:
        assert rows[0] == 0 and (len(rows) == 1 or rows[-1] == number - 1)
        assert np.ptp(np.diff(rows)) <= 1 if len(rows) > 2 else True


def test_texts_are_cut_to_their_bytes_in_json():
    assert short("a" * 1_000) == "a" * 1_000
    assert short("<" * 1_000) == "<" * 99 + "…"
    assert len(json.dumps(short("銀" * 5_000, 240))) < 240
    assert short("\ud800") == "\\ud800"


def test_numbers_and_fractions_become_plain_values():
    assert numbers(np.array([1.23456, np.nan]), 2) == [1.23, None]
    assert numbers(np.array([2**60]), 2) == [2**60]
    assert parts(np.array([[0.25, np.nan, 1.5, -1]])) == [2_500, -1, 10_000, 0]


class TestFields:
    def test_marks_of_rows_outside_the_page_are_dropped(self):
        field = made_pages.field(10).among(np.array([1, 4, 9]))
        whole = made_pages.field(10)
        assert field.rows.tolist() == [0, 1, 2]
        np.testing.assert_array_equal(field.x, whole.x[[1, 4, 9]])
        assert made_pages.field(10).among(np.arange(0)).rows.size == 0

    def test_marks_without_position_or_row_are_refused(self):
        whole = made_pages.field(3)
        assert address(whole.picture).startswith("data:image/jpeg;base64,")
        with pytest.raises(ValueError, match="expected rows below 2"):
            whole.marks(2)
        with pytest.raises(ValueError, match="finite"):
            replace(whole, x=np.array([1, np.nan, 2])).marks(3)
        with pytest.raises(ValueError, match="expected a JPEG"):
            address(b"<svg>")

    def test_marks_are_ellipses_from_the_upper_left_corner_and_never_invisible(self):
        whole = replace(made_pages.field(3), a=np.array([30.0, 1, 1]), b=np.array([20.0, 0.5, 1]))
        marks = whole.marks(3)
        assert [mark.row for mark in marks] == [0, 1, 2] and marks[0].look == "spiral"
        assert (marks[0].x, marks[0].y) == pytest.approx((whole.x[0] + 0.5, whole.y[0] + 0.5), abs=0.051)
        assert (marks[0].a, marks[0].b) == (30, 20)
        assert marks[1].a == marks[1].b == pytest.approx(900 / MARKS_PER_SIDE, abs=0.051)
