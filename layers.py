"""The layers of a network, and how their parameters start.

A layer receives the layer that it reads from, and knows its output shape. Views are (batch, channels, rows, columns).

Source: documentation of 2014, 3.2.3.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from layer_graph import (  # noqa: F401 documented as this module's
    InputBase,
    Layer,
    OutputBase,
    all_bias_parameters,
    all_layers,
    all_parameters,
    all_state,
    get_param_values,
    reset_all_params,
    set_param_values,
)
from update_rules import (  # noqa: F401 documented as this module's
    gen_updates_adadelta,
    gen_updates_adagrad,
    gen_updates_nesterov_momentum,
    gen_updates_nesterov_momentum_no_bias_decay,
    gen_updates_regular_momentum,
    gen_updates_rmsprop,
    gen_updates_sgd,
)

Nonlinearity = Callable[[Tensor], Tensor]


def identity(x: Tensor) -> Tensor:
    """Return x; the nonlinearity of a linear layer."""
    return x


rectify: Nonlinearity = torch.relu
sigmoid: Nonlinearity = torch.sigmoid
tanh: Nonlinearity = torch.tanh


class Input2DLayer(InputBase):
    """Input images, (batch, features, rows, columns); 2014 called rows `width` and columns `height`."""

    def __init__(self, mb_size: int, n_features: int, width: int, height: int):
        super().__init__(mb_size, n_features, width, height)


class WeightedLayer(Layer):
    """A layer with weights W, biases b and a nonlinearity; both parameters start as in 2014: W normal, b constant."""

    def __init__(
        self,
        input_layer: Layer,
        weight_shape: Sequence[int],
        bias_shape: Sequence[int],
        weights_std: float,
        init_bias_value: float,
        nonlinearity: Nonlinearity,
        dropout: float,
    ):
        super().__init__(input_layer)
        self.weights_std, self.init_bias_value = weights_std, init_bias_value
        self.nonlinearity, self.dropout = nonlinearity, dropout
        self.W = nn.Parameter(torch.empty(*weight_shape))
        self.b = nn.Parameter(torch.empty(*bias_shape))
        self.params, self.bias_params = [self.W, self.b], [self.b]
        self.reset_params()

    @property
    def fan_in(self) -> int:
        """The number of inputs of one output; the last axis of W is the outputs."""
        return self.W.numel() // self.W.shape[-1]

    @torch.no_grad()
    def reset_params(self) -> None:
        self.W.normal_(0, self.weights_std)
        self.b.fill_(self.init_bias_value)


class DenseLayer(WeightedLayer):
    """A fully connected layer, (batch, n_outputs); flattens its input if necessary; W is (inputs, outputs)."""

    def __init__(
        self,
        input_layer: Layer,
        n_outputs: int,
        weights_std: float,
        init_bias_value: float,
        nonlinearity: Nonlinearity = rectify,
        dropout: float = 0.0,
    ):
        n_inputs = int(np.prod(input_layer.get_output_shape()[1:]))
        shapes = (n_inputs, n_outputs), (n_outputs,)
        super().__init__(input_layer, *shapes, weights_std, init_bias_value, nonlinearity, dropout)

    def get_output_shape(self) -> tuple[int, ...]:
        return self.input_layer.mb_size, self.W.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        return self.nonlinearity(torch.addmm(self.b, x.flatten(1), self.W))

    def rescaled_weights(self, c: float) -> Tensor:
        """Return W with every column's L2 norm limited to c (Hinton et al. 2012)."""
        norms = self.W.norm(dim=0).clamp(min=torch.finfo(self.W.dtype).tiny)
        return self.W * (c / norms).clamp(max=1)

    def rescaling_updates(self, c: float) -> list[tuple[nn.Parameter, Tensor]]:
        """Return the pairs (parameter, new value) that limit the norms of the weight columns to c."""
        return [(self.W, self.rescaled_weights(c))]


class ModuleLayer(Layer):
    """Any `torch.nn.Module` as a layer: in training mode in training, in evaluation mode in prediction.

    Its persistent buffers are this layer's `state`. `load` sets the published parameters; it is called only when
    parameters are drawn, at the start of a training run. `bias_params` are the module's vectors, which get no weight
    decay, like biases.
    """

    def __init__(
        self,
        input_layer: Layer,
        module: nn.Module,
        output_shape: Sequence[int],
        load: Callable[[nn.Module], None] | None = None,
    ):
        super().__init__(input_layer)
        self.module, self.output_shape, self.load = module.eval(), tuple(output_shape), load
        self.params = list(module.parameters())
        self.bias_params = [param for param in self.params if param.ndim <= 1]

    @property
    def state(self) -> list[Tensor]:
        persistent = self.module.state_dict(keep_vars=True)
        return [buffer for name, buffer in self.module.named_buffers() if name in persistent]

    def get_output_shape(self) -> tuple[int, ...]:
        return self.output_shape

    def draw_params(self) -> None:
        """Draw all parameters with the `reset_parameters` of each submodule."""
        for each in self.module.modules():
            if callable(reset := getattr(each, "reset_parameters", None)):
                reset()

    def reset_params(self) -> None:
        """Draw all parameters, then load the published ones."""
        self.draw_params()
        if self.load is not None:
            self.load(self.module)

    def forward(self, x: Tensor) -> Tensor:
        return self._in_mode(x, training=False)

    def forward_dropout(self, x: Tensor) -> Tensor:
        return self._in_mode(x, training=True)

    def _in_mode(self, x: Tensor, training: bool) -> Tensor:
        if self.module.training is not training:
            self.module.train(training)
        return self.module(x)


