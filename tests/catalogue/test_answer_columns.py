"""Columns of the 37 answers."""

import numpy as np
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


def test_every_answer_is_described_in_the_words_of_the_tree():
    described = answer_columns.descriptions()
    assert len(described) == 37
    assert described[0] == "smooth: Is the galaxy simply smooth and rounded, with no sign of a disk?"
