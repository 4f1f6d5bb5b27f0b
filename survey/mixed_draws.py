"""Chunks of labelled and unlabelled images, of which each may be seen in two views: for networks with teachers.

Labelled images are those of 'train', unlabelled ones those of 'test'. They alternate in a fixed pattern, so that each
minibatch has the same share of both.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from survey.draws import Draw, Stream, generator, select_indices
from survey.views import Views


def pattern(chunk_size: int, ratio: float) -> np.ndarray:
    """Return which of the examples of a chunk are unlabelled, (chunk_size,) bool, `ratio` per labelled one."""
    counts = np.floor(np.arange(chunk_size + 1) * ratio / (1 + ratio) + 1e-9)
    return np.diff(counts) > 0


@dataclass(frozen=True)
class MixedDraw:
    """The draws of a chunk, one or two of the same images; `unlabelled` (n,) says which images are of 'test'."""

    draws: tuple[Draw, ...]
    unlabelled: np.ndarray

    @property
    def indices(self) -> np.ndarray:
        """The indices (n,) of the images in their subsets."""
        return self.draws[0].indices

    def __len__(self) -> int:
        return len(self.unlabelled)

    def __getitem__(self, rows: slice) -> "MixedDraw":
        return MixedDraw(tuple(draw[rows] for draw in self.draws), self.unlabelled[rows])

    def runs(self) -> Iterator[tuple[str, slice]]:
        """Yield the subset and the rows of consecutive images of one subset."""
        ends = [*np.flatnonzero(np.diff(self.unlabelled)) + 1, len(self)]
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            yield ("test" if self.unlabelled[start] else "train"), slice(int(start), int(end))


@dataclass(frozen=True)
class MixedViews:
    """The views of mixed chunks: `ratio` examples of the test images `unlabelled` per labelled example.

    `num_draws` is 1, or 2 for two views of each.
    """

    views: Views
    unlabelled: np.ndarray
    ratio: float
    num_draws: int

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """The shape of each view, those of the second draw after those of the first."""
        return self.views.shapes * self.num_draws

    def draw(self, indices: np.ndarray, chunk_size: int, seed: int, chunk: int, num_chunks: int) -> MixedDraw:
        """Draw chunk `chunk` of `num_chunks` from the training galaxies `indices` and the unlabelled ones."""
        # The second views have the draws of chunks after the end of the run.
        draws = [self.views.draw(indices, chunk_size, seed, chunk + n * num_chunks) for n in range(self.num_draws)]
        is_unlabelled = pattern(chunk_size, self.ratio if len(self.unlabelled) else 0.0)
        drawn = draws[0].indices.copy()
        num = int(is_unlabelled.sum())
        drawn[~is_unlabelled] = draws[0].indices[: chunk_size - num]
        if num:
            rng = generator(Stream.UNLABELLED, seed, chunk)
            drawn[is_unlabelled] = self.unlabelled[select_indices(len(self.unlabelled), num, rng)]
        return MixedDraw(tuple(replace(draw, indices=drawn) for draw in draws), is_unlabelled)

    def write_drawn(self, outs: Sequence[np.ndarray], mixed: MixedDraw) -> None:
        """Write the views of a draw's images, with their noise."""
        num_views = len(self.views.shapes)
        for n, draw in enumerate(mixed.draws):
            of_draw = outs[n * num_views : (n + 1) * num_views]
            for subset, rows in mixed.runs():
                self.views.write([out[rows] for out in of_draw], draw.indices[rows], subset, draw.perturbations[rows])
            self.views.add_noise(of_draw, draw)
