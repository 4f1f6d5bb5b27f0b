"""Columns of a catalogue for a network's predictions, one per answer of its tree.

A network predicts weighted votes, as Kaggle's table has them: fractions multiplied by those of the answers that lead to
the question. A catalogue contains conditional fractions, those among volunteers who were asked. They are NaN if almost
all volunteers skip the question.

Source: Willett et al. 2013 (arXiv 1308.3496); names after the Galaxy Zoo 2 and Euclid catalogues.
"""

import numpy as np

from galaxy.answer_names import simplified
from galaxy.tree import CONVENTIONS, Tree

# A question that reaches a smaller fraction of volunteers has no conditional fractions.
ASKED = 0.05


def answers_of(tree: Tree) -> tuple[str, ...]:
    """Return the names of a tree's answers as they begin the columns of a catalogue."""
    separator, _ = CONVENTIONS[tree.convention]
    return tuple(simplified(name) if separator == "_" else name for name in tree.names)


def fractions_of(tree: Tree) -> tuple[str, ...]:
    """Return the names of the columns with the fractions of a tree's answers."""
    return tuple(f"{answer}_fraction" for answer in answers_of(tree))


def conditional(weighted: np.ndarray, tree: Tree) -> np.ndarray:
    """Convert weighted votes (..., answers) to fractions among volunteers who were asked; NaN below 5 %."""
    return tree.conditional(weighted, ASKED)


def descriptions(tree: Tree) -> list[str]:
    """Return answer and question of each fraction: "smooth: Is the galaxy simply smooth ...?"."""
    return [f"{word}: {question.text}" for question in tree.questions for word in question.words]
