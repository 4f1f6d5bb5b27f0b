"""The affine transforms of a view: cropping, downsampling, perturbation.

Transforms are scikit-image objects that map output pixels to input pixels; `a + b` applies `a` first. Many transforms
at once are matrices (n, 3, 3); there `a + b` is `b @ a`.

Source: documentation of 2014, 2.1.
"""

import itertools

import numpy as np
from numpy.typing import ArrayLike
from skimage.transform import AffineTransform

from galaxy.image_geometry import IMAGE_HEIGHT, IMAGE_WIDTH

tform_identity = AffineTransform()
_centre = (IMAGE_WIDTH / 2 - 0.5, IMAGE_HEIGHT / 2 - 0.5)
tform_center = AffineTransform(translation=(-_centre[0], -_centre[1]))
tform_uncenter = AffineTransform(translation=_centre)


def build_ds_transform(
    ds_factor: float = 1.0,
    orig_size: tuple[int, int] = (IMAGE_HEIGHT, IMAGE_WIDTH),
    target_size: tuple[int, int] = (53, 53),
    do_shift: bool = True,
    subpixel_shift: bool = False,
) -> AffineTransform:
    """Build the transform that crops and downsamples: target pixel -> original pixel; sizes are (rows, columns).

    `do_shift` crops the centre. `subpixel_shift` centres on the largest area of whole blocks of `ds_factor` pixels, so
    that an odd target samples at whole pixels of the original.
    """
    # Target pixel 0 covers a block of ds_factor pixels, with its centre at (ds_factor - 1) / 2.
    offset = np.full(2, (ds_factor - 1) / 2)
    if do_shift:
        original = np.array(orig_size[::-1], dtype=float)
        if subpixel_shift:
            original = original // int(ds_factor) * int(ds_factor)
        offset = original / 2 - 0.5 - ds_factor * (np.array(target_size[::-1]) / 2 - 0.5)
    return AffineTransform(scale=(ds_factor, ds_factor), translation=offset)


def augmentation_matrices(zoom: ArrayLike, rotation: ArrayLike, shear: ArrayLike, translation: ArrayLike) -> np.ndarray:
    """Return the matrices (n, 3, 3) of n perturbations about the image's centre.

    A zoom (n,) above 1 enlarges the galaxy; rotation and shear (n,) are in degrees, translation (n, 2) in pixels. The
    matrix is that of scikit-image 0.9.3, where shear=180 with rotation+180 mirrors. Later versions define shear
    differently, and do not mirror.
    """
    zoom, r, translation = np.asarray(zoom), np.deg2rad(rotation), np.asarray(translation)
    s = r + np.deg2rad(shear)
    perturb = np.zeros((*zoom.shape, 3, 3))
    perturb[..., 0, 0], perturb[..., 0, 1] = np.cos(r) / zoom, -np.sin(s) / zoom
    perturb[..., 1, 0], perturb[..., 1, 1] = np.sin(r) / zoom, np.cos(s) / zoom
    perturb[..., :2, 2] = translation
    perturb[..., 2, 2] = 1
    return tform_uncenter.params @ perturb @ tform_center.params


def build_augmentation_transform(
    zoom: float = 1.0, rotation: float = 0, shear: float = 0, translation: tuple[float, float] = (0, 0)
) -> AffineTransform:
    """Build one perturbation as a transform; see `augmentation_matrices`."""
    return AffineTransform(matrix=augmentation_matrices(zoom, rotation, shear, translation))


def build_flip_transform(zoom: float = 1.0, rotation: float = 0, flip: bool = True) -> AffineTransform:
    """Build a perturbation by zoom and rotation (degrees) that mirrors the image if `flip` is true."""
    half_turn = 180 if flip else 0
    return build_augmentation_transform(zoom=zoom, rotation=rotation + half_turn, shear=half_turn)


def sixty_transforms() -> list[AffineTransform]:
    """Build the test-time transforms: 3 zooms x 10 angles x flip, in the order of 2014 (documentation 2.4.1)."""
    angles = np.arange(10) * 36.0
    return [build_flip_transform(*args) for args in itertools.product((1 / 1.2, 1.0, 1.2), angles, (False, True))]


def random_perturbations(
    num: int,
    zoom_range: tuple[float, float],
    rotation_range: tuple[float, float],
    shear_range: tuple[float, float],
    translation_range: tuple[float, float],
    do_flip: bool = False,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Draw the matrices (num, 3, 3) of perturbations.

    Zoom is log-uniform; rotation, shear (degrees) and translation (pixels) are uniform; `do_flip` mirrors half of the
    images. Without a generator, NumPy's global one seeds the draws, as in 2014.
    """
    if rng is None:
        rng = np.random.default_rng(np.random.randint(2**32, size=4, dtype=np.uint32))  # noqa: NPY002 (see above)
    translation = rng.uniform(*translation_range, size=(num, 2))
    rotation, shear = rng.uniform(*rotation_range, size=num), rng.uniform(*shear_range, size=num)
    half_turn = np.where(rng.random(num) < 0.5, 180, 0) if do_flip else 0
    zoom = np.exp(rng.uniform(*np.log(zoom_range), size=num))
    return augmentation_matrices(zoom, rotation + half_turn, shear + half_turn, translation)


def random_perturbation_transform(
    zoom_range: tuple[float, float],
    rotation_range: tuple[float, float],
    shear_range: tuple[float, float],
    translation_range: tuple[float, float],
    do_flip: bool = False,
    rng: np.random.Generator | None = None,
) -> AffineTransform:
    """Draw one perturbation as a transform; see `random_perturbations`."""
    ranges = zoom_range, rotation_range, shear_range, translation_range
    return AffineTransform(matrix=random_perturbations(1, *ranges, do_flip, rng)[0])


def view_matrices(ds_transforms: list[AffineTransform], perturbations: ArrayLike, places: ArrayLike) -> np.ndarray:
    """Compose the matrices (..., views, 3, 3) that map a view's pixels to the image's.

    `places` (..., 3, 3), of `place_matrices`, move the galaxy to the centre (2.1.5), after `perturbations` (..., 3, 3).
    Their leading axes broadcast: (n, 1, 3, 3) places and (1, transforms, 3, 3) perturbations give (n, transforms, ...).
    """
    ds = np.stack([tform.params for tform in ds_transforms])
    return (np.asarray(places) @ np.asarray(perturbations))[..., None, :, :] @ ds
