"""What a network's 37 numbers say in words: columns of a catalogue, and a galaxy's way through the decision tree.

A network predicts Kaggle's numbers: votes weighted by the answers that lead to their question. A catalogue holds them
conditional on the question being asked, and nothing where almost nobody would be asked.

Source: Willett et al. 2013 (arXiv 1308.3496); names after the Galaxy Zoo 2 and Euclid catalogues.
"""

import numpy as np

from galaxy.answer_names import NAMES, simplified
from galaxy.decision_tree import QUESTIONS, SLICES, likeliest_path, question_totals

# In small letters and underscores, which tables of all formats bear.
FRACTIONS: tuple[str, ...] = tuple(f"{simplified(name)}_fraction" for name in NAMES)
# A question of which fewer than so many of a hundred volunteers would have been asked has no fractions.
ASKED = 0.05
# Of each answer, the number of its question among the questions.
_QUESTION_OF = np.concatenate(
    [np.full(answers.stop - answers.start, number) for number, answers in enumerate(SLICES.values())]
)
ODD = 6


def conditional(weighted: np.ndarray) -> np.ndarray:
    """Return the fractions (..., 37) of those asked of Kaggle's numbers (..., 37); NaN where almost nobody was."""
    totals, asked = question_totals(np.asarray(weighted, dtype=np.float64))
    totals, asked = totals[..., _QUESTION_OF], asked[..., _QUESTION_OF]
    some = (asked >= ASKED) & (totals > 0)
    return np.where(some, weighted / np.where(some, totals, 1), np.nan)


def describe(question: int, answer: int) -> str:
    """Return what a fraction is of, in the words that volunteers read; both are counted from 1."""
    of = QUESTIONS[question]
    return f"{of.text} {of.answers[answer - 1]}"


def descriptions() -> list[str]:
    """Return what each of the 37 fractions is of."""
    return [describe(n, answer + 1) for n, of in QUESTIONS.items() for answer in range(len(of.answers))]


def most_likely_path(weighted: np.ndarray) -> str:
    """Return the likeliest answers (37,) along the tree: "features or disk, not edge-on, no bar, spiral, ...".

    Whether anything is odd is said last; that nothing is, is not said.
    """
    way = likeliest_path(weighted)
    if way[-1][0] == ODD:  # from which nothing follows but for what is odd
        way.pop()
    return ", ".join(QUESTIONS[question].answers[answer - 1] for question, answer in way)
