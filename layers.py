"""Layers that know their input layer and their output shape, and access to their parameters.

A network is a graph of `torch.nn.Module`s: each layer is given the layer it reads from. `forward` maps a layer's own
input tensor to its output; `output` evaluates the graph from the network's inputs, computing each layer once. Shapes
name a batch size, but the batch axis of a tensor may have any size.

Source: documentation of 2014, 3.2.3; parameter order and shapes as in its analysis pickles.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

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
    """Return x: a linear layer."""
    return x


rectify: Nonlinearity = torch.relu
sigmoid: Nonlinearity = torch.sigmoid
tanh: Nonlinearity = torch.tanh


class Layer(nn.Module):
    """A node of the network; subclasses say their output shape and their `forward`."""

    # The part of a layer's input that training sets to zero at random, the rest rescaled by 1 / (1 - dropout).
    dropout = 0.0

    def __init__(self, *input_layers: "Layer"):
        super().__init__()
        self.input_layers = nn.ModuleList(input_layers)
        self.params: list[nn.Parameter] = []
        self.bias_params: list[nn.Parameter] = []

    @property
    def input_layer(self) -> "Layer":
        """The layer below, where there is but one."""
        return self.input_layers[0]

    @property
    def mb_size(self) -> int:
        """The declared batch size of the output."""
        return self.get_output_shape()[0]

    def get_output_shape(self) -> tuple[int, ...]:
        """Return the shape of the output for the declared batch size."""
        return self.input_layer.get_output_shape()

    @property
    def state(self) -> list[Tensor]:
        """What training changes beside the parameters, and predictions depend on: a batch norm's statistics."""
        return []

    def reset_params(self) -> None:
        """Draw the parameters anew."""

    def forward_dropout(self, *xs: Tensor) -> Tensor:
        """Map the input tensors to the output as training does it, with what is random there."""
        return self(*(functional.dropout(x, self.dropout) if self.dropout else x for x in xs))

    def output(self, inputs: Mapping["Layer", Tensor], dropout_active: bool = True) -> Tensor:
        """Evaluate the graph up to this layer, given the tensor of each input layer, or the output of other layers."""
        done = {layer: x for layer, x in inputs.items() if not isinstance(layer, InputBase)}
        return _evaluate(self, inputs, dropout_active, done)


def _evaluate(layer: Layer, inputs: Mapping[Layer, Tensor], dropout_active: bool, done: dict[Layer, Tensor]) -> Tensor:
    if layer not in done:
        if isinstance(layer, InputBase):
            if layer not in inputs:
                raise ValueError(f"expected a tensor for every input layer, got none for {layer.describe()}")
            done[layer] = layer(inputs[layer])
        else:
            xs = [_evaluate(below, inputs, dropout_active, done) for below in layer.input_layers]
            done[layer] = layer.forward_dropout(*xs) if dropout_active else layer(*xs)
    return done[layer]


class InputBase(Layer):
    """What all input layers share: they check the shape of what they are given, but for the batch axis."""

    def __init__(self, *shape: int):
        super().__init__()
        self.shape = shape

    def get_output_shape(self) -> tuple[int, ...]:
        return self.shape

    def batch_axis(self) -> int:
        """Return which axis is the batch."""
        return 0

    def describe(self) -> str:
        """Name the layer and its shape, the batch axis left open."""
        return f"{type(self).__name__} {self.free_shape(self.shape)}"

    def free_shape(self, shape: Sequence[int]) -> tuple[int | str, ...]:
        """Return a shape with its batch axis replaced by 'batch'."""
        return tuple("batch" if axis == self.batch_axis() else size for axis, size in enumerate(shape))

    def forward(self, x: Tensor) -> Tensor:
        if self.free_shape(x.shape) != self.free_shape(self.shape):
            raise ValueError(f"{self.describe()}: got a tensor of shape {tuple(x.shape)}")
        return x


class Input2DLayer(InputBase):
    """Input images, (batch, features, rows, columns); 2014 called rows `width` and columns `height`."""

    def __init__(self, mb_size: int, n_features: int, width: int, height: int):
        super().__init__(mb_size, n_features, width, height)


class WeightedLayer(Layer):
    """A layer with weights W, biases b and a nonlinearity; both parameters start as 2014's scripts say."""

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
        """The number of inputs of one output; the last axis of W counts the outputs."""
        return self.W.numel() // self.W.shape[-1]

    @torch.no_grad()
    def reset_params(self) -> None:
        self.W.normal_(0, self.weights_std)
        self.b.fill_(self.init_bias_value)


