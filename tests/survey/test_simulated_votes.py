"""Simulated volunteers answer the questions of any tree."""

import numpy as np
import pytest

from galaxy.decision_tree import CLASSES, TREES
from galaxy.tree import Tree
from simulate_galaxies import draw_traits
from survey.simulated_votes import true_votes, vote

SOME = [*TREES.values(), CLASSES(["spiral", "elliptical", "other"])]


@pytest.mark.parametrize("tree", SOME, ids=lambda tree: tree.name)
def test_votes_obey_any_tree_and_approach_the_true_ones(tree: Tree):
    rng = np.random.default_rng(1)
    traits = [draw_traits(rng) for _ in range(20)]
    votes, counts = zip(*(vote(each, rng, tree, 4000) for each in traits), strict=True)
    totals, weights = tree.question_totals(np.array(votes))
    np.testing.assert_allclose(totals, np.where(totals > 0, weights, 0), atol=1e-9)
    truth = np.array([true_votes(each, tree) for each in traits])
    np.testing.assert_allclose(votes, truth, atol=0.05)
    assert truth.std(axis=0).max() > 0.1
    # Those who saw a star or an artifact are not asked for oddities, though their votes count.
    everyone = np.array([tree.question(n).everyone for n in tree.numbers])
    np.testing.assert_allclose(np.array(counts)[:, ~everyone] / 4000, weights[:, ~everyone], atol=0.06)
