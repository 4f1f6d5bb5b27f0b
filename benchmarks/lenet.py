"""The LeNet of Theano's tutorial, with the 32 and 64 filters of the guide "3x faster convolutions in Theano".

28 x 28 pixels; twice a convolution of 5 x 5, 2 x 2 max-pooling and tanh; 500 units; 10 digits. It is built of the
project's layers, of the same with another convolution, and of PyTorch's modules.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

import cc_layers
import layers
from benchmarks.convolution_algorithms import ALGORITHMS

NUM_FILTERS = (32, 64)


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