class FlattenLayer(Layer):
    """Flattens all axes except the batch, (batch, features)."""

    def get_output_shape(self) -> tuple[int, ...]:
        batch, *rest = self.input_layer.get_output_shape()
        return batch, int(np.prod(rest))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class ConcatenateLayer(Layer):
    """Concatenates the features (axis 1) of several layers."""

    def __init__(self, input_layers: Iterable[Layer]):
        super().__init__(*input_layers)

    def get_output_shape(self) -> tuple[int, ...]:
        shapes = [layer.get_output_shape() for layer in self.input_layers]
        return shapes[0][0], sum(shape[1] for shape in shapes), *shapes[0][2:]

    def forward(self, *xs: Tensor) -> Tensor:
        return torch.cat(xs, dim=1)


class MultiRotSliceLayer(Layer):
    """Cuts views into overlapping parts, rotated so that the galaxy is at the bottom right of each (2.2.1).

    Views (batch, channels, size, size) become (parts * batch, channels, part_size, part_size); the batch is the inner
    axis. Order of parts: by view, then (with `include_flip`) unmirrored before mirrored, then four quarter turns.
    """

    def __init__(self, input_layers: Iterable[Layer], part_size: int, include_flip: bool = True):
        super().__init__(*input_layers)
        self.part_size, self.include_flip = part_size, include_flip
        self.num_parts = 4 * len(self.input_layers) * (2 if include_flip else 1)
        # For each pixel of each part: its index among the pixels of all views, concatenated.
        *_, rows, columns = self.input_layer.get_output_shape()
        indices = torch.arange(len(self.input_layers) * rows * columns).view(-1, rows, columns)
        pixel_indices = torch.stack([part for view in indices for part in self._cut(view)]).flatten()
        self.register_buffer("pixel_indices", pixel_indices, persistent=False)

    def get_output_shape(self) -> tuple[int, ...]:
        batch, channels, *_ = self.input_layer.get_output_shape()
        return self.num_parts * batch, channels, self.part_size, self.part_size

    def _cut(self, view: Tensor) -> list[Tensor]:
        """Return the parts of a view (rows, columns)."""
        size = self.part_size
        oriented = (view, view.flip(1)) if self.include_flip else (view,)
        return [each.rot90(turns, (0, 1))[:size, :size] for each in oriented for turns in range(4)]

    def forward(self, *views: Tensor) -> Tensor:
        # One gather for all parts, in the memory layout that is fastest for the convolutions: channels last on CUDA.
        batch, channels, *_ = views[0].shape
        size = self.part_size
        if views[0].is_cuda:
            pixels = torch.cat([view.permute(0, 2, 3, 1).flatten(1, 2) for view in views], 1)
            parts = pixels.index_select(1, self.pixel_indices).view(batch, self.num_parts, size, size, channels)
            return parts.transpose(0, 1).flatten(0, 1).permute(0, 3, 1, 2)
        pixels = torch.cat([view.flatten(2) for view in views], 2)
        parts = pixels.index_select(2, self.pixel_indices).view(batch, channels, self.num_parts, size, size)
        return parts.permute(2, 0, 1, 3, 4).flatten(0, 1)


class MultiRotMergeLayer(Layer):
    """Concatenates the features of an image's parts, (batch, parts * features); a view has four parts."""

    def __init__(self, input_layer: Layer, num_views: int):
        super().__init__(input_layer)
        self.num_parts = 4 * num_views

    def get_output_shape(self) -> tuple[int, ...]:
        parts, *rest = self.input_layer.get_output_shape()
        return parts // self.num_parts, self.num_parts * int(np.prod(rest))

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(self.num_parts, x.shape[0] // self.num_parts, -1).transpose(0, 1).flatten(1)


class FeatureMaxPoolingLayer(Layer):
    """Takes the maximum of `pool_size` adjacent features: maxout if above a linear layer (Goodfellow et al. 2013).

    Features are axis `feature_dim`: 1 of (batch, features, ..), 0 of cuda-convnet's (channels, rows, columns, batch).
    `implementation` is accepted so that scripts of 2014 run; it has no effect.
    """

    def __init__(self, input_layer: Layer, pool_size: int, feature_dim: int = 1, implementation: str = "reshape"):
        super().__init__(input_layer)
        shape = input_layer.get_output_shape()
        self.pool_size, self.feature_dim = pool_size, feature_dim % len(shape)
        if (n_features := shape[feature_dim]) % pool_size:
            raise ValueError(f"expected a multiple of pool_size {pool_size} as features, got {n_features}")

    @property
    def mb_size(self) -> int:
        return self.input_layer.mb_size  # the output's batch axis may be 0 or 3

    def get_output_shape(self) -> tuple[int, ...]:
        shape = list(self.input_layer.get_output_shape())
        shape[self.feature_dim] //= self.pool_size
        return tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(self.feature_dim, (-1, self.pool_size)).amax(self.feature_dim + 1)


def reset_without_loading(layer: Layer) -> None:
    """Draw the parameters of a layer and of all layers below it again, without loading published weights."""
    for each in all_layers(layer):
        if isinstance(each, ModuleLayer):
            each.draw_params()
        else:
            each.reset_params()


@torch.no_grad()
def reset_variance_preserving(layer: Layer) -> None:
    """Draw all parameters so that a signal keeps its variance from layer to layer.

    Std is (2 / fan_in)^1/2 for rectified layers (He et al. 2015, arXiv 1502.01852) and fan_in^-1/2 for linear ones;
    biases are 0. The topmost layer keeps the initialisation of its script.
    """
    reset_all_params(layer)
    weighted = [each for each in all_layers(layer) if isinstance(each, WeightedLayer)]
    for each in weighted[1:]:
        gain = 2 if each.nonlinearity is rectify else 1
        each.W.normal_(0, (gain / each.fan_in) ** 0.5)
        each.b.zero_()
