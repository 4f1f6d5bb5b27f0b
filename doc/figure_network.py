"""The figure of the best network, drawn from the layers of the model's script."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from figure_basics import BLUE, CORAL, GREEN, GREY, INK, PALE, RED, SKY, best_network, crops, galaxy, slices
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from matplotlib.transforms import Affine2D

import cc_layers
import custom
import layers
from galaxy.decision_tree import GALAXY_ZOO_2

SLANT = np.array([0.42, 0.3])  # a unit of depth, drawn to the right and up


def _extent(pixels: int) -> float:
    """Return the drawn height of a map of so many pixels; the exponent keeps small maps visible."""
    return 0.094 * pixels**0.7


def _face(x: float, y: float, extent: float, scale: float = 1.0) -> np.ndarray:
    """Return the corners of a block's right face, seen aslant, or of its middle of relative size `scale`."""
    unit = (np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) - 0.5) * scale + 0.5
    return np.array([x, y - extent / 2]) + extent * (unit[:, :1] * SLANT + unit[:, 1:] * [0, 1])


def _image_aslant(ax: Axes, image: np.ndarray, x: float, y: float, extent: float) -> None:
    origin, right, _, top = _face(x, y, extent)
    aslant = Affine2D(np.column_stack([[*(right - origin), 0], [*(top - origin), 0], [*origin, 1]]))
    shown = ax.imshow(np.clip(image, 0, 1), extent=(0, 1, 0, 1), interpolation="bilinear", aspect="auto")
    shown.set_transform(aslant + ax.transData)
    ax.add_patch(Polygon(_face(x, y, extent), fill=False, edgecolor="white", linewidth=0.6))


def _block(ax: Axes, x: float, y: float, width: float, extent: float, colour: str) -> None:
    """Draw feature maps as a block; its width shows their number, its height and depth their pixels."""
    low, high, depth = y - extent / 2, y + extent / 2, extent * SLANT
    front = np.array([[x, low], [x + width, low], [x + width, high], [x, high]])
    top = np.array([front[3], front[2], front[2] + depth, front[3] + depth])
    for corners, alpha in ((front, 0.62), (top, 0.4), (_face(x + width, y, extent), 0.85)):
        ax.add_patch(Polygon(corners, facecolor="white", edgecolor="none"))
        ax.add_patch(Polygon(corners, facecolor=colour, alpha=alpha, edgecolor="white", linewidth=0.8))


def _label(ax: Axes, x: float, y: float, lines: Iterable[tuple[str, str, int]]) -> None:
    for row, (text, colour, size) in enumerate(lines):
        ax.text(x, y - 0.2 * row, text, ha="center", va="top", color=colour, fontsize=size)


def describe(layer: layers.Layer) -> tuple[str, str, str]:
    """Return the operation of a layer, its output shape for one galaxy, and its number of parameters."""
    shape, c01b = layer.get_output_shape(), isinstance(layer, cc_layers.C01BLayer)
    size = " × ".join(f"{length:,}" for length in (shape[:3] if c01b else shape[1:]))
    match layer:
        case cc_layers.CudaConvnetConv2DLayer():
            name = f"convolution {layer.W.shape[1]} × {layer.W.shape[2]}"
        case cc_layers.CudaConvnetPooling2DLayer():
            name = f"max-pooling {layer.pool_size} × {layer.pool_size}"
        case layers.DenseLayer():
            name = "linear" if layer.nonlinearity is layers.identity else "rectified"
        case layers.FeatureMaxPoolingLayer():
            name = f"maxout of {layer.pool_size}"
        case layers.MultiRotSliceLayer():
            name = f"{layer.num_parts} parts"
        case layers.MultiRotMergeLayer():
            name = f"{layer.num_parts} parts together"
        case custom.GalaxyOutput():
            name = "decision tree"
        case _:
            name = type(layer).__name__
    number = _count([layer])
    return name, size, f"{number:,}" if number else ""


def draw_network() -> Figure:
    """Draw the best network layer by layer."""
    input_layers, output = best_network()
    hidden = (layers.Input2DLayer, cc_layers.ShuffleBC01ToC01BLayer, cc_layers.ShuffleC01BToBC01Layer)
    shown = [each for each in reversed(layers.all_layers(output)) if not isinstance(each, hidden)]
    merge = next(i for i, each in enumerate(shown) if isinstance(each, layers.MultiRotMergeLayer))

    figure = Figure((11, 7.45))
    ax = figure.add_axes((0, 0, 1, 1))
    _draw_convolutional_part(ax, input_layers, shown[:merge], y=5.55)
    _draw_dense_part(ax, shown[merge:], y=1.93)
    for number, text, y in (
        (_count(shown[:merge]), "The convolutional part, the same for every part of the galaxy", 7.2),
        (_count(shown[merge:]), "The dense part, on all parts together", 3.2),
    ):
        ax.text(0.25, y, text, fontsize=11, fontweight="bold")
        ax.text(10.75, y, f"{number:,} parameters", fontsize=10, ha="right", color=GREEN)
    ax.set(xlim=(0, 11), ylim=(0, 7.45), aspect="equal")
    ax.axis("off")
    return figure


