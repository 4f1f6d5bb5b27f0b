"""Where the branches of the decision tree run for one galaxy: as wide as its votes, the likeliest way marked.

A branch is an answer. It leaves the bar of its question, fans out to where its name is written, and flows into the bar
of the question that follows; branches that meet lie side by side, as in a Sankey diagram. Lengths are units of a canvas
of WIDTH x HEIGHT, y downwards. `templates/tree.js` draws the same for pages; a test compares the two.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from galaxy.decision_tree import QUESTIONS, SLICES, likeliest_path, question_totals

WIDTH, HEIGHT = 2330, 780
# The width of a branch that has all votes, and what a branch takes at least where its name is written.
FULL, PITCH, GAP = 108.0, 32.0, 7.0
# From this width on, a name stands on its branch.
BROAD = 23.0
# The least width that is drawn; from this one on, a name has two lines.
HAIR, TWO_LINES = 1.5, 44.0
# No part is written out of a question that fewer were asked, nor a part that rounds to nothing.
ASKED, LEAST = 0.05, 0.005
# A question's bar; where behind it branches run level, with the names of answers on them; where narrow ones end.
BAR, LEVEL_FROM, LEVEL_TO, END = 7.0, 62.0, 166.0, 70.0
# Where the galaxy's picture is: left, top, side.
PICTURE = 26.0, 162.0, 270.0


@dataclass(frozen=True)
class Place:
    """Where a question stands: x, y of its bar, `fan` the y about which its answers spread, their order from the top.

    Its title is written above the bar, or `below`, on the side that branches do not come from.
    """

    title: str
    words: tuple[str, ...]
    x: float
    y: float
    fan: float
    order: tuple[int, ...] = ()
    below: bool = False


PLACES: dict[int, Place] = {
    1: Place("Smooth?", ("smooth", "features", "star"), 362, 297, 300),
    7: Place("Round?", ("round", "in between", "cigar-shaped"), 580, 124, 124),
    2: Place("Edge-on?", ("edge-on", "not edge-on"), 580, 418, 422, below=True),
    9: Place("Bulge?", ("rounded", "boxy", "no bulge"), 812, 318, 312),
    3: Place("Bar?", ("bar", "no bar"), 812, 510, 510, below=True),
    4: Place("Spiral?", ("spiral", "no spiral"), 1024, 522, 532, order=(2, 1)),
    10: Place("Tight?", ("tight", "medium", "loose"), 1238, 610, 610, below=True),
    11: Place("Arms?", ("1 arm", "2 arms", "3 arms", "4 arms", "more", "can't tell"), 1450, 610, 610),
    5: Place("Bulge?", ("none", "noticeable", "obvious", "dominant"), 1668, 498, 478),
    6: Place("Odd?", ("odd", "not odd"), 1896, 320, 332, order=(2, 1)),
    8: Place(
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
    """An answer's branch: `width` by its votes, along `points` (x, y), at each of which it is level.

    `part` is what of those asked gave the answer, NaN where nobody was asked; `likely` whether the likeliest way leads
    through it;
    `asked` the votes that its question has; `ends` that nothing follows.
    """

    question: int
    answer: int
    width: float
    part: float
    likely: bool
    asked: float
    points: tuple[tuple[float, float], ...]
    ends: bool

    @property
    def name_at(self) -> tuple[float, float]:
        """Where its name is written: the middle of where it runs level."""
        (left, y), (right, _) = self.points[1:3]
        return (left + right) / 2, y


def order_of(question: int) -> tuple[int, ...]:
    """Return the answers (from 1) of a question from the top."""
    return PLACES[question].order or tuple(range(1, len(PLACES[question].words) + 1))


def _stacked(centre: float, heights: list[float]) -> list[float]:
    """Return the middles of things of such heights that stand on each other about `centre`, from the top."""
    edges = np.concatenate([[0.0], np.cumsum(heights)]) - sum(heights) / 2
    return [float(centre + (low + high) / 2) for low, high in pairwise(edges)]


def branches(votes: np.ndarray) -> list[Branch]:
    """Return the branches of all answers, the likely ones last, for Kaggle's weighted votes (37,)."""
    votes = _counted(votes)
    way, asked = set(likeliest_path(votes)), _asked(votes)
    starts, levels = {}, {}
    widths = {(n, answer): float(votes[SLICES[n]][answer - 1] * FULL) for n in PLACES for answer in order_of(n)}
    for number, place in PLACES.items():
        keys = [(number, answer) for answer in order_of(number)]
        own = [widths[key] for key in keys]
        starts |= zip(keys, _stacked(place.y, own), strict=True)
        levels |= zip(keys, _stacked(place.fan, [max(PITCH, width + GAP) for width in own]), strict=True)
    ends = _ends(levels, widths)
    found = []
    for key, width in widths.items():
        x, level = PLACES[key[0]].x, levels[key]
        following = [ends[key]] if key in ends else []
        level_to = LEVEL_TO if following or width >= BROAD else END
        points = [(x + BAR, starts[key]), (x + LEVEL_FROM, level), (x + level_to, level)]
        total = asked[key[0]]
        part = width / FULL / total if total > 0 else np.nan
        found.append(Branch(*key, width, part, key in way, total, (*points, *following), not following))
    return sorted(found, key=lambda branch: branch.likely)


def _counted(votes: np.ndarray) -> np.ndarray:
    return np.clip(np.nan_to_num(np.asarray(votes, dtype=np.float64)), 0, 1)


def _asked(votes: np.ndarray) -> dict[int, float]:
    """Return what part of all volunteers answered each question."""
    return {number: float(total) for number, total in zip(QUESTIONS, question_totals(votes)[0], strict=True)}


def _ends(levels: dict, widths: dict) -> dict[tuple[int, int], tuple[float, float]]:
    """Return where branches flow into the next question's bar: side by side, in the order in which they come."""
    coming: dict[int, list[tuple[int, int]]] = {}
    for number, answer in levels:
        following = QUESTIONS[number].leads_to[answer - 1]
        if following is not None:
            coming.setdefault(following, []).append((number, answer))
    ends = {}
    for number, keys in coming.items():
        keys.sort(key=lambda key: (PLACES[key[0]].fan, levels[key]))
        for key, y in zip(keys, _stacked(PLACES[number].y, [widths[key] for key in keys]), strict=True):
            ends[key] = PLACES[number].x, y
    return ends


def bars(votes: np.ndarray) -> dict[int, float]:
    """Return how high each question's bar is, for votes (37,)."""
    return {number: max(10.0, total * FULL) for number, total in _asked(_counted(votes)).items()}


def as_plain() -> dict[str, object]:
    """Return all that pages need to draw trees, as plain values."""
    return {
        "width": WIDTH, "height": HEIGHT, "full": FULL, "pitch": PITCH, "gap": GAP, "broad": BROAD, "bar": BAR,
        "levelFrom": LEVEL_FROM, "levelTo": LEVEL_TO, "end": END, "picture": list(PICTURE), "hair": HAIR,
        "twoLines": TWO_LINES, "asked": ASKED, "least": LEAST,
        "questions": [
            {
                "number": number, "title": place.title, "words": place.words, "x": place.x, "y": place.y,
                "fan": place.fan, "order": order_of(number), "below": place.below, "text": QUESTIONS[number].text,
                "answers": QUESTIONS[number].answers, "leadsTo": QUESTIONS[number].leads_to,
                "first": SLICES[number].start,
            }
            for number, place in PLACES.items()
        ],
    }  # fmt: skip
