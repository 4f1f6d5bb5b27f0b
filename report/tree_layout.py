"""Layout of the decision tree for one galaxy: branches as wide as their votes, the most likely path marked.

A branch is an answer. It starts at the bar of its question, runs level where its name is written, and ends at the bar
of the next question. Branches lie side by side at a bar, as in a Sankey diagram. Lengths are units of a canvas of
the layout's width and height, y downwards. `templates/tree.js` draws the same layout in pages; a test compares the two.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from galaxy.decision_tree import GALAXY_ZOO_2
from galaxy.tree import Tree

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


@dataclass(frozen=True)
class Layout:
    """The layout of a tree: its questions by number, in an order such that each follows those that lead to it."""

    tree: Tree
    questions: dict[int, QuestionLayout]
    width: float
    height: float

    @property
    def first(self) -> QuestionLayout:
        return self.questions[1]


# x, y, fan, order and below of each question of Galaxy Zoo 2, placed by hand.
_WIDTH, _HEIGHT = 2330, 780
_BY_HAND: dict[str, tuple] = {
    "smooth-or-featured": (362, 297, 300),
    "how-rounded": (580, 124, 124),
    "disk-edge-on": (580, 418, 422, (), True),
    "bulge-shape": (812, 318, 312),
    "bar": (812, 510, 510, (), True),
    "has-spiral-arms": (1024, 522, 532, (2, 1)),
    "spiral-winding": (1238, 610, 610, (), True),
    "spiral-arm-count": (1450, 610, 610),
    "bulge-size": (1668, 498, 478),
    "something-odd": (1896, 320, 332, (2, 1)),
    "odd-feature": (2112, 570, 580, (), True),
}
# Distance of two levels of questions, and the height beside a question's answers.
_LEVEL, _MARGIN = 218, 60


@lru_cache(maxsize=16)
def layout_of(tree: Tree) -> Layout:
    """Return the layout of a tree: by hand for Galaxy Zoo 2, else a column of questions per level of the tree."""
    if tree == GALAXY_ZOO_2:
        positions, width, height = _BY_HAND, _WIDTH, _HEIGHT
    else:
        positions, width, height = _place_by_level(tree)
    questions = {n: tree.question(n) for n in tree.order}
    placed = {n: QuestionLayout(q.title, q.labels, *positions[q.name]) for n, q in questions.items()}
    return Layout(tree, placed, width, height)


def _place_by_level(tree: Tree) -> tuple[dict[str, tuple], float, float]:
    """Return x, y, fan, order and below of each question by name, and the width and height of the canvas.

    A question stands right of all that lead to it, at the mean height of their answers if there is room. Its title is
    below the bar where the branches arrive from above.
    """
    levels: dict[int, int] = {}
    wanted: dict[int, list[float]] = {}
    middle, heights = 0.0, {n: len(tree.question(n).answers) * (PITCH + GAP) + _MARGIN for n in tree.numbers}
    for n in tree.order:
        leading = [m for m in tree.order if n in tree.leads_to[m]]
        levels[n] = 1 + max((levels[m] for m in leading), default=-1)
    y: dict[int, float] = {}
    for level in range(max(levels.values()) + 1):
        own = [n for n in tree.order if levels[n] == level]
        own.sort(key=lambda n: np.mean(wanted.get(n, [middle])))
        means = [float(np.mean(wanted.get(n, [middle]))) for n in own]
        placed = _stacked(float(np.mean(means)), [heights[n] for n in own])
        for n, centre in zip(own, placed, strict=True):
            y[n] = centre
            answers = _stacked(centre, [PITCH + GAP] * len(tree.leads_to[n]))
            for following, height in zip(tree.leads_to[n], answers, strict=True):
                if following is not None:
                    wanted.setdefault(following, []).append(height)
    top = min(y[n] - heights[n] / 2 for n in y)
    low = max(y[n] + heights[n] / 2 for n in y)
    height = max(low - top, _HEIGHT)
    shift = (height - low - top) / 2
    positions = {}
    for n in tree.order:
        start = float(np.mean(wanted[n])) if n in wanted else PICTURE[1] + PICTURE[2] / 2 - shift
        name, at = tree.question(n).name, y[n] + shift
        positions[name] = 362 + _LEVEL * levels[n], at, at, (), start < y[n] - PITCH / 2
    return positions, 362 + _LEVEL * (max(levels.values()) + 1), height


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


def order_of(layout: QuestionLayout) -> tuple[int, ...]:
    """Return the answers (from 1) of a question, from the top."""
    return layout.order or tuple(range(1, len(layout.words) + 1))


def _stacked(centre: float, heights: list[float]) -> list[float]:
    """Return the middles of stacked boxes with these heights, from the top; the stack is centred on `centre`."""
    edges = np.concatenate([[0.0], np.cumsum(heights)]) - sum(heights) / 2
    return [float(centre + (low + high) / 2) for low, high in pairwise(edges)]


def branches(votes: np.ndarray, tree: Tree, path: Sequence[int] | None = None) -> list[Branch]:
    """Return the branches of all answers for weighted votes (answers,); those of the most likely path come last.

    `path` has the columns of the most likely path; None for the likeliest answers down to the last question.
    """
    votes, layouts = _as_votes(votes), layout_of(tree).questions
    likely = {tree.column(*step) for step in tree.likeliest_path(votes)} if path is None else set(path)
    asked = _asked(votes, tree)
    starts, levels = {}, {}
    widths = {
        (n, answer): float(votes[tree.column(n, answer)] * FULL) for n in layouts for answer in order_of(layouts[n])
    }
    for question, layout in layouts.items():
        keys = [(question, answer) for answer in order_of(layout)]
        own = [widths[key] for key in keys]
        starts |= zip(keys, _stacked(layout.y, own), strict=True)
        levels |= zip(keys, _stacked(layout.fan, [max(PITCH, width + GAP) for width in own]), strict=True)
    ends = _ends(levels, widths, tree)
    all_branches = []
    for key, width in widths.items():
        x, level = layouts[key[0]].x, levels[key]
        following = [ends[key]] if key in ends else []
        level_to = LEVEL_TO if following or width >= BROAD else END
        points = [(x + BAR, starts[key]), (x + LEVEL_FROM, level), (x + level_to, level)]
        total = asked[key[0]]
        fraction = width / FULL / total if total > 0 else np.nan
        is_likely = tree.column(*key) in likely
        all_branches.append(Branch(*key, width, fraction, is_likely, total, (*points, *following), not following))
    return sorted(all_branches, key=lambda branch: branch.likely)


def _as_votes(votes: np.ndarray) -> np.ndarray:
    """Return votes within [0, 1], NaN as 0."""
    return np.clip(np.nan_to_num(np.asarray(votes, dtype=np.float64)), 0, 1)


def _asked(votes: np.ndarray, tree: Tree) -> dict[int, float]:
    """Return the weighted vote of each question: the fraction of all volunteers who answered it."""
    return {number: float(total) for number, total in zip(tree.numbers, tree.question_totals(votes)[0], strict=True)}


def _ends(levels: dict, widths: dict, tree: Tree) -> dict[tuple[int, int], tuple[float, float]]:
    """Return the end points of branches at the next question's bar: side by side, in the order of their heights."""
    layouts = layout_of(tree).questions
    coming: dict[int, list[tuple[int, int]]] = {}
    for number, answer in levels:
        following = tree.leads_to[number][answer - 1]
        if following is not None:
            coming.setdefault(following, []).append((number, answer))
    ends = {}
    for number, keys in coming.items():
        keys.sort(key=lambda key: (layouts[key[0]].fan, levels[key]))
        for key, y in zip(keys, _stacked(layouts[number].y, [widths[key] for key in keys]), strict=True):
            ends[key] = layouts[number].x, y
    return ends


def bars(votes: np.ndarray, tree: Tree) -> dict[int, float]:
    """Return the height of each question's bar, for votes (answers,)."""
    return {question: max(10.0, total * FULL) for question, total in _asked(_as_votes(votes), tree).items()}


def as_plain(tree: Tree) -> dict[str, object]:
    """Return the layout as plain values, for the script of a page."""
    layout = layout_of(tree)
    return {
        "width": layout.width, "height": layout.height, "full": FULL, "pitch": PITCH, "gap": GAP, "broad": BROAD,
        "bar": BAR, "levelFrom": LEVEL_FROM, "levelTo": LEVEL_TO, "end": END, "picture": list(PICTURE), "hair": HAIR,
        "twoLines": TWO_LINES, "asked": ASKED, "least": LEAST, "numAnswers": tree.num_answers,
        "questions": [
            {
                "number": number, "title": own.title, "words": own.words, "x": own.x, "y": own.y,
                "fan": own.fan, "order": order_of(own), "below": own.below, "text": tree.question(number).text,
                "answers": tree.words[tree.slices[number]], "leadsTo": tree.leads_to[number],
                "first": tree.slices[number].start,
            }
            for number, own in layout.questions.items()
        ],
    }  # fmt: skip
