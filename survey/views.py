"""The views of a galaxy that a network sees, declared in one object that all generators use.

Crop, downsampling, perturbation and placement are affine. They are composed into one matrix, so that each view is
interpolated once. Colour noise, gamma and pixel noise follow the warp.

Source: documentation of 2014, 2.1; gamma and pixel noise: 6.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from skimage.transform import AffineTransform

from galaxy.affine import random_perturbations, view_matrices
from galaxy.warping import touched_parts, warp_views
from survey.centering import Placement
from survey.decoded_cache import load_pixels
from survey.draws import Draw, Stream, add_colour, draw_colour, draw_gamma, draw_noise, generator, select_indices

# Writes the views of an image; the arguments are those of `warp_views`.
Warp = Callable[[np.ndarray, Sequence[int], np.ndarray, Sequence[np.ndarray]], None]


@dataclass(frozen=True, kw_only=True)
class Views:
    """The declaration of a galaxy's views in training and prediction; no field has a default."""

    # One per view: the transform from target pixels to pixels of the image, and the size (rows, columns).
    ds_transforms: Sequence[AffineTransform]
    target_sizes: Sequence[tuple[int, int]]
    # In training only: the arguments of `affine.random_perturbations`, and standard deviations of noise.
    perturbations: Mapping[str, object]
    colour_std: float
    gamma_std: float
    noise_std: float
    # Centring and rescaling by a catalogue; None leaves the image as it is.
    placement: Placement | None
    # The function that makes views from pixels: `warp_views`, or one with the same arguments.
    warp: Warp

    def __post_init__(self) -> None:
        if len(self.ds_transforms) != len(self.target_sizes):
            raise ValueError(
                f"expected a target size for each of {len(self.ds_transforms)} ds_transforms, "
                f"got {len(self.target_sizes)}"
            )

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """The shape (rows, columns, 3) of each view."""
        return [(*size, 3) for size in self.target_sizes]

    @property
    def only_affine(self) -> bool:
        """Whether an accelerator can make the views: it supports interpolation and colour noise only."""
        return self.warp is warp_views and not self.gamma_std and not self.noise_std

    def draw(self, indices: np.ndarray, chunk_size: int, seed: int, chunk: int) -> Draw:
        """Draw the examples of chunk number `chunk` of the training galaxies `indices`."""
        drawn = indices[select_indices(len(indices), chunk_size, generator(Stream.INDICES, seed, chunk))]
        rng = generator(Stream.PERTURBATION, seed, chunk)
        perturbations = random_perturbations(chunk_size, **self.perturbations, rng=rng)
        keys = None
        if self.noise_std:
            keys = np.array([(Stream.NOISE_SEPARATE, seed, chunk, position) for position in range(chunk_size)])
        return Draw(
            drawn,
            perturbations[:, None],
            draw_colour(seed, chunk, chunk_size, self.colour_std) if self.colour_std else None,
            draw_gamma(seed, chunk, chunk_size, self.gamma_std) if self.gamma_std else None,
            keys,
        )

    def matrices(self, indices: np.ndarray, subset: str, perturbations: np.ndarray) -> np.ndarray:
        """Return the matrices (n, transforms, views, 3, 3) from pixels of views to pixels of images (n,).

        Perturbations are (n, transforms, 3, 3), or (1, transforms, 3, 3) if all images share them.
        """
        return view_matrices(self.ds_transforms, perturbations, self.places(indices, subset)[:, None])

    def places(self, indices: np.ndarray, subset: str) -> np.ndarray:
        """Return the matrices (n, 3, 3) that centre and rescale the galaxies of images (n,)."""
        places = np.eye(3) if self.placement is None else self.placement.matrices(indices, subset)
        return np.broadcast_to(places, (len(indices), 3, 3))

    def write(self, outs: Sequence[np.ndarray], indices: np.ndarray, subset: str, perturbations: np.ndarray) -> None:
        """Write the views of images (n,) under perturbations (see `matrices`) into `outs`, one array per view."""
        matrices = self.matrices(indices, subset, perturbations)
        regions = touched_parts(matrices, self.target_sizes).tolist()
        num = matrices.shape[1]
        for position, index in enumerate(indices):
            rows = slice(position * num, (position + 1) * num)
            pixels = load_pixels(index, subset)
            self.warp(pixels, regions[position], matrices[position], [out[rows] for out in outs])

    def write_drawn(self, outs: Sequence[np.ndarray], draw: Draw) -> None:
        """Write the views of a draw's training images, with their noise."""
        self.write(outs, draw.indices, "train", draw.perturbations)
        self.add_noise(outs, draw)

    def add_noise(self, outs: Sequence[np.ndarray], draw: Draw) -> None:
        """Add the noise of a draw to its views in place."""
        if draw.colour is not None:
            add_colour(outs, draw.colour)
        if draw.gamma is not None:
            for out in outs:
                np.power(np.clip(out, 0, 1, out=out), draw.gamma[:, None, None, None], out=out)
        if draw.noise_keys is not None:
            for view_index, out in enumerate(outs):
                for key, view in zip(draw.noise_keys, out, strict=True):
                    view += draw_noise([*key, view_index], view.shape, self.noise_std)
                np.clip(out, 0, 1, out=out)

    def write_fixed(
        self, outs: Sequence[np.ndarray], indices: np.ndarray, subset: str, transforms: Sequence[AffineTransform]
    ) -> None:
        """Write the views of images (n,) under fixed transforms; those of an image are consecutive rows."""
        self.write(outs, indices, subset, np.stack([tform.params for tform in transforms])[None])
