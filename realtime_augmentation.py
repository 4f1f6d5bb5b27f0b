"""Augmentation during training: every example is warped from the full image, with a new random perturbation.

Cropping, downsampling, perturbation and placement are affine. They are composed into one matrix, so that each view of
an image is interpolated once. Transforms are scikit-image objects that map output pixels to input pixels; `a + b`
applies `a` first. Worker processes write chunks of views into shared memory.

Source: documentation of 2014, 2.1 and 3.2.2.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

import numpy as np
from skimage.transform import AffineTransform

import load_data
from galaxy.affine import (  # noqa: F401 (documented as this module's)
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
from galaxy.warping import fast_warp, touched_parts, warp_views  # noqa: F401
from survey import chunk_workers, custom_processors, images
from survey.centering import (  # noqa: F401 (documented as this module's)
    CENTRED,
    GEN1,
    GEN2,
    Placement,
    build_pysex_center_rescale_transform,
    build_pysex_center_transform,
    build_pysexgen1_center_rescale_transform,
)
from survey.chunk_workers import Layout, Workers
from survey.draws import add_colour, colour_channel_weights, draw_colour, select_indices  # noqa: F401
from survey.views import Views, Warp

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
    """Perturb an image at random; return one view (rows, columns, 3) for each ds_transform."""
    tform = random_perturbation_transform(**augmentation_params, rng=rng)
    return augment_fixed_and_dscrop(img, ds_transforms, [tform], target_sizes)[0]


def augment_fixed_and_dscrop(
    img: np.ndarray,
    ds_transforms: Sequence[AffineTransform],
    augmentation_transforms: Sequence[AffineTransform],
    target_sizes: Sequence[tuple[int, int]] | None = None,
) -> list[list[np.ndarray]]:
    """Return the views of an image under each given perturbation, [transform][ds_transform] -> (rows, columns, 3)."""
    sizes = _sizes(ds_transforms, target_sizes)
    outs = _new_views(len(augmentation_transforms), sizes)
    matrices = view_matrices(ds_transforms, [tform.params for tform in augmentation_transforms], np.eye(3))
    [region] = touched_parts(matrices[None], sizes, img.shape)
    warp_views(img, region, matrices, outs)
    return [list(views) for views in zip(*outs, strict=True)]


class _Processor:
    """Base of all processors: builds `Views` from their attributes; a subclass sets the placement of the galaxy."""

    ds_transforms: Sequence[AffineTransform]
    target_sizes: Sequence[tuple[int, int]] | None
    augmentation_params: Mapping[str, object] = MappingProxyType({})

    placement: ClassVar[Placement | None] = None
    warp: ClassVar[Warp] = staticmethod(warp_views)

    def __init_subclass__(cls, placement: Placement | None = None) -> None:
        if placement is not None:
            cls.placement = placement

    @functools.cached_property
    def views(self) -> Views:
        """The views that the attributes declare."""
        return Views(
            ds_transforms=self.ds_transforms,
            target_sizes=_sizes(self.ds_transforms, self.target_sizes),
            perturbations=dict(self.augmentation_params),
            colour_std=0.0,
            gamma_std=0.0,
            noise_std=0.0,
            placement=self.placement,
            warp=self.warp,
        )


class LoadAndProcess(_Processor):
    """Load training image `img_index` and perturb it at random: one array (rows, columns, 3) per ds_transform."""

    def __init__(
        self,
        ds_transforms: Sequence[AffineTransform],
        augmentation_params: Mapping[str, object],
        target_sizes: Sequence[tuple[int, int]] | None = None,
    ):
        self.ds_transforms, self.augmentation_params = ds_transforms, augmentation_params
        self.target_sizes = target_sizes

    def __call__(self, img_index: int, rng: np.random.Generator | None = None) -> list[np.ndarray]:
        outs = _new_views(1, self.views.target_sizes)
        perturbations = random_perturbations(1, **self.views.perturbations, rng=rng)
        self.views.write(outs, np.array([img_index]), "train", perturbations[None])
        return [out[0] for out in outs]


class LoadAndProcessFixed(_Processor):
    """Load image `img_index` of a subset under fixed transforms: arrays [transform][ds_transform]."""

    def __init__(
        self,
        subset: str,
        ds_transforms: Sequence[AffineTransform],
        augmentation_transforms: Sequence[AffineTransform],
        target_sizes: Sequence[tuple[int, int]] | None = None,
    ):
        self.subset, self.ds_transforms = subset, ds_transforms
        self.augmentation_transforms, self.target_sizes = augmentation_transforms, target_sizes

    def __call__(self, img_index: int) -> list[list[np.ndarray]]:
        outs = _new_views(len(self.augmentation_transforms), self.views.target_sizes)
        self.views.write_fixed(outs, np.array([img_index]), self.subset, self.augmentation_transforms)
        return [list(views) for views in zip(*outs, strict=True)]


class LoadAndProcessPysexCentering(LoadAndProcess, placement=CENTRED):
    """`LoadAndProcess` of the centred galaxy."""


class LoadAndProcessPysexCenteringRescaling(LoadAndProcess, placement=GEN2):
    """`LoadAndProcess` of the galaxy centred and rescaled by SExtractor's measurements at 2 sigma."""


class LoadAndProcessPysexGen1CenteringRescaling(LoadAndProcess, placement=GEN1):
    """`LoadAndProcess` of the galaxy centred and rescaled by SExtractor's measurements at 10 sigma."""


