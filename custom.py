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

from galaxy import decision_tree
from layers import Layer, OutputBase


def weigh(fractions: Tensor, levels: Tensor, constant: bool = False) -> Tensor:
    """Turn the answer fractions of each question (batch, 37) into weighted fractions (batch, 37).

    All questions of a level of the tree are weighed at once: `levels` (levels, 37, 38), as `tree_levels` has them, pick
    the answer that scales each answer. With `constant`, no gradient flows through the scaling: questions do not pull at
    those that lead to them.
    """
    weighted = fractions
    for level in levels:
        # A sum of one factor and zeros, and so exact; a matrix product might be rounded to TF32.
        scaling = (weighted.unsqueeze(1) * level[:, :-1]).sum(2).add(level[:, -1])
        weighted = weighted * (scaling.detach() if constant else scaling)
    return weighted


def tree_levels() -> Tensor:
    """Return for each level of the tree and each answer which answer scales it (levels, 37, 38), one-hot.

    The last column is 1 where none does: at another level, or at none.
    """
    depth: list[int] = []
    scaled_by: list[int | None] = []
    for question, answers in decision_tree.SLICES.items():
        scaling = decision_tree.SCALED_BY[question]
        depth += [0 if scaling is None else depth[scaling] + 1] * (answers.stop - answers.start)
        scaled_by += [scaling] * (answers.stop - answers.start)
    levels = torch.zeros(max(depth), decision_tree.NUM_ANSWERS, decision_tree.NUM_ANSWERS + 1)
    levels[:, :, -1] = 1
    for answer, scaling in enumerate(scaled_by):
        if scaling is not None:
            levels[depth[answer] - 1, answer] = functional.one_hot(torch.tensor(scaling), levels.shape[2])
    return levels


class GalaxyOutput(OutputBase):
    """What all output layers share; a subclass says how activations (batch, 37) become answer fractions."""

    def __init__(self, input_layer: Layer):
        super().__init__(input_layer)
        shape = input_layer.get_output_shape()
        if shape[1:] != (decision_tree.NUM_ANSWERS,):
            raise ValueError(f"expected an input layer with {decision_tree.NUM_ANSWERS} outputs, got shape {shape}")
        same_question = torch.zeros(decision_tree.NUM_ANSWERS, decision_tree.NUM_ANSWERS)
        for answers in decision_tree.SLICES.values():
            same_question[answers, answers] = 1
        self.register_buffer("same_question", same_question, persistent=False)
        self.register_buffer("levels", tree_levels(), persistent=False)

    def fractions(self, activations: Tensor) -> Tensor:
        """Map activations (batch, 37) to the answer fractions of each question, not yet weighted."""
        raise NotImplementedError

    def normalise(self, positive: Tensor, epsilon: float = 1e-12) -> Tensor:
        """Divide by each question's sum; epsilon keeps a question without any activation at zero."""
        return positive / (self.sum_by_question(positive) + epsilon)

    def sum_by_question(self, x: Tensor) -> Tensor:
        """Return for each answer (batch, 37) the sum over its question's answers, in full float32."""
        if x.is_cuda:  # where a matrix product might be rounded to TF32
            return (x.unsqueeze(1) * self.same_question).sum(2)
        return x @ self.same_question

    def forward(self, activations: Tensor) -> Tensor:
        return weigh(self.fractions(activations), self.levels)

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
        sums = self.sum_by_question(self.fractions(activations))
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
        return weigh(self.fractions(activations), self.levels, constant=True)


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
