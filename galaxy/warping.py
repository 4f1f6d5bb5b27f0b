"""Views of an image, sampled bilinearly.

A warp converts only the region of the image that it reads to floating point; samples are not rounded.

Source: documentation of 2014, 3.2.2.
"""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from galaxy.image_geometry import IMAGE_HEIGHT, IMAGE_WIDTH
from machine.files import DataError

if TYPE_CHECKING:
    from skimage.transform import AffineTransform

_BORDERS = {
    "reflect": cv2.BORDER_REFLECT_101,
    "nearest": cv2.BORDER_REPLICATE,
    "constant": cv2.BORDER_CONSTANT,
    "wrap": cv2.BORDER_WRAP,
}
_SAMPLING = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


@functools.cache
def _need_exact_positions() -> None:
    """Raise DataError if OpenCV rounds sampling positions; only warps call this: the rest works with any version."""
    if int(cv2.__version__.split(".")[0]) < 5:
        raise DataError(
            f"expected OpenCV 5, which samples at exact positions, got {cv2.__version__}, which rounds them to 1/32 "
            "pixel; pip install -r requirements.txt, or make the views on an accelerator"
        )


def fast_warp(
    img: np.ndarray, tf: "AffineTransform", output_shape: tuple[int, int] = (53, 53), mode: str = "reflect"
) -> np.ndarray:
    """Sample a float image (rows, columns[, channels]) bilinearly at `tf` of every output pixel -> float32."""
    _need_exact_positions()
    if mode not in _BORDERS:
        raise ValueError(f"expected mode {', '.join(_BORDERS)}, got {mode!r}")
    rows, columns = output_shape
    return cv2.warpAffine(
        np.asarray(img, dtype=np.float32),
        tf.params[:2],
        (columns, rows),
        flags=_SAMPLING,
        borderMode=_BORDERS[mode],
    )


def touched_parts(
    matrices: np.ndarray, sizes: Sequence[tuple[int, int]], shape: Sequence[int] = (IMAGE_HEIGHT, IMAGE_WIDTH)
) -> np.ndarray:
    """Return the region of each image that its views read: first row, last + 1, first column, last + 1.

    Matrices (n, transforms, views, 3, 3) -> (n, 4) integers. Where a view reaches beyond a border, which mirrors, the
    region is the whole width or height.
    """
    half = (np.array(sizes)[:, ::-1] - 1) / 2  # of each view, (x, y)
    middle = np.einsum("ntvij,vj->ntvi", matrices[..., :2, :2], half) + matrices[..., :2, 2]
    reach = np.einsum("ntvij,vj->ntvi", np.abs(matrices[..., :2, :2]), half)
    # One more pixel on both sides: bilinear interpolation reads the next one, and positions are rounded.
    low = np.floor((middle - reach).min(axis=(1, 2))) - 1
    high = np.ceil((middle + reach).max(axis=(1, 2))) + 2
    # A mirrored position can lie anywhere.
    ends = np.array(shape[1::-1])
    inside = (low >= 0) & (high <= ends)
    low, high = np.where(inside, low, 0), np.where(inside, high, ends)
    return np.stack([low[:, 1], high[:, 1], low[:, 0], high[:, 0]], axis=1).astype(int)


def warp_views(img: np.ndarray, region: Sequence[int], matrices: np.ndarray, outs: Sequence[np.ndarray]) -> None:
    """Write the views of an image (rows, columns, 3), float or uint8, into `outs`; uint8 becomes [0, 1].

    Matrices (transforms, views, 3, 3) map a view's pixels to the image's; `outs` holds an array (transforms, rows,
    columns, 3) float32 for each view. `region` is that of `touched_parts`; only its pixels are converted.
    """
    _need_exact_positions()
    top, bottom, left, right = region
    pixels = img[top:bottom, left:right].astype(np.float32)
    matrices = matrices[..., :2, :] - np.array([[0, 0, left], [0, 0, top]])
    for view, out in enumerate(outs):
        for matrix, dst in zip(matrices[:, view], out, strict=True):
            cv2.warpAffine(pixels, matrix, dst.shape[1::-1], dst, _SAMPLING, cv2.BORDER_REFLECT_101)
        if img.dtype == np.uint8:
            out *= np.float32(1 / 255)
