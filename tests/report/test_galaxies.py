"""Galaxies and fields of a page as plain values."""

import json
from dataclasses import replace

import made_pages
import numpy as np
import pytest

from report.galaxies import MAX_FIELD_BYTES, MAX_ROWS, Field, Galaxies, numbers, parts, short, spread_evenly


def test_more_rows_than_a_page_can_show_are_refused():
    with pytest.raises(ValueError, match="at most 5000 galaxies"):
        Galaxies(["a"] * (MAX_ROWS + 1), np.zeros((MAX_ROWS + 1, 37)), [None] * (MAX_ROWS + 1))
    with pytest.raises(ValueError, match="expected votes and pictures of 1 galaxies"):
        Galaxies(["a"], np.zeros((2, 37)), [None])
    large = replace(made_pages.field(1), picture=b"\xff\xd8\xff" + bytes(MAX_FIELD_BYTES // 2))
    with pytest.raises(ValueError, match="pictures of fields of at most"):
        Galaxies(["a"], np.zeros((1, 37)), [None], fields=[large, large])


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
        assert whole.as_plain(3)["picture"].startswith("data:image/jpeg;base64,")
        with pytest.raises(ValueError, match="expected rows below 2"):
            whole.as_plain(2)
        for changed, match in (
            ({"picture": b"<svg>"}, "expected a JPEG"),
            ({"x": np.array([1, np.nan, 2])}, "finite"),
        ):
            field = Field(**{**whole.__dict__, **changed})
            with pytest.raises(ValueError, match=match):
                field.as_plain(3)
