"""The figure of the best network, laid out by its layers: change the model's script and the figure follows."""

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
from galaxy import decision_tree

SLANT = np.array([0.42, 0.3])  # how far a unit of depth goes to the right and up


def _extent(pixels: int) -> float:
    """Return how high a map of so many pixels is drawn: less than in proportion, or small maps would vanish."""
    return 0.094 * pixels**0.7


def _width(channels: int) -> float:
    return 0.05 * channels**0.55


def _face(x: float, y: float, extent: float, scale: float = 1.0) -> np.ndarray:
    """Return the corners of a block's right face, a square seen aslant, or its middle part of relative size `scale`."""
    unit = (np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) - 0.5) * scale + 0.5
    return np.array([x, y - extent / 2]) + extent * (unit[:, :1] * SLANT + unit[:, 1:] * [0, 1])


def _image_aslant(ax: Axes, image: np.ndarray, x: float, y: float, extent: float) -> None:
    origin, right, _, top = _face(x, y, extent)
    aslant = Affine2D(np.column_stack([[*(right - origin), 0], [*(top - origin), 0], [*origin, 1]]))
    shown = ax.imshow(np.clip(image, 0, 1), extent=(0, 1, 0, 1), interpolation="bilinear", aspect="auto")
    shown.set_transform(aslant + ax.transData)
    ax.add_patch(Polygon(_face(x, y, extent), fill=False, edgecolor="white", linewidth=0.6))


def _block(ax: Axes, x: float, y: float, width: float, extent: float, colour: str) -> None:
    """Draw feature maps as a block: as wide as there are maps, as high and deep as they have pixels."""
    front = np.array(
        [[x, y - extent / 2], [x + width, y - extent / 2], [x + width, y + extent / 2], [x, y + extent / 2]]
    )
    depth = extent * SLANT
    top = np.array([front[3], front[2], front[2] + depth, front[3] + depth])
    for corners, alpha in ((front, 0.62), (top, 0.4), (_face(x + width, y, extent), 0.85)):
        ax.add_patch(Polygon(corners, facecolor="white", edgecolor="none"))
        ax.add_patch(Polygon(corners, facecolor=colour, alpha=alpha, edgecolor="white", linewidth=0.8))


def _label(ax: Axes, x: float, y: float, lines: Iterable[tuple[str, str, int]]) -> None:
    for row, (text, colour, size) in enumerate(lines):
        ax.text(x, y - 0.2 * row, text, ha="center", va="top", color=colour, fontsize=size)


def _times(sizes: Iterable[int]) -> str:
    return " × ".join(map(str, sizes))


def describe(layer: layers.Layer) -> tuple[str, str, str]:
    """Return what a layer does, the shape of what it gives for one galaxy, and its number of parameters."""
    shape = layer.get_output_shape()
    if isinstance(layer, cc_layers.C01BLayer):
        size = _times(shape[:3])
    else:
        size = f"{shape[1]:,}" if len(shape) == 2 else _times(shape[1:])
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
    number = sum(p.numel() for p in layer.params)
    return name, size, f"{number:,}" if number else ""


