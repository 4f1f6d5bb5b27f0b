"""Kaggle's table in any order of rows and columns; what is refused is in test_bad_data.py."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import draw_labels

from galaxy.decision_tree import GALAXY_ZOO_2
from machine.files import DataError
from survey import kaggle_labels

HEADER = ("GalaxyID", *GALAXY_ZOO_2.columns)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    ids=st.lists(st.integers(0, kaggle_labels.MAX_ID), min_size=1, max_size=8, unique=True),
    order=st.permutations(range(38)),
    seed=st.integers(0, 2**32),
    line_end=st.sampled_from(["\n", "\r\n"]),
    mark=st.sampled_from(["", "\ufeff"]),
)
def test_columns_in_any_order(tmp_path_factory, ids, order, seed, line_end, mark):
    labels = draw_labels(len(ids), np.random.default_rng(seed))
    rows = [HEADER, *([str(id), *map(repr, row.tolist())] for id, row in zip(ids, labels, strict=True))]
    text = line_end.join(",".join(row[column] for column in order) for row in rows)
    path = tmp_path_factory.mktemp("table") / "table.csv"
    path.write_text(mark + text, newline="")
    read_ids, read_labels = kaggle_labels.read(path, GALAXY_ZOO_2)
    assert read_ids.dtype == np.int64 and read_ids.tolist() == ids
    np.testing.assert_array_equal(read_labels, labels)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 4), st.integers(0, 37), st.text("abc-.,%/ é", min_size=1))
def test_a_cell_of_text_is_refused_wherever_it_is(tmp_path_factory, line, column, text):
    labels = draw_labels(4, np.random.default_rng(0))
    rows = [list(HEADER), *([str(id), *map(str, row)] for id, row in enumerate(labels))]
    rows[line][column] = text
    path = tmp_path_factory.mktemp("table") / "table.csv"
    path.write_text("\n".join(map(",".join, rows)), encoding="utf-8")
    with pytest.raises(DataError):
        kaggle_labels.read(path, GALAXY_ZOO_2)
