"""Convolution and pooling with cuda-convnet's interface: the batch is the last axis (c01b).

cuda-convnet stored images as (channels, rows, columns, batch). cuDNN and oneDNN expect the batch first. Here c01b is a
view of batch-first memory, so that permuting to it and back costs no copy. Convolution is correlation: filters are not
flipped. Pooling includes incomplete windows at the border.

Source: documentation of 2014, 3.2.3; Krizhevsky's cuda-convnet; the post "3x faster convolutions in Theano".
"""

import machine.command_line  # noqa: F401  first: without torch, a script ends with one line

import torch
from torch import Tensor
from torch.nn import functional

from layers import Input2DLayer, Layer, Nonlinearity, WeightedLayer, rectify


def c01b(x: Tensor) -> Tensor:
    """View a bc01 tensor as c01b."""
    return x.permute(1, 2, 3, 0)


def bc01(x: Tensor) -> Tensor:
    """View a c01b tensor as bc01."""
    return x.permute(3, 0, 1, 2)


def _steps(size: int, window: int, stride: int) -> int:
    """Return the number of windows, `stride` pixels apart, that cover `size` pixels; the last may be incomplete."""
    return -(-(size - window) // stride) + 1


class C01BLayer(Layer):
    """A layer whose output is (channels, rows, columns, batch)."""

    @property
    def mb_size(self) -> int:
        return self.get_output_shape()[3]


class CudaConvnetInput2DLayer(Input2DLayer, C01BLayer):
    """Input images, (features, rows, columns, batch); 2014 called rows `width` and columns `height`."""

    def __init__(self, mb_size: int, n_features: int, width: int, height: int):
        super().__init__(mb_size, n_features, width, height)
        self.shape = (n_features, width, height, mb_size)

    def batch_axis(self) -> int:
        return 3


class ShuffleBC01ToC01BLayer(C01BLayer):
    """Views (batch, channels, rows, columns) as (channels, rows, columns, batch)."""

    def get_output_shape(self) -> tuple[int, ...]:
        batch, *rest = self.input_layer.get_output_shape()
        return *rest, batch

    def forward(self, x: Tensor) -> Tensor:
        return c01b(x)


class ShuffleC01BToBC01Layer(Layer):
    """Views (channels, rows, columns, batch) as (batch, channels, rows, columns)."""

    def get_output_shape(self) -> tuple[int, ...]:
        *rest, batch = self.input_layer.get_output_shape()
        return batch, *rest

    def forward(self, x: Tensor) -> Tensor:
        return bc01(x)


class CudaConvnetConv2DLayer(C01BLayer, WeightedLayer):
    """A convolution, (n_filters, rows, columns, batch); W is (channels, rows, columns, filters).

    `pad` rows and columns of zeros surround the input. With `untie_biases`, every output pixel has its own bias: b is
    (n_filters, rows, columns). `partial_sum` tuned a kernel of cuda-convnet. It is accepted so that scripts of 2014
    run, and has no effect. Raises ValueError if the filter is larger than the padded input.
    """

    def __init__(
        self,
        input_layer: Layer,
        n_filters: int,
        filter_size: int,
        weights_std: float,
        init_bias_value: float,
        stride: int = 1,
        nonlinearity: Nonlinearity = rectify,
        dropout: float = 0.0,
        partial_sum: int | None = None,
        pad: int = 0,
        untie_biases: bool = False,
    ):
        channels, *size, _ = input_layer.get_output_shape()
        if min(size) + 2 * pad < filter_size:
            raise ValueError(
                f"expected an input of at least {filter_size} pixels (filter_size), got {size} with pad {pad}"
            )
        self.rows_columns = tuple(_steps(length + 2 * pad, filter_size, stride) for length in size)
        # In cuda-convnet the last window may extend past the border; the pixels there are zeros.
        overhang = [
            (steps - 1) * stride + filter_size - length - 2 * pad
            for steps, length in zip(self.rows_columns, size, strict=True)
        ]
        weight_shape = (channels, filter_size, filter_size, n_filters)
        bias_shape = (n_filters, *self.rows_columns) if untie_biases else (n_filters,)
        super().__init__(input_layer, weight_shape, bias_shape, weights_std, init_bias_value, nonlinearity, dropout)
        self.stride, self.untie_biases = stride, untie_biases
        self.padding = (pad, pad + overhang[1], pad, pad + overhang[0])

    def get_output_shape(self) -> tuple[int, ...]:
        return self.W.shape[3], *self.rows_columns, self.input_layer.mb_size

    def forward(self, x: Tensor) -> Tensor:
        x = bc01(x)
        if x.is_cuda:  # tensor cores read all channels of a pixel at once
            x = x.contiguous(memory_format=torch.channels_last)
        if any(self.padding):
            x = functional.pad(x, self.padding)
        x = functional.conv2d(x, bc01(self.W), None if self.untie_biases else self.b, self.stride)
        return c01b(self.nonlinearity(x + self._bias_like(x) if self.untie_biases else x))

    def _bias_like(self, x: Tensor) -> Tensor:
        """Return untied biases (1, n_filters, rows, columns) with the precision of x, and on CUDA its memory layout."""
        b = self.b.unsqueeze(0).to(x.dtype)
        return b.contiguous(memory_format=torch.channels_last) if x.is_cuda else b


class CudaConvnetPooling2DLayer(C01BLayer):
    """Max-pooling, (channels, rows, columns, batch); windows overlap if `stride` is less than `pool_size`."""

    def __init__(self, input_layer: Layer, pool_size: int, stride: int | None = None):
        super().__init__(input_layer)
        self.pool_size, self.stride = pool_size, pool_size if stride is None else stride
        if not 1 <= self.stride <= pool_size:
            raise ValueError(f"expected a stride from 1 to pool_size {pool_size}, got {stride}")

    def get_output_shape(self) -> tuple[int, ...]:
        channels, rows, columns, batch = self.input_layer.get_output_shape()
        return (
            channels,
            _steps(rows, self.pool_size, self.stride),
            _steps(columns, self.pool_size, self.stride),
            batch,
        )

    def forward(self, x: Tensor) -> Tensor:
        return c01b(functional.max_pool2d(bc01(x), self.pool_size, self.stride, ceil_mode=True))
