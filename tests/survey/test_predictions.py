"""What models predicted: who has files, and what is said of a file that does not fit."""

import numpy as np
import pytest
from tiny import Survey, draw_labels, write_models

from galaxy.decision_tree import GALAXY_ZOO_2
from machine.arrays import load_gz, save_gz
from machine.files import DataError
from survey import folders
from survey.predictions import describe_lost, find_models, load_predictions, lost_questions

ROWS = {"valid": 3, "test": 8}
parts = pytest.mark.parametrize("part", ROWS)


@parts
def test_models_come_in_the_order_of_their_names(prepared_survey: Survey, part: str):
    names = write_models(prepared_survey, 3)
    path = folders.current.augmented(part, names[1])
    path.rename(path.with_name("a_model_of_mine.npy.gz"))
    path.with_name("notes.txt").touch()
    path.with_name(f"{names[0]}.csv.gz").touch()
    assert find_models(folders.current, part) == ["a_model_of_mine", names[0], names[2]]


@parts
def test_without_models_the_line_says_what_to_run(prepared_survey: Survey, part: str):
    with pytest.raises(DataError, match=rf"expected predictions in .*/{part}, got none; run predict_augmented_npy_\*"):
        find_models(folders.current, part)


@parts
def test_predictions_as_they_were_saved(prepared_survey: Survey, part: str):
    (name,) = write_models(prepared_survey, 1)
    predictions = load_predictions(folders.current, part, name, ROWS[part])
    assert (predictions.shape, predictions.dtype) == ((ROWS[part], 37), np.float32)
    np.testing.assert_array_equal(predictions, load_gz(folders.current.augmented(part, name)))


@parts
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda p: p[:-1], r"expected floats \({rows}, 37\), got float32 \({less}, 37\); delete it and run"),
        (lambda p: p[:, :36], r"got float32 \({rows}, 36\); delete it and run the predict_augmented_npy script of"),
        (lambda p: p.astype(int), r"got int64 \({rows}, 37\)"),
        (lambda p: np.where(np.arange(len(p))[:, None] == 2, np.nan, p), "infinity in row 2; train the model again"),
        (lambda p: np.where(np.arange(len(p))[:, None] == 2, -np.inf, p), "infinity in row 2; train the model again"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(prepared_survey: Survey, part: str, change, complaint: str):
    (name,) = write_models(prepared_survey, 1)
    path = folders.current.augmented(part, name)
    save_gz(path, change(load_gz(path)))
    with pytest.raises(DataError, match=complaint.format(rows=ROWS[part], less=ROWS[part] - 1)):
        load_predictions(folders.current, part, name, ROWS[part])


def test_predictions_that_are_missing_are_named_with_their_script(prepared_survey: Survey):
    with pytest.raises(DataError, match=r"try_x\.npy\.gz is missing; run the predict_augmented_npy script of try_x"):
        load_predictions(folders.current, "valid", "try_x", 3)


def test_lost_questions_are_counted():
    predictions = GALAXY_ZOO_2.obey(draw_labels(6, np.random.default_rng(7)) + 0.01)
    assert lost_questions(predictions, GALAXY_ZOO_2) == {}
    assert describe_lost("try_model_a", "test galaxies", predictions, GALAXY_ZOO_2) is None
    # Without "features or disk" questions 2 to 5 and 9 to 11 have no weight: that is an answer, not a loss.
    predictions[0] = GALAXY_ZOO_2.weigh(np.eye(37)[0] + np.eye(37)[[14, 16]].sum(axis=0))
    assert lost_questions(predictions, GALAXY_ZOO_2) == {}
    predictions[:, GALAXY_ZOO_2.slices[8]] = 0
    predictions[1:3, GALAXY_ZOO_2.slices[3]] = 0
    predictions[0, GALAXY_ZOO_2.slices[6]] = 0
    assert lost_questions(predictions, GALAXY_ZOO_2) == {3: 2, 6: 1, 8: 5}
    assert describe_lost("try_model_a", "valid galaxies", predictions, GALAXY_ZOO_2) == (
        "questions lost by try_model_a (all answers are zero), of 6 valid galaxies: 3 (2), 6 (1), 8 (5)"
    )
    predictions[:, :3] = 0
    assert lost_questions(predictions, GALAXY_ZOO_2) == {1: 6, 3: 2, 6: 1, 8: 5}
    assert "of 6 test galaxies: 1 (all), 3 (2), 6 (1), 8 (5)" in describe_lost(
        "try_model_a", "test galaxies", predictions, GALAXY_ZOO_2
    )
