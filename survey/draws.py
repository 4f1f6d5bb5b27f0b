"""Random draws of a chunk of examples: indices, perturbations and noise; and the colour noise of views.

Every draw has a generator of its own, seeded by (stream, seed, chunk, position). So a chunk does not depend on earlier
draws, on the number of worker processes, or on the device. The direction of the colour noise is the first principal
component of the training images' colours.

Source: documentation of 2014, 2.1.2 and 2.1.3.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np

# The first principal component of the colours of the training images, times its eigenvalue (2.1.3;
# Krizhevsky et al. 2012).
colour_channel_weights = np.array([-0.0148366, -0.01253134, -0.01040762], dtype=np.float32)


class Stream(IntEnum):
    """The purpose of a draw: the first number of its seed, so that no two purposes share random numbers."""

    INDICES = 1
    PERTURBATION = 2
    COLOUR = 3
    GAMMA = 4
    NOISE = 5
    NOISE_SEPARATE = 6
    PROCESSOR = 7
    UNLABELLED = 8


def generator(stream: Stream, seed: int, chunk: int, position: int = 0) -> np.random.Generator:
    """Return the random generator of one draw; it is the same in every process."""
    return np.random.default_rng([int(stream), seed, chunk, position])


def select_indices(num: int, num_selected: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """Draw `num_selected` of `num` indices in shuffled passes: no index repeats within a pass."""
    rng = rng or np.random.default_rng()
    passes = [rng.permutation(num) for _ in range(-(-num_selected // num))]
    return np.concatenate(passes)[:num_selected] if passes else np.empty(0, dtype=int)


def draw_colour(seed: int, chunk: int, num: int, std: float) -> np.ndarray:
    """Draw the colour noise of a chunk, (num, 3) float32."""
    alpha = generator(Stream.COLOUR, seed, chunk).normal(0, std, size=num).astype(np.float32)
    return alpha[:, None] * colour_channel_weights


def colour_component(images: Iterable[np.ndarray]) -> np.ndarray:
    """Return the first principal component of the colours of images, times its eigenvalue, (3,) float32.

    Images are (rows, columns, 3), uint8 or float from 0 to 1. Use the result for your own survey as 2014 used
    `colour_channel_weights` for the Galaxy Challenge. The sign of a principal component is arbitrary; this one is
    negative, as in `colour_channel_weights`. Raises ValueError without images.
    """
    num, total, squares = 0, np.zeros(3), np.zeros((3, 3))
    for image in images:
        pixels = image.reshape(-1, 3) / (255 if image.dtype == np.uint8 else 1.0)
        num, total, squares = num + len(pixels), total + pixels.sum(axis=0), squares + pixels.T @ pixels
    if not num:
        raise ValueError("expected images, got none")
    mean = total / num
    eigenvalues, components = np.linalg.eigh(squares / num - np.outer(mean, mean))  # ascending
    component = components[:, -1] * eigenvalues[-1]
    return (-component if component.sum() > 0 else component).astype(np.float32)


def add_colour(outs: Sequence[np.ndarray], noise: np.ndarray) -> None:
    """Add colour noise (n, 3), one draw per image, to its views (n, rows, columns, 3) in place; clip to [0, 1]."""
    for out in outs:
        lines = out.reshape(len(out), out.shape[1], -1)  # NumPy is slow if the last axis has length 3
        lines += np.tile(noise, out.shape[2])[:, None]
        np.clip(lines, 0, 1, out=lines)


def draw_gamma(seed: int, chunk: int, num: int, std: float) -> np.ndarray:
    """Draw the exponents of a chunk, (num,) float32: exp(normal(0, std)), one generator per position."""
    drawn = [generator(Stream.GAMMA, seed, chunk, position).normal(0, std) for position in range(num)]
    return np.exp(drawn).astype(np.float32)


def draw_noise(key: np.ndarray, shape: tuple[int, ...], std: float) -> np.ndarray:
    """Draw the pixel noise of one view, `shape` float32, from the generator with the seed `key` (4,)."""
    return np.float32(std) * np.random.default_rng(key).standard_normal(shape, dtype=np.float32)


@dataclass(frozen=True)
class Draw:
    """The draws of a chunk, one row per example; None for noise that the views do not have."""

    indices: np.ndarray  # (n,) of the galaxies
    perturbations: np.ndarray  # (n, 1, 3, 3)
    colour: np.ndarray | None = None  # (n, 3)
    gamma: np.ndarray | None = None  # (n,)
    noise_keys: np.ndarray | None = None  # (n, 4), seeds of the pixel noise

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, rows: slice) -> "Draw":
        values = (getattr(self, field.name) for field in fields(self))
        return Draw(*(None if value is None else value[rows] for value in values))
