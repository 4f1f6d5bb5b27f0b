"""Layers of 2014 that the 17 models do not use: inputs of other shapes, bc01 and 1D convolutions, pooling, outputs.

Images are (batch, features, rows, columns), sequences (batch, features, length).
Convolution is correlation, as in `cc_layers`: filters are not flipped. Theano flipped them.

Source: documentation of 2014, 3.2.3 (which names such layers only); the papers named below.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from layers import (
    DenseLayer,
    FeatureMaxPoolingLayer,
    InputBase,
    Layer,
    MultiRotMergeLayer,
    MultiRotSliceLayer,
    Nonlinearity,
    OutputBase,
    WeightedLayer,
    all_layers,
    rectify,
)


class FlatInputLayer(InputBase):
    """Input vectors, (batch, features)."""

    def __init__(self, mb_size: int, n_features: int):
        super().__init__(mb_size, n_features)


class InputLayer(InputBase):
    """Input sequences, (batch, features, length)."""

    def __init__(self, mb_size: int, n_features: int, length: int):
        super().__init__(mb_size, n_features, length)


def _each_axis(value: int | Sequence[int], dims: int) -> tuple[int, ...]:
    return (value,) * dims if isinstance(value, int) else tuple(value)


def _axes(layer: Layer, input_layer: Layer, dims: int) -> tuple[int, ...]:
    """Return the axes of an input layer that follow batch and features; raises ValueError unless there are `dims`."""
    shape = input_layer.get_output_shape()
    if len(shape) != 2 + dims:
        raise ValueError(f"{type(layer).__name__}: expected an input of {2 + dims} axes, got shape {shape}")
    return shape[2:]


class Conv2DLayer(WeightedLayer):
    """A convolution, (batch, n_filters, rows, columns); W is (filters, channels, rows, columns).

    `filter_size` and `stride` are one integer, or one per axis. With border_mode 'valid', filters stay inside the
    image. With 'full', they overlap it by at least one pixel. With 'same', zeros keep the size of each axis,
    (filter_size - 1) // 2 of them before it. Incomplete windows at the border are ignored. With `untie_biases`, b is
    (n_filters, rows, columns).
    """

    dims = 2
    convolve = staticmethod(functional.conv2d)

    def __init__(
        self,
        input_layer: Layer,
        n_filters: int,
        filter_size: int | Sequence[int],
        weights_std: float,
        init_bias_value: float,
        stride: int | Sequence[int] = 1,
        nonlinearity: Nonlinearity = rectify,
        dropout: float = 0.0,
        border_mode: str = "valid",
        untie_biases: bool = False,
    ):
        sizes = _axes(self, input_layer, self.dims)
        filters, strides = _each_axis(filter_size, self.dims), _each_axis(stride, self.dims)
        # zeros before and after an axis
        pads = {
            "valid": [(0, 0) for _ in filters],
            "full": [(length - 1, length - 1) for length in filters],
            "same": [((length - 1) // 2, length // 2) for length in filters],
        }
        if border_mode not in pads:
            raise ValueError(f"expected border_mode to be one of {', '.join(pads)}, got {border_mode!r}")
        padded = [size + sum(pad) for size, pad in zip(sizes, pads[border_mode], strict=True)]
        if any(size < length for size, length in zip(padded, filters, strict=True)):
            raise ValueError(f"expected an input of at least {filters} pixels (filter_size), got {tuple(sizes)}")
        self.sizes = tuple((p - f) // s + 1 for p, f, s in zip(padded, filters, strides, strict=True))
        weight_shape = (n_filters, input_layer.get_output_shape()[1], *filters)
        bias_shape = (n_filters, *self.sizes) if untie_biases else (n_filters,)
        super().__init__(input_layer, weight_shape, bias_shape, weights_std, init_bias_value, nonlinearity, dropout)
        self.stride, self.untie_biases = strides, untie_biases
        # torch names the last axis first
        self.padding = [zeros for pad in reversed(pads[border_mode]) for zeros in pad]

    @property
    def fan_in(self) -> int:
        return self.W[0].numel()

    def get_output_shape(self) -> tuple[int, ...]:
        return self.input_layer.get_output_shape()[0], self.W.shape[0], *self.sizes

    def forward(self, x: Tensor) -> Tensor:
        if any(self.padding):
            x = functional.pad(x, self.padding)
        x = self.convolve(x, self.W, None if self.untie_biases else self.b, self.stride)
        return self.nonlinearity(x + self.b if self.untie_biases else x)


class ConvLayer(Conv2DLayer):
    """A convolution of sequences, (batch, n_filters, length); W is (filters, channels, length); see Conv2DLayer."""

    dims = 1
    convolve = staticmethod(functional.conv1d)


class StridedConv2DLayer(Conv2DLayer):
    """The same as Conv2DLayer; in 2014 a stride had a class of its own."""


class StridedConvLayer(ConvLayer):
    """The same as ConvLayer; in 2014 a stride had a class of its own."""


class NIN2DLayer(WeightedLayer):
    """A dense layer applied to every pixel, (batch, n_outputs, rows, columns); W is (channels, outputs).

    The 1x1 convolutions of "Network in network" (Lin et al. 2013, arXiv 1312.4400).
    """

    def __init__(
        self,
        input_layer: Layer,
        n_outputs: int,
        weights_std: float,
        init_bias_value: float,
        nonlinearity: Nonlinearity = rectify,
        dropout: float = 0.0,
    ):
        _axes(self, input_layer, 2)
        shapes = (input_layer.get_output_shape()[1], n_outputs), (n_outputs,)
        super().__init__(input_layer, *shapes, weights_std, init_bias_value, nonlinearity, dropout)

    def get_output_shape(self) -> tuple[int, ...]:
        batch, _, *size = self.input_layer.get_output_shape()
        return batch, self.W.shape[1], *size

    def forward(self, x: Tensor) -> Tensor:
        return self.nonlinearity(functional.conv2d(x, self.W.T[:, :, None, None], self.b))


class Pooling2DLayer(Layer):
    """Max-pooling, (batch, features, rows, columns); `pool_size` is one integer, or one per axis.

    With `ignore_border`, incomplete windows at the border are ignored.
    """

    dims = 2
    pool = staticmethod(functional.max_pool2d)

    def __init__(self, input_layer: Layer, pool_size: int | Sequence[int], ignore_border: bool = False):
        super().__init__(input_layer)
        _axes(self, input_layer, self.dims)
        self.pool_size, self.ignore_border = _each_axis(pool_size, self.dims), ignore_border

    def get_output_shape(self) -> tuple[int, ...]:
        batch, features, *sizes = self.input_layer.get_output_shape()
        steps = zip(sizes, self.pool_size, strict=True)
        return batch, features, *(n // p if self.ignore_border else -(-n // p) for n, p in steps)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x, self.pool_size, ceil_mode=not self.ignore_border)


class PoolingLayer(Pooling2DLayer):
    """Max-pooling of sequences, (batch, features, length); see Pooling2DLayer."""

    dims = 1
    pool = staticmethod(functional.max_pool1d)


POOLING_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "max": torch.amax,
    "mean": torch.mean,
    "l2": torch.linalg.vector_norm,
}


def _pooling_function(name: str) -> Callable[..., Tensor]:
    if name not in POOLING_FUNCTIONS:
        raise ValueError(f"expected pooling_function to be one of {', '.join(POOLING_FUNCTIONS)}, got {name!r}")
    return POOLING_FUNCTIONS[name]


class GlobalPooling2DLayer(Layer):
    """Pools each whole feature map by 'mean', 'max' or 'l2', (batch, features) (Lin et al. 2013)."""

    def __init__(self, input_layer: Layer, pooling_function: str = "mean"):
        super().__init__(input_layer)
        _axes(self, input_layer, 2)
        self.pooling_function = _pooling_function(pooling_function)

    def get_output_shape(self) -> tuple[int, ...]:
        return self.input_layer.get_output_shape()[:2]

    def forward(self, x: Tensor) -> Tensor:
        return self.pooling_function(x, dim=(2, 3))


class FilterPoolingLayer(FeatureMaxPoolingLayer):
    """Pools each `pool_size` adjacent features or maps by 'max', 'mean' or 'l2' (Sermanet et al. 2012), axis 1."""

    def __init__(self, input_layer: Layer, pool_size: int, pooling_function: str = "max", feature_dim: int = 1):
        super().__init__(input_layer, pool_size, feature_dim)
        self.pooling_function = _pooling_function(pooling_function)

    def forward(self, x: Tensor) -> Tensor:
        groups = x.unflatten(self.feature_dim, (-1, self.pool_size))
        return self.pooling_function(groups, dim=self.feature_dim + 1)


class MaxoutLayer(FeatureMaxPoolingLayer):
    """Maxout above a linear dense layer, (batch, features / n_filters_per_unit) (Goodfellow et al. 2013)."""

    def __init__(self, input_layer: Layer, n_filters_per_unit: int, dropout: float = 0.0):
        super().__init__(input_layer, n_filters_per_unit)
        self.dropout = dropout


class ResponseNormalisationLayer(Layer):
    """Normalises across feature maps, x / (k + alpha * sum of squares over n adjacent maps)^beta, shape kept.

    The maps are i - n // 2 to i + (n - 1) // 2, limited to existing maps (Krizhevsky et al. 2012, 3.3).
    """

    def __init__(self, input_layer: Layer, n: int = 5, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75):
        super().__init__(input_layer)
        self.n, self.k, self.alpha, self.beta = n, k, alpha, beta

    def forward(self, x: Tensor) -> Tensor:
        # torch divides its alpha by n
        return functional.local_response_norm(x, self.n, self.alpha * self.n, self.beta, self.k)


class Rot90SliceLayer(MultiRotSliceLayer):
    """Cuts one view into four parts, rotated by quarter turns, (4 * batch, channels, part_size, part_size)."""

    def __init__(self, input_layer: Layer, part_size: int):
        super().__init__([input_layer], part_size, include_flip=False)


class Rot90MergeLayer(MultiRotMergeLayer):
    """Concatenates the features of the four parts of `Rot90SliceLayer`, (batch, 4 * features)."""

    def __init__(self, input_layer: Layer):
        super().__init__(input_layer, num_views=1)


def _log_loss(predictions: Tensor, targets: Tensor) -> Tensor:
    tiny = torch.finfo(predictions.dtype).tiny
    return -(targets * predictions.clamp(min=tiny).log()).sum(1).mean()


def _hinge(predictions: Tensor, targets: Tensor) -> Tensor:
    return (1 - targets * predictions).relu().mean()


def _squared_hinge(predictions: Tensor, targets: Tensor) -> Tensor:
    return (1 - targets * predictions).relu().square().mean()


ERROR_MEASURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": functional.mse_loss,
    "cross-entropy": functional.binary_cross_entropy,
    "log-loss": _log_loss,
    "hinge": _hinge,
    "squared-hinge": _squared_hinge,
}


class OutputLayer(OutputBase):
    """The top of a network: its predictions are its input (batch, outputs), its error a mean over the batch.

    error_measure: 'mse'; 'cross-entropy' of separate probabilities; 'log-loss' of a distribution over classes, with
    targets of the same form (for example one-hot); 'hinge' and 'squared-hinge', with targets -1 and 1. All except
    log-loss are also means over outputs. Predictions are not normalised.
    """

    def __init__(self, input_layer: Layer, error_measure: str = "mse"):
        super().__init__(input_layer)
        if error_measure not in ERROR_MEASURES:
            raise ValueError(f"expected error_measure to be one of {', '.join(ERROR_MEASURES)}, got {error_measure!r}")
        self.error_measure = ERROR_MEASURES[error_measure]

    def forward(self, x: Tensor) -> Tensor:
        return x

    def error_of(self, activations: Tensor, targets: Tensor, normalisation: bool = True) -> Tensor:
        return self.error_measure(activations, targets)


def sparse_initialisation(
    n_inputs: int, n_outputs: int, sparsity: float = 0.05, std: float = 0.01, rng: np.random.Generator | None = None
) -> np.ndarray:
    """Draw weights (inputs, outputs) float32; each output has a fraction `sparsity` of nonzero weights.

    The inputs of an output are drawn without repetition, at least one (Martens 2010).
    """
    rng = rng or np.random.default_rng()
    weights = np.zeros((n_inputs, n_outputs), dtype=np.float32)
    connected = max(1, round(sparsity * n_inputs))
    for output in range(n_outputs):
        weights[rng.choice(n_inputs, connected, replace=False), output] = rng.normal(0, std, connected)
    return weights


def gather_rescaling_updates(layer: Layer, c: float) -> list[tuple[nn.Parameter, Tensor]]:
    """Return pairs (parameter, new value) that limit the column norms of all dense layers below a layer to c."""
    dense = [each for each in all_layers(layer) if isinstance(each, DenseLayer)]
    return [update for each in dense for update in each.rescaling_updates(c)]
