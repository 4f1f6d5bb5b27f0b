"""Declarations of trees: what is derived from them, and which are refused."""

from dataclasses import replace

import numpy as np
import pytest

from galaxy.decision_tree import GALAXY_ZOO_2
from galaxy.tree import Question, Tree, from_plain
from machine.files import DataError

SHAPE = Question("shape", "What shape?", ("round", "disk", "none"), ("size", "arms", None))
ARMS = Question("arms", "Arms?", ("yes", "no"), ("size", "size"))
SIZE = Question("size", "How large?", ("small", "large"), default="small")
TREE = Tree("mine", (SHAPE, ARMS, SIZE))


def test_the_weight_of_a_question_is_the_sum_of_the_answers_that_lead_to_it():
    assert TREE.scaled_by == {1: (), 2: (1,), 3: (0, 1)}
    votes = TREE.weigh(np.array([0.5, 0.25, 0.25, 0.5, 0.5, 1.0, 0.0]))
    np.testing.assert_array_equal(votes, [0.5, 0.25, 0.25, 0.125, 0.125, 0.75, 0])
    totals, weights = TREE.question_totals(votes)
    np.testing.assert_array_equal(totals, weights)
    np.testing.assert_allclose(TREE.conditional(votes), [0.5, 0.25, 0.25, 0.5, 0.5, 1, 0])


def test_a_question_after_all_answers_has_the_weight_of_the_first():
    first = replace(SHAPE, leads_to=("size", "arms", "size"))
    assert Tree("mine", (first, ARMS, SIZE)).scaled_by[3] == ()


def test_words_of_several_questions_are_told_apart():
    others = Question("bars", "Bars?", ("yes", "no"), ("arms", "arms"))
    tree = Tree("mine", (others, replace(ARMS, leads_to=())))
    assert tree.words == ("bars: yes", "bars: no", "arms: yes", "arms: no")


def test_trees_are_values():
    again = Tree("mine", (SHAPE, ARMS, SIZE))
    assert again == TREE and hash(again) == hash(TREE) and again.checksum == TREE.checksum
    assert replace(TREE, weighted=True) != TREE and replace(TREE, name="b").checksum != TREE.checksum
    assert GALAXY_ZOO_2.order == (1, 7, 2, 9, 3, 4, 10, 11, 5, 6, 8)


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ((replace(SHAPE, leads_to=("size", "arms", "shape")), ARMS, SIZE), "cycle: shape to shape"),
        ((SHAPE, replace(ARMS, leads_to=("size", "arms")), SIZE), "cycle: arms to arms"),
        ((SHAPE, ARMS, replace(SIZE, leads_to=("arms", None))), "cycle"),
        ((replace(SHAPE, leads_to=("size", None, None)), ARMS, SIZE), "no answer leads to 'arms'"),
        ((SHAPE, ARMS, SIZE, ARMS), "each question once, got 'arms' twice"),
        ((replace(SHAPE, answers=("a", "a", "b")), ARMS, SIZE), "each answer of 'shape' once, got 'a' twice"),
        ((replace(SHAPE, words=("a", "b", "b")), ARMS, SIZE), "each word of 'shape' once"),
        ((replace(SHAPE, leads_to=("size", "arms")), ARMS, SIZE), "expected 3 leads_to of 'shape'"),
        ((replace(SHAPE, leads_to=("size", "arms", "x")), ARMS, SIZE), "leads to 'x', which is no question"),
        ((replace(SHAPE, default="x"), ARMS, SIZE), "default 'x' is no answer"),
        ((replace(SHAPE, words=("a,b", "c", "d")), ARMS, SIZE), "words without a comma"),
        ((replace(SIZE, answers=("small",), words=("a",), labels=("a",), leads_to=(None,)),), "at least two answers"),
        ((replace(SIZE, name="a_b"),), "names of letters, digits and hyphens, got 'a_b'"),
        ((), "at least one question"),
    ],
)
def test_an_invalid_tree_gives_one_line(questions: tuple[Question, ...], message: str):
    with pytest.raises(DataError, match=message) as caught:
        Tree("mine", questions)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("tree 'mine': ")


def test_columns_are_one_per_answer():
    with pytest.raises(DataError, match="each column once, got 'a' twice"):
        Tree("mine", (SIZE,), columns=("a", "a"))
    with pytest.raises(DataError, match="one column name per answer, got 3"):
        Tree("mine", (SIZE,), columns=("a", "b", "c"))


@pytest.mark.parametrize("values", [None, [], {}, {"name": "a"}, {"name": "a", "questions": [3]}, {"name": 1}])
def test_plain_values_that_are_no_tree_give_one_line(values: object):
    with pytest.raises(DataError, match="tree") as caught:
        from_plain(values)
    assert "\n" not in str(caught.value)
