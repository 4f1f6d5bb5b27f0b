"""Augmentation while the network trains: every example is warped anew, straight from the full image.

Cropping, downsampling, perturbation and placement are affine, so they are composed into one matrix, and each view of
an image is interpolated once. Transforms are scikit-image objects that map output pixels to input pixels; `a + b`
applies `a` first. Worker processes write the chunks into shared memory.

Source: documentation of 2014, 2.1 and 3.2.2.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
from skimage.transform import AffineTransform

import load_data
from survey import chunk_workers, images
from survey.affine import (  # noqa: F401 (the transforms are documented as this module's)
    IMAGE_HEIGHT,
    IMAGE_WIDTH,
    build_augmentation_transform,
    build_ds_transform,
    build_flip_transform,
    random_perturbation_transform,
    random_perturbations,
    sixty_transforms,
    tform_center,
    tform_identity,
    tform_uncenter,
    view_matrices,
)
from survey.centering import (  # noqa: F401 (these too)
    CENTRED,
    GEN1,
    GEN2,
    Placement,
    build_pysex_center_rescale_transform,
    build_pysex_center_transform,
)
from survey.chunk_workers import Workers
from survey.draws import draw_colour, select_indices  # noqa: F401
from survey.views import Views, Warp
from survey.warping import add_colour, colour_channel_weights, fast_warp, touched_parts, warp_views  # noqa: F401

CHUNK_SIZE = 10000

tform_ds_8x = build_ds_transform(8.0, target_size=(53, 53))
tform_ds_cropped33 = build_ds_transform(3.0, target_size=(53, 53))
ds_transforms_default = [tform_ds_cropped33, tform_ds_8x]

default_augmentation_params = {
    "zoom_range": (1.0, 1.1),
    "rotation_range": (0, 360),
    "shear_range": (0, 0),
    "translation_range": (-4, 4),
}


def _sizes(
    ds_transforms: Sequence[AffineTransform], target_sizes: Sequence[tuple[int, int]] | None
) -> Sequence[tuple[int, int]]:
    return [(53, 53)] * len(ds_transforms) if target_sizes is None else target_sizes


def _new_views(num: int, sizes: Sequence[tuple[int, int]]) -> list[np.ndarray]:
    return [np.empty((num, *size, 3), dtype=np.float32) for size in sizes]


def perturb_and_dscrop(
    img: np.ndarray,
    ds_transforms: Sequence[AffineTransform],
    augmentation_params: dict,
    target_sizes: Sequence[tuple[int, int]] | None = None,
    rng: np.random.Generator | None = None,
) -> list[np.ndarray]:
    """Return one view (rows, columns, 3) of a randomly perturbed image for each ds_transform."""
    tform = random_perturbation_transform(**augmentation_params, rng=rng)
    return augment_fixed_and_dscrop(img, ds_transforms, [tform], target_sizes)[0]


def augment_fixed_and_dscrop(
    img: np.ndarray,
    ds_transforms: Sequence[AffineTransform],
    augmentation_transforms: Sequence[AffineTransform],
    target_sizes: Sequence[tuple[int, int]] | None = None,
) -> list[list[np.ndarray]]:
    """Return the views of an image under each of the given perturbations, [transform][ds_transform]."""
    sizes = _sizes(ds_transforms, target_sizes)
    outs = _new_views(len(augmentation_transforms), sizes)
    matrices = view_matrices(ds_transforms, [tform.params for tform in augmentation_transforms], np.eye(3))
    [part] = touched_parts(matrices[None], sizes, img.shape)
    warp_views(img, part, matrices, outs)
    return [list(views) for views in zip(*outs, strict=True)]


class _Processor:
    """What every processor shares: the views that it makes, of galaxies placed as the class says."""

    placement: ClassVar[Placement | None] = None
    warp: ClassVar[Warp] = staticmethod(warp_views)

    def __init_subclass__(cls, placement: Placement | None = None) -> None:
        if placement is not None:
            cls.placement = placement

    def __init__(
        self,
        ds_transforms: Sequence[AffineTransform],
        augmentation: Mapping[str, object] | Sequence[AffineTransform],
        target_sizes: Sequence[tuple[int, int]] | None = None,
    ):
        self.augmentation = augmentation
        self.views = Views(
            ds_transforms=ds_transforms,
            target_sizes=_sizes(ds_transforms, target_sizes),
            perturbations=augmentation if isinstance(augmentation, Mapping) else {},
            colour_std=0.0,
            gamma_std=0.0,
            noise_std=0.0,
            placement=self.placement,
            warp=self.warp,
        )


class LoadAndProcess(_Processor):
    """Load training image `img_index` and perturb it at random: one array (rows, columns, 3) a ds_transform."""

    def __call__(self, img_index: int, rng: np.random.Generator | None = None) -> list[np.ndarray]:
        outs = _new_views(1, self.views.target_sizes)
        perturbations = random_perturbations(1, **self.views.perturbations, rng=rng)
        self.views.write(outs, np.array([img_index]), "train", perturbations[None])
        return [out[0] for out in outs]


class LoadAndProcessFixed(_Processor):
    """Load image `img_index` of a subset under fixed transforms: arrays [transform][ds_transform]."""

    def __call__(self, img_index: int, subset: str) -> list[list[np.ndarray]]:
        outs = _new_views(len(self.augmentation), self.views.target_sizes)
        self.views.write_fixed(outs, np.array([img_index]), subset, self.augmentation)
        return [list(views) for views in zip(*outs, strict=True)]


class LoadAndProcessPysexCentering(LoadAndProcess, placement=CENTRED):
    """`LoadAndProcess` of the centred galaxy."""


class LoadAndProcessPysexCenteringRescaling(LoadAndProcess, placement=GEN2):
    """`LoadAndProcess` of the galaxy centred and rescaled by what is seen at 2 sigma."""


class LoadAndProcessPysexGen1CenteringRescaling(LoadAndProcess, placement=GEN1):
    """`LoadAndProcess` of the galaxy centred and rescaled by what is seen at 10 sigma."""


class LoadAndProcessFixedPysexCentering(LoadAndProcessFixed, placement=CENTRED):
    """`LoadAndProcessFixed` of the centred galaxy."""


class LoadAndProcessFixedPysexCenteringRescaling(LoadAndProcessFixed, placement=GEN2):
    """`LoadAndProcessFixed` of the galaxy centred and rescaled by what is seen at 2 sigma."""


class LoadAndProcessFixedPysexGen1CenteringRescaling(LoadAndProcessFixed, placement=GEN1):
    """`LoadAndProcessFixed` of the galaxy centred and rescaled by what is seen at 10 sigma."""


def any_seed() -> int:
    """Return a seed that no one has chosen."""
    return int(np.random.SeedSequence().entropy % 2**63)


def realtime_augmented_data_gen(
    num_chunks: int | None = None,
    chunk_size: int = CHUNK_SIZE,
    augmentation_params: dict = default_augmentation_params,
    ds_transforms: Sequence[AffineTransform] = ds_transforms_default,
    target_sizes: Sequence[tuple[int, int]] | None = None,
    processor_class: type[LoadAndProcess] = LoadAndProcess,
    *,
    seed: int | None = None,
    workers: Workers = Workers(),  # noqa: B008 (it is frozen)
) -> Iterator[tuple[list[np.ndarray], int]]:
    """Yield (target_arrays, chunk_size): views (chunk_size, rows, columns, 3) a ds_transform, then labels (.., 37).

    Images are drawn from the training part of the split; afresh each time unless there is a seed.
    """
    views = processor_class(ds_transforms, augmentation_params, target_sizes).views
    indices, _ = images.split(load_data.num_train)
    labels = images.load_labels()
    seed = any_seed() if seed is None else seed
    numbers = itertools.count() if num_chunks is None else range(num_chunks)
    draws = (views.draw(indices, chunk_size, seed, chunk) for chunk in numbers)
    for arrays, draw in chunk_workers.drawn_chunks(views, draws, chunk_size, workers):
        yield [*arrays, labels[draw.indices]], chunk_size


def realtime_fixed_augmented_data_gen(
    selected_indices: np.ndarray,
    subset: str,
    ds_transforms: Sequence[AffineTransform] = ds_transforms_default,
    augmentation_transforms: Sequence[AffineTransform] = (tform_identity,),
    chunk_size: int = CHUNK_SIZE,
    target_sizes: Sequence[tuple[int, int]] | None = None,
    processor_class: type[LoadAndProcessFixed] = LoadAndProcessFixed,
    *,
    workers: Workers = Workers(),  # noqa: B008 (it is frozen)
) -> Iterator[tuple[list[np.ndarray], int]]:
    """Yield (target_arrays, current_chunk_size): views (chunk_size, rows, columns, 3) a ds_transform.

    All transforms of an image stand together, in the given order. A chunk holds whole images only; rows from
    `current_chunk_size` on are zero.
    """
    views = processor_class(ds_transforms, augmentation_transforms, target_sizes).views
    return chunk_workers.fixed_chunks(views, selected_indices, subset, augmentation_transforms, chunk_size, workers)


def post_augment_brightness_gen(
    data_gen: Iterable[tuple[list[np.ndarray], int]], std: float = 0.5, *, seed: int | None = None
) -> Iterator[tuple[list[np.ndarray], int]]:
    """Add colour noise to the views of each chunk: one draw an image for all its views, then clip to [0, 1].

    It is drawn afresh each time unless there is a seed.
    """
    seed = any_seed() if seed is None else seed
    for chunk, (target_arrays, chunk_size) in enumerate(data_gen):
        *views, labels = target_arrays
        add_colour(views, draw_colour(seed, chunk, len(labels), std))
        yield [*views, labels], chunk_size
