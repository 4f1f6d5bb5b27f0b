"""Layout of the tree: widths of branches, their order, the most likely path."""

from collections.abc import Sequence
from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from tiny import draw_labels

from catalogue.likely_path import answers_of, in_words
from galaxy.decision_tree import GALAXY_ZOO_2, GALAXY_ZOO_EUCLID
from report import tree_layout
from report.tree_layout import BROAD, FULL, PITCH, layout_of

LAYOUT = layout_of(GALAXY_ZOO_2)
LAYOUTS = LAYOUT.questions


def branches(votes: np.ndarray, path: Sequence[int] | None = None) -> list[tree_layout.Branch]:
    return tree_layout.branches(votes, GALAXY_ZOO_2, path)


GALAXIES = st.integers(0, 10_000).map(lambda seed: draw_labels(1, np.random.default_rng(seed))[0])


def test_each_answer_has_a_position_and_a_word():
    assert set(LAYOUTS) == set(GALAXY_ZOO_2.numbers)
    for number, layout in LAYOUTS.items():
        assert len(layout.words) == len(GALAXY_ZOO_2.question(number).answers)
        assert sorted(tree_layout.order_of(layout)) == list(range(1, len(layout.words) + 1))


@given(GALAXIES)
def test_branches_are_as_wide_as_their_votes_and_within_the_canvas(votes):
    found = branches(votes)
    assert len({(branch.question, branch.answer) for branch in found}) == len(GALAXY_ZOO_2.words) == len(found)
    for branch in found:
        assert branch.width == pytest.approx(votes[GALAXY_ZOO_2.column(branch.question, branch.answer)] * FULL)
        for x, y in branch.points:
            assert 0 < x < LAYOUT.width and branch.width / 2 < y < LAYOUT.height - branch.width / 2


@given(GALAXIES)
def test_branches_that_leave_or_meet_lie_side_by_side(votes):
    found, bars = branches(votes), tree_layout.bars(votes, GALAXY_ZOO_2)
    for number, layout in LAYOUTS.items():
        leaving = sorted((branch.points[0][1], branch.width) for branch in found if branch.question == number)
        coming = sorted((b.points[-1][1], b.width) for b in found if not b.ends and leads(b) == number)
        for stack in (leaving, coming):
            if not stack:
                continue
            for (upper, width), (lower, other) in pairwise(stack):
                assert lower - upper == pytest.approx((width + other) / 2, abs=1e-6)
            total = sum(width for _, width in stack)
            assert stack[0][0] - stack[0][1] / 2 == pytest.approx(layout.y - total / 2, abs=1e-6)
        assert bars[number] == pytest.approx(max(10, sum(width for _, width in leaving)))


def leads(branch: tree_layout.Branch) -> int | None:
    return GALAXY_ZOO_2.leads_to[branch.question][branch.answer - 1]


@given(GALAXIES)
def test_names_of_one_question_do_not_overlap(votes):
    for number in LAYOUTS:
        own = sorted((branch.name_at[1], branch.width) for branch in branches(votes) if branch.question == number)
        for (upper, width), (lower, other) in pairwise(own):
            assert lower - upper >= max(PITCH, (width + other) / 2 + 1) - 1e-9


@given(GALAXIES)
def test_the_most_likely_path_equals_the_catalogue_s_and_is_drawn_last(votes):
    found = branches(votes)
    likely = [branch for branch in found if branch.likely]
    assert found[-len(likely) :] == likely
    words = in_words(votes, GALAXY_ZOO_2).split(", ")
    named = {GALAXY_ZOO_2.question(each.question).words[each.answer - 1] for each in likely} - {"not odd"}
    assert named == set(words)


def test_a_given_path_is_marked_instead_of_the_likeliest_one():
    votes = draw_labels(1, np.random.default_rng(3))[0]
    marked = branches(votes, answers_of("features or disk, edge-on", GALAXY_ZOO_2))
    assert [(b.question, b.answer) for b in marked if b.likely] == [(1, 2), (2, 1)]
    assert not any(branch.likely for branch in branches(votes, ()))


def test_fractions_are_among_those_asked():
    votes = draw_labels(1, np.random.default_rng(3))[0]
    by_key = {(branch.question, branch.answer): branch for branch in branches(votes)}
    for number, question in enumerate(GALAXY_ZOO_2.questions, 1):
        of_question = [by_key[number, answer] for answer in range(1, len(question.answers) + 1)]
        assert sum(branch.fraction for branch in of_question) == pytest.approx(1)
        assert of_question[0].asked == pytest.approx(
            votes[list(GALAXY_ZOO_2.scaled_by[number])].sum() if GALAXY_ZOO_2.scaled_by[number] else 1
        )


def test_a_question_that_nobody_was_asked_has_no_fractions():
    votes = np.zeros(37)
    votes[GALAXY_ZOO_2.column(1, 3)] = votes[GALAXY_ZOO_2.column(6, 2)] = 1
    nobody = [branch for branch in branches(votes) if branch.question not in (1, 6)]
    assert len(nobody) == 32
    assert all(np.isnan(branch.fraction) and branch.width == 0 for branch in nobody)
    assert {(b.question, b.answer) for b in branches(votes) if b.likely} == {(1, 3)}


def test_votes_are_clipped_to_0_and_1_and_nan_is_0():
    votes = np.full(37, np.nan)
    votes[:3] = -0.5, 1.7, 0.2
    widths = {(branch.question, branch.answer): branch.width for branch in branches(votes)}
    assert widths[1, 1] == 0 and widths[1, 2] == FULL and widths[2, 1] == 0


def test_a_branch_that_carries_its_name_ends_further_right():
    votes = np.zeros(37)
    votes[GALAXY_ZOO_2.column(1, 1)], votes[GALAXY_ZOO_2.column(1, 3)] = 1 - BROAD / FULL, BROAD / FULL
    [star] = [branch for branch in branches(votes) if (branch.question, branch.answer) == (1, 3)]
    [odd] = [branch for branch in branches(votes) if (branch.question, branch.answer) == (6, 2)]
    assert star.points[-1][0] == LAYOUTS[1].x + tree_layout.LEVEL_TO
    assert odd.points[-1][0] == LAYOUTS[6].x + tree_layout.END


def test_titles_of_questions_below_their_branches_are_below_the_bar():
    layout = tree_layout.layout_of(GALAXY_ZOO_EUCLID)
    below = {own.title for own in layout.questions.values() if own.below}
    assert {"Problem", "Artifact"} <= below and not {"Round?", "Merging?", "Clumps?"} & below
