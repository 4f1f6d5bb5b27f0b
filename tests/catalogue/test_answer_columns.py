"""A network's numbers as columns and words."""

import numpy as np
import pytest
from tiny import draw_labels

from catalogue import answer_columns
from galaxy.decision_tree import QUESTIONS, SLICES, columns, question_totals, weigh


def test_columns_have_names_that_tables_of_all_kinds_bear():
    assert len(set(answer_columns.FRACTIONS)) == 37
    assert all(name.isascii() and name.replace("_", "a").isalnum() for name in answer_columns.FRACTIONS)
    for number, of in QUESTIONS.items():
        assert len(answer_columns.FRACTIONS[columns(number)]) == len(of.answers)
    assert answer_columns.FRACTIONS[0] == "smooth_or_featured_smooth_fraction"
    assert answer_columns.FRACTIONS[columns(4)][0] == "has_spiral_arms_yes_fraction"
    assert answer_columns.FRACTIONS[-1] == "spiral_arm_count_cant_tell_fraction"


def test_conditional_fractions_undo_the_weights():
    fractions = np.random.default_rng(0).random((50, 37)) + 0.5
    for of_question in SLICES.values():
        fractions[:, of_question] /= fractions[:, of_question].sum(axis=1, keepdims=True)
    found = answer_columns.conditional(weigh(fractions))
    asked = np.isfinite(found)
    np.testing.assert_allclose(found[asked], fractions[asked])
    assert asked.mean() > 0.8


def test_a_question_that_almost_nobody_was_asked_has_no_fractions():
    weighted = draw_labels(200, np.random.default_rng(1))
    found = answer_columns.conditional(weighted)
    _, asked = question_totals(weighted)
    for number, of_question in enumerate(SLICES.values()):
        np.testing.assert_array_equal(
            np.isnan(found[:, of_question]).all(axis=1), asked[:, number] < answer_columns.ASKED
        )
        rows = asked[:, number] >= answer_columns.ASKED
        np.testing.assert_allclose(found[rows][:, of_question].sum(axis=1), 1)


@pytest.mark.parametrize(
    ("likely", "words"),
    [
        ({1: 1, 7: 2, 6: 2}, "smooth, in between"),
        ({1: 2, 2: 1, 9: 1, 6: 1, 8: 7}, "features or disk, edge-on, rounded bulge, odd, dust lane"),
        ({1: 2, 2: 2, 3: 2, 4: 1, 10: 3, 11: 2, 5: 3, 6: 2},
         "features or disk, not edge-on, no bar, spiral, loose, 2 arms, bulge obvious"),
        ({1: 2, 2: 2, 3: 1, 4: 2, 5: 4, 6: 1, 8: 1},
         "features or disk, not edge-on, bar, no spiral, bulge dominant, odd, ring"),
        ({1: 3}, "star or artifact"),
    ],
)  # fmt: skip
def test_the_likeliest_path_is_told_in_words(likely: dict[int, int], words: str):
    fractions = np.zeros(37)
    for question, of_question in SLICES.items():
        fractions[of_question] = 0.1
        if question in likely:
            fractions[of_question.start + likely[question] - 1] = 0.6
    assert answer_columns.most_likely_path(weigh(fractions)) == words


def test_every_answer_is_described_in_the_words_of_the_tree():
    described = answer_columns.descriptions()
    assert len(described) == 37
    assert described[0] == "Is the galaxy simply smooth and rounded, with no sign of a disk? smooth"
