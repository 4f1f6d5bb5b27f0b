"""Columns of a catalogue for a network's 37 predictions.

A network predicts Kaggle's weighted votes: fractions multiplied by those of the answers that lead to the question. A
catalogue contains conditional fractions, those among volunteers who were asked. They are NaN if almost all volunteers
skip the question.

Source: Willett et al. 2013 (arXiv 1308.3496); names after the Galaxy Zoo 2 and Euclid catalogues.
"""

import numpy as np

from galaxy.answer_names import NAMES, simplified
from galaxy.decision_tree import QUESTIONS, SLICES, question_totals

# Lower-case letters and underscores, valid column names in all formats.
FRACTIONS: tuple[str, ...] = tuple(f"{simplified(name)}_fraction" for name in NAMES)
# A question that reaches a smaller fraction of volunteers has no conditional fractions.
ASKED = 0.05
# Index of each answer's question: (37,).
_QUESTION_OF = np.repeat(np.arange(len(SLICES)), [answers.stop - answers.start for answers in SLICES.values()])


def conditional(weighted: np.ndarray) -> np.ndarray:
    """Convert weighted votes (..., 37) to fractions among volunteers who were asked (..., 37); NaN below 5 %."""
    totals, asked = question_totals(np.asarray(weighted, dtype=np.float64))
    totals, asked = totals[..., _QUESTION_OF], asked[..., _QUESTION_OF]
    defined = (asked >= ASKED) & (totals > 0)
    return np.where(defined, weighted / np.where(defined, totals, 1), np.nan)


def descriptions() -> list[str]:
    """Return answer and question of the 37 fractions: "smooth: Is the galaxy simply smooth ...?"."""
    return [f"{answer}: {question.text}" for question in QUESTIONS.values() for answer in question.answers]
