"""Output layers that know the decision tree of Galaxy Zoo 2.

The answers of a question form a distribution; it is scaled by the weighted fraction of the answer that leads to the
question. An output layer turns 37 activations into such predictions, and measures their mean squared error.

Source: documentation of 2014, 2.2.2.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

import decision_tree
from layers import Layer


class GalaxyOutput(Layer):
    """What all output layers share; a subclass turns activations (batch, 37) into predictions (batch, 37)."""

    def __init__(self, input_layer: Layer):
        super().__init__(input_layer)
        shape = input_layer.get_output_shape()
        if shape[1:] != (decision_tree.NUM_ANSWERS,):
            raise ValueError(f"expected an input layer with {decision_tree.NUM_ANSWERS} outputs, got shape {shape}")

    def forward_no_normalisation(self, activations: Tensor) -> Tensor:
        """Map activations to predictions that do not obey the tree, which the first steps of training need."""
        raise NotImplementedError(f"{type(self).__name__} always normalises")

    def predictions(
        self, inputs: Mapping[Layer, Tensor], normalisation: bool = True, dropout_active: bool = True
    ) -> Tensor:
        """Return the predictions (batch, 37) for the tensors of the input layers."""
        activations = self.input_layer.output(inputs, dropout_active)
        return self(activations) if normalisation else self.forward_no_normalisation(activations)

    def error(
        self,
        inputs: Mapping[Layer, Tensor],
        targets: Tensor,
        normalisation: bool = True,
        dropout_active: bool = True,
    ) -> Tensor:
        """Return the mean of the squared errors over all answers and examples."""
        return functional.mse_loss(self.predictions(inputs, normalisation, dropout_active), targets)


class OptimisedDivGalaxyOutputLayer(GalaxyOutput):
    """Rectification and divisive normalisation a question, all questions at once; the output layer of the 17 models.

    y = max(z, 0) / (sum of the question's max(z, 0) + 1e-12), weighted down the tree.
    """

    EPSILON = 1e-12

    def __init__(self, input_layer: Layer):
        super().__init__(input_layer)
        # same_question @ z sums z over each answer's question; scalers walk the tree one question at a time.
        same_question = torch.zeros(decision_tree.NUM_ANSWERS, decision_tree.NUM_ANSWERS)
        for answers in decision_tree.SLICES.values():
            same_question[answers, answers] = 1
        self.register_buffer("same_question", same_question, persistent=False)

    def forward_no_normalisation(self, activations: Tensor) -> Tensor:
        return activations.clamp(0, 1)

    def forward(self, activations: Tensor) -> Tensor:
        rectified = activations.relu()
        fractions = rectified / (rectified @ self.same_question + self.EPSILON)
        return weigh(fractions)


def weigh(fractions: Tensor) -> Tensor:
    """Turn the answer fractions of each question (batch, 37) into weighted fractions (batch, 37)."""
    weighted: list[Tensor] = []
    answers = fractions.unbind(1)
    for question, columns in decision_tree.SLICES.items():
        scaling = decision_tree.SCALED_BY[question]
        for answer in answers[columns]:
            weighted.append(answer if scaling is None else answer * weighted[scaling])
    return torch.stack(weighted, dim=1)
