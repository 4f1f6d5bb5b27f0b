"""The figure of the decision tree, drawn from `GALAXY_ZOO_2`."""

import numpy as np
from figure_basics import BLUE, GREEN, GREY, INK, PALE, PURPLE, RED
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.path import Path as Curve

from galaxy.decision_tree import GALAXY_ZOO_2

# The centre of each question: smooth galaxies to the left, disks seen edge-on in the middle, others to the right.
LANES = {1: -0.6, 7: -6.1, 2: 2.4, 9: -1.6, 3: 5.75, 4: 5.75, 10: 3.6, 11: 3.6, 5: 5.2, 6: -1.0, 8: -1.0}
SCALING_COLOURS = {None: INK, 1: GREEN, 2: BLUE, 4: PURPLE, 6: RED}  # by the question of the scaling answer
ROW_PITCH, BOX_HEIGHT = 1.64, 1.0


def depths() -> dict[int, int]:
    """Return the largest number of questions before each question."""
    found = dict.fromkeys(GALAXY_ZOO_2.numbers, 0)
    for _ in found:
        for number in GALAXY_ZOO_2.numbers:
            for following in GALAXY_ZOO_2.leads_to[number]:
                if following is not None:
                    found[following] = max(found[following], found[number] + 1)
    return found


def answer_edges(task: int) -> np.ndarray:
    """Return the edges of the cells of a question's answers, from left to right."""
    question = GALAXY_ZOO_2.question(task)
    widths = np.array([0.104 * len(answer) + 0.24 for answer in question.words])
    widths += max(0, 0.112 * len(question.text) + 0.9 - widths.sum()) / len(widths)
    return LANES[task] + np.concatenate([[0], widths.cumsum()]) - widths.sum() / 2


def draw_tree() -> Figure:
    """Draw the decision tree: questions, answers, and arrows to the next questions."""
    tops = {number: -ROW_PITCH * depth for number, depth in depths().items()}
    limits = {"xlim": (-8.75, 8.8), "ylim": (min(tops.values()) - BOX_HEIGHT - 0.12, 0.15)}
    figure = Figure((9.8, 9.8 * np.ptp(limits["ylim"]) / np.ptp(limits["xlim"])))
    ax = figure.add_axes((0, 0, 1, 1), **limits, aspect="equal")
    ax.axis("off")
    for number, leads_to in GALAXY_ZOO_2.leads_to.items():
        columns = GALAXY_ZOO_2.scaled_by[number]
        scaled_by = int(GALAXY_ZOO_2.question_of[columns[0]]) + 1 if columns else None
        _draw_question(ax, number, tops[number], SCALING_COLOURS[scaled_by])
        edges = answer_edges(number)
        middles = (edges[1:] + edges[:-1]) / 2
        bottom = tops[number] - BOX_HEIGHT
        if len(set(leads_to)) == 1:
            middles = np.array([LANES[number]])
        for x, following in zip(middles, leads_to, strict=False):
            if following is not None:
                _draw_arrow(ax, (x, bottom), tops[following], answer_edges(following), SCALING_COLOURS[scaled_by])
            elif len(middles) > 1:
                ax.text(x, bottom - 0.12, "the end", ha="center", va="top", fontsize=7.5, color=GREY)
    for row, (number, colour) in enumerate(SCALING_COLOURS.items()):
        y = min(tops.values()) - 0.35 * row + 0.5
        text = f"scaled by an answer to question {number}" if number else "asked of every galaxy"
        ax.add_patch(Rectangle((4.2, y - 0.08), 0.4, 0.16, color=colour))
        ax.text(4.8, y, text, va="center", fontsize=8)
    return figure


def _draw_question(ax: Axes, task: int, top: float, colour: str) -> None:
    question, edges = GALAXY_ZOO_2.question(task), answer_edges(task)
    size = edges[-1] - edges[0], BOX_HEIGHT
    box = FancyBboxPatch((edges[0], top - BOX_HEIGHT), *size, boxstyle="round,pad=0,rounding_size=0.12")
    box.set(facecolor="white", edgecolor=colour, linewidth=1.6)
    ax.add_patch(box)
    centred = {"ha": "center", "va": "center"}
    ax.text(edges[0] + 0.16, top - 0.26, str(task), color=colour, fontweight="bold", fontsize=11, va="center")
    ax.text(LANES[task] + 0.15, top - 0.26, question.text, fontsize=8.5, **centred)
    for answer, (text, left, right) in enumerate(zip(question.words, edges, edges[1:], strict=False), 1):
        name = GALAXY_ZOO_2.columns[GALAXY_ZOO_2.column(task, answer)]
        ax.text((left + right) / 2, top - 0.6, text, fontsize=7.6, **centred)
        ax.text((left + right) / 2, top - 0.83, name.removeprefix("Class"), fontsize=6.5, color=GREY, **centred)
        if answer > 1:
            ax.plot([left, left], [top - 0.92, top - 0.5], color=PALE, linewidth=1)


def _draw_arrow(
    ax: Axes, start: tuple[float, float], top: float, edges: np.ndarray, colour: str, bend: float = 0.62
) -> None:
    """Draw an arrow straight down, with a bend just above the next question if necessary."""
    x, end = start[0], (np.clip(start[0], edges[0] + 0.35, edges[-1] - 0.35), top)
    path = Curve(
        [start, (x, top + bend), (x, top + 0.25 * bend), (end[0], top + 0.9 * bend), end],
        [Curve.MOVETO, Curve.LINETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4],
    )
    ax.add_patch(FancyArrowPatch(path=path, arrowstyle="-|>", mutation_scale=10, color=colour, linewidth=1.3))
