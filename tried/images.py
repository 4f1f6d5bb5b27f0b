"""Small image operations of 2014's `load_data`, each a call of scikit-image, SciPy or NumPy.

Images are float arrays (rows, columns[, channels]) in [0, 1]. Past the border, the image is mirrored.

Source: documentation of 2014, 3.2.1 (the module); the papers named below.
"""

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage import color, exposure, transform


def im_rotate(img: np.ndarray, angle: float) -> np.ndarray:
    """Turn an image anticlockwise about its centre by an angle in degrees; shape kept."""
    return transform.rotate(img, angle, mode="reflect")


def im_flip(img: np.ndarray, flip_h: bool = False, flip_v: bool = False) -> np.ndarray:
    """Mirror an image from left to right (`flip_h`), from top to bottom (`flip_v`); shape kept."""
    return img[:: -1 if flip_v else 1, :: -1 if flip_h else 1]


def im_translate(img: np.ndarray, shift_x: float, shift_y: float) -> np.ndarray:
    """Move an image to the right and down by pixels; shape kept."""
    return transform.warp(img, transform.AffineTransform(translation=(-shift_x, -shift_y)), mode="reflect")


def im_rescale(img: np.ndarray, scale_factor: float) -> np.ndarray:
    """Resample an image to `scale_factor` times its rows and columns, smoothed first if the factor is below 1."""
    channel_axis = 2 if img.ndim == 3 else None
    return transform.rescale(
        img, scale_factor, anti_aliasing=scale_factor < 1, mode="reflect", channel_axis=channel_axis
    )


def im_crop(img: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the central (rows, columns) of an image; raises ValueError if it has fewer."""
    if any(wanted > length for wanted, length in zip(size, img.shape, strict=False)):
        raise ValueError(f"expected an image of at least {size} pixels, got {img.shape}")
    top, left = ((length - wanted) // 2 for length, wanted in zip(img.shape, size, strict=False))
    return img[top : top + size[0], left : left + size[1]]


def im_downsample(img: np.ndarray, factor: int) -> np.ndarray:
    """Average blocks of `factor` x `factor` pixels; raises ValueError unless `factor` divides rows and columns."""
    if img.shape[0] % factor or img.shape[1] % factor:
        raise ValueError(f"expected multiples of {factor} as rows and columns, got {img.shape}; crop the image first")
    return transform.downscale_local_mean(img, (factor, factor, 1)[: img.ndim])


def im_lcn(img: np.ndarray, sigma_mean: float = 4.0, sigma_std: float = 4.0) -> np.ndarray:
    """Normalise local contrast, channel by channel; shape kept, values about 0 (Jarrett et al. 2009).

    Subtract a Gaussian-weighted mean, then divide by the weighted standard deviation. The divisor is at least its mean
    over the channel, and at least 1e-4, so that rounding does not count as contrast. Sigmas are in pixels.
    """
    sigmas = [np.array((sigma, sigma, 0)[: img.ndim]) for sigma in (sigma_mean, sigma_std)]
    centred = img - gaussian_filter(img, sigmas[0])
    std = np.sqrt(gaussian_filter(centred**2, sigmas[1]))
    return centred / np.maximum(std, np.maximum(std.mean(axis=(0, 1)), 1e-4))


def rgb2yuv(img: np.ndarray) -> np.ndarray:
    """Return luma and the two colour differences of an RGB image, (rows, columns, 3)."""
    return color.rgb2yuv(img)


def im_histogram(img: np.ndarray, num_bins: int = 256) -> np.ndarray:
    """Count the values of each channel in equal bins from 0 to 1, (channels, num_bins)."""
    channels = np.atleast_3d(img).transpose(2, 0, 1)
    return np.stack([np.histogram(channel, num_bins, range=(0, 1))[0] for channel in channels])


def im_equalise_histogram(img: np.ndarray, num_bins: int = 256) -> np.ndarray:
    """Spread the values of an image evenly over [0, 1]; shape kept, all channels by one mapping."""
    return exposure.equalize_hist(img, num_bins)
