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

import cv2
import numpy as np
from skimage.transform import AffineTransform

import load_data
from centering import (  # noqa: F401 (the transforms are documented as this module's)
    PysexCentering,
    PysexCenteringRescaling,
    PysexGen1CenteringRescaling,
    build_pysex_center_rescale_transform,
    build_pysex_center_transform,
)
from chunk_workers import make_chunks
from lazy_modules import names_of

if int(cv2.__version__.split(".")[0]) < 5:
    raise ImportError(
        f"expected OpenCV 5, which samples at exact positions, got {cv2.__version__}, which rounds them to 1/32 pixel; "
        "pip install -r requirements.txt"
    )

CHUNK_SIZE = 10000
IMAGE_WIDTH, IMAGE_HEIGHT = 424, 424

# The first principal component of the colours of the training images, times its eigenvalue (2.1.3;
# Krizhevsky et al. 2012).
colour_channel_weights = np.array([-0.0148366, -0.01253134, -0.01040762], dtype=np.float32)

tform_identity = AffineTransform()
_centre = (IMAGE_WIDTH / 2 - 0.5, IMAGE_HEIGHT / 2 - 0.5)
tform_center = AffineTransform(translation=(-_centre[0], -_centre[1]))
tform_uncenter = AffineTransform(translation=_centre)


def build_ds_transform(
    ds_factor: float = 1.0,
    orig_size: tuple[int, int] = (424, 424),
    target_size: tuple[int, int] = (53, 53),
    do_shift: bool = True,
    subpixel_shift: bool = False,
) -> AffineTransform:
    """Build the transform that crops and downsamples: target pixel -> original pixel; sizes are (rows, columns).

    `do_shift` crops the centre. `subpixel_shift` centres on the largest part that holds whole blocks of `ds_factor`
    pixels, so that an odd target samples at whole pixels of the original.
    """
    # Pixel centres: the block of ds_factor pixels that makes target pixel 0 is centred at (ds_factor - 1) / 2.
    offset = np.full(2, (ds_factor - 1) / 2)
    if do_shift:
        original = np.array(orig_size[::-1], dtype=float)
        if subpixel_shift:
            original = original // int(ds_factor) * int(ds_factor)
        offset = original / 2 - 0.5 - ds_factor * (np.array(target_size[::-1]) / 2 - 0.5)
    return AffineTransform(scale=(ds_factor, ds_factor), translation=offset)


tform_ds_8x = build_ds_transform(8.0, target_size=(53, 53))
tform_ds_cropped33 = build_ds_transform(3.0, target_size=(53, 53))
ds_transforms_default = [tform_ds_cropped33, tform_ds_8x]

default_augmentation_params = {
    "zoom_range": (1.0, 1.1),
    "rotation_range": (0, 360),
    "shear_range": (0, 0),
    "translation_range": (-4, 4),
}


def build_augmentation_transform(
    zoom: float = 1.0, rotation: float = 0, shear: float = 0, translation: tuple[float, float] = (0, 0)
) -> AffineTransform:
    """Build a perturbation about the image's centre; degrees, pixels (x, y); zoom > 1 enlarges the galaxy.

    The matrix is scikit-image 0.9.3's, in which shear=180 with rotation+180 mirrors; later versions give shear
    another meaning, under which the mirror vanishes.
    """
    r, s = np.deg2rad(rotation), np.deg2rad(rotation + shear)
    tform_perturb = AffineTransform(
        matrix=np.array(
            [
                [np.cos(r) / zoom, -np.sin(s) / zoom, translation[0]],
                [np.sin(r) / zoom, np.cos(s) / zoom, translation[1]],
                [0, 0, 1],
            ]
        )
    )
    return tform_center + tform_perturb + tform_uncenter


def build_flip_transform(zoom: float = 1.0, rotation: float = 0, flip: bool = True) -> AffineTransform:
    """Build a perturbation by zoom and rotation (degrees) that mirrors the image where `flip` is true."""
    half_turn = 180 if flip else 0
    return build_augmentation_transform(zoom=zoom, rotation=rotation + half_turn, shear=half_turn)


