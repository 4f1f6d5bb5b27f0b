"""Augmentation while the network trains: every example is warped anew, straight from the full image.

Cropping, downsampling, perturbation and centring are affine, so they are composed into one matrix, and each view of
an image is interpolated once. Transforms are scikit-image objects that map output pixels to input pixels; `a + b`
applies `a` first. Worker processes write the chunks into shared memory; every draw comes from (seed, chunk,
position), so a chunk does not depend on how many workers made it.

Source: documentation of 2014, 2.1 and 3.2.2.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike
from skimage.transform import AffineTransform

import decoded_cache
import load_data
from affine import (  # noqa: F401 (the transforms are documented as this module's)
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
from centering import (  # noqa: F401 (these too)
    PysexCentering,
    PysexCenteringRescaling,
    PysexGen1CenteringRescaling,
    build_pysex_center_rescale_transform,
    build_pysex_center_transform,
)
from chunk_workers import make_chunks
from lazy_modules import names_of
from warping import add_colour, colour_channel_weights, fast_warp, touched_parts, warp_views  # noqa: F401

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


def select_indices(num: int, num_selected: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """Draw `num_selected` of `num` indices without repetition, or in whole shuffled passes where that is not enough."""
    rng = rng or np.random.default_rng()
    passes = [rng.permutation(num) for _ in range(-(-num_selected // num))]
    return np.concatenate(passes)[:num_selected] if passes else np.empty(0, dtype=int)


def _sizes(ds_transforms: Sequence[AffineTransform], target_sizes: Sequence[tuple[int, int]] | None) -> list:
    sizes = [(53, 53)] * len(ds_transforms) if target_sizes is None else [tuple(size) for size in target_sizes]
    if len(sizes) != len(ds_transforms):
        raise ValueError(f"expected a target size for each of {len(ds_transforms)} ds_transforms, got {len(sizes)}")
    return sizes


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


class _Loading:
    """What every processor shares: which views it makes, where images are, and where in them the galaxy lies.

    A subclass changes `load` (the pixels), `places` (where the galaxy lies) or `warp` (how a view is sampled).
    """

    def __init__(
        self,
        ds_transforms: Sequence[AffineTransform],
        augmentation: object,
        target_sizes: Sequence[tuple[int, int]] | None = None,
        from_ram: bool = False,
    ):
        self.ds_transforms = ds_transforms
        self.augmentation = augmentation
        self.target_sizes = _sizes(ds_transforms, target_sizes)
        self.from_ram = from_ram

    def load(self, img_index: int, subset: str) -> np.ndarray:
        """Return the pixels of an image, (424, 424, 3) uint8, from the decoded cache where there is one."""
        cache = decoded_cache.find(subset)
        if cache is not None:
            return cache[img_index]
        ids = load_data.train_ids if subset == "train" else load_data.test_ids
        return load_data.load_image(ids[img_index], subset, normalise=False, from_ram=self.from_ram)

    def places(self, img_indices: ArrayLike, subset: str) -> np.ndarray:
        """Return what moves each galaxy to the centre, (n, 3, 3) or (3, 3); here it is taken to be there already."""
        return np.eye(3)

    def warp(self, img: np.ndarray, part: Sequence[int], matrices: np.ndarray, outs: Sequence[np.ndarray]) -> None:
        """Write the views of an image, as `warp_views` does."""
        warp_views(img, part, matrices, outs)

    def matrices(self, img_indices: np.ndarray, subset: str, perturbations: np.ndarray) -> np.ndarray:
        """Return what maps pixels of views to those of images (n,), (n, transforms, views, 3, 3).

        Perturbations are (n, transforms, 3, 3), or (1, transforms, 3, 3) where all images share them.
        """
        places = np.broadcast_to(self.places(img_indices, subset), (len(img_indices), 3, 3))
        return view_matrices(self.ds_transforms, perturbations, places[:, None])

    def write(
        self, outs: Sequence[np.ndarray], img_indices: np.ndarray, subset: str, perturbations: np.ndarray
    ) -> None:
        """Write the views of images (n,) under perturbations (see `matrices`) into rows of `outs`, an array a view."""
        matrices = self.matrices(img_indices, subset, perturbations)
        parts = touched_parts(matrices, self.target_sizes).tolist()
        num = matrices.shape[1]
        for position, img_index in enumerate(img_indices):
            rows = slice(position * num, (position + 1) * num)
            views = [out[rows] for out in outs]
            self.warp(self.load(img_index, subset), parts[position], matrices[position], views)


class LoadAndProcess(_Loading):
    """Load training image `img_index` and perturb it at random: one array (rows, columns, 3) a ds_transform."""

    def __call__(self, img_index: int, rng: np.random.Generator | None = None) -> list[np.ndarray]:
        outs = _new_views(1, self.target_sizes)
        self.write(outs, np.array([img_index]), "train", random_perturbations(1, **self.augmentation, rng=rng)[None])
        return [out[0] for out in outs]


class LoadAndProcessFixed(_Loading):
    """Load image `img_index` of a subset under fixed transforms: arrays [transform][ds_transform]."""

    def __call__(self, img_index: int, subset: str) -> list[list[np.ndarray]]:
        outs = _new_views(len(self.augmentation), self.target_sizes)
        self.write_fixed(outs, np.array([img_index]), subset=subset)
        return [list(views) for views in zip(*outs, strict=True)]

    def write_fixed(self, outs: Sequence[np.ndarray], img_indices: np.ndarray, subset: str) -> None:
        """Write the views of images (n,) under the fixed transforms into rows of `outs`."""
        self.write(outs, img_indices, subset, np.stack([tform.params for tform in self.augmentation])[None])


class LoadAndProcessPysexCentering(PysexCentering, LoadAndProcess):
    """`LoadAndProcess` of the centred galaxy."""


class LoadAndProcessPysexCenteringRescaling(PysexCenteringRescaling, LoadAndProcess):
    """`LoadAndProcess` of the centred and rescaled galaxy."""


class LoadAndProcessPysexGen1CenteringRescaling(PysexGen1CenteringRescaling, LoadAndProcess):
    """`LoadAndProcess` of the galaxy centred and rescaled by what is seen at 10 sigma."""


class LoadAndProcessFixedPysexCentering(PysexCentering, LoadAndProcessFixed):
    """`LoadAndProcessFixed` of the centred galaxy."""


class LoadAndProcessFixedPysexCenteringRescaling(PysexCenteringRescaling, LoadAndProcessFixed):
    """`LoadAndProcessFixed` of the centred and rescaled galaxy."""


class LoadAndProcessFixedPysexGen1CenteringRescaling(PysexGen1CenteringRescaling, LoadAndProcessFixed):
    """`LoadAndProcessFixed` of the galaxy centred and rescaled by what is seen at 10 sigma."""


# What a draw is for; the first number of its key, so that no two streams are the same.
_INDICES, _PERTURBATION, _COLOUR = 1, 2, 3


def generator(purpose: int, seed: int, chunk: int, position: int = 0) -> np.random.Generator:
    """Return the random generator of one draw, the same in whichever process it is made."""
    return np.random.default_rng([purpose, seed, chunk, position])


def draw_colour(seed: int, chunk: int, num: int, std: float) -> np.ndarray:
    """Draw the colour noise of a chunk, (num, 3) float32."""
    alpha = generator(_COLOUR, seed, chunk).normal(0, std, size=num).astype(np.float32)
    return alpha[:, None] * colour_channel_weights


def draw_chunks(
    numbers: Iterable[int],
    indices: np.ndarray,
    chunk_size: int,
    augmentation_params: dict,
    colour_std: float,
    seed: int,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """Yield each chunk's images (chunk_size,), perturbations (chunk_size, 1, 3, 3) and colour noise (chunk_size, 3).

    A chunk of that number is the same whatever was drawn before it, and on whatever device it is made.
    """
    for chunk in numbers:
        drawn = indices[select_indices(len(indices), chunk_size, generator(_INDICES, seed, chunk))]
        rng = generator(_PERTURBATION, seed, chunk)
        perturbations = random_perturbations(chunk_size, **augmentation_params, rng=rng)
        noise = draw_colour(seed, chunk, chunk_size, colour_std) if colour_std else None
        yield drawn, perturbations[:, None], noise


def _write_perturbed(
    processor: LoadAndProcess,
    outs: Sequence[np.ndarray],
    indices: np.ndarray,
    perturbations: np.ndarray,
    noise: np.ndarray | None = None,
) -> None:
    processor.write(outs, indices, "train", perturbations)
    if noise is not None:
        add_colour(outs, noise)


def realtime_augmented_data_gen(
    num_chunks: int | None = None,
    chunk_size: int = CHUNK_SIZE,
    augmentation_params: dict = default_augmentation_params,
    ds_transforms: Sequence[AffineTransform] = ds_transforms_default,
    target_sizes: Sequence[tuple[int, int]] | None = None,
    processor_class: type[LoadAndProcess] = LoadAndProcess,
    *,
    colour_std: float = 0.0,
    seed: int = 0,
    first_chunk: int = 0,
    indices: np.ndarray | None = None,
    num_workers: int | None = None,
    start_method: str | None = None,
    reuse_buffers: bool = False,
    from_ram: bool = False,
) -> Iterator[tuple[list[np.ndarray], int]]:
    """Yield (target_arrays, chunk_size): views (chunk_size, rows, columns, 3) a ds_transform, then labels (.., 37).

    Images are drawn from `indices`, the training part of the split unless others are named. `colour_std` has the
    workers do what `post_augment_brightness_gen` does. With `reuse_buffers`, the views yielded are overwritten once the
    chunk after the next one is asked for, which spares a copy. `start_method` is one of multiprocessing's.
    """
    if indices is None:
        indices, _ = load_data.split(load_data.num_train)
    labels = load_data.load_solutions()
    processor = processor_class(ds_transforms, augmentation_params, target_sizes, from_ram)
    numbers = itertools.count(first_chunk) if num_chunks is None else range(first_chunk, first_chunk + num_chunks)
    draws = draw_chunks(numbers, indices, chunk_size, augmentation_params, colour_std, seed)
    make = partial(_write_perturbed, processor)
    shapes = [(*size, 3) for size in processor.target_sizes]
    chunks = make_chunks(make, draws, chunk_size, shapes, 1, num_workers, start_method, reuse_buffers)
    for views, (drawn, *_) in chunks:
        yield [*views, labels[drawn]], chunk_size


def realtime_fixed_augmented_data_gen(
    selected_indices: np.ndarray,
    subset: str,
    ds_transforms: Sequence[AffineTransform] = ds_transforms_default,
    augmentation_transforms: Sequence[AffineTransform] = (tform_identity,),
    chunk_size: int = CHUNK_SIZE,
    target_sizes: Sequence[tuple[int, int]] | None = None,
    processor_class: type[LoadAndProcessFixed] = LoadAndProcessFixed,
    *,
    num_workers: int | None = None,
    start_method: str | None = None,
    reuse_buffers: bool = False,
    from_ram: bool = False,
) -> Iterator[tuple[list[np.ndarray], int]]:
    """Yield (target_arrays, current_chunk_size): views (chunk_size, rows, columns, 3) a ds_transform.

    All transforms of an image stand together, in the given order. A chunk holds whole images only; rows from
    `current_chunk_size` on are zero.
    """
    rows = len(augmentation_transforms)
    images_a_chunk = chunk_size // rows
    if images_a_chunk < 1:
        raise ValueError(f"expected a chunk_size of at least {rows}, the transforms of one image, got {chunk_size}")
    selected_indices = np.asarray(selected_indices)
    processor = processor_class(ds_transforms, augmentation_transforms, target_sizes, from_ram)
    starts = range(0, len(selected_indices), images_a_chunk)
    plan = ((selected_indices[start : start + images_a_chunk],) for start in starts)
    make = partial(processor.write_fixed, subset=subset)
    shapes = [(*size, 3) for size in processor.target_sizes]
    chunks = make_chunks(make, plan, chunk_size, shapes, rows, num_workers, start_method, reuse_buffers)
    for views, (indices,) in chunks:
        yield views, len(indices) * rows


def post_augment_brightness_gen(
    data_gen: Iterable[tuple[list[np.ndarray], int]], std: float = 0.5, *, seed: int = 0, first_chunk: int = 0
) -> Iterator[tuple[list[np.ndarray], int]]:
    """Add colour noise to the views of each chunk: one draw an image for all its views, then clip to [0, 1]."""
    for chunk, (target_arrays, chunk_size) in enumerate(data_gen, first_chunk):
        *views, labels = target_arrays
        add_colour(views, draw_colour(seed, chunk, len(labels), std))
        yield [*views, labels], chunk_size


# What the 17 models do not use imports this module, and is read when first asked for.
__getattr__ = names_of("more_augmentation", offered_by=__name__)