class LoadAndProcessFixedPysexCentering(LoadAndProcessFixed, placement=CENTRED):
    """`LoadAndProcessFixed` of the centred galaxy."""


class LoadAndProcessFixedPysexCenteringRescaling(LoadAndProcessFixed, placement=GEN2):
    """`LoadAndProcessFixed` of the galaxy centred and rescaled by SExtractor's measurements at 2 sigma."""


class LoadAndProcessFixedPysexGen1CenteringRescaling(LoadAndProcessFixed, placement=GEN1):
    """`LoadAndProcessFixed` of the galaxy centred and rescaled by SExtractor's measurements at 10 sigma."""


def _views_of(processor: object, workers: Workers) -> Views | None:
    """Return the `Views` of a processor of this module, None for a custom processor.

    Raises TypeError if a custom processor cannot be called, or cannot be sent to worker processes.
    """
    if type(processor).__call__ in (LoadAndProcess.__call__, LoadAndProcessFixed.__call__):
        return processor.views
    custom_processors.check(processor, workers)
    return None


def any_seed() -> int:
    """Return a random seed, from the operating system's entropy."""
    return int(np.random.SeedSequence().entropy % 2**63)


def realtime_augmented_data_gen(
    num_chunks: int | None = None,
    chunk_size: int = CHUNK_SIZE,
    augmentation_params: dict = default_augmentation_params,
    ds_transforms: Sequence[AffineTransform] = ds_transforms_default,
    target_sizes: Sequence[tuple[int, int]] | None = None,
    processor_class: Callable[..., Callable] = LoadAndProcess,
    *,
    seed: int | None = None,
    workers: Workers = Workers(),  # noqa: B008 (it is frozen)
) -> Iterator[tuple[list[np.ndarray], int]]:
    """Yield (target_arrays, chunk_size): views (chunk_size, rows, columns, 3) per ds_transform, then the labels.

    Images are drawn from the training part of the split; without `seed`, differently in each call. `processor_class`
    may be any class with the constructor (ds_transforms, augmentation_params, target_sizes). An instance, called with
    an index, returns one array (rows, columns, 3) per ds_transform.
    """
    sizes = _sizes(ds_transforms, target_sizes)
    processor = processor_class(ds_transforms, augmentation_params, sizes)
    indices, _ = images.split(load_data.num_train)
    labels = images.load_labels()
    seed = any_seed() if seed is None else seed
    chunk_indices = itertools.count() if num_chunks is None else range(num_chunks)
    if (views := _views_of(processor, workers)) is not None:
        draws = (views.draw(indices, chunk_size, seed, chunk) for chunk in chunk_indices)
        chunks = chunk_workers.drawn_chunks(views, draws, chunk_size, workers)
    else:
        drawn = (custom_processors.draw(indices, chunk_size, seed, chunk) for chunk in chunk_indices)
        layout = Layout(chunk_size, [(*size, 3) for size in sizes])
        chunks = chunk_workers.make_chunks(custom_processors.Calls(processor).write_drawn, drawn, layout, workers)
    for arrays, made in chunks:
        yield [*arrays, labels[made.indices]], chunk_size


def realtime_fixed_augmented_data_gen(
    selected_indices: np.ndarray,
    subset: str,
    ds_transforms: Sequence[AffineTransform] = ds_transforms_default,
    augmentation_transforms: Sequence[AffineTransform] = (tform_identity,),
    chunk_size: int = CHUNK_SIZE,
    target_sizes: Sequence[tuple[int, int]] | None = None,
    processor_class: Callable[..., Callable] = LoadAndProcessFixed,
    *,
    workers: Workers = Workers(),  # noqa: B008 (it is frozen)
) -> Iterator[tuple[list[np.ndarray], int]]:
    """Yield (target_arrays, current_chunk_size): views (chunk_size, rows, columns, 3) per ds_transform.

    The transforms of an image are adjacent rows, in the given order. A chunk contains whole images only; rows from
    `current_chunk_size` on are zero. `processor_class` may be any class with the constructor (subset, ds_transforms,
    augmentation_transforms, target_sizes). An instance, called with an index, returns arrays [transform][ds_transform].
    """
    sizes = _sizes(ds_transforms, target_sizes)
    processor = processor_class(subset, ds_transforms, augmentation_transforms, sizes)
    if (views := _views_of(processor, workers)) is not None:
        transforms = processor.augmentation_transforms
        return chunk_workers.fixed_chunks(views, selected_indices, processor.subset, transforms, chunk_size, workers)
    make = custom_processors.Calls(processor).write_fixed
    layout = Layout(chunk_size, [(*size, 3) for size in sizes], rows=len(augmentation_transforms))
    return chunk_workers.whole_images(make, selected_indices, layout, workers)


def post_augment_brightness_gen(
    data_gen: Iterable[tuple[list[np.ndarray], int]], std: float = 0.5, *, seed: int | None = None
) -> Iterator[tuple[list[np.ndarray], int]]:
    """Add colour noise to the views of each chunk, one draw per image for all its views, then clip to [0, 1].

    `std` is the standard deviation of the draw. Without `seed`, each call draws differently.
    """
    seed = any_seed() if seed is None else seed
    for chunk, (target_arrays, chunk_size) in enumerate(data_gen):
        *views, labels = target_arrays
        add_colour(views, draw_colour(seed, chunk, len(labels), std))
        yield [*views, labels], chunk_size