def draw_network() -> Figure:
    """Draw the best network, block by block, from its layers."""
    input_layers, output = best_network()
    shown = [each for each in reversed(layers.all_layers(output)) if not isinstance(each, layers.Input2DLayer)]
    shuffles = (cc_layers.ShuffleBC01ToC01BLayer, cc_layers.ShuffleC01BToBC01Layer)
    shown = [each for each in shown if not isinstance(each, shuffles)]
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
    shape = input_layers[0].get_output_shape()[1:]
    _label(ax, x + 0.6, low, ((f"{len(input_layers)} views", INK, 9), (_times(shape), GREY, 8)))
    x += 1.6
    filtered = None  # the right face that a filter slides over
    for layer in shown:
        name, size, number = describe(layer)
        shape = layer.get_output_shape()
        if isinstance(layer, layers.MultiRotSliceLayer):
            extent, width = _extent(layer.part_size), 0.045 * (layer.num_parts - 1)
            for index, part in enumerate(slices(views, layer.part_size)):
                _image_aslant(ax, part, x + 0.045 * index, y, extent)
        else:
            extent, width = _extent(shape[1]), _width(shape[0])
            pooling = isinstance(layer, cc_layers.CudaConvnetPooling2DLayer)
            window = layer.pool_size if pooling else layer.W.shape[1]
            face_x, face_extent, pixels = filtered
            window_corners = _face(face_x, y, face_extent, window / pixels)
            for corner in window_corners:
                ax.plot(*zip(corner, (x, y), strict=True), color=GREY, linewidth=0.7, alpha=0.8)
            ax.add_patch(Polygon(window_corners, facecolor="white", alpha=0.75, edgecolor=INK, linewidth=0.8))
            _block(ax, x, y, width, extent, SKY if pooling else BLUE)
        middle = x + (width + SLANT[0] * extent) / 2
        title, _, window_size = name.partition(" ")
        lines = [(title, INK, 9), (window_size, INK, 9), (size, GREY, 8)]
        if isinstance(layer, layers.MultiRotSliceLayer):
            lines = [(name, INK, 9), (size, GREY, 8)]
        _label(ax, middle, low, [*lines, (number, GREEN, 8)])
        filtered = x + width, extent, shape[1] if isinstance(layer, cc_layers.C01BLayer) else shape[2]
        x += max(width + SLANT[0] * extent + 0.27, 0.98)


def _height(units: int) -> float:
    return 0.055 * units**0.4


def _draw_dense_part(ax: Axes, shown: Sequence[layers.Layer], y: float) -> None:
    step, width = 10.3 / len(shown), 0.22
    centres = [0.25 + step * (index + 0.5) for index in range(len(shown))]
    heights = [_height(layer.get_output_shape()[1]) for layer in shown]
    tall = 1.9  # of the columns of single answers
    heights = [
        tall if layer.get_output_shape()[1] == decision_tree.NUM_ANSWERS else h
        for layer, h in zip(shown, heights, strict=True)
    ]
    for (left, left_height), (right, right_height) in pairwise(zip(centres, heights, strict=True)):
        corners = [
            (left + width / 2, y - left_height / 2),
            (right - width / 2, y - right_height / 2),
            (right - width / 2, y + right_height / 2),
            (left + width / 2, y + left_height / 2),
        ]
        ax.add_patch(Polygon(corners, facecolor=PALE, alpha=0.5, edgecolor="none"))
    for layer, x, height in zip(shown, centres, heights, strict=True):
        name, size, number = describe(layer)
        units = layer.get_output_shape()[1]
        if units == decision_tree.NUM_ANSWERS:
            _draw_answers(ax, x, y, width, height, isinstance(layer, custom.GalaxyOutput))
        else:
            segments = layer.num_parts if isinstance(layer, layers.MultiRotMergeLayer) else 1
            colour = {layers.FeatureMaxPoolingLayer: CORAL, layers.MultiRotMergeLayer: SKY}.get(type(layer), RED)
            for segment in range(segments):
                bottom = y - height / 2 + height / segments * segment
                ax.add_patch(Rectangle((x - width / 2, bottom), width, height / segments, color=colour, linewidth=0))
                ax.add_patch(
                    Rectangle((x - width / 2, bottom), width, height / segments, fill=False, edgecolor="white")
                )
        dropout = f"dropout {layer.dropout:g} before it" if layer.dropout else ""
        lines = [(name, INK, 9), (size, GREY, 8)]
        _label(
            ax,
            x,
            y - 1.12,
            [*lines, *((line, colour, 8) for line, colour in ((number, GREEN), (dropout, GREY)) if line)],
        )


def _draw_answers(ax: Axes, x: float, y: float, width: float, height: float, by_question: bool) -> None:
    step = height / decision_tree.NUM_ANSWERS
    for number, columns in decision_tree.SLICES.items():
        colour = (BLUE, GREEN)[number % 2] if by_question else RED
        for column in range(decision_tree.NUM_ANSWERS)[columns]:
            corner = (x - width / 2, y + height / 2 - step * (column + 1))
            ax.add_patch(Rectangle(corner, width, step, facecolor=colour, edgecolor="white", linewidth=0.5))