def _count(some_layers: Iterable[layers.Layer]) -> int:
    return sum(p.numel() for layer in some_layers for p in layer.params)


def _draw_convolutional_part(
    ax: Axes, input_layers: Sequence[layers.Layer], shown: Sequence[layers.Layer], y: float
) -> None:
    views = crops(galaxy())
    x, low = 0.25, y - 1.1
    for index, (layer, view) in enumerate(zip(input_layers, views, strict=True)):
        _image_aslant(ax, view, x + 0.42 * index, y, _extent(layer.get_output_shape()[2]))
    _label(ax, x + 0.6, low, ((f"{len(input_layers)} views", INK, 9), (describe(input_layers[0])[1], GREY, 8)))
    x += 1.6
    filtered = None  # the right face below the filter
    for layer in shown:
        name, size, number = describe(layer)
        shape = layer.get_output_shape()
        if isinstance(layer, layers.MultiRotSliceLayer):
            extent, width, pixels, names = _extent(layer.part_size), 0.045 * (layer.num_parts - 1), shape[2], [name]
            for index, part in enumerate(slices(views, layer.part_size)):
                _image_aslant(ax, part, x + 0.045 * index, y, extent)
        else:
            extent, width, pixels, names = _extent(shape[1]), 0.05 * shape[0] ** 0.55, shape[1], name.split(" ", 1)
            pooling = isinstance(layer, cc_layers.CudaConvnetPooling2DLayer)
            window = layer.pool_size if pooling else layer.W.shape[1]
            face_x, face_extent, face_pixels = filtered
            corners = _face(face_x, y, face_extent, window / face_pixels)
            for corner in corners:
                ax.plot(*zip(corner, (x, y), strict=True), color=GREY, linewidth=0.7, alpha=0.8)
            ax.add_patch(Polygon(corners, facecolor="white", alpha=0.75, edgecolor=INK, linewidth=0.8))
            _block(ax, x, y, width, extent, SKY if pooling else BLUE)
        lines = [*((line, INK, 9) for line in names), (size, GREY, 8), (number, GREEN, 8)]
        _label(ax, x + (width + SLANT[0] * extent) / 2, low, lines)
        filtered = x + width, extent, pixels
        x += max(width + SLANT[0] * extent + 0.27, 0.98)


def _draw_dense_part(ax: Axes, shown: Sequence[layers.Layer], y: float) -> None:
    step, half = 10.3 / len(shown), 0.11
    centres = [0.25 + step * (index + 0.5) for index in range(len(shown))]
    units = [layer.get_output_shape()[1] for layer in shown]
    # Columns of single answers are as high as thousands of units.
    heights = [1.9 if number == GALAXY_ZOO_2.num_answers else 0.055 * number**0.4 for number in units]
    for (left, low), (right, high) in pairwise(zip(centres, np.array(heights) / 2, strict=True)):
        left, right = left + half, right - half
        corners = [(left, y - low), (right, y - high), (right, y + high), (left, y + low)]
        ax.add_patch(Polygon(corners, facecolor=PALE, alpha=0.5, edgecolor="none"))
    for layer, x, height, number in zip(shown, centres, heights, units, strict=True):
        if number == GALAXY_ZOO_2.num_answers:
            colours = [RED] * number
            if isinstance(layer, custom.GalaxyOutput):
                colours = [(BLUE, GREEN)[q % 2] for q, s in GALAXY_ZOO_2.slices.items() for _ in range(number)[s]]
        else:
            colour = {layers.FeatureMaxPoolingLayer: CORAL, layers.MultiRotMergeLayer: SKY}.get(type(layer), RED)
            colours = [colour] * (layer.num_parts if isinstance(layer, layers.MultiRotMergeLayer) else 1)
        linewidth = 0.5 if number == GALAXY_ZOO_2.num_answers else 1
        for row, colour in enumerate(colours, 1):
            corner = x - half, y + height / 2 - height / len(colours) * row
            box = Rectangle(corner, 2 * half, height / len(colours))
            box.set(facecolor=colour, edgecolor="white", linewidth=linewidth)
            ax.add_patch(box)
        name, size, parameters = describe(layer)
        dropout = f"dropout {layer.dropout:g} before it" if layer.dropout else ""
        lines = [(name, INK, 9), (size, GREY, 8), (parameters, GREEN, 8), (dropout, GREY, 8)]
        _label(ax, x, y - 1.12, [line for line in lines if line[0]])