class DenseLayer(WeightedLayer):
    """A fully connected layer, (batch, n_outputs); flattens its input where necessary; W is (inputs, outputs)."""

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

    Its persistent buffers are this layer's `state`. `load` brings the module to its published parameters; it is called
    where parameters are drawn, at the start of a training run, and nowhere else. `bias_params` are the module's
    vectors, which weight decay spares as it does biases.
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
        """Draw all parameters as the module's parts do by themselves."""
        for each in self.module.modules():
            if callable(reset := getattr(each, "reset_parameters", None)):
                reset()

    def reset_params(self) -> None:
        """Draw all parameters, then load what is published."""
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
    """Flattens all axes but the batch, (batch, features)."""

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
    """Cuts views into overlapping parts, aligned so that the galaxy lies to the bottom right (2.2.1).

    Views (batch, channels, size, size) become (parts * batch, channels, part_size, part_size), the batch innermost:
    view by view, unmirrored before mirrored with `include_flip`, four quarter turns each.
    """

    def __init__(self, input_layers: Iterable[Layer], part_size: int, include_flip: bool = True):
        super().__init__(*input_layers)
        self.part_size, self.include_flip = part_size, include_flip
        self.num_parts = 4 * len(self.input_layers) * (2 if include_flip else 1)
        # Which pixel of all views, view by view, each pixel of each part is.
        *_, rows, columns = self.input_layer.get_output_shape()
        numbers = torch.arange(len(self.input_layers) * rows * columns).view(-1, rows, columns)
        places = torch.stack([part for view in numbers for part in self._cut(view)]).flatten()
        self.register_buffer("places", places, persistent=False)

    def get_output_shape(self) -> tuple[int, ...]:
        batch, channels, *_ = self.input_layer.get_output_shape()
        return self.num_parts * batch, channels, self.part_size, self.part_size

    def _cut(self, view: Tensor) -> list[Tensor]:
        """Return the parts of a view (rows, columns)."""
        size = self.part_size
        oriented = (view, view.flip(1)) if self.include_flip else (view,)
        return [each.rot90(turns, (0, 1))[:size, :size] for each in oriented for turns in range(4)]

    def forward(self, *views: Tensor) -> Tensor:
        # One gather for all parts, in the order of memory that the engine's convolutions like.
        batch, channels, *_ = views[0].shape
        size = self.part_size
        if views[0].is_cuda:
            pixels = torch.cat([view.permute(0, 2, 3, 1).flatten(1, 2) for view in views], 1)
            parts = pixels.index_select(1, self.places).view(batch, self.num_parts, size, size, channels)
            return parts.transpose(0, 1).flatten(0, 1).permute(0, 3, 1, 2)
        pixels = torch.cat([view.flatten(2) for view in views], 2)
        parts = pixels.index_select(2, self.places).view(batch, channels, self.num_parts, size, size)
        return parts.permute(2, 0, 1, 3, 4).flatten(0, 1)


