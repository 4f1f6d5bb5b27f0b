"""The most likely path of a galaxy through the decision tree, as far as a model knows it, and its fraction.

A path ends at the first question whose answers a model predicts no better than an average: the spread of its
predictions over validation galaxies with that path is smaller than their error. A model trained on labels of few
classes predicts a mixture of the class averages. The weights of the mixture are the probabilities of the classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from catalogue.answer_columns import conditional
from catalogue.card import MAX_CLASSES, Card
from galaxy.decision_tree import ANSWER_NAMES, NUM_ANSWERS, QUESTIONS, SLICES, column, likeliest_path

# Fewer validation galaxies with a path do not tell spread from error.
MIN_GALAXIES = 20
# Labels of more galaxies than these with at most MAX_CLASSES different rows are class averages.
MIN_LABELS = 200
_NOT_ODD = (6, 2)


@dataclass(frozen=True, eq=False)
class PathRule:
    """The questions that a path may contain, and the votes of classes (k, 37); k is 0 for a model of votes."""

    questions: frozenset[int]
    classes: np.ndarray

    @property
    def of_classes(self) -> bool:
        """Whether the model knows classes, not votes."""
        return len(self.classes) > 0

    @property
    def meaning(self) -> str:
        """What the fraction of a path is."""
        if self.of_classes:
            return "probability of the classes with the most likely path"
        return "fraction of volunteers who would give all answers of the most likely path"

    def most_likely(self, votes: np.ndarray) -> tuple[str, float]:
        """Return the most likely path of weighted votes (37,), "features or disk, not edge-on", and its fraction.

        "Not odd" is omitted from the words.
        """
        if self.of_classes:
            weights = mixture(votes, self.classes)
            paths = [tuple(self._path(each)) for each in self.classes]
            totals = dict.fromkeys(paths, 0.0)
            for own, weight in zip(paths, weights, strict=True):
                totals[own] += float(weight)
            path, fraction = max(totals.items(), key=lambda item: item[1])
        else:
            path = self._path(votes)
            fractions = votes / np.maximum([votes[SLICES[n]].sum() for n in _QUESTION_OF], 1e-12)
            fraction = float(np.prod([fractions[column(*step)] for step in path]))
        words = [QUESTIONS[question].answers[answer - 1] for question, answer in path if (question, answer) != _NOT_ODD]
        return ", ".join(words), min(1.0, fraction)

    def _path(self, votes: np.ndarray) -> list[tuple[int, int]]:
        path = likeliest_path(votes)
        unknown = [index for index, (question, _) in enumerate(path) if question not in self.questions]
        return path[: max(1, unknown[0])] if unknown else path


# Question of each answer: (37,)
_QUESTION_OF = [question for question, answers in SLICES.items() for _ in range(answers.start, answers.stop)]


def path_rule(cards: Sequence[Card]) -> PathRule:
    """Return the rule of several models: questions that all know; classes if all have the same."""
    questions = frozenset(QUESTIONS).intersection(*(card.path_questions for card in cards))
    same = bool(cards) and all(np.array_equal(card.classes, cards[0].classes) for card in cards)
    return PathRule(questions, cards[0].classes if same else np.empty((0, NUM_ANSWERS)))


def in_words(votes: np.ndarray) -> str:
    """Return the likeliest answers of weighted votes (37,), down to the last question."""
    return PathRule(frozenset(QUESTIONS), np.empty((0, NUM_ANSWERS))).most_likely(votes)[0]


def answers_of(path: str) -> list[int]:
    """Return the columns (0..36) of a path in words."""
    return [ANSWER_NAMES.index(answer) for answer in path.split(", ") if answer]


def mixture(votes: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return weights (k,), >= 0 with sum 1, of the class averages (k, 37) whose mixture is nearest to votes (37,)."""
    from scipy.optimize import nnls

    # A heavy last equation makes the sum 1.
    heavy = 100.0
    matrix, right = np.vstack([classes.T, np.full(len(classes), heavy)]), np.append(votes, heavy)
    weights = nnls(matrix, right)[0]
    return weights / max(weights.sum(), 1e-12)


def known_questions(predictions: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> list[int]:
    """Return the questions that weighted predictions (n, 37) answer better than an average, by labels (n, 37).

    For each question: of the galaxies whose most likely path has it, the spread of conditional predictions about their
    mean exceeds the error. A question to which all `classes` (k, 37) give the same answer separates no classes. The
    first question is always in the list.
    """
    asked = [{question for question, _ in likeliest_path(votes)} for votes in predictions]
    predicted, labelled = conditional(predictions), conditional(labels)
    steps = {step for votes in classes for step in likeliest_path(votes)}
    separating = {question for question in SLICES if sum(step[0] == question for step in steps) > 1}
    known = [1]
    for question, answers in list(SLICES.items())[1:]:
        rows = np.array([question in own for own in asked], bool)
        rows &= np.isfinite(predicted[:, answers]).all(axis=1) & np.isfinite(labelled[:, answers]).all(axis=1)
        if rows.sum() < MIN_GALAXIES or (len(classes) and question not in separating):
            continue
        own, error = predicted[rows, answers], predicted[rows, answers] - labelled[rows, answers]
        if own.var(axis=0).sum() > (error**2).mean(axis=0).sum():
            known.append(question)
    return known


def classes_of(labels: np.ndarray) -> np.ndarray:
    """Return the different rows of labels (n, 37) if they are class averages, else an empty array (0, 37)."""
    classes = np.unique(labels, axis=0)
    return classes if len(labels) > MIN_LABELS and len(classes) <= MAX_CLASSES else np.empty((0, NUM_ANSWERS))
