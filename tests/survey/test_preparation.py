"""Rows of the table in the order of ids, and deviations from the decision tree; the scripts are in test_prepare.py."""

import numpy as np
import pytest
from tiny import Survey, write_csv

from galaxy.decision_tree import GALAXY_ZOO_2, TOLERANCE
from machine.files import DataError
from survey import preparation


def test_rows_follow_the_ids_in_any_order():
    ids = np.array([30, 10, 20, 40])
    np.testing.assert_array_equal(preparation.rows_of(np.array([20, 30, 20]), ids), [2, 0, 2])
    with pytest.raises(DataError, match=r"GalaxyID 25 has none \(2 such ids\); run create_train_ids_file.py again"):
        preparation.rows_of(np.array([20, 25, 99]), ids)


def test_deviations_are_those_of_the_changed_cells(survey: Survey):
    deviations = preparation.measure_deviations()
    assert deviations.complaint(TOLERANCE) is None
    assert deviations.sums.shape == (30, len(GALAXY_ZOO_2.numbers))
    labels = survey.labels.copy()
    row = int(labels[:, 0].argmax())
    labels[row, 0] += 0.25
    write_csv(survey.csv, survey.train_ids, labels)
    deviations = preparation.measure_deviations()
    assert deviations.sums[row, 0] == pytest.approx(0.25, abs=1e-5)  # question 1 sums to 1.25
    assert deviations.outside[row] == pytest.approx(max(0, labels[row, 0] - 1), abs=1e-5)
    assert f"1 of 30 galaxies are not, GalaxyID {survey.train_ids[row]} first" in deviations.complaint(0.01)
    assert deviations.complaint(0.3) is None


def test_labels_outside_of_0_to_1_are_an_error_with_the_cell(survey: Survey):
    labels = survey.labels.copy()
    labels[4, 2] = 1.5
    preparation.write_train_ids()
    write_csv(survey.csv, survey.train_ids, labels)
    with pytest.raises(DataError, match=rf"got 1\.5 for GalaxyID {survey.train_ids[4]} in Class1\.3 \(1 such cells\)"):
        preparation.write_labels()
