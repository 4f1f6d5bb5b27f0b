"""The LeNet of Theano's tutorial, with the 32 and 64 filters of the guide "3x faster convolutions in Theano".

    python benchmarks/lenet.py

trains it on the handwritten digits that scikit-learn ships, and prints its error on those that it has not seen.

28 x 28 pixels; twice a convolution of 5 x 5, 2 x 2 max-pooling and tanh; 500 units; 10 digits. It is built of the
project's layers, of the same with another convolution, and of PyTorch's modules.
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cc_layers
import layers
from benchmarks.convolution_algorithms import ALGORITHMS
from machine.command_line import run_script
from machine.files import DataError

NUM_FILTERS = (32, 64)
# A fifth of the digits is kept back.
NUM_TRAIN = 1437
BATCH_SIZE, LEARNING_RATE, MOMENTUM = 50, 0.05, 0.9


class TanhLayer(cc_layers.C01BLayer):
    """tanh after pooling, where it has a quarter of the work."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x)


class AlgorithmConv2DLayer(cc_layers.CudaConvnetConv2DLayer):
    """A convolution by one of `ALGORITHMS`, which is set after construction; all else is the layer's."""

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
        kind = AlgorithmConv2DLayer if algorithm else cc_layers.CudaConvnetConv2DLayer
        below = kind(below, n_filters, 5, weights_std=0.05, init_bias_value=0.0, nonlinearity=layers.identity)
        if algorithm:
            below.algorithm = algorithm
        below = TanhLayer(cc_layers.CudaConvnetPooling2DLayer(below, pool_size=2))
    l3 = cc_layers.ShuffleC01BToBC01Layer(below)
    l4 = layers.DenseLayer(l3, 500, weights_std=0.03, init_bias_value=0.0, nonlinearity=layers.tanh)
    return l0, layers.DenseLayer(l4, 10, weights_std=0.03, init_bias_value=0.0, nonlinearity=layers.identity)


def build_plain() -> nn.Sequential:
    """Build the network as it is written without the project."""
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
    """Load scikit-learn's 1,797 digits: images (n, 1, 28, 28) from 0 to 1, and which digit each is (n,).

    They have 8 x 8 pixels, which become 24 x 24 by bilinear interpolation, in a frame of two black ones: about as large
    as MNIST's 20 x 20 in 28 x 28. Raises DataError where scikit-learn is not installed.
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
    """Train the network of the project's layers; return a function that tells which digits images show."""
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
    """Train on the first digits and test on the last, print the error and the time; return both."""
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


def main() -> None:
    torch.set_num_threads(1)  # minibatches are too small to share
    report_error(10, torch.device("cpu"))


if __name__ == "__main__":
    run_script(main)