def sixty_transforms() -> list[AffineTransform]:
    """Build the test-time transforms: 3 zooms x 10 angles x flip, in the order of 2014 (documentation 2.4.1)."""
    angles = np.arange(10) * 36.0
    return [build_flip_transform(*args) for args in itertools.product((1 / 1.2, 1.0, 1.2), angles, (False, True))]


def random_perturbation_transform(
    zoom_range: tuple[float, float],
    rotation_range: tuple[float, float],
    shear_range: tuple[float, float],
    translation_range: tuple[float, float],
    do_flip: bool = False,
    rng: np.random.Generator | None = None,
) -> AffineTransform:
    """Draw a perturbation: zoom log-uniform, degrees and pixels uniform, mirrored half of the time with `do_flip`."""
    rng = rng or np.random.default_rng()
    translation = rng.uniform(*translation_range, size=2)
    rotation, shear = rng.uniform(*rotation_range), rng.uniform(*shear_range)
    if do_flip and rng.random() < 0.5:
        shear += 180
        rotation += 180
    zoom = np.exp(rng.uniform(*np.log(zoom_range)))
    return build_augmentation_transform(zoom, rotation, shear, translation)


_BORDERS = {
    "reflect": cv2.BORDER_REFLECT_101,
    "nearest": cv2.BORDER_REPLICATE,
    "constant": cv2.BORDER_CONSTANT,
    "wrap": cv2.BORDER_WRAP,
}


def fast_warp(
    img: np.ndarray, tf: AffineTransform, output_shape: tuple[int, int] = (53, 53), mode: str = "reflect"
) -> np.ndarray:
    """Sample a float image (rows, columns[, channels]) bilinearly at `tf` of every output pixel -> float32."""
    if mode not in _BORDERS:
        raise ValueError(f"mode is one of {', '.join(_BORDERS)}, not {mode!r}")
    rows, columns = output_shape
    return cv2.warpAffine(
        np.asarray(img, dtype=np.float32),
        tf.params[:2],
        (columns, rows),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=_BORDERS[mode],
    )


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


def _views(
    img: np.ndarray, ds_transforms: Sequence[AffineTransform], tform: AffineTransform, target_sizes: Sequence | None
) -> list[np.ndarray]:
    sizes = _sizes(ds_transforms, target_sizes)
    return [fast_warp(img, tform_ds + tform, size) for tform_ds, size in zip(ds_transforms, sizes, strict=True)]


def perturb_and_dscrop(
    img: np.ndarray,
    ds_transforms: Sequence[AffineTransform],
    augmentation_params: dict,
    target_sizes: Sequence[tuple[int, int]] | None = None,
    rng: np.random.Generator | None = None,
    tform_place: AffineTransform = tform_identity,
) -> list[np.ndarray]:
    """Return one view (rows, columns, 3) of a randomly perturbed image for each ds_transform.

    `tform_place` comes after the perturbation; it says where the galaxy lies (2.1.5).
    """
    tform_augment = random_perturbation_transform(**augmentation_params, rng=rng)
    return _views(img, ds_transforms, tform_augment + tform_place, target_sizes)


def augment_fixed_and_dscrop(
    img: np.ndarray,
    ds_transforms: Sequence[AffineTransform],
    augmentation_transforms: Sequence[AffineTransform],
    target_sizes: Sequence[tuple[int, int]] | None = None,
    tform_place: AffineTransform = tform_identity,
) -> list[list[np.ndarray]]:
    """Return the views of an image under each of the given perturbations, [transform][ds_transform]."""
    return [_views(img, ds_transforms, tform + tform_place, target_sizes) for tform in augmentation_transforms]


class _Loading:
    """What every processor shares: which views it makes, where images are, and where in them the galaxy lies."""

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
        ids = load_data.train_ids if subset == "train" else load_data.test_ids
        return load_data.load_image(ids[img_index], subset, from_ram=self.from_ram)

    def place(self, img_index: int, subset: str) -> AffineTransform:
        """Return the transform that moves the galaxy to the centre; here it is taken to be there already."""
        return tform_identity


