"""Layout of the decision tree for one galaxy: branches as wide as their votes, the most likely path marked.

A branch is an answer. It starts at the bar of its question, runs level where its name is written, and ends at the bar
of the next question. Branches lie side by side at a bar, as in a Sankey diagram. Lengths are units of a canvas of
WIDTH x HEIGHT, y downwards. `templates/tree.js` draws the same layout in pages; a test compares the two.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from galaxy.decision_tree import QUESTIONS, SLICES, column, likeliest_path, question_totals

WIDTH, HEIGHT = 2330, 780
# Width of a branch with all votes; least height of a branch where its name is written, and the gap between two.
FULL, PITCH, GAP = 108.0, 32.0, 7.0
# A branch of at least this width carries its name.
BROAD = 23.0
# Least width that is drawn; a branch of at least TWO_LINES carries its name and its fraction in two lines.
HAIR, TWO_LINES = 1.5, 44.0
# A fraction is written only if its question has at least ASKED of the votes, and the fraction is at least LEAST.
ASKED, LEAST = 0.05, 0.005
# Width of a question's bar; distances behind it at which branches run level, and at which narrow ones end.
BAR, LEVEL_FROM, LEVEL_TO, END = 7.0, 62.0, 166.0, 70.0
# The galaxy's picture: left, top, side.
PICTURE = 26.0, 162.0, 270.0


@dataclass(frozen=True)
class QuestionLayout:
    """Position of a question: x, y of its bar; `fan`, the mean y of its answers; `order` of its answers from the top.

    The title is above the bar, or `below` it if branches arrive from above.
    """

    title: str
    words: tuple[str, ...]
    x: float
    y: float
    fan: float
    order: tuple[int, ...] = ()
    below: bool = False


LAYOUTS: dict[int, QuestionLayout] = {
    1: QuestionLayout("Smooth?", ("smooth", "features", "star"), 362, 297, 300),
    7: QuestionLayout("Round?", ("round", "in between", "cigar-shaped"), 580, 124, 124),
    2: QuestionLayout("Edge-on?", ("edge-on", "not edge-on"), 580, 418, 422, below=True),
    9: QuestionLayout("Bulge?", ("rounded", "boxy", "no bulge"), 812, 318, 312),
    3: QuestionLayout("Bar?", ("bar", "no bar"), 812, 510, 510, below=True),
    4: QuestionLayout("Spiral?", ("spiral", "no spiral"), 1024, 522, 532, order=(2, 1)),
    10: QuestionLayout("Tight?", ("tight", "medium", "loose"), 1238, 610, 610, below=True),
    11: QuestionLayout("Arms?", ("1 arm", "2 arms", "3 arms", "4 arms", "more", "can't tell"), 1450, 610, 610),
    5: QuestionLayout("Bulge?", ("none", "noticeable", "obvious", "dominant"), 1668, 498, 478),
    6: QuestionLayout("Odd?", ("odd", "not odd"), 1896, 320, 332, order=(2, 1)),
    8: QuestionLayout(
        "What?",
        ("ring", "lens, arc", "disturbed", "irregular", "other", "merger", "dust lane"),
        2112,
        570,
        580,
        below=True,
    ),
}


@dataclass(frozen=True)
class Branch:
    """The branch of an answer: `width` in proportion to its votes, along `points` (x, y), at which it is level.

    `fraction` is the fraction among those asked, NaN if nobody was asked. `likely`: the most likely path contains it.
    `asked` is the weighted vote of its question. `ends`: no question follows.
    """

    question: int
    answer: int
    width: float
    fraction: float
    likely: bool
    asked: float
    points: tuple[tuple[float, float], ...]
    ends: bool

    @property
    def name_at(self) -> tuple[float, float]:
        """Position of its name: the middle of the level piece."""
        (left, y), (right, _) = self.points[1:3]
        return (left + right) / 2, y


def order_of(question: int) -> tuple[int, ...]:
    """Return the answers (from 1) of a question, from the top."""
    return LAYOUTS[question].order or tuple(range(1, len(LAYOUTS[question].words) + 1))


def _stacked(centre: float, heights: list[float]) -> list[float]:
    """Return the middles of stacked boxes with these heights, from the top; the stack is centred on `centre`."""
    edges = np.concatenate([[0.0], np.cumsum(heights)]) - sum(heights) / 2
    return [float(centre + (low + high) / 2) for low, high in pairwise(edges)]


def branches(votes: np.ndarray, path: Sequence[int] | None = None) -> list[Branch]:
    """Return the branches of all answers for weighted votes (37,); those of the most likely path come last.

    `path` has the columns (0..36) of the most likely path; None for the likeliest answers down to the last question.
    """
    votes = _as_votes(votes)
    likely, asked = {column(*step) for step in likeliest_path(votes)} if path is None else set(path), _asked(votes)
    starts, levels = {}, {}
    widths = {(n, answer): float(votes[SLICES[n]][answer - 1] * FULL) for n in LAYOUTS for answer in order_of(n)}
    for question, layout in LAYOUTS.items():
        keys = [(question, answer) for answer in order_of(question)]
        own = [widths[key] for key in keys]
        starts |= zip(keys, _stacked(layout.y, own), strict=True)
        levels |= zip(keys, _stacked(layout.fan, [max(PITCH, width + GAP) for width in own]), strict=True)
    ends = _ends(levels, widths)
    all_branches = []
    for key, width in widths.items():
        x, level = LAYOUTS[key[0]].x, levels[key]
        following = [ends[key]] if key in ends else []
        level_to = LEVEL_TO if following or width >= BROAD else END
        points = [(x + BAR, starts[key]), (x + LEVEL_FROM, level), (x + level_to, level)]
        total = asked[key[0]]
        fraction = width / FULL / total if total > 0 else np.nan
        all_branches.append(
            Branch(*key, width, fraction, column(*key) in likely, total, (*points, *following), not following)
        )
    return sorted(all_branches, key=lambda branch: branch.likely)


def _as_votes(votes: np.ndarray) -> np.ndarray:
    """Return votes within [0, 1], NaN as 0."""
    return np.clip(np.nan_to_num(np.asarray(votes, dtype=np.float64)), 0, 1)


def _asked(votes: np.ndarray) -> dict[int, float]:
    """Return the weighted vote of each question: the fraction of all volunteers who answered it."""
    return {number: float(total) for number, total in zip(QUESTIONS, question_totals(votes)[0], strict=True)}


def _ends(levels: dict, widths: dict) -> dict[tuple[int, int], tuple[float, float]]:
    """Return the end points of branches at the next question's bar: side by side, in the order of their heights."""
    coming: dict[int, list[tuple[int, int]]] = {}
    for number, answer in levels:
        following = QUESTIONS[number].leads_to[answer - 1]
        if following is not None:
            coming.setdefault(following, []).append((number, answer))
    ends = {}
    for number, keys in coming.items():
        keys.sort(key=lambda key: (LAYOUTS[key[0]].fan, levels[key]))
        for key, y in zip(keys, _stacked(LAYOUTS[number].y, [widths[key] for key in keys]), strict=True):
            ends[key] = LAYOUTS[number].x, y
    return ends


def bars(votes: np.ndarray) -> dict[int, float]:
    """Return the height of each question's bar, for votes (37,)."""
    return {question: max(10.0, total * FULL) for question, total in _asked(_as_votes(votes)).items()}


def as_plain() -> dict[str, object]:
    """Return the layout as plain values, for the script of a page."""
    return {
        "width": WIDTH, "height": HEIGHT, "full": FULL, "pitch": PITCH, "gap": GAP, "broad": BROAD, "bar": BAR,
        "levelFrom": LEVEL_FROM, "levelTo": LEVEL_TO, "end": END, "picture": list(PICTURE), "hair": HAIR,
        "twoLines": TWO_LINES, "asked": ASKED, "least": LEAST,
        "questions": [
            {
                "number": number, "title": layout.title, "words": layout.words, "x": layout.x, "y": layout.y,
                "fan": layout.fan, "order": order_of(number), "below": layout.below, "text": QUESTIONS[number].text,
                "answers": QUESTIONS[number].answers, "leadsTo": QUESTIONS[number].leads_to,
                "first": SLICES[number].start,
            }
            for number, layout in LAYOUTS.items()
        ],
    }  # fmt: skip
