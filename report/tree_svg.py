"""The decision tree of one galaxy as an SVG element of a page, visible without a script.

`templates/tree.js` draws the same element in the browser; a test compares the two.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from markupsafe import Markup

from galaxy.tree import Tree
from report import tree_layout
from report.tree_layout import ASKED, BAR, BROAD, HAIR, LEAST, TWO_LINES, Branch, QuestionLayout

# The tree without picture begins this far left of the first question; its trunk a little later.
LEFT, TRUNK = 80, 70


def draw(votes: np.ndarray, tree: Tree, label: str, path: Sequence[int] | None = None) -> Markup:
    """Return the tree of weighted votes (answers,) as markup; `path` has the marked columns, None: the likeliest."""
    branches, layout = tree_layout.branches(votes, tree, path), tree_layout.layout_of(tree)
    first = layout.first
    elements = [_path("likely", [(first.x - TRUNK, tree_layout.PICTURE[1] + tree_layout.PICTURE[2] / 2),
                                 (first.x, first.y)], tree_layout.FULL)]  # fmt: skip
    elements += [
        _path("likely" if branch.likely else "", branch.points, max(branch.width, HAIR)) for branch in branches
    ]
    on_path = {branch.question for branch in branches if branch.likely}
    heights = tree_layout.bars(votes, tree)
    for question, own in layout.questions.items():
        height = heights[question]
        look = "bar on-path" if question in on_path else "bar"
        y = own.y + (height / 2 + 21 if own.below else -height / 2 - 10)
        elements.append(_rectangle(look, own.x, own.y - height / 2, BAR, height, 3))
        elements.append(_text("title", own.x + BAR / 2, y, own.title))
    for branch in branches:
        elements += _name(branch, layout.questions[branch.question])
    start = Markup('<svg viewBox="{} 0 {} {}" class="tree bare" role="img" aria-label="{}">').format(
        first.x - LEFT, layout.width - first.x + LEFT, layout.height, label
    )
    return start + Markup("").join(elements) + Markup("</svg>")


def _digits(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _path(look: str, points: Sequence[tuple[float, float]], width: float) -> Markup:
    """Return a band of this width along a curve that is level at each of its points."""

    def side(along: Sequence[tuple[float, float]], shift: float) -> str:
        curves = []
        for (x0, y0), (x1, y1) in pairwise(along):
            middle = (x0 + x1) / 2
            curves.append("C" + " ".join(map(_digits, (middle, y0 + shift, middle, y1 + shift, x1, y1 + shift))))
        return "".join(curves)

    (left, top), (right, bottom), half = points[0], points[-1], width / 2
    upper, lower = side(points, -half), side(points[::-1], half)
    start = f"M{_digits(left)} {_digits(top - half)}"
    outline = f"{start}{upper}L{_digits(right)} {_digits(bottom + half)}{lower}Z"
    return Markup('<path class="{}" d="{}"/>').format(look, outline)


def _rectangle(look: str, x: float, y: float, width: float, height: float, radius: float) -> Markup:
    numbers = map(_digits, (x, y, width, height, radius))
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}" rx="{}"/>').format(look, *numbers)


def _text(look: str, x: float, y: float, text: str) -> Markup:
    return Markup('<text class="{}" x="{}" y="{}">{}</text>').format(look, _digits(x), _digits(y), text)


def _name(branch: Branch, layout: QuestionLayout) -> list[Markup]:
    word = layout.words[branch.answer - 1]
    fraction = f"{branch.fraction:.0%}" if branch.asked >= ASKED and branch.fraction >= LEAST else ""
    on = branch.width >= BROAD
    looks = ("likely" if branch.likely else "", "on" if on else "", "unasked" if branch.asked < ASKED else "")
    look = " ".join(filter(None, looks))
    x, y = branch.name_at
    if fraction and branch.width >= TWO_LINES:
        return [_text(f"{look} large", x, y - 4, word), _text(f"{look} fraction", x, y + 18, fraction)]
    text = f"{word}  {fraction}".strip()
    if branch.ends and not on:
        return [_text(f"{look} end".strip(), branch.points[-1][0] + 8, y + 6, text)]
    label = _text(look, x, y + 6, text)
    if on:
        return [label]
    # A plate under the name. Its width is estimated: text has no width before it is drawn.
    width = len(text) * (10.2 if branch.likely else 8.9) + 8
    return [_rectangle("plate", x - width / 2, y - 12, width, 24, 6), label]
