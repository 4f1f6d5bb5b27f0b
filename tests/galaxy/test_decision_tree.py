"""The tree against what is documented of it, and its array operations against slow loops."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import draw_labels

from galaxy.decision_tree import (
    CLASSES,
    GALAXY_ZOO_2,
    GALAXY_ZOO_DECALS,
    GALAXY_ZOO_DESI,
    GALAXY_ZOO_EUCLID,
    TREES,
    find_tree,
)
from galaxy.tree import Tree, from_plain
from machine.files import DataError

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
    assert {number: len(GALAXY_ZOO_2.question(number).answers) for number in GALAXY_ZOO_2.numbers} == NUM_ANSWERS_OF
    assert GALAXY_ZOO_2.num_answers == len(GALAXY_ZOO_2.columns) == len(GALAXY_ZOO_2.words) == 37


def test_every_answer_leads_somewhere_or_ends_the_walk():
    for number, leads_to in GALAXY_ZOO_2.leads_to.items():
        assert len(leads_to) == NUM_ANSWERS_OF[number]
        assert all(target is None or target in GALAXY_ZOO_2.numbers for target in leads_to)


def test_walks_end_and_reach_every_question():
    reached = set()

    def walk(number: int, before: tuple[int, ...]) -> None:
        assert number not in before, f"the walk {before} comes back to question {number}"
        reached.add(number)
        for target in set(GALAXY_ZOO_2.leads_to[number]) - {None}:
            walk(target, (*before, number))

    walk(1, ())
    assert reached == set(range(1, 12))


def test_column_names_are_kaggles():
    expected = [f"Class{number}.{answer + 1}" for number, count in NUM_ANSWERS_OF.items() for answer in range(count)]
    assert list(GALAXY_ZOO_2.columns) == expected
    assert (expected[0], expected[-1]) == ("Class1.1", "Class11.6")


def test_column_counts_from_one():
    assert GALAXY_ZOO_2.column(1, 1) == 0
    assert GALAXY_ZOO_2.column(4, 2) == 8
    assert GALAXY_ZOO_2.column(11, 6) == 36
    with pytest.raises(ValueError, match="question 2 has no answer 3"):
        GALAXY_ZOO_2.column(2, 3)


def test_slices_partition_the_columns():
    covered = [i for s in GALAXY_ZOO_2.slices.values() for i in range(s.start, s.stop)]
    assert covered == list(range(37))
    assert GALAXY_ZOO_2.slices[8] == GALAXY_ZOO_2.slices[8] == slice(18, 25)


def test_scaling_as_documented():
    documented = {n: (GALAXY_ZOO_2.column(*scaling),) if scaling else () for n, scaling in DOCUMENTED_SCALING.items()}
    assert documented == GALAXY_ZOO_2.scaled_by


@pytest.mark.parametrize("number", [2, 3, 7, 8, 9, 10])
def test_scaling_answer_leads_to_the_question(number: int):
    # Questions 4, 5 and 11 are asked one or more questions later, whatever is answered in between.
    question, answer = DOCUMENTED_SCALING[number]
    assert GALAXY_ZOO_2.leads_to[question][answer - 1] == number


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
    weighted = GALAXY_ZOO_2.weigh(fractions)
    np.testing.assert_allclose(weighted, [weigh_slowly(row) for row in fractions], rtol=1e-14)
    np.testing.assert_array_equal(fractions, before)


def test_weigh_takes_any_leading_shape_and_keeps_float32():
    fractions = np.random.default_rng(1).random((2, 3, 37)).astype(np.float32)
    weighted = GALAXY_ZOO_2.weigh(fractions)
    assert weighted.shape == (2, 3, 37)
    assert weighted.dtype == np.float32
    np.testing.assert_array_equal(weighted[1, 2], GALAXY_ZOO_2.weigh(fractions[1, 2]))


def test_question_totals_of_valid_labels_are_as_expected():
    labels = draw_labels(40, np.random.default_rng(2))
    totals, expected = GALAXY_ZOO_2.question_totals(labels)
    assert totals.shape == expected.shape == (40, 11)
    np.testing.assert_allclose(totals, expected, atol=1e-12)
    np.testing.assert_array_equal(expected[:, [0, 5]], 1)


def test_question_totals_show_which_question_is_off():
    labels = draw_labels(5, np.random.default_rng(3))
    labels[3, GALAXY_ZOO_2.column(9, 2)] += 0.25
    totals, expected = GALAXY_ZOO_2.question_totals(labels)
    off = np.argwhere(np.abs(totals - expected) > 1e-9)
    np.testing.assert_array_equal(off, [[3, 8]])


fractions_of_galaxies = st.integers(0, 2**32).map(lambda seed: np.random.default_rng(seed).random((6, 37)))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(fractions_of_galaxies, st.floats(0.01, 20))
def test_weighed_fractions_obey_the_tree(fractions, sharpness):
    fractions = fractions**sharpness
    for columns in GALAXY_ZOO_2.slices.values():
        fractions[:, columns] /= fractions[:, columns].sum(axis=1, keepdims=True)
    labels = GALAXY_ZOO_2.weigh(fractions)
    totals, expected = GALAXY_ZOO_2.question_totals(labels)
    np.testing.assert_allclose(totals, expected, atol=1e-12)
    assert labels.min() >= 0 and labels.max() <= 1
    assert (labels <= fractions).all()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(fractions_of_galaxies, st.sampled_from(GALAXY_ZOO_2.numbers), st.floats(0.1, 10))
def test_a_question_s_fractions_weigh_only_on_what_follows_it(fractions, number, factor):
    changed = fractions.copy()
    changed[:, GALAXY_ZOO_2.slices[number]] *= factor
    columns = np.flatnonzero(~np.isclose(GALAXY_ZOO_2.weigh(changed), GALAXY_ZOO_2.weigh(fractions)).all(axis=0))
    follow = {number}
    for later, scaling in GALAXY_ZOO_2.scaled_by.items():
        if any(column in range(37)[GALAXY_ZOO_2.slices[n]] for column in scaling for n in follow):
            follow.add(later)
    allowed = {column for n in follow for column in range(37)[GALAXY_ZOO_2.slices[n]]}
    assert set(columns.tolist()) <= allowed


@settings(max_examples=50, deadline=None, derandomize=True)
@given(fractions_of_galaxies, st.integers(0, 36), st.floats(0.001, 1))
def test_a_vote_too_many_is_seen(fractions, column, excess):
    labels = GALAXY_ZOO_2.weigh(fractions)
    before = np.subtract(*GALAXY_ZOO_2.question_totals(labels))
    labels[2, column] += excess
    off = np.argwhere(~np.isclose(np.subtract(*GALAXY_ZOO_2.question_totals(labels)), before, atol=1e-9))
    assert len(off) and (off[:, 0] == 2).all()


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_trees_are_declared_without_loss(tree: Tree):
    assert from_plain(json.loads(json.dumps(tree.as_plain()))) == tree
    assert len(set(tree.words)) == len(set(tree.columns)) == tree.num_answers
    assert sorted(tree.order) == list(tree.numbers)


def test_later_trees_have_the_published_columns():
    names = GALAXY_ZOO_DESI.names
    assert len(names) == 34 and names[:3] == (
        "smooth-or-featured_smooth",
        "smooth-or-featured_featured-or-disk",
        "smooth-or-featured_artifact",
    )
    assert names[-4:] == (
        "merging_none", "merging_minor-disturbance", "merging_major-disturbance", "merging_merger"
    )  # fmt: skip
    assert GALAXY_ZOO_DECALS.names == names and GALAXY_ZOO_DECALS != GALAXY_ZOO_DESI
    assert GALAXY_ZOO_EUCLID.num_answers == 46
    assert {"problem_zoom", "artifact_ghost", "clumps_yes", "smooth-or-featured_problem"} < set(GALAXY_ZOO_EUCLID.names)


def test_mergers_are_asked_for_unless_there_is_an_artifact():
    weights = {GALAXY_ZOO_EUCLID.question(n).name: GALAXY_ZOO_EUCLID.scaled_by[n] for n in GALAXY_ZOO_EUCLID.numbers}
    assert weights["merging"] == (0, 1) and weights["problem"] == (2,)
    assert [GALAXY_ZOO_EUCLID.names[column] for column in weights["artifact"]] == ["problem_artifact"]


def test_classes_are_a_single_question():
    tree = CLASSES(["elliptical", "spiral galaxy", "other"])
    assert tree.columns == ("class_elliptical", "class_spiral-galaxy", "class_other")
    assert tree.words == ("elliptical", "spiral galaxy", "other") and tree.scaled_by == {1: ()}
    with pytest.raises(DataError, match="once, got 'a' twice"):
        CLASSES(["a", "a"])


TOML = """
name = "mine"
[[questions]]
name = "shape"
text = "What shape is it?"
answers = ["round", "disk", "nothing"]
leads_to = ["", "arms", ""]
[[questions]]
name = "arms"
text = "Are there arms?"
answers = ["yes", "no"]
"""


def test_a_tree_is_read_from_toml(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text(TOML)
    tree = find_tree(str(path))
    assert (tree.name, tree.columns[-1], tree.leads_to[1]) == ("mine", "arms_no", (None, 2, None))
    assert find_tree("euclid") is GALAXY_ZOO_EUCLID


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TOML.replace('"arms", ""', '"bars", ""'), "leads to 'bars', which is no question"),
        (TOML.replace("name", "nam"), "the tree has no 'nam'"),
        ("name = 3", "questions"),
        ("[[", "cannot be read as TOML"),
        (TOML + 'leads_to = ["shape", ""]', "cycle: "),
    ],
)
def test_a_wrong_file_gives_one_line_with_its_name(tmp_path: Path, text: str, message: str):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        find_tree(str(path))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["gz3", "missing.toml"])
def test_an_unknown_tree_gives_one_line(name: str):
    with pytest.raises(DataError, match=f"{name}"):
        find_tree(name)
