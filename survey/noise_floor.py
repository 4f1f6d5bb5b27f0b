"""The error that the crowd's own noise leaves: the RMSE of perfect predictions against the votes of few volunteers.

N volunteers walk the tree. A weighted vote y is the fraction of them who give an answer, so its variance is that of a
binomial fraction with the true vote w: w (1 - w) / N. Since the mean of y (1 - y) is w (1 - w) (N - 1) / N, the
observed votes estimate it without bias by y (1 - y) / (N - 1). The floor is the root of its mean over galaxies and
answers. No model has a lower error on such labels, but for luck.

Questions that count for all volunteers, whoever is asked (question 6 of Galaxy Zoo 2), take the count of their own
votes where it is known.
"""

from dataclasses import dataclass

import numpy as np

from galaxy.tree import Tree
from machine.files import DataError
from survey.vote_counts import load_counts

LEAST_VOTES = 2


@dataclass(frozen=True)
class NoiseFloor:
    """The RMSE that noise leaves in all answers together, and in those of each question by its number."""

    total: float
    by_question: dict[int, float]
    source: str


def noise_floor(labels: np.ndarray, tree: Tree, counts: np.ndarray | None, votes_per_galaxy: int | None) -> NoiseFloor:
    """Return the floor of weighted labels (n, answers) from counts (n, questions), or from an assumed number of votes.

    Galaxies with fewer than two votes are left out. Raises DataError if none remains, or neither number is known.
    """
    if votes_per_galaxy is not None:
        votes, source = (
            np.full((len(labels), len(tree.questions)), float(votes_per_galaxy)),
            f"{votes_per_galaxy} votes",
        )
    elif counts is not None:
        everyone = np.array([question.everyone for question in tree.questions])
        first = tree.order[0] - 1
        votes = np.where(everyone & (counts >= LEAST_VOTES), counts, counts[:, [first]])
        source = f"{counts[:, first].mean():.1f} votes on average"
    else:
        raise DataError("expected counts of votes, or --votes-per-galaxy")
    known = votes.min(axis=1) >= LEAST_VOTES
    if not known.any():
        raise DataError(f"expected at least {LEAST_VOTES} votes per galaxy, got fewer")
    labels = np.clip(np.asarray(labels[known], dtype=np.float64), 0, 1)
    variances = labels * (1 - labels) / (votes[known] - 1)[:, tree.question_of]
    by_question = {n: float(np.sqrt(variances[:, own].mean())) for n, own in tree.slices.items()}
    return NoiseFloor(float(np.sqrt(variances.mean())), by_question, source)


def errors_by_question(predictions: np.ndarray, labels: np.ndarray, tree: Tree) -> dict[int, float]:
    """Return the RMSE of the answers of each question, predictions clipped to [0, 1]."""
    squares = (np.clip(predictions, 0, 1) - labels) ** 2
    return {n: float(np.sqrt(squares[:, own].mean(dtype=np.float64))) for n, own in tree.slices.items()}


def read_floor(labels: np.ndarray, valid: np.ndarray, tree: Tree, votes_per_galaxy: int | None) -> NoiseFloor | None:
    """Return the floor of the validation galaxies `valid` of the folders in use, None if no votes are known.

    An assumed number of votes goes before the counts in the data folder.
    """
    counts = None if votes_per_galaxy is not None else load_counts()
    if counts is None and votes_per_galaxy is None:
        return None
    return noise_floor(labels[valid], tree, None if counts is None else counts[valid], votes_per_galaxy)


def describe(floor: NoiseFloor, predictions: np.ndarray, labels: np.ndarray, tree: Tree, name: str) -> list[str]:
    """Return a table as lines: the floor and the RMSE of a model's predictions, question by question."""
    errors = errors_by_question(predictions, labels, tree)
    width = max(len(question.text) for question in tree.questions)
    lines = [f"{f'RMSE of {name}, and the noise of the crowd ({floor.source})':{width + 3}}      RMSE  noise floor"]
    for n, question in zip(tree.numbers, tree.questions, strict=True):
        lines.append(f"{n:2} {question.text:{width}}  {errors[n]:8.6f}     {floor.by_question[n]:8.6f}")
    return lines
