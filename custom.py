"""Output layers that know the decision tree of Galaxy Zoo 2.

The answers of a question form a distribution; it is scaled by the weighted fraction of the answer that leads to the
question. An output layer turns 37 activations into such predictions, and measures their mean squared error. The layers
differ in how activations become the answer fractions of a question; the 17 models use `OptimisedDivGalaxyOutputLayer`.

Source: documentation of 2014, 2.2.2.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from layers import Layer, OutputBase
from survey import decision_tree


def weigh(fractions: Tensor, constant: bool = False) -> Tensor:
    """Turn the answer fractions of each question (batch, 37) into weighted fractions (batch, 37).

    With `constant`, no gradient flows through the scaling: questions do not pull at those that lead to them.
    """
    weighted: list[Tensor] = []
    for question, answers in decision_tree.SLICES.items():
        scaling = decision_tree.SCALED_BY[question]
        for answer in fractions[:, answers].unbind(1):
            if scaling is not None:
                answer = answer * (weighted[scaling].detach() if constant else weighted[scaling])
            weighted.append(answer)
    return torch.stack(weighted, dim=1)


class GalaxyOutput(OutputBase):
    """What all output layers share; a subclass says how activations (batch, 37) become answer fractions."""

    def __init__(self, input_layer: Layer):
        super().__init__(input_layer)
        shape = input_layer.get_output_shape()
        if shape[1:] != (decision_tree.NUM_ANSWERS,):
            raise ValueError(f"expected an input layer with {decision_tree.NUM_ANSWERS} outputs, got shape {shape}")
        # x @ same_question sums x over the answers of each answer's question.
        same_question = torch.zeros(decision_tree.NUM_ANSWERS, decision_tree.NUM_ANSWERS)
        for answers in decision_tree.SLICES.values():
            same_question[answers, answers] = 1
        self.register_buffer("same_question", same_question, persistent=False)

    def fractions(self, activations: Tensor) -> Tensor:
        """Map activations (batch, 37) to the answer fractions of each question, not yet weighted."""
        raise NotImplementedError

    def normalise(self, positive: Tensor, epsilon: float = 1e-12) -> Tensor:
        """Divide by each question's sum; epsilon keeps a question without any activation at zero."""
        return positive / (positive @ self.same_question + epsilon)

    def forward(self, activations: Tensor) -> Tensor:
        return weigh(self.fractions(activations))

    def forward_no_normalisation(self, activations: Tensor) -> Tensor:
        """Map activations to predictions that do not obey the tree, which the first steps of training need."""
        return activations.clamp(0, 1)

    def predictions_no_normalisation(self, inputs: Mapping[Layer, Tensor], dropout_active: bool = True) -> Tensor:
        """Return predictions (batch, 37) that need not obey the tree."""
        return self.forward_no_normalisation(self.input_layer.output(inputs, dropout_active))


class GalaxyOutputLayer(GalaxyOutput):
    """A softmax a question."""

    def fractions(self, activations: Tensor) -> Tensor:
        return torch.cat([activations[:, answers].softmax(1) for answers in decision_tree.SLICES.values()], dim=1)


class ThresholdedGalaxyOutputLayer(GalaxyOutput):
    """A softmax a question, cut off where an answer is less than about `threshold` times its question's likeliest."""

    def __init__(self, input_layer: Layer, threshold: float = 0.05):
        super().__init__(input_layer)
        self.threshold = threshold

    def fractions(self, activations: Tensor) -> Tensor:
        softened = []
        for answers in decision_tree.SLICES.values():
            z = activations[:, answers]
            relative = (z - z.amax(1, keepdim=True)).exp()
            softened.append(((1 + self.threshold) * relative - self.threshold).relu())
        return self.normalise(torch.cat(softened, dim=1))


class DivisiveGalaxyOutputLayer(GalaxyOutput):
    """Rectification and divisive normalisation a question: y = max(z, 0) / (sum of max(z, 0) + 1e-12)."""

    def fractions(self, activations: Tensor) -> Tensor:
        return self.normalise(activations.relu())


class OptimisedDivGalaxyOutputLayer(DivisiveGalaxyOutputLayer):
    """The output layer of the 17 models. 2014 wrote it for speed's sake beside the divisive one; here they are one."""


class SquaredGalaxyOutputLayer(GalaxyOutput):
    """Squared rectification and divisive normalisation a question."""

    def fractions(self, activations: Tensor) -> Tensor:
        return self.normalise(activations.relu().square())


class ClippedGalaxyOutputLayer(GalaxyOutput):
    """Activations clipped to [0, 1], not normalised; `error_with_normreg` draws each question's sum towards 1."""

    def fractions(self, activations: Tensor) -> Tensor:
        return activations.clamp(0, 1)

    def normreg(self, inputs: Mapping[Layer, Tensor], dropout_active: bool = True) -> Tensor:
        """Return the mean squared distance of each question's clipped activations from a sum of 1."""
        return self._normreg(self.input_layer.output(inputs, dropout_active))

    def _normreg(self, activations: Tensor) -> Tensor:
        sums = self.fractions(activations) @ self.same_question
        firsts = [answers.start for answers in decision_tree.SLICES.values()]
        return (sums[:, firsts] - 1).square().mean()

    def error_with_normreg(
        self, inputs: Mapping[Layer, Tensor], targets: Tensor, scale: float = 1.0, dropout_active: bool = True
    ) -> Tensor:
        """Return the error plus `scale` times normreg, both of the same pass."""
        activations = self.input_layer.output(inputs, dropout_active)
        return functional.mse_loss(self(activations), targets) + scale * self._normreg(activations)


class ConstantWeightedDivGalaxyOutputLayer(DivisiveGalaxyOutputLayer):
    """Divisive normalisation, the weights down the tree held constant in the gradient."""

    def forward(self, activations: Tensor) -> Tensor:
        return weigh(self.fractions(activations), constant=True)


class SoftplusDivGalaxyOutputLayer(GalaxyOutput):
    """Divisive normalisation of a sharp softplus, log(1 + exp(10 z)), whose gradient never ends."""

    def fractions(self, activations: Tensor) -> Tensor:
        return self.normalise(functional.softplus(10 * activations))


class SigmoidGalaxyOutputLayer(GalaxyOutput):
    """A logistic function an answer: predictions between 0 and 1 that need not obey the tree."""

    def forward(self, activations: Tensor) -> Tensor:
        return activations.sigmoid()

    def forward_no_normalisation(self, activations: Tensor) -> Tensor:
        return self(activations)
