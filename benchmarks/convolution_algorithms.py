"""Algorithms of convolution in three modes, with the same result at different cost; and a LeNet of them.

Convolution is correlation, as everywhere in the project: filters are not flipped. Images are (batch, channels, rows,
columns), weights (filters, channels, size, size). With n input pixels along an axis and a filter of f, there are
n - f + 1 output pixels in `valid` mode, n + f - 1 in `full` mode, n in `same` mode. All are differentiable.

The LeNet is that of Theano's tutorial: 28 x 28 pixels; twice a convolution of 5 x 5, 2 x 2 max-pooling and tanh; 500
units; 10 digits. It is built of the project's layers, of the same with another convolution, and of PyTorch's modules.

Sources: Sigurd Spieckermann's slides "Practical Notes on Convolutional Neural Networks", 2015 (modes and algorithms);
the guide "3x faster convolutions in Theano" (the LeNet with 32 and 64 filters).
"""

import time
from collections.abc import Callable, Sequence
from itertools import product

import torch
from scipy.fft import next_fast_len
from torch import Tensor, nn
from torch.nn import functional

import cc_layers
import layers
from machine.files import DataError

MODES = ("valid", "full", "same")


def margins(filter_size: int, mode: str) -> tuple[int, int]:
    """Return the number of zeros before and after each axis of the image."""
    zeros = {
        "valid": (0, 0),
        "full": (filter_size - 1, filter_size - 1),
        "same": ((filter_size - 1) // 2, filter_size // 2),
    }
    if mode not in zeros:
        raise ValueError(f"expected a mode of {', '.join(MODES)}, got {mode!r}")
    return zeros[mode]


def pad(x: Tensor, filter_size: int, mode: str) -> Tensor:
    """Surround images by the zeros of a mode."""
    return functional.pad(x, margins(filter_size, mode) * 2)


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
    """Copy every window to a column of a matrix (size^2 times the memory of the image) and multiply once."""
    size = w.shape[3]
    x = pad(x, size, mode)
    out = w.flatten(1) @ functional.unfold(x, size)
    return out.unflatten(2, (x.shape[2] - size + 1, x.shape[3] - size + 1))


def fft(x: Tensor, w: Tensor, mode: str = "valid") -> Tensor:
    """Multiply the spectra of images and filters; the cost depends little on the filter size."""
    size = w.shape[3]
    before, after = margins(size, mode)
    # Products of spectra are circular convolutions: enough zeros keep wrapped values out of the result, which starts
    # at pixel size - 1 - before. The transform is fastest at multiples of 4 without large prime factors.
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
    """Convolve by PyTorch, which pads by itself."""
    before, after = margins(w.shape[3], mode)
    if before != after:
        x = functional.pad(x, (0, after - before) * 2)
    return functional.conv2d(x, w, padding=before)


ALGORITHMS = {"direct": direct, "im2col": im2col, "FFT": fft, "library": library, "library pads": library_pads}

NUM_FILTERS = (32, 64)
# The other fifth of the digits is for testing.
NUM_TRAIN = 1437
BATCH_SIZE, LEARNING_RATE, MOMENTUM = 50, 0.05, 0.9


class TanhLayer(cc_layers.C01BLayer):
    """tanh after pooling, for a quarter of the pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x)


class AlgorithmConv2DLayer(cc_layers.CudaConvnetConv2DLayer):
    """A convolution by one of `ALGORITHMS`, which is set after construction."""

    algorithm: str

    def forward(self, x: Tensor) -> Tensor:
        out = ALGORITHMS[self.algorithm](cc_layers.bc01(x), cc_layers.bc01(self.W))
        return cc_layers.c01b(self.nonlinearity(out + self.b[:, None, None]))


def build(batch: int, algorithm: str | None = None) -> tuple[layers.Layer, layers.Layer]:
    """Build the network of the project's layers; return its input and its output layer.

    Without an algorithm, convolution is that of `cc_layers`.
    """
    l0 = layers.Input2DLayer(batch, 1, 28, 28)
    below = cc_layers.ShuffleBC01ToC01BLayer(l0)
    for n_filters in NUM_FILTERS:
        layer_class = AlgorithmConv2DLayer if algorithm else cc_layers.CudaConvnetConv2DLayer
        below = layer_class(below, n_filters, 5, weights_std=0.05, init_bias_value=0.0, nonlinearity=layers.identity)
        if algorithm:
            below.algorithm = algorithm
        below = TanhLayer(cc_layers.CudaConvnetPooling2DLayer(below, pool_size=2))
    l3 = cc_layers.ShuffleC01BToBC01Layer(below)
    l4 = layers.DenseLayer(l3, 500, weights_std=0.03, init_bias_value=0.0, nonlinearity=layers.tanh)
    return l0, layers.DenseLayer(l4, 10, weights_std=0.03, init_bias_value=0.0, nonlinearity=layers.identity)


def build_plain() -> nn.Sequential:
    """Build the network of PyTorch's modules."""
    first, second = NUM_FILTERS
    return nn.Sequential(
        nn.Conv2d(1, first, 5), nn.MaxPool2d(2), nn.Tanh(), nn.Conv2d(first, second, 5), nn.MaxPool2d(2), nn.Tanh(),
        nn.Flatten(), nn.Linear(second * 4 * 4, 500), nn.Tanh(), nn.Linear(500, 10),
    )  # fmt: skip


def steps(batch: int, device: torch.device) -> dict[str, Callable[[], Tensor]]:
    """Return a training step of each peer, without the update, on the same images, labels and parameters.

    A step returns the gradients of all biases, from the top down.
    """
    images = torch.rand(batch, 1, 28, 28, device=device)
    digits = torch.randint(10, (batch,), device=device)

    def step_of(predict: Callable[[Tensor], Tensor], params: Sequence[nn.Parameter]) -> Callable[[], Tensor]:
        def step() -> Tensor:
            gradients = torch.autograd.grad(functional.cross_entropy(predict(images), digits), params)
            return torch.cat([gradient for gradient in gradients if gradient.ndim == 1])

        return step

    def step_by(algorithm: str | None) -> Callable[[], Tensor]:
        l0, output = build(batch, algorithm)
        layers.set_param_values(output, values)
        output.to(device)
        return step_of(lambda x: output.output({l0: x}), layers.all_parameters(output))

    values = layers.get_param_values(build(batch)[1])
    plain = build_plain()
    params = [param for module in reversed(plain) for param in module.parameters()]
    with torch.no_grad():
        for param, value in zip(params, values, strict=True):
            # The project's weights have the outputs last, PyTorch's first.
            param.copy_(torch.as_tensor(value).movedim(-1, 0))
    named = {name: step_by(name) for name in ALGORITHMS if not name.startswith("library")}
    return named | {"cc_layers": step_by(None), "nn.Sequential": step_of(plain.to(device), params)}


def load_digits() -> tuple[Tensor, Tensor]:
    """Load scikit-learn's 1,797 digits: images (n, 1, 28, 28) from 0 to 1, and their digits (n,).

    Their 8 x 8 pixels become 24 x 24 by bilinear interpolation, with a black border of two, similar to MNIST's 20 x 20
    in 28 x 28. Raises DataError without scikit-learn.
    """
    try:
        from sklearn import datasets
    except ImportError:
        raise DataError(
            "expected scikit-learn, which ships the digits; pip install -r requirements-bench.txt"
        ) from None
    digits = datasets.load_digits()
    return enlarge(torch.from_numpy(digits.images / 16)), torch.from_numpy(digits.target).long()


def enlarge(images: Tensor) -> Tensor:
    """Turn images (n, 8, 8) into (n, 1, 28, 28) float32."""
    enlarged = functional.interpolate(images.float()[:, None], scale_factor=3, mode="bilinear")
    return functional.pad(enlarged, (2, 2, 2, 2))


def train(images: Tensor, digits: Tensor, num_epochs: int, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Train the network of the project's layers; return a function that maps images to digits."""
    torch.manual_seed(0)
    l0, output = build(BATCH_SIZE)
    output.to(device)
    images, digits = images.to(device), digits.to(device)
    optimizer = layers.gen_updates_regular_momentum(layers.all_parameters(output), LEARNING_RATE, MOMENTUM, 0.0)
    for _ in range(num_epochs):
        for rows in torch.randperm(len(images)).split(BATCH_SIZE):
            optimizer.zero_grad()
            functional.cross_entropy(output.output({l0: images[rows]}), digits[rows]).backward()
            optimizer.step()

    @torch.inference_mode()
    def predict(images: Tensor) -> Tensor:
        return output.output({l0: images.to(device)}).argmax(1).cpu()

    return predict


def report_error(num_epochs: int, device: torch.device) -> dict[str, float]:
    """Train on the first digits and test on the last; print and return the error and the time."""
    images, digits = load_digits()
    start = time.perf_counter()
    predict = train(images[:NUM_TRAIN], digits[:NUM_TRAIN], num_epochs, device)
    seconds = time.perf_counter() - start
    wrong = (predict(images[NUM_TRAIN:]) != digits[NUM_TRAIN:]).sum().item()
    num = len(images) - NUM_TRAIN
    print(
        f"LeNet of cc_layers, {num_epochs} times through {NUM_TRAIN} of scikit-learn's digits in {seconds:.3g} s: "
        f"{wrong} of the other {num} are wrong, a test error of {wrong / num:.1%}",
        flush=True,
    )
    return {"epochs": num_epochs, "seconds": seconds, "test error": wrong / num}
