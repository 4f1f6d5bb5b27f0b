"""The decision tree of one galaxy as a figure (PNG, SVG, PDF), for talks and papers."""

import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from galaxy.tree import Tree
from machine import seals
from machine.files import replacing
from report import tree_layout
from report.tree_layout import (
    ASKED,
    BAR,
    BROAD,
    HAIR,
    LEAST,
    PICTURE,
    TWO_LINES,
    Branch,
    Layout,
    QuestionLayout,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 120
# Font points per unit of the canvas.
POINTS = 72 / DPI
COLOURS = {
    "light": {
        "paper": "#ffffff", "ink": "#1f2733", "quiet": "#5a6675", "faint": "#a3aebb", "pale": "#d5dde6",
        "strong": "#1f6fb4", "on": "#ffffff",
    },
    "dark": {
        "paper": "#0d1117", "ink": "#e8edf3", "quiet": "#9aa7b5", "faint": "#5b6876", "pale": "#303b48",
        "strong": "#4aa8ee", "on": "#06121d",
    },
}  # fmt: skip


def draw(
    votes: np.ndarray,
    tree: Tree,
    pixels: np.ndarray | None = None,
    title: str = "",
    paper: str = "light",
    path: Sequence[int] | None = None,
) -> "Figure":
    """Draw the tree of weighted votes (answers,) beside the galaxy (rows, columns, 3) uint8; `paper`: light or dark.

    `path` has the columns of the marked answers; None for the likeliest path down to the last question.
    """
    from matplotlib.figure import Figure

    colours = COLOURS[paper]
    layout = tree_layout.layout_of(tree)
    figure = Figure((layout.width / DPI, layout.height / DPI), dpi=DPI, facecolor=colours["paper"])
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, layout.width), ylim=(layout.height, 0))
    ax.axis("off")
    branches = tree_layout.branches(votes, tree, path)
    _draw_trunk(ax, layout, colours)
    for branch in branches:
        _draw_branch(ax, branch, colours)
    on_path = {branch.question for branch in branches if branch.likely}
    for question, height in tree_layout.bars(votes, tree).items():
        _draw_bar(ax, layout.questions[question], height, question in on_path, colours)
    for branch in branches:
        _write_name(ax, branch, layout, colours)
    _draw_picture(ax, pixels, title, layout, colours)
    return figure


def save(figure: "Figure", path: Path, source: str = seals.NO_SOURCE) -> None:
    """Write a figure in the format of its suffix, whole or not at all, with a seal of its `source`."""
    suffix = path.suffix.lower()[1:]
    # Without dates and random names, so that the same galaxy gives the same file.
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}[suffix]
    metadata["Comment" if suffix == "png" else "Keywords"] = seals.blank(source)
    import matplotlib

    with (
        matplotlib.rc_context({"svg.hashsalt": "galaxy", "svg.fonttype": "path", "pdf.fonttype": 42}),
        warnings.catch_warnings(),
        replacing(path, sealed=True) as temporary,
    ):
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(temporary, format=suffix, metadata=metadata, dpi=2 * DPI if suffix == "png" else DPI)


