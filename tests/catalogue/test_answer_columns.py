"""Columns of the 37 answers."""

import numpy as np
from tiny import draw_labels

from catalogue import answer_columns
from galaxy.decision_tree import GALAXY_ZOO_2

FRACTIONS = answer_columns.fractions_of(GALAXY_ZOO_2)


def test_columns_have_names_that_tables_of_all_kinds_bear():
    assert len(set(FRACTIONS)) == 37
    assert all(name.isascii() and name.replace("_", "a").isalnum() for name in FRACTIONS)
    for number, of in enumerate(GALAXY_ZOO_2.questions, 1):
        assert len(FRACTIONS[GALAXY_ZOO_2.slices[number]]) == len(of.answers)
    assert FRACTIONS[0] == "smooth_or_featured_smooth_fraction"
    assert FRACTIONS[GALAXY_ZOO_2.slices[4]][0] == "has_spiral_arms_yes_fraction"
    assert FRACTIONS[-1] == "spiral_arm_count_cant_tell_fraction"


def test_conditional_fractions_undo_the_weights():
    fractions = np.random.default_rng(0).random((50, 37)) + 0.5
    for of_question in GALAXY_ZOO_2.slices.values():
        fractions[:, of_question] /= fractions[:, of_question].sum(axis=1, keepdims=True)
    found = answer_columns.conditional(GALAXY_ZOO_2.weigh(fractions), GALAXY_ZOO_2)
    asked = np.isfinite(found)
    np.testing.assert_allclose(found[asked], fractions[asked])
    assert asked.mean() > 0.8


def test_a_question_that_almost_nobody_was_asked_has_no_fractions():
    weighted = draw_labels(200, np.random.default_rng(1))
    found = answer_columns.conditional(weighted, GALAXY_ZOO_2)
    _, asked = GALAXY_ZOO_2.question_totals(weighted)
    for number, of_question in enumerate(GALAXY_ZOO_2.slices.values()):
        np.testing.assert_array_equal(
            np.isnan(found[:, of_question]).all(axis=1), asked[:, number] < answer_columns.ASKED
        )
        rows = asked[:, number] >= answer_columns.ASKED
        np.testing.assert_allclose(found[rows][:, of_question].sum(axis=1), 1)


def test_every_answer_is_described_in_the_words_of_the_tree():
    described = answer_columns.descriptions(GALAXY_ZOO_2)
    assert len(described) == 37
    assert described[0] == "smooth: Is the galaxy simply smooth and rounded, with no sign of a disk?"