class LoadAndProcess(_Loading):
    """Load training image `img_index` and perturb it at random: one array (rows, columns, 3) a ds_transform."""

    def __call__(self, img_index: int, rng: np.random.Generator | None = None) -> list[np.ndarray]:
        img, place = self.load(img_index, "train"), self.place(img_index, "train")
        return perturb_and_dscrop(img, self.ds_transforms, self.augmentation, self.target_sizes, rng, place)


class LoadAndProcessFixed(_Loading):
    """Load image `img_index` of a subset under fixed transforms: arrays [transform][ds_transform]."""

    def __call__(self, img_index: int, subset: str) -> list[list[np.ndarray]]:
        img, place = self.load(img_index, subset), self.place(img_index, subset)
        return augment_fixed_and_dscrop(img, self.ds_transforms, self.augmentation, self.target_sizes, place)


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


def _perturbed(processor: LoadAndProcess, seed: int, chunk: int, first: int, indices: np.ndarray) -> Iterator:
    for position, index in enumerate(indices, first):
        yield [processor(index, generator(_PERTURBATION, seed, chunk, position))]


def _fixed(processor: LoadAndProcessFixed, subset: str, first: int, indices: np.ndarray) -> Iterator:
    for index in indices:
        yield processor(index, subset)


def realtime_augmented_data_gen(
    num_chunks: int | None = None,
    chunk_size: int = CHUNK_SIZE,
    augmentation_params: dict = default_augmentation_params,
    ds_transforms: Sequence[AffineTransform] = ds_transforms_default,
    target_sizes: Sequence[tuple[int, int]] | None = None,
    processor_class: type[LoadAndProcess] = LoadAndProcess,
    *,
    seed: int = 0,
    first_chunk: int = 0,
    num_workers: int | None = None,
    start_method: str | None = None,
    reuse_buffers: bool = False,
    from_ram: bool = False,
) -> Iterator[tuple[list[np.ndarray], int]]:
    """Yield (target_arrays, chunk_size): views (chunk_size, rows, columns, 3) a ds_transform, then labels (.., 37).

    Images are drawn from the training part of the split. With `reuse_buffers`, the views yielded are overwritten once
    the chunk after the next one is asked for, which spares a copy. `start_method` is one of multiprocessing's.
    """
    train_indices, _ = load_data.split(load_data.num_train)
    labels = load_data.load_solutions()
    processor = processor_class(ds_transforms, augmentation_params, target_sizes, from_ram)
    numbers = itertools.count(first_chunk) if num_chunks is None else range(first_chunk, first_chunk + num_chunks)

    def plan() -> Iterator[tuple[np.ndarray, partial]]:
        for chunk in numbers:
            drawn = select_indices(len(train_indices), chunk_size, generator(_INDICES, seed, chunk))
            yield train_indices[drawn], partial(_perturbed, processor, seed, chunk)

    chunks = make_chunks(plan(), chunk_size, processor.target_sizes, 1, num_workers, start_method, reuse_buffers)
    for views, indices in chunks:
        yield [*views, labels[indices]], chunk_size


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
    make = partial(_fixed, processor, subset)
    plan = ((selected_indices[start : start + images_a_chunk], make) for start in starts)
    chunks = make_chunks(plan, chunk_size, processor.target_sizes, rows, num_workers, start_method, reuse_buffers)
    for views, indices in chunks:
        yield views, len(indices) * rows


def post_augment_brightness_gen(
    data_gen: Iterable[tuple[list[np.ndarray], int]], std: float = 0.5, *, seed: int = 0, first_chunk: int = 0
) -> Iterator[tuple[list[np.ndarray], int]]:
    """Add colour noise to the views of each chunk: one draw an image for all its views, then clip to [0, 1]."""
    for chunk, (target_arrays, chunk_size) in enumerate(data_gen, first_chunk):
        *views, labels = target_arrays
        alpha = generator(_COLOUR, seed, chunk).normal(0, std, size=len(labels)).astype(np.float32)
        noise = (alpha[:, None] * colour_channel_weights)[:, None, None, :]
        for view in views:
            view += noise
            np.clip(view, 0, 1, out=view)
        yield [*views, labels], chunk_size


# What the 17 models do not use imports this module, and is read when first asked for.
__getattr__ = names_of("more_augmentation", offered_by=__name__)
