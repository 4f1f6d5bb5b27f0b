"""Ways to convolve a minibatch, in three modes; the same result, at very different cost.

Convolution is correlation, as everywhere in the project: filters are not flipped. Images are (batch, channels, rows,
columns), weights (filters, channels, size, size). With n input pixels along an axis and a filter of f, there are
n - f + 1 output pixels in `valid` mode, n + f - 1 in `full` mode, n in `same` mode. All can be differentiated.

Source: Sigurd Spieckermann's slides "Practical Notes on Convolutional Neural Networks", 2015 (modes and algorithms).
"""

from itertools import product

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn import functional

MODES = ("valid", "full", "same")


def margins(filter_size: int, mode: str) -> tuple[int, int]:
    """Return how many zeros stand before and after each axis of the image."""
    zeros = {
        "valid": (0, 0),
        "full": (filter_size - 1, filter_size - 1),
        "same": ((filter_size - 1) // 2, filter_size // 2),
    }
    if mode not in zeros:
        raise ValueError(f"mode is one of {', '.join(MODES)}, not {mode!r}")
    return zeros[mode]


def pad(x: Tensor, filter_size: int, mode: str) -> Tensor:
    """Surround images by the zeros of a mode."""
    before_after = margins(filter_size, mode)
    return functional.pad(x, before_after * 2) if any(before_after) else x


def direct(x: Tensor, w: Tensor, mode: str = "valid") -> Tensor:
    """Add up the shifted images, one pixel of the filter at a time, each a small matrix product over the channels."""
    size = w.shape[3]
    x = pad(x, size, mode).transpose(0, 1)
    channels, batch, rows, columns = x.shape
    rows, columns = rows - size + 1, columns - size + 1
    taps = w.permute(2, 3, 0, 1).contiguous()
    out = x.new_zeros(w.shape[0], batch * rows * columns)
    for i, j in product(range(size), repeat=2):
        out.addmm_(taps[i, j], x[:, :, i : i + rows, j : j + columns].reshape(channels, -1))
    return out.unflatten(1, (batch, rows, columns)).transpose(0, 1)


def im2col(x: Tensor, w: Tensor, mode: str = "valid") -> Tensor:
    """Copy every window to a column of a matrix, size^2 times the image's memory, and multiply once."""
    size = w.shape[3]
    x = pad(x, size, mode)
    out = w.flatten(1) @ functional.unfold(x, size)
    return out.unflatten(2, (x.shape[2] - size + 1, x.shape[3] - size + 1))


def fft(x: Tensor, w: Tensor, mode: str = "valid") -> Tensor:
    """Multiply the spectra of images and filters; the size of the filter hardly matters."""
    size = w.shape[3]
    before, after = margins(size, mode)
    # Products of spectra convolve in a circle. What wraps around must not reach the pixels that are kept, from
    # size - 1 - before on. The transform is fastest at multiples of 4 without large prime factors.
    needed = [length + max(before, after) for length in x.shape[2:]]
    lengths = [4 * next_fast_len(-(-length // 4), real=True) for length in needed]
    spectra = torch.fft.rfft2(x, s=lengths), torch.fft.rfft2(w.flip(2, 3), s=lengths)
    out = torch.fft.irfft2(torch.einsum("bcxy,fcxy->bfxy", *spectra), s=lengths)
    first = size - 1 - before
    return out[:, :, first : x.shape[2] + after, first : x.shape[3] + after]


def library(x: Tensor, w: Tensor, mode: str = "valid") -> Tensor:
    """Pad, then convolve by PyTorch (oneDNN on a CPU, cuDNN on a GPU), as `cc_layers` does."""
    return functional.conv2d(pad(x, w.shape[3], mode), w)


def library_pads(x: Tensor, w: Tensor, mode: str = "valid") -> Tensor:
    """Convolve by PyTorch, which is told how many zeros to think of."""
    before, after = margins(w.shape[3], mode)
    if before != after:
        x = functional.pad(x, (0, after - before) * 2)
    return functional.conv2d(x, w, padding=before)


ALGORITHMS = {"direct": direct, "im2col": im2col, "FFT": fft, "library": library, "library pads": library_pads}
