"""The noise floor against simulated crowds, whose true votes are known."""

import numpy as np
import pytest

from galaxy.decision_tree import GALAXY_ZOO_2, GALAXY_ZOO_EUCLID
from galaxy.tree import Tree
from machine.files import DataError
from simulate_galaxies import draw_traits
from survey.noise_floor import errors_by_question, noise_floor
from survey.predictions import rmse
from survey.simulated_votes import true_votes, vote


def crowd(tree: Tree, num_votes: int, num_galaxies: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return true votes, votes of a crowd, and its counts."""
    rng = np.random.default_rng(1)
    traits = [draw_traits(rng) for _ in range(num_galaxies)]
    labels, counts = zip(*(vote(each, rng, tree, num_votes) for each in traits), strict=True)
    return np.array([true_votes(each, tree) for each in traits]), np.array(labels), np.array(counts)


@pytest.mark.parametrize("num_votes", [5, 20, 44])
@pytest.mark.parametrize("tree", [GALAXY_ZOO_2, GALAXY_ZOO_EUCLID], ids=["gz2", "euclid"])
def test_the_floor_is_the_error_of_the_true_votes(tree: Tree, num_votes: int):
    truth, labels, counts = crowd(tree, num_votes)
    expected = rmse(truth, labels)
    assumed = noise_floor(labels, tree, None, num_votes)
    # Of five volunteers, fewer are asked for oddities: those who see a star are not.
    assert assumed.total == pytest.approx(expected, rel=0.08) and assumed.source == f"{num_votes} votes"
    assert noise_floor(labels, tree, counts, None).total == pytest.approx(expected, rel=0.08)
    by_question = errors_by_question(truth, labels, tree)
    for n, floor in assumed.by_question.items():
        assert floor == pytest.approx(by_question[n], rel=0.3, abs=0.01)


def test_more_votes_leave_less_noise():
    labels = crowd(GALAXY_ZOO_2, 30, 50)[1]
    floors = [noise_floor(labels, GALAXY_ZOO_2, None, votes).total for votes in (20, 44)]
    assert floors[0] / floors[1] == pytest.approx(np.sqrt(43 / 19))


def test_without_votes_there_is_no_floor():
    labels = np.full((3, 37), 0.5)
    for counts, votes in ((None, None), (None, 1), (np.ones((3, 11)), None)):
        with pytest.raises(DataError, match="expected"):
            noise_floor(labels, GALAXY_ZOO_2, counts, votes)
