"""The graph of a network: layers, their evaluation from the inputs, and access to their parameters.

A network is a graph of `torch.nn.Module`s: each layer holds the layers that it reads from. `forward` maps a layer's own
input tensor to its output. `output` evaluates the graph from the network's inputs and computes each layer once. Shapes
contain the declared batch size, but the batch axis of a tensor may have any size.

`layers` offers all public names of this module, as documented in 2014.
Source: documentation of 2014, 3.2.3; parameter order and shapes as in its analysis pickles.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


class Layer(nn.Module):
    """A node of the network; a subclass defines its output shape and its `forward`."""

    # Fraction of the input that training sets to zero at random; the rest is multiplied by 1 / (1 - dropout).
    dropout = 0.0

    def __init__(self, *input_layers: "Layer"):
        super().__init__()
        self.input_layers = nn.ModuleList(input_layers)
        self.params: list[nn.Parameter] = []
        self.bias_params: list[nn.Parameter] = []

    @property
    def input_layer(self) -> "Layer":
        """The layer below, or the first of several."""
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
        """Tensors other than parameters that training changes and predictions need: statistics of a batch norm."""
        return []

    def reset_params(self) -> None:
        """Draw the parameters again."""

    def forward_dropout(self, *xs: Tensor) -> Tensor:
        """Map the input tensors to the output as in training, with dropout."""
        return self(*(functional.dropout(x, self.dropout) if self.dropout else x for x in xs))

    def output(self, inputs: Mapping["Layer", Tensor], dropout_active: bool = True) -> Tensor:
        """Evaluate the graph up to this layer; `inputs` holds tensors of input layers, or outputs of other layers.

        Raises ValueError if the tensor of an input layer is missing.
        """
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
    """Base of all input layers: checks the shape of a tensor, except for its batch axis."""

    def __init__(self, *shape: int):
        super().__init__()
        self.shape = shape

    def get_output_shape(self) -> tuple[int, ...]:
        return self.shape

    def batch_axis(self) -> int:
        """Return the index of the batch axis."""
        return 0

    def describe(self) -> str:
        """Return the class and the shape as text, with 'batch' for the batch axis."""
        return f"{type(self).__name__} {self.free_shape(self.shape)}"

    def free_shape(self, shape: Sequence[int]) -> tuple[int | str, ...]:
        """Return a shape with its batch axis replaced by 'batch'."""
        return tuple("batch" if axis == self.batch_axis() else size for axis, size in enumerate(shape))

    def forward(self, x: Tensor) -> Tensor:
        if self.free_shape(x.shape) != self.free_shape(self.shape):
            raise ValueError(f"{self.describe()}: got a tensor of shape {tuple(x.shape)}")
        return x


class OutputBase(Layer):
    """Base of all output layers: predictions, and an error to train on.

    A subclass defines `forward`, which maps the activations of the layer below to predictions. If it normalises them,
    it also defines `forward_no_normalisation`, which the first steps of training use.
    """

    # Columns of counts of votes that `error_of` takes as `counts`; none for errors that need no counts.
    num_counts = 0
    # What the root of the error is called.
    error_name = "RMSE"

    def forward_no_normalisation(self, activations: Tensor) -> Tensor:
        """Map activations to predictions without normalisation; the default is `forward`."""
        return self(activations)

    def predictions(
        self, inputs: Mapping[Layer, Tensor], dropout_active: bool = True, *, normalisation: bool = True
    ) -> Tensor:
        """Return the predictions for the tensors of the input layers."""
        activations = self.input_layer.output(inputs, dropout_active)
        return self(activations) if normalisation else self.forward_no_normalisation(activations)

    def error(
        self,
        inputs: Mapping[Layer, Tensor],
        targets: Tensor,
        normalisation: bool = True,
        dropout_active: bool = True,
    ) -> Tensor:
        """Return the error of the predictions, a scalar."""
        return self.error_of(self.input_layer.output(inputs, dropout_active), targets, normalisation)

    def error_of(
        self, activations: Tensor, targets: Tensor, normalisation: bool = True, weights: Tensor | None = None
    ) -> Tensor:
        """Return the mean squared error of the predictions from activations; a subclass may measure another error.

        `weights` (batch, 1) multiply the squared errors of the galaxies; without them a subclass has no weighted error.
        """
        predictions = self(activations) if normalisation else self.forward_no_normalisation(activations)
        if weights is None:
            return functional.mse_loss(predictions, targets)
        return (weights * (predictions - targets).square()).mean()


def all_layers(layer: Layer) -> list[Layer]:
    """Return a layer and all layers below it, from the top down, without repetition."""
    found: dict[Layer, None] = {layer: None}
    for below in layer.input_layers:
        found.update(dict.fromkeys(all_layers(below)))
    return list(found)


def all_parameters(layer: Layer) -> list[nn.Parameter]:
    """Return the parameters of a layer and of all layers below it, from the top down, W before b."""
    return [param for each in all_layers(layer) for param in each.params]


def all_bias_parameters(layer: Layer) -> list[nn.Parameter]:
    """Return the biases of a layer and of all layers below it, from the top down."""
    return [param for each in all_layers(layer) for param in each.bias_params]


def all_state(layer: Layer) -> list[Tensor]:
    """Return the `state` of a layer and of all layers below it (statistics of batch norms), from the top down."""
    return [buffer for each in all_layers(layer) for buffer in each.state]


def get_param_values(layer: Layer) -> list[np.ndarray]:
    """Return copies of all parameters in the order of `all_parameters`, then of all tensors of `all_state`."""
    return [each.detach().cpu().numpy().copy() for each in (*all_parameters(layer), *all_state(layer))]


@torch.no_grad()
def set_param_values(layer: Layer, param_values: Sequence[np.ndarray]) -> None:
    """Set the parameters and the state of a layer and of all layers below it, in the order of `get_param_values`.

    Raises ValueError, and changes nothing, if the number of arrays or a shape differs.
    """
    params = [*all_parameters(layer), *all_state(layer)]
    expected, got = [tuple(p.shape) for p in params], [tuple(np.shape(v)) for v in param_values]
    if expected != got:
        raise ValueError(f"the parameters are another network's: expected shapes {expected}, got {got}")
    for param, value in zip(params, param_values, strict=True):
        param.copy_(torch.as_tensor(np.asarray(value)))


def reset_all_params(layer: Layer) -> None:
    """Draw the parameters of a layer and of all layers below it again; published weights are loaded."""
    for each in all_layers(layer):
        each.reset_params()
