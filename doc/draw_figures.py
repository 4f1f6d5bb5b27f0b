"""Draw the figures of this folder with the project's own code, from a simulated galaxy.

`initialisation.png` shows measurements from `initialisation.csv` beside this script.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from machine.command_line import run_script

import matplotlib
import numpy as np
import pandas
from figure_basics import (
    BLUE,
    CORAL,
    EXPERIMENT,
    GALAXY,
    GOLD,
    GREEN,
    GREY,
    INK,
    PALE,
    PURPLE,
    RED,
    SKY,
    TEAL,
    best_network,
    crops,
    galaxy,
    slices,
)
from figure_network import draw_network
from figure_tree import draw_tree
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from PIL import Image

import layers
import realtime_augmentation as ra
import simulate_galaxies
from galaxy import thumbnails
from galaxy.decision_tree import GALAXY_ZOO_2
from machine.files import DataError, replacing
from report import tree_figure

HERE = Path(__file__).resolve().parent
MEASUREMENTS = HERE / "initialisation.csv"

VIEW_COLOURS = (RED, CORAL, BLUE, SKY)
VIEW_NAMES = ("plain", "plain, mirrored", "45°", "45°, mirrored")
STYLE = {
    "font.family": "DejaVu Sans", "font.size": 9, "text.color": INK, "axes.edgecolor": GREY, "axes.labelcolor": INK,
    "axes.titlesize": 9, "axes.titlecolor": INK, "xtick.color": GREY, "ytick.color": GREY,
}  # fmt: skip
DPI = 130


def four_views(image: np.ndarray) -> np.ndarray:
    """Return the two views and their mirrored versions, (4, rows, columns, 3): parts of full size."""
    return slices(crops(image), EXPERIMENT.views.target_sizes[0][0])[::4]


def show(ax: Axes, image: np.ndarray, colour: str | None = None, interpolation: str = "nearest") -> None:
    """Show an image without axes, in a frame if a colour is given."""
    ax.imshow(np.clip(image, 0, 1), interpolation=interpolation)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(colour is not None)
        spine.set(color=colour, linewidth=2.2)


def draw_views() -> Figure:
    """Draw the positions of the four views in the image, and the views."""
    image = galaxy()
    figure = Figure((9.2, 4.9))
    grid = figure.add_gridspec(2, 3, width_ratios=(2.07, 1, 1), left=0.01, right=0.99, bottom=0.02, top=0.93)
    grid.update(wspace=0.05, hspace=0.16)
    ax = figure.add_subplot(grid[:, 0])
    show(ax, image, interpolation="antialiased")
    ax.set_title("424 × 424 pixels, and where the views lie")
    for index, (tform, (rows, columns)) in enumerate(
        zip(EXPERIMENT.views.ds_transforms, EXPERIMENT.views.target_sizes, strict=True)
    ):
        # The outer edges of the corner pixels, from the top left one of the view.
        corners = tform(np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]]) - 0.5)
        colour, mirrored = VIEW_COLOURS[2 * index : 2 * index + 2]
        ax.add_patch(Polygon(corners, fill=False, edgecolor=colour, linewidth=2.2))
        ax.add_patch(Polygon(corners, fill=False, edgecolor=mirrored, linewidth=2.2, linestyle=(0, (5, 5))))
        # An arrow along the top row of each view; that of the mirrored view starts at the other end.
        left, right = corners[:2] + 3 * (corners[3] - corners[0]) / rows
        for start, end, edge in ((left, right, colour), (right, left, mirrored)):
            arrow = {"arrowstyle": "-|>", "color": edge, "linewidth": 1.8, "shrinkA": 0, "shrinkB": 0}
            ax.annotate("", start + 0.3 * (end - start), start + 0.04 * (end - start), arrowprops=arrow)
    for index, view in enumerate(four_views(image)):
        ax = figure.add_subplot(grid[index // 2, 1 + index % 2])
        show(ax, view, VIEW_COLOURS[index])
        ax.set_title(f"{VIEW_NAMES[index]}, {view.shape[0]} × {view.shape[1]}")
    return figure


def draw_parts() -> Figure:
    """Draw the sixteen parts beside their views."""
    _, output = best_network()
    [size] = [each.part_size for each in layers.all_layers(output) if isinstance(each, layers.MultiRotSliceLayer)]
    views = four_views(galaxy())
    parts = slices(crops(galaxy()), size)
    # The layer, applied to coordinates, gives the position of each part.
    rows, columns = EXPERIMENT.views.target_sizes[0]
    coordinates = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).astype(np.float32)
    origins = slices([coordinates], size)[:4]
    shades = (TEAL, GREEN, GOLD, PURPLE)

    figure = Figure((8.2, 7.35))
    grid = figure.add_gridspec(4, 6, width_ratios=(1, 0.1, 1, 1, 1, 1), left=0.008, right=0.995, bottom=0.008, top=0.91)
    grid.update(wspace=0.07, hspace=0.15)
    for row, (view, colour, name) in enumerate(zip(views, VIEW_COLOURS, VIEW_NAMES, strict=True)):
        ax = figure.add_subplot(grid[row, 0])
        show(ax, view, colour)
        ax.set_title(name, pad=4)
        for turn, (origin, shade) in enumerate(zip(origins, shades, strict=True)):
            (left, top), extent = origin.min(axis=(0, 1)), size - 1
            inset = 0.9 * turn  # overlapping outlines stay apart
            box = Rectangle((left + inset, top + inset), extent - 2 * inset, extent - 2 * inset)
            box.set(fill=False, edgecolor=shade, linewidth=1.4)
            ax.add_patch(box)
        for turn, shade in enumerate(shades):
            ax = figure.add_subplot(grid[row, 2 + turn])
            show(ax, parts[4 * row + turn])
            ax.add_patch(Rectangle((0, 0), 1, 0.035, transform=ax.transAxes, color=shade, clip_on=False, zorder=3))
            if row == 0:
                ax.set_title("as it lies" if turn == 0 else f"turned by {90 * turn}°", pad=4)
    figure.suptitle(
        f"{len(parts)} parts of {size} × {size} pixels, the galaxy at the bottom right of each", fontsize=11
    )
    return figure


def draw_augmentation() -> Figure:
    """Draw a galaxy, random perturbations of it with colour noise, and the noise alone, ten times enlarged."""
    image, recipe, columns = galaxy(), EXPERIMENT.views, 6
    number, crop = 2 * columns, crops(image)[0]
    perturbed = [
        ra.perturb_and_dscrop(
            image, recipe.ds_transforms[:1], recipe.perturbations, recipe.target_sizes[:1], np.random.default_rng(seed)
        )[0]
        for seed in range(number)
    ]
    labels = np.zeros((number, GALAXY_ZOO_2.num_answers), np.float32)
    chunks = [([np.stack(perturbed), labels], number)]
    [([noisy, _], _)] = ra.post_augment_brightness_gen(chunks, recipe.colour_std)

    figure = Figure((9.2, 4.3))
    sides = {"left": 0.008, "right": 0.992, "wspace": 0.05, "hspace": 0.05}
    grid = figure.add_gridspec(2, columns + 2, bottom=0.4, top=0.935, **sides)
    strip = figure.add_gridspec(1, columns + 2, bottom=0.06, top=0.33, **sides)
    ax = figure.add_subplot(grid[:, :2])
    show(ax, crop, RED)
    ax.set_title("the plain view")
    for index, view in enumerate(noisy):
        show(figure.add_subplot(grid[index // columns, 2 + index % columns]), view)
    figure.text(0.63, 0.955, "as the network meets it: turned, zoomed, shifted, mirrored, recoloured", ha="center")
    figure.text(0.5, 0.35, "the colour noise alone, ten times enlarged for the eye", ha="center")
    for index, alpha in enumerate((-2, -1.5, -1, -0.5, 0.5, 1, 1.5, 2)):
        ax = figure.add_subplot(strip[index])
        show(ax, crop + 10 * alpha * recipe.colour_std * ra.colour_channel_weights)
        ax.set_xlabel(f"{alpha:+g} σ".replace("-", "−"), labelpad=3)
    return figure


def draw_sixty() -> Figure:
    """Draw one galaxy under the sixty transforms of prediction."""
    views = [crops(galaxy(), tform)[0] for tform in ra.sixty_transforms()]
    figure = Figure((9.2, 5.75))
    grid = figure.add_gridspec(6, 10, left=0.085, right=0.995, bottom=0.01, top=0.95, wspace=0.04, hspace=0.04)
    zooms = ("zoom 1/1.2", "zoom 1", "zoom 1.2")
    for index, view in enumerate(views):
        zoom, angle, mirrored = index // 20, index // 2 % 10, index % 2
        ax = figure.add_subplot(grid[2 * zoom + mirrored, angle])
        show(ax, np.round(view * 51) / 51)  # steps of 5/255 halve the file and are not visible
        if zoom == mirrored == 0:
            ax.set_title(f"{36 * angle}°", pad=3)
        if angle == 0:
            text = zooms[zoom] + ("\nmirrored" if mirrored else "")
            ax.set_ylabel(text, rotation=0, ha="right", va="center", labelpad=5, color=BLUE if mirrored else INK)
    return figure


def draw_initialisation(measurements: Path = MEASUREMENTS) -> Figure | None:
    """Draw the measured learning curves of both initialisations; None without measurements."""
    if not measurements.exists():
        return None
    table = pandas.read_csv(measurements).sort_values("examples")
    figure = Figure((7.2, 4.0))
    ax = figure.add_axes((0.1, 0.14, 0.87, 0.83))
    for name, colour in zip(table["initialisation"].unique(), (RED, BLUE, GREEN, GOLD), strict=False):
        rows = table[table["initialisation"] == name]
        style = {"color": colour, "linewidth": 1.8, "marker": "o", "markersize": 3, "label": name}
        ax.plot(rows["examples"], rows["validation_rmse"], **style)
    ax.set(xlabel="training examples seen", ylabel="validation RMSE")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    ax.grid(color=PALE, linewidth=0.8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(title="initialisation", frameon=False)
    return figure


def draw_galaxy_tree() -> Figure:
    """Draw the decision tree with the votes on the simulated galaxy."""
    image, votes, _ = simulate_galaxies.simulate(**GALAXY)
    return tree_figure.draw(votes, GALAXY_ZOO_2, thumbnails.middle(image))


FIGURES: Mapping[str, Callable[[], Figure | None]] = {
    "views": draw_views,
    "parts": draw_parts,
    "augmentation": draw_augmentation,
    "sixty": draw_sixty,
    "network": draw_network,
    "tree": draw_tree,
    "galaxy_tree": draw_galaxy_tree,
    "initialisation": draw_initialisation,
}


def draw(name: str, folder: Path) -> Path | None:
    """Draw a figure as a PNG in a folder; return its path, None without measurements."""
    with matplotlib.rc_context(STYLE):
        if (figure := FIGURES[name]()) is None:
            return None
        figure.set_dpi(DPI)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    path = folder / f"{name}.png"
    with replacing(path) as temporary:
        Image.fromarray(np.ascontiguousarray(pixels)).save(temporary, format="png", optimize=True)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="FIGURE", help=f"of {', '.join(FIGURES)} (default: all)")
    parser.add_argument("--output", type=Path, default=HERE / "figures", metavar="DIR", help="default: doc/figures")
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in FIGURES]:
        raise DataError(f"expected names of {', '.join(FIGURES)}, got {unknown[0]}")
    for name in args.names or FIGURES:
        path = draw(name, args.output)
        print(f"wrote {path}" if path else f"skipped {name}: {MEASUREMENTS.name} does not exist")


if __name__ == "__main__":
    run_script(main)
