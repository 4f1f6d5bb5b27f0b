"""The Galaxy Zoo 2 decision tree: 11 questions, 37 answers, and which answer leads to which question.

A volunteer starts at question 1; each answer leads to another question or ends the path. The competition publishes one
number per answer: its fraction among the answers to its question, multiplied by the weighted fraction of the answer
that leads to the question. No other module contains a column number.

Source: Willett et al. 2013 (arXiv 1308.3496), figure 1 and table 2; documentation of 2014, 2.2.2.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Question:
    """One task of the tree: `leads_to` is the next question of each answer, `scaled_by` the (question, answer)."""

    text: str
    answers: tuple[str, ...]
    leads_to: tuple[int | None, ...]
    scaled_by: tuple[int, int] | None = None


QUESTIONS: dict[int, Question] = {
    1: Question(
        "Is the galaxy simply smooth and rounded, with no sign of a disk?",
        ("smooth", "features or disk", "star or artifact"),
        (7, 2, None),
    ),
    2: Question("Could this be a disk viewed edge-on?", ("edge-on", "not edge-on"), (9, 3), (1, 2)),
    3: Question("Is there a bar through the centre?", ("bar", "no bar"), (4, 4), (2, 2)),
    4: Question("Is there any sign of a spiral arm pattern?", ("spiral", "no spiral"), (10, 5), (2, 2)),
    5: Question(
        "How prominent is the central bulge?",
        ("no bulge", "bulge just noticeable", "bulge obvious", "bulge dominant"),
        (6, 6, 6, 6),
        (2, 2),
    ),
    # Asked at the end of every path except a star's. The competition's fractions sum to one for stars, too.
    6: Question("Is there anything odd?", ("odd", "not odd"), (8, None)),
    7: Question("How rounded is it?", ("completely round", "in between", "cigar-shaped"), (6, 6, 6), (1, 1)),
    8: Question(
        "What is the odd feature?",
        ("ring", "lens or arc", "disturbed", "irregular", "other", "merger", "dust lane"),
        (None,) * 7,
        (6, 1),
    ),
    9: Question(
        "Does the galaxy have a bulge at its centre?",
        ("rounded bulge", "boxy bulge", "no edge-on bulge"),
        (6, 6, 6),
        (2, 1),
    ),
    10: Question("How tightly wound are the spiral arms?", ("tight", "medium", "loose"), (11, 11, 11), (4, 1)),
    11: Question(
        "How many spiral arms are there?",
        ("1 arm", "2 arms", "3 arms", "4 arms", "more than 4 arms", "can't tell"),
        (5,) * 6,
        (4, 1),
    ),
}

COLUMN_NAMES: tuple[str, ...] = tuple(
    f"Class{question}.{answer}" for question, q in QUESTIONS.items() for answer in range(1, len(q.answers) + 1)
)
ANSWER_NAMES: tuple[str, ...] = tuple(answer for q in QUESTIONS.values() for answer in q.answers)
NUM_ANSWERS = len(COLUMN_NAMES)

# Kaggle's table has six decimals: the sum of seven answers differs from its parent answer by at most 8 * 0.5e-6.
TOLERANCE = 1e-5


def column(question: int, answer: int) -> int:
    """Return the column (0..36) of an answer; question and answer count from 1, as in Kaggle's `Class1.1`."""
    return COLUMN_NAMES.index(f"Class{question}.{answer}")


def columns(question: int) -> slice:
    """Return the columns of a question's answers."""
    first = column(question, 1)
    return slice(first, first + len(QUESTIONS[question].answers))


SLICES: dict[int, slice] = {question: columns(question) for question in QUESTIONS}

# The column that scales each question; None for questions about every galaxy. The scaling answer precedes its
# questions, so one pass in their order weights the whole tree.
SCALED_BY: dict[int, int | None] = {n: q.scaled_by and column(*q.scaled_by) for n, q in QUESTIONS.items()}


def weigh(fractions: np.ndarray) -> np.ndarray:
    """Convert the answer fractions of each question (..., 37) to Kaggle's weighted fractions, with NumPy, by question.

    `custom.weigh` does the same with torch, level by level, for output layers.
    """
    weighted = np.array(fractions)
    for question, scaling in SCALED_BY.items():
        if scaling is not None:
            weighted[..., SLICES[question]] *= weighted[..., scaling, None]
    return weighted


def obey(weighted: np.ndarray) -> np.ndarray:
    """Rescale weighted fractions (..., 37) to the sums of the tree: the answers of a question keep their proportions.

    A question without votes gets equal fractions.
    """
    fractions = np.array(weighted, dtype=np.float64)
    for answers in SLICES.values():
        totals = fractions[..., answers].sum(axis=-1, keepdims=True)
        even = 1 / (answers.stop - answers.start)
        fractions[..., answers] = np.where(totals > 0, fractions[..., answers] / np.where(totals > 0, totals, 1), even)
    return weigh(fractions)


def likeliest_path(votes: np.ndarray) -> list[tuple[int, int]]:
    """Return the likeliest answers along the tree, (question, answer) counted from 1, for votes (37,)."""
    path: list[tuple[int, int]] = []
    question: int | None = 1
    while question is not None:
        answer = int(np.argmax(votes[SLICES[question]])) + 1
        path.append((question, answer))
        question = QUESTIONS[question].leads_to[answer - 1]
    return path


def question_totals(votes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sum of each question's answers and its expected value, both (..., 11), for votes (..., 37)."""
    totals = np.stack([votes[..., s].sum(axis=-1) for s in SLICES.values()], axis=-1)
    ones = np.ones(votes.shape[:-1])
    expected = np.stack([ones if s is None else votes[..., s] for s in SCALED_BY.values()], axis=-1)
    return totals, expected