class MultiRotMergeLayer(Layer):
    """Brings the parts of an image together again, (batch, parts * features), part by part; four parts a view."""

    def __init__(self, input_layer: Layer, num_views: int):
        super().__init__(input_layer)
        self.num_parts = 4 * num_views

    def get_output_shape(self) -> tuple[int, ...]:
        parts, *rest = self.input_layer.get_output_shape()
        return parts // self.num_parts, self.num_parts * int(np.prod(rest))

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(self.num_parts, x.shape[0] // self.num_parts, -1).transpose(0, 1).flatten(1)


class FeatureMaxPoolingLayer(Layer):
    """Takes the maximum of each `pool_size` adjacent features: maxout, above a linear layer (Goodfellow et al. 2013).

    Features are axis `feature_dim`: 1 of (batch, features, ..), 0 of cuda-convnet's (channels, rows, columns, batch).
    `implementation` is accepted for the sake of 2014's scripts; there is one.
    """

    def __init__(self, input_layer: Layer, pool_size: int, feature_dim: int = 1, implementation: str = "reshape"):
        super().__init__(input_layer)
        shape = input_layer.get_output_shape()
        self.pool_size, self.feature_dim = pool_size, feature_dim % len(shape)
        if (n_features := shape[feature_dim]) % pool_size:
            raise ValueError(f"expected a number of features that pool_size {pool_size} divides, got {n_features}")

    @property
    def mb_size(self) -> int:
        return self.input_layer.mb_size  # whichever axis that is

    def get_output_shape(self) -> tuple[int, ...]:
        shape = list(self.input_layer.get_output_shape())
        shape[self.feature_dim] //= self.pool_size
        return tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(self.feature_dim, (-1, self.pool_size)).amax(self.feature_dim + 1)


class OutputBase(Layer):
    """What all output layers share: predictions, and an error to train on; a subclass says how activations become them.

    `forward` maps the activations of the layer below to predictions, `forward_no_normalisation` to what the first steps
    of training use instead, where predictions are normalised at all.
    """

    def forward_no_normalisation(self, activations: Tensor) -> Tensor:
        """Map activations to predictions that are not normalised; the same where none are."""
        return self(activations)

    def predictions(self, inputs: Mapping[Layer, Tensor], dropout_active: bool = True) -> Tensor:
        """Return the predictions for the tensors of the input layers."""
        return self(self.input_layer.output(inputs, dropout_active))

    def error(
        self,
        inputs: Mapping[Layer, Tensor],
        targets: Tensor,
        normalisation: bool = True,
        dropout_active: bool = True,
    ) -> Tensor:
        """Return the error of the predictions, a scalar."""
        return self.error_of(self.input_layer.output(inputs, dropout_active), targets, normalisation)

    def error_of(self, activations: Tensor, targets: Tensor, normalisation: bool = True) -> Tensor:
        """Return the error of what activations are turned into, the mean square unless a subclass measures another."""
        predictions = self(activations) if normalisation else self.forward_no_normalisation(activations)
        return functional.mse_loss(predictions, targets)


def all_layers(layer: Layer) -> list[Layer]:
    """Return a layer and all below it, from the top down, each once."""
    found: dict[Layer, None] = {layer: None}
    for below in layer.input_layers:
        found.update(dict.fromkeys(all_layers(below)))
    return list(found)


def all_parameters(layer: Layer) -> list[nn.Parameter]:
    """Return all parameters below a layer, from the top down, W before b."""
    return [param for each in all_layers(layer) for param in each.params]


def all_bias_parameters(layer: Layer) -> list[nn.Parameter]:
    """Return all biases below a layer, from the top down."""
    return [param for each in all_layers(layer) for param in each.bias_params]


def all_state(layer: Layer) -> list[Tensor]:
    """Return what training changes below a layer beside the parameters (batch norm's statistics), from the top down."""
    return [buffer for each in all_layers(layer) for buffer in each.state]


def get_param_values(layer: Layer) -> list[np.ndarray]:
    """Return copies of all parameters below a layer, in the order of `all_parameters`, then those of `all_state`."""
    return [each.detach().cpu().numpy().copy() for each in (*all_parameters(layer), *all_state(layer))]


@torch.no_grad()
def set_param_values(layer: Layer, param_values: Sequence[np.ndarray]) -> None:
    """Set all parameters below a layer; raises ValueError, having set none, when a number or shape differs."""
    params = [*all_parameters(layer), *all_state(layer)]
    expected, got = [tuple(p.shape) for p in params], [tuple(np.shape(v)) for v in param_values]
    if expected != got:
        raise ValueError(f"the parameters are another network's: expected shapes {expected}, got {got}")
    for param, value in zip(params, param_values, strict=True):
        param.copy_(torch.as_tensor(np.asarray(value)))


def reset_all_params(layer: Layer) -> None:
    """Draw the parameters of a layer and of all below it anew."""
    for each in all_layers(layer):
        each.reset_params()


def reset_without_loading(layer: Layer) -> None:
    """Draw the parameters of a layer and of all below it anew; no module loads what is published."""
    for each in all_layers(layer):
        if isinstance(each, ModuleLayer):
            each.draw_params()
        else:
            each.reset_params()


@torch.no_grad()
def reset_variance_preserving(layer: Layer) -> None:
    """Draw all parameters so that a signal keeps its variance from layer to layer.

    He et al. 2015 (arXiv 1502.01852) for rectified layers, std fan_in^-1/2 for linear ones, biases 0. The topmost layer
    stays as the recipe has it.
    """
    reset_all_params(layer)
    weighted = [each for each in all_layers(layer) if isinstance(each, WeightedLayer)]
    for each in weighted[1:]:
        gain = 2 if each.nonlinearity is rectify else 1
        each.W.normal_(0, (gain / each.fan_in) ** 0.5)
        each.b.zero_()