def _ribbon(ax: "Axes", points: list[tuple[float, float]], width: float, **look: object) -> None:
    """Fill a band of this width along a curve that is level at each of its points."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Curve

    def side(along: list[tuple[float, float]], shift: float) -> list[tuple[float, float]]:
        vertices = [(along[0][0], along[0][1] + shift)]
        for (x0, y0), (x1, y1) in pairwise(along):
            middle = (x0 + x1) / 2
            vertices += [(middle, y0 + shift), (middle, y1 + shift), (x1, y1 + shift)]
        return vertices

    upper, lower = side(points, -width / 2), side(points[::-1], width / 2)
    codes = [Curve.MOVETO, *[Curve.CURVE4] * (len(upper) - 1), Curve.LINETO, *[Curve.CURVE4] * (len(lower) - 1)]
    ax.add_patch(PathPatch(Curve([*upper, *lower, upper[0]], [*codes, Curve.CLOSEPOLY]), **look))


def _draw_trunk(ax: "Axes", layout: Layout, colours: dict[str, str]) -> None:
    left, top, side = PICTURE
    points = [(left + side, top + side / 2), (layout.first.x, layout.first.y)]
    _ribbon(ax, points, tree_layout.FULL, facecolor=colours["strong"], linewidth=0)


def _draw_branch(ax: "Axes", branch: Branch, colours: dict[str, str]) -> None:
    colour = colours["strong" if branch.likely else "pale"]
    # An answer without votes is a hairline; a gap separates neighbours.
    gap = 0.5 if branch.width > 6 else 0
    _ribbon(ax, branch.points, max(branch.width, HAIR), facecolor=colour, edgecolor=colours["paper"], linewidth=gap)


def _draw_bar(ax: "Axes", layout: QuestionLayout, height: float, on_path: bool, colours: dict[str, str]) -> None:
    from matplotlib.patches import FancyBboxPatch

    shape = "round,pad=0,rounding_size=3"
    box = FancyBboxPatch((layout.x, layout.y - height / 2), BAR, height, boxstyle=shape, linewidth=0)
    box.set_facecolor(colours["ink" if on_path else "quiet"])
    ax.add_patch(box)
    look = {"size": 15, "colour": colours["quiet"]}
    y = layout.y + (height / 2 + 15) * (1 if layout.below else -1)
    _write(ax, (layout.x + BAR / 2, y), layout.title, **look)


def _write_name(ax: "Axes", branch: Branch, layout: Layout, colours: dict[str, str]) -> None:
    name = layout.questions[branch.question].words[branch.answer - 1]
    fraction = f"{branch.fraction:.0%}" if branch.asked >= ASKED and branch.fraction >= LEAST else ""
    on = branch.width >= BROAD
    if branch.likely:
        look = {"colour": colours["on" if on else "strong"], "size": 17, "weight": "bold"}
    else:
        look = {"colour": colours["ink" if on else "quiet" if branch.asked >= ASKED else "faint"], "size": 16}
    x, y = branch.name_at
    if fraction and branch.width >= TWO_LINES:
        _write(ax, (x, y + 12), fraction, **{**look, "size": 15.5, "weight": "normal"})
        return _write(ax, (x, y - 10), name, **{**look, "size": 18.5})
    name = f"{name}  {fraction}".strip()
    if on:
        return _write(ax, (x, y), name, **look)
    if branch.ends:
        x, y = branch.points[-1]
        look |= {"ha": "left"}
        x += 8
    _write(ax, (x, y), name, **look, plate=colours["paper"])


def _write(
    ax: "Axes",
    position: tuple[float, float],
    text: str,
    *,
    size: float,
    colour: str,
    plate: str | None = None,
    **look: str,
) -> None:
    box = {"boxstyle": "round,pad=0.12,rounding_size=0.3", "facecolor": plate, "linewidth": 0} if plate else None
    look = {"ha": "center", "va": "center_baseline", **look}
    # A file name is not a formula.
    ax.text(*position, text, fontsize=size * POINTS, color=colour, bbox=box, parse_math=False, **look)


def _draw_picture(ax: "Axes", pixels: np.ndarray | None, title: str, layout: Layout, colours: dict[str, str]) -> None:
    from matplotlib.patches import FancyBboxPatch

    left, top, side = PICTURE
    frame = FancyBboxPatch(
        (left, top), side, side, boxstyle="round,pad=0,rounding_size=14", linewidth=0, facecolor=colours["ink"]
    )
    ax.add_patch(frame)
    if pixels is not None:
        shown = ax.imshow(pixels, extent=(left, left + side, top + side, top), interpolation="lanczos", zorder=3)
        shown.set_clip_path(frame)
        ax.set(xlim=(0, layout.width), ylim=(layout.height, 0), aspect="auto")
    if title:
        text = "".join(letter if letter.isprintable() else "\ufffd" for letter in title)
        text = text if len(text) <= 28 else f"{text[:27]}…"
        _write(ax, (left + side / 2, top + side + 26), text, size=18, colour=colours["ink"], weight="bold")
