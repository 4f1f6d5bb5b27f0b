"""Learning curves, calibration curves and residuals as SVG, each on light and on dark paper."""

import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from galaxy.tree import Tree
from report.page import Figure
from report.reliability import Reliability
from report.tree_figure import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours of seven lines, which differ in lightness and in hue.
LINES = {
    "light": ("#1f6fb4", "#c8322b", "#2f8f6b", "#b9770f", "#8a4fa3", "#16899f", "#6b7280"),
    "dark": ("#4aa8ee", "#ff8578", "#5fd0a2", "#f0b65a", "#c99ae0", "#5fd3e6", "#a5b1be"),
}
# More runs than colours are not drawn.
MAX_CURVES = 7


def on_both(draw: Callable[..., None], size: tuple[float, float], grid: tuple[int, int], **words: str) -> Figure:
    """Call `draw(axes, lines, colours)` for light and for dark paper, on a grid of axes (rows, columns)."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    drawn = {}
    for paper, colours in COLOURS.items():
        look = {
            "svg.hashsalt": "galaxy", "font.size": 9, "text.parse_math": False, "axes.spines.top": False,
            "axes.spines.right": False, "legend.frameon": False, "axes.axisbelow": True,
            "figure.facecolor": colours["paper"], "axes.facecolor": colours["paper"], "grid.color": colours["pale"],
        }  # fmt: skip
        inks = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
        with matplotlib.rc_context(look | dict.fromkeys(inks, colours["ink"])):
            canvas = Canvas(size, layout="constrained")
            draw(canvas.subplots(*grid, squeeze=False), LINES[paper], colours)
            file = io.BytesIO()
            canvas.savefig(file, format="svg", metadata={"Date": None})
        drawn[paper] = file.getvalue()
    return Figure(drawn["light"], drawn["dark"], **words)


def learning_curves(runs: Mapping[str, tuple[Sequence[float], Mapping[int, float]]]) -> Figure:
    """Draw the RMSE of runs by name: training, one value per chunk; validation, by chunk."""
    shown = dict(list(runs.items())[:MAX_CURVES])

    def draw(axes: np.ndarray, lines: Sequence[str], colours: dict[str, str]) -> None:
        ax = axes[0, 0]
        for (name, (train, valid)), colour in zip(shown.items(), lines, strict=False):
            ax.plot(np.arange(1, len(train) + 1), train, color=colour, linewidth=1, alpha=0.55)
            ax.plot(list(valid), list(valid.values()), "o-", color=colour, markersize=3.5, linewidth=1.8, label=name)
        ax.set(xlabel="chunk", ylabel="RMSE")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.grid(axis="y", linewidth=0.6)
        ax.legend(fontsize=8)

    words = "; ".join(f"{name} ends at {_last(valid, train)}" for name, (train, valid) in shown.items())
    return on_both(
        draw, (9, 3.6), (1, 1),
        alternative=f"Learning curves: {words}",
        caption="Learning curves. Thin lines: training, with augmentation. Thick lines with dots: validation galaxies.",
    )  # fmt: skip


def _last(valid: Mapping[int, float], train: Sequence[float]) -> str:
    return f"{list(valid.values())[-1]:.4f}" if valid else f"{train[-1]:.4f} (training)" if train else "no chunk"


def calibration_curves(calibration: Reliability, tree: Tree) -> Figure:
    """Draw labels against predictions, a panel per question, a line per answer."""
    columns = min(4, len(tree.questions))
    rows = -(-len(tree.questions) // columns)

    def draw(axes: np.ndarray, lines: Sequence[str], colours: dict[str, str]) -> None:
        for ax, question in zip(axes.flat, tree.order, strict=False):
            _draw_calibration(ax, question, tree, calibration, lines, colours)
        for ax in axes.flat[len(tree.questions) :]:
            ax.axis("off")
        axes[-1, 0].set(xlabel="predicted", ylabel="volunteers")

    errors = calibration.errors
    return on_both(
        draw, (1 + 3 * columns, 0.4 + 2.4 * rows), (rows, columns),
        alternative=f"Calibration curves of {len(tree.questions)} questions. The table has the expected calibration "
        f"errors: their mean is {errors.mean():.4f}, the largest {errors.max():.4f}",
        caption="Calibration: the mean vote of galaxies with similar predictions. On the diagonal, votes equal "
        "predictions. Larger dots stand for more galaxies. ECE is the expected calibration error.",
    )  # fmt: skip


def _draw_calibration(
    ax: "Axes",
    question: int,
    tree: Tree,
    calibration: Reliability,
    lines: Sequence[str],
    colours: dict[str, str],
) -> None:
    ax.plot([0, 1], [0, 1], color=colours["faint"], linewidth=0.8, linestyle="--")
    answers = range(tree.num_answers)[tree.slices[question]]
    arrays = calibration.predicted, calibration.labelled, calibration.counts
    for column, word, colour in zip(answers, tree.question(question).labels, lines, strict=False):
        filled = calibration.counts[column] > 0
        x, y, counts = (array[column][filled] for array in arrays)
        ax.plot(x, y, color=colour, linewidth=1, label=f"{word} {calibration.errors[column]:.3f}")
        ax.scatter(x, y, s=4 + 45 * np.sqrt(counts / max(1, counts.sum())), color=colour, linewidth=0)
    ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    ax.set_title(textwrap.fill(tree.question(question).text, 34), fontsize=8)
    # Beside the panel, where no curve is.
    ax.legend(
        fontsize=6.5, loc="upper left", bbox_to_anchor=(1, 1), handlelength=1, labelspacing=0.25, title="ECE",
        title_fontsize=6.5,
    )  # fmt: skip


def residuals(values: np.ndarray, tree: Tree) -> Figure:
    """Draw the distribution of residuals (n, answers), prediction - label: the central 68 % and 95 % of each answer."""
    low, lower, middle, upper, high = np.percentile(values, (2.5, 16, 50, 84, 97.5), axis=0)
    order = [column for question in tree.order for column in range(tree.num_answers)[tree.slices[question]]]
    names = [tree.words[column] for column in order]
    half = -(-len(order) // 2)  # the figure has two columns

    def draw(axes: np.ndarray, lines: Sequence[str], colours: dict[str, str]) -> None:
        for ax, start in zip(axes[0], (0, half), strict=True):
            columns = order[start : start + half]
            y = np.arange(len(columns))
            ax.axvline(0, color=colours["faint"], linewidth=0.8)
            ax.hlines(y, low[columns], high[columns], color=colours["quiet"], linewidth=1)
            ax.hlines(y, lower[columns], upper[columns], color=lines[0], linewidth=6)
            ax.plot(middle[columns], y, "|", color=colours["paper"], markersize=6, markeredgewidth=1.6)
            ax.set_yticks(y, names[start : start + half], fontsize=8)
            ax.set(ylim=(half - 0.4, -0.6), xlabel="prediction − volunteers")
            ax.grid(axis="x", linewidth=0.6)

    widest = int(np.argmax(high - low))
    return on_both(
        draw, (10, 0.8 + 0.2 * half), (1, 2),
        alternative=f"Residuals of the {len(order)} answers; the widest are those of {names[order.index(widest)]}: "
        f"95 % are between {low[widest]:.2f} and {high[widest]:.2f}",
        caption="Residuals per answer. Thick: the central 68 % of galaxies. Thin: 95 %. Gap: the median.",
    )  # fmt: skip
