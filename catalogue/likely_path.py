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
from galaxy.decision_tree import GALAXY_ZOO_2
from galaxy.tree import Tree
from machine.files import DataError

# Fewer validation galaxies with a path do not tell spread from error.
MIN_GALAXIES = 20
# Labels of more galaxies than these with at most MAX_CLASSES different rows are class averages.
MIN_LABELS = 200


@dataclass(frozen=True, eq=False)
class PathRule:
    """The questions that a path may contain, and the votes of classes (k, answers); k is 0 for a model of votes."""

    tree: Tree
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
        """Return the most likely path of weighted votes (answers,), "features or disk, not edge-on", and its fraction.

        The default answer of a question ("not odd") is omitted from the words.
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
            totals = [votes[self.tree.slices[question]].sum() for question, _ in path]
            given = [votes[self.tree.column(*step)] for step in path]
            fraction = float(np.prod(np.divide(given, np.maximum(totals, 1e-12))))
        words = [self.tree.words[self.tree.column(*step)] for step in path if not self._is_default(*step)]
        return ", ".join(words), min(1.0, fraction)

    def _is_default(self, question: int, answer: int) -> bool:
        own = self.tree.question(question)
        return own.default == own.answers[answer - 1]

    def _path(self, votes: np.ndarray) -> list[tuple[int, int]]:
        path = self.tree.likeliest_path(votes)
        unknown = [index for index, (question, _) in enumerate(path) if question not in self.questions]
        return path[: max(1, unknown[0])] if unknown else path


def path_rule(cards: Sequence[Card]) -> PathRule:
    """Return the rule of several models: questions that all know; classes if all have the same.

    Raises DataError for models of different trees.
    """
    tree = cards[0].tree if cards else GALAXY_ZOO_2
    if others := [card for card in cards if card.tree != tree]:
        raise DataError(
            f"expected models of one tree of questions, got {cards[0].name} of {tree.name} and {others[0].name} of "
            f"{others[0].tree.name}; make a catalogue with each"
        )
    questions = frozenset(tree.numbers).intersection(*(card.path_questions for card in cards))
    same = bool(cards) and all(np.array_equal(card.classes, cards[0].classes) for card in cards)
    return PathRule(tree, questions, cards[0].classes if same else np.empty((0, tree.num_answers)))


def in_words(votes: np.ndarray, tree: Tree) -> str:
    """Return the likeliest answers of weighted votes (answers,), down to the last question."""
    return PathRule(tree, frozenset(tree.numbers), np.empty((0, tree.num_answers))).most_likely(votes)[0]


def answers_of(path: str, tree: Tree) -> list[int]:
    """Return the columns of a path in words."""
    return [tree.words.index(answer) for answer in path.split(", ") if answer]


def mixture(votes: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return weights (k,), >= 0 with sum 1, of class averages (k, answers) whose mixture is nearest to votes."""
    from scipy.optimize import nnls

    # A heavy last equation makes the sum 1.
    heavy = 100.0
    matrix, right = np.vstack([classes.T, np.full(len(classes), heavy)]), np.append(votes, heavy)
    weights = nnls(matrix, right)[0]
    return weights / max(weights.sum(), 1e-12)


def known_questions(predictions: np.ndarray, labels: np.ndarray, classes: np.ndarray, tree: Tree) -> list[int]:
    """Return the questions that weighted predictions answer better than an average, by labels; both (n, answers).

    For each question: of the galaxies whose most likely path has it, the spread of conditional predictions about their
    mean exceeds the error. A question to which all `classes` (k, answers) give the same answer separates no classes.
    The first question is always in the list.
    """
    asked = [{question for question, _ in tree.likeliest_path(votes)} for votes in predictions]
    predicted, labelled = conditional(predictions, tree), conditional(labels, tree)
    steps = {step for votes in classes for step in tree.likeliest_path(votes)}
    separating = {question for question in tree.numbers if sum(step[0] == question for step in steps) > 1}
    known = [1]
    for question, answers in list(tree.slices.items())[1:]:
        rows = np.array([question in own for own in asked], bool)
        rows &= np.isfinite(predicted[:, answers]).all(axis=1) & np.isfinite(labelled[:, answers]).all(axis=1)
        if rows.sum() < MIN_GALAXIES or (len(classes) and question not in separating):
            continue
        own, error = predicted[rows, answers], predicted[rows, answers] - labelled[rows, answers]
        if own.var(axis=0).sum() > (error**2).mean(axis=0).sum():
            known.append(question)
    return known


def classes_of(labels: np.ndarray) -> np.ndarray:
    """Return the different rows of labels (n, answers) if they are class averages, else an empty array (0, answers)."""
    classes = np.unique(labels, axis=0)
    return classes if len(labels) > MIN_LABELS and len(classes) <= MAX_CLASSES else classes[:0]
