"""The tree against what is documented of it, and its array operations against slow loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import draw_labels

from galaxy import decision_tree

NUM_ANSWERS_OF = {1: 3, 2: 2, 3: 2, 4: 2, 5: 4, 6: 2, 7: 3, 8: 7, 9: 3, 10: 3, 11: 6}
DOCUMENTED_SCALING = {
    1: None,
    2: (1, 2),
    3: (2, 2),
    4: (2, 2),
    5: (2, 2),
    6: None,
    7: (1, 1),
    8: (6, 1),
    9: (2, 1),
    10: (4, 1),
    11: (4, 1),
}


def test_eleven_questions_with_37_answers():
    assert {number: len(q.answers) for number, q in decision_tree.QUESTIONS.items()} == NUM_ANSWERS_OF
    assert decision_tree.NUM_ANSWERS == len(decision_tree.COLUMN_NAMES) == len(decision_tree.ANSWER_NAMES) == 37


def test_every_answer_leads_somewhere_or_ends_the_walk():
    for question in decision_tree.QUESTIONS.values():
        assert len(question.leads_to) == len(question.answers)
        assert all(target is None or target in decision_tree.QUESTIONS for target in question.leads_to)


def test_walks_end_and_reach_every_question():
    reached = set()

    def walk(number: int, before: tuple[int, ...]) -> None:
        assert number not in before, f"the walk {before} comes back to question {number}"
        reached.add(number)
        for target in set(decision_tree.QUESTIONS[number].leads_to) - {None}:
            walk(target, (*before, number))

    walk(1, ())
    assert reached == set(range(1, 12))


def test_column_names_are_kaggles():
    expected = [f"Class{number}.{answer + 1}" for number, count in NUM_ANSWERS_OF.items() for answer in range(count)]
    assert list(decision_tree.COLUMN_NAMES) == expected
    assert (expected[0], expected[-1]) == ("Class1.1", "Class11.6")


def test_column_counts_from_one():
    assert decision_tree.column(1, 1) == 0
    assert decision_tree.column(4, 2) == 8
    assert decision_tree.column(11, 6) == 36
    with pytest.raises(ValueError, match="not in tuple"):
        decision_tree.column(2, 3)


def test_slices_partition_the_columns():
    covered = [i for s in decision_tree.SLICES.values() for i in range(s.start, s.stop)]
    assert covered == list(range(37))
    assert decision_tree.columns(8) == decision_tree.SLICES[8] == slice(18, 25)


def test_scaling_as_documented():
    documented = {n: scaling and decision_tree.column(*scaling) for n, scaling in DOCUMENTED_SCALING.items()}
    assert documented == decision_tree.SCALED_BY


@pytest.mark.parametrize("number", [2, 3, 7, 8, 9, 10])
def test_scaling_answer_leads_to_the_question(number: int):
    # Questions 4, 5 and 11 are asked one or more questions later, whatever is answered in between.
    question, answer = decision_tree.QUESTIONS[number].scaled_by
    assert decision_tree.QUESTIONS[question].leads_to[answer - 1] == number


def weigh_slowly(fractions: np.ndarray) -> np.ndarray:
    """Weigh one galaxy's fractions (37,) by walking from a question up to the first."""
    weighted = np.empty(37)

    def weight(number: int) -> float:
        scaling = DOCUMENTED_SCALING[number]
        if scaling is None:
            return 1.0
        question, answer = scaling
        return weight(question) * fractions[sum(NUM_ANSWERS_OF[n] for n in range(1, question)) + answer - 1]

    column = 0
    for number, count in NUM_ANSWERS_OF.items():
        for _ in range(count):
            weighted[column] = fractions[column] * weight(number)
            column += 1
    return weighted


def test_weigh_against_a_slow_loop():
    fractions = np.random.default_rng(0).random((50, 37))
    before = fractions.copy()
    weighted = decision_tree.weigh(fractions)
    np.testing.assert_allclose(weighted, [weigh_slowly(row) for row in fractions], rtol=1e-14)
    np.testing.assert_array_equal(fractions, before)


def test_weigh_takes_any_leading_shape_and_keeps_float32():
    fractions = np.random.default_rng(1).random((2, 3, 37)).astype(np.float32)
    weighted = decision_tree.weigh(fractions)
    assert weighted.shape == (2, 3, 37)
    assert weighted.dtype == np.float32
    np.testing.assert_array_equal(weighted[1, 2], decision_tree.weigh(fractions[1, 2]))


def test_question_totals_of_valid_labels_are_as_expected():
    labels = draw_labels(40, np.random.default_rng(2))
    totals, expected = decision_tree.question_totals(labels)
    assert totals.shape == expected.shape == (40, 11)
    np.testing.assert_allclose(totals, expected, atol=1e-12)
    np.testing.assert_array_equal(expected[:, [0, 5]], 1)


def test_question_totals_show_which_question_is_off():
    labels = draw_labels(5, np.random.default_rng(3))
    labels[3, decision_tree.column(9, 2)] += 0.25
    totals, expected = decision_tree.question_totals(labels)
    off = np.argwhere(np.abs(totals - expected) > 1e-9)
    np.testing.assert_array_equal(off, [[3, 8]])


fractions_of_galaxies = st.integers(0, 2**32).map(lambda seed: np.random.default_rng(seed).random((6, 37)))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(fractions_of_galaxies, st.floats(0.01, 20))
def test_weighed_fractions_obey_the_tree(fractions, sharpness):
    fractions = fractions**sharpness
    for columns in decision_tree.SLICES.values():
        fractions[:, columns] /= fractions[:, columns].sum(axis=1, keepdims=True)
    labels = decision_tree.weigh(fractions)
    totals, expected = decision_tree.question_totals(labels)
    np.testing.assert_allclose(totals, expected, atol=1e-12)
    assert labels.min() >= 0 and labels.max() <= 1
    assert (labels <= fractions).all()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(fractions_of_galaxies, st.sampled_from(sorted(decision_tree.QUESTIONS)), st.floats(0.1, 10))
def test_a_question_s_fractions_weigh_only_on_what_follows_it(fractions, number, factor):
    changed = fractions.copy()
    changed[:, decision_tree.SLICES[number]] *= factor
    columns = np.flatnonzero(~np.isclose(decision_tree.weigh(changed), decision_tree.weigh(fractions)).all(axis=0))
    follow = {number}
    for later, scaling in decision_tree.SCALED_BY.items():
        if scaling is not None and any(scaling in range(37)[decision_tree.SLICES[n]] for n in follow):
            follow.add(later)
    allowed = {column for n in follow for column in range(37)[decision_tree.SLICES[n]]}
    assert set(columns.tolist()) <= allowed


@settings(max_examples=50, deadline=None, derandomize=True)
@given(fractions_of_galaxies, st.integers(0, 36), st.floats(0.001, 1))
def test_a_vote_too_many_is_seen(fractions, column, excess):
    labels = decision_tree.weigh(fractions)
    before = np.subtract(*decision_tree.question_totals(labels))
    labels[2, column] += excess
    off = np.argwhere(~np.isclose(np.subtract(*decision_tree.question_totals(labels)), before, atol=1e-9))
    assert len(off) and (off[:, 0] == 2).all()
