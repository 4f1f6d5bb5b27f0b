"""Layers of 2014 around cuda-convnet that the 17 models do not use; batch-last (c01b) as in `cc_layers`.

Source: Krizhevsky's cuda-convnet; the post "3x faster convolutions in Theano"; the papers named below.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from cc_layers import (
    C01BLayer,
    CudaConvnetConv2DLayer,
    CudaConvnetPooling2DLayer,
    ShuffleBC01ToC01BLayer,
    ShuffleC01BToBC01Layer,
    bc01,
    c01b,
)
from layers import Layer, Nonlinearity, rectify


class _WindowPooling2DLayer(CudaConvnetPooling2DLayer):
    """Base of pooling layers that read the pixels of each window; pixels past the border have the value `outside`."""

    outside = 0.0

    def _windows(self, x: Tensor) -> Tensor:
        """Return the windows of c01b images, (batch, channels, rows, columns, pool_size^2)."""
        _, rows, columns, _ = self.get_output_shape()
        bottom, right = ((steps - 1) * self.stride + self.pool_size for steps in (rows, columns))
        margins = (0, max(0, right - x.shape[2]), 0, max(0, bottom - x.shape[1]))
        x = functional.pad(bc01(x), margins, value=self.outside)
        return x.unfold(2, self.pool_size, self.stride).unfold(3, self.pool_size, self.stride).flatten(4)


class CudaConvnetAveragePooling2DLayer(CudaConvnetPooling2DLayer):
    """Average pooling, (channels, rows, columns, batch), over the pixels of a window inside the image."""

    def forward(self, x: Tensor) -> Tensor:
        pooled = functional.avg_pool2d(bc01(x), self.pool_size, self.stride, ceil_mode=True, count_include_pad=False)
        return c01b(pooled)


class CudaConvnetLpPooling2DLayer(_WindowPooling2DLayer):
    """Lp-pooling, (channels, rows, columns, batch): (sum of |x|^p)^(1/p) of a window (Sermanet et al. 2012).

    All pixels of a window have the same weight; in the paper, weights are Gaussian. With p = 1 the output is the sum of
    magnitudes; for large p it approaches the largest magnitude.
    """

    def __init__(self, input_layer: Layer, pool_size: int, stride: int | None = None, p: float = 2.0):
        super().__init__(input_layer, pool_size, stride)
        if not p >= 1:
            raise ValueError(f"expected a power p of at least 1, got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return c01b(torch.linalg.vector_norm(self._windows(x), self.p, dim=4))


class CudaConvnetProbMaxPooling2DLayer(_WindowPooling2DLayer):
    """Probabilistic max-pooling, (channels, rows, columns, batch): the probability that a window's unit is on.

    At most one pixel of a window is on: a pixel with weight exp(x), no pixel with weight 1 (Lee et al. 2009).
    """

    outside = float("-inf")

    def forward(self, x: Tensor) -> Tensor:
        return c01b(self._windows(x).logsumexp(4).sigmoid())


class CudaConvnetStochasticPooling2DLayer(_WindowPooling2DLayer):
    """Stochastic pooling, (channels, rows, columns, batch), of rectified input (Zeiler & Fergus 2013, arXiv 1301.3557).

    In training, one pixel of each window is drawn with probability p = x / (sum of x). In prediction, the output is the
    sum of p x. Negative pixels and pixels past the border count as 0; a window of zeros gives 0.
    """

    def _windows(self, x: Tensor) -> Tensor:
        return super()._windows(x.clamp(min=0))

    def forward(self, x: Tensor) -> Tensor:
        windows = self._windows(x)
        sums = windows.sum(4).clamp(min=torch.finfo(x.dtype).tiny)
        return c01b((windows.square()).sum(4) / sums)

    def forward_dropout(self, x: Tensor) -> Tensor:
        windows = self._windows(x)
        cumulative = windows.detach().cumsum(4)
        drawn = torch.rand_like(cumulative[..., -1:]) * cumulative[..., -1:]
        # The first pixel with a cumulative sum above the draw; in a window of zeros, the last pixel.
        chosen = (cumulative <= drawn).sum(4, keepdim=True).clamp(max=windows.shape[4] - 1)
        return c01b(windows.gather(4, chosen).squeeze(4))


StochasticPoolingC01BLayer = CudaConvnetStochasticPooling2DLayer


class CudaConvnetCrossMapNormLayer(C01BLayer):
    """Normalises across maps, x / (1 + alpha / size * sum of squares over `size` adjacent maps)^beta, shape kept.

    The maps are i - size // 2 to i + (size - 1) // 2, limited to existing maps (cuda-convnet's `cmrnorm`).
    """

    def __init__(self, input_layer: Layer, size: int = 5, alpha: float = 1e-4, beta: float = 0.75):
        super().__init__(input_layer)
        self.size, self.alpha, self.beta = size, alpha, beta

    def forward(self, x: Tensor) -> Tensor:
        return c01b(functional.local_response_norm(bc01(x), self.size, self.alpha, self.beta, k=1.0))


class _WrapColumnsLayer(C01BLayer):
    """Pads images periodically with `wrap` columns in total, (channels, rows, columns + wrap, batch)."""

    def __init__(self, input_layer: Layer, wrap: int):
        super().__init__(input_layer)
        # Half before and half after; an odd column goes after.
        self.before, self.after = wrap // 2, wrap - wrap // 2

    def get_output_shape(self) -> tuple[int, ...]:
        channels, rows, columns, batch = self.input_layer.get_output_shape()
        return channels, rows, self.before + columns + self.after, batch

    def forward(self, x: Tensor) -> Tensor:
        return c01b(functional.pad(bc01(x), (self.before, self.after, 0, 0), mode="circular"))


class CudaConvnetCircularConv2DLayer(CudaConvnetConv2DLayer):
    """A convolution with periodic columns, such as the angles of a polar view: (n_filters, rows, columns, batch).

    Every `stride` input columns give one output column. With stride 1 and an odd `filter_size`, filters are centred at
    it. Rows are convolved as in CudaConvnetConv2DLayer.
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
        untie_biases: bool = False,
    ):
        columns = input_layer.get_output_shape()[2]
        if columns % stride or not stride <= filter_size <= columns:
            raise ValueError(
                f"expected a multiple of stride {stride} as columns, and a filter_size from the stride to all columns, "
                f"got {columns} columns and filter_size {filter_size}"
            )
        wrapped = _WrapColumnsLayer(input_layer, filter_size - stride)
        super().__init__(
            wrapped, n_filters, filter_size, weights_std, init_bias_value, stride, nonlinearity, dropout, partial_sum,
            untie_biases=untie_biases,
        )  # fmt: skip
        # Wrapping belongs to this layer, not to the graph: dropout precedes it, and so affects both copies of a column.
        self.wrapped, self.input_layers = wrapped, nn.ModuleList([input_layer])

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.wrapped(x))


def shuffle_pool_unshuffle(input_layer: Layer, *args: object, **kwargs: object) -> ShuffleC01BToBC01Layer:
    """Pool bc01 images with CudaConvnetPooling2DLayer (which gets the other arguments); return a bc01 layer."""
    shuffled = ShuffleBC01ToC01BLayer(input_layer)
    return ShuffleC01BToBC01Layer(CudaConvnetPooling2DLayer(shuffled, *args, **kwargs))
