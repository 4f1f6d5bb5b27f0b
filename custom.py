"""Output layers that know the decision tree of a survey, by default that of Galaxy Zoo 2.

The answers of a question form a distribution, which is scaled by the weighted fraction of the answer that leads to the
question. An output layer converts one activation per answer to such predictions, and measures their mean squared error.
The layers differ in how they convert activations to answer fractions. The 17 models use
`OptimisedDivGalaxyOutputLayer`.

Source: documentation of 2014, 2.2.2.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from galaxy.decision_tree import GALAXY_ZOO_2
from galaxy.tree import Tree
from layers import Layer, OutputBase


def weigh(fractions: Tensor, levels: Tensor, constant: bool = False) -> Tensor:
    """Convert the answer fractions of each question (batch, answers) to weighted fractions, with torch, level by level.

    All questions of a level of the tree are weighted at once: `levels` (levels, answers, answers + 1), from
    `tree_levels`, select the answers that scale each answer. With `constant`, no gradient flows through the scaling, so
    that the error of a question does not change the questions above it. `Tree.weigh` does the same with NumPy, question
    by question.
    """
    weighted = fractions
    for level in levels:
        scaling = added(weighted, level[:, :-1].T) + level[:, -1]
        weighted = weighted * (scaling.detach() if constant else scaling)
    return weighted


def added(x: Tensor, chosen: Tensor) -> Tensor:
    """Return sums of chosen columns of x (batch, n), in full float32; `chosen` (n, sums) are zeros and ones."""
    # CUDA may round a matrix product to TF32. An exported graph has a matrix product: OpenVINO fuses
    # Unsqueeze-Mul-ReduceSum wrongly.
    if x.is_cuda and not torch.compiler.is_exporting():
        return (x.unsqueeze(1) * chosen.T).sum(2)
    return x @ chosen.to(x.dtype)


def tree_levels(tree: Tree = GALAXY_ZOO_2) -> Tensor:
    """Return the answers that scale each answer, for each level of the tree: (levels, answers, answers + 1), 0 or 1.

    The last column is 1 if no answer scales it at that level.
    """
    depth: dict[int, int] = {}
    levels = torch.zeros(len(tree.questions), tree.num_answers, tree.num_answers + 1)
    levels[:, :, -1] = 1
    for question in tree.order:
        scaling = tree.scaled_by[question]
        depth[question] = max((depth[tree.question_of[column] + 1] + 1 for column in scaling), default=0)
        if scaling:
            own = levels[depth[question] - 1, tree.slices[question]]
            own[:, -1] = 0
            own[:, list(scaling)] = 1
    return levels[: max(depth.values())]


class GalaxyOutput(OutputBase):
    """Base of all output layers of the decision tree; a subclass defines `fractions`.

    Raises ValueError unless the input layer has one output per answer of the tree.
    """

    def __init__(self, input_layer: Layer, tree: Tree = GALAXY_ZOO_2):
        super().__init__(input_layer)
        self.tree, shape = tree, input_layer.get_output_shape()
        if shape[1:] != (tree.num_answers,):
            raise ValueError(
                f"expected an input layer with {tree.num_answers} outputs, one per answer of the tree {tree.name}, "
                f"got shape {shape}"
            )
        same_question = torch.zeros(tree.num_answers, tree.num_answers)
        for answers in tree.slices.values():
            same_question[answers, answers] = 1
        self.register_buffer("same_question", same_question, persistent=False)
        self.register_buffer("levels", tree_levels(tree), persistent=False)

    def fractions(self, activations: Tensor) -> Tensor:
        """Map activations (batch, answers) to the answer fractions of each question, before weighting."""
        raise NotImplementedError

    def normalise(self, positive: Tensor, epsilon: float = 1e-12) -> Tensor:
        """Divide by the sum of each question; with epsilon, a question with no positive activation stays at zero."""
        return positive / (self.sum_by_question(positive) + epsilon)

    def sum_by_question(self, x: Tensor) -> Tensor:
        """Return the sum over the answers of a question at each of its answers (batch, answers), in full float32."""
        return added(x, self.same_question)

    def forward(self, activations: Tensor) -> Tensor:
        return weigh(self.fractions(activations), self.levels)

    def forward_no_normalisation(self, activations: Tensor) -> Tensor:
        """Map activations to predictions that do not obey the tree, for the first steps of training."""
        return activations.clamp(0, 1)

    def predictions_no_normalisation(self, inputs: Mapping[Layer, Tensor], dropout_active: bool = True) -> Tensor:
        """Return predictions (batch, answers) that do not have to obey the tree."""
        return self.forward_no_normalisation(self.input_layer.output(inputs, dropout_active))


class GalaxyOutputLayer(GalaxyOutput):
    """One softmax per question."""

    def fractions(self, activations: Tensor) -> Tensor:
        return torch.cat([activations[:, answers].softmax(1) for answers in self.tree.slices.values()], dim=1)


class ThresholdedGalaxyOutputLayer(GalaxyOutput):
    """One softmax per question; answers below about `threshold` times the most likely answer become 0."""

    def __init__(self, input_layer: Layer, threshold: float = 0.05, tree: Tree = GALAXY_ZOO_2):
        super().__init__(input_layer, tree)
        self.threshold = threshold

    def fractions(self, activations: Tensor) -> Tensor:
        softened = []
        for answers in self.tree.slices.values():
            z = activations[:, answers]
            relative = (z - z.amax(1, keepdim=True)).exp()
            softened.append(((1 + self.threshold) * relative - self.threshold).relu())
        return self.normalise(torch.cat(softened, dim=1))


class DivisiveGalaxyOutputLayer(GalaxyOutput):
    """Rectification and divisive normalisation per question: y = max(z, 0) / (sum of max(z, 0) + 1e-12)."""

    def fractions(self, activations: Tensor) -> Tensor:
        return self.normalise(activations.relu())


class OptimisedDivGalaxyOutputLayer(DivisiveGalaxyOutputLayer):
    """The output layer of the 17 models; in 2014 a faster form of the divisive layer, here identical to it."""


class SquaredGalaxyOutputLayer(GalaxyOutput):
    """Squared rectification and divisive normalisation per question."""

    def fractions(self, activations: Tensor) -> Tensor:
        return self.normalise(activations.relu().square())


class ClippedGalaxyOutputLayer(GalaxyOutput):
    """Activations clipped to [0, 1], not normalised; `error_with_normreg` penalises sums of questions other than 1."""

    def fractions(self, activations: Tensor) -> Tensor:
        return activations.clamp(0, 1)

    def normreg(self, inputs: Mapping[Layer, Tensor], dropout_active: bool = True) -> Tensor:
        """Return the mean squared difference between 1 and the sum of each question's clipped activations."""
        return self._normreg(self.input_layer.output(inputs, dropout_active))

    def _normreg(self, activations: Tensor) -> Tensor:
        sums = self.sum_by_question(self.fractions(activations))
        firsts = [answers.start for answers in self.tree.slices.values()]
        return (sums[:, firsts] - 1).square().mean()

    def error_with_normreg(
        self, inputs: Mapping[Layer, Tensor], targets: Tensor, scale: float = 1.0, dropout_active: bool = True
    ) -> Tensor:
        """Return the error plus `scale` times normreg, both from one pass through the network."""
        activations = self.input_layer.output(inputs, dropout_active)
        return functional.mse_loss(self(activations), targets) + scale * self._normreg(activations)


class ConstantWeightedDivGalaxyOutputLayer(DivisiveGalaxyOutputLayer):
    """Divisive normalisation; the weights of questions are constants in the gradient."""

    def forward(self, activations: Tensor) -> Tensor:
        return weigh(self.fractions(activations), self.levels, constant=True)


class SoftplusDivGalaxyOutputLayer(GalaxyOutput):
    """Divisive normalisation of a sharp softplus, log(1 + exp(10 z)); its gradient is never zero."""

    def fractions(self, activations: Tensor) -> Tensor:
        return self.normalise(functional.softplus(10 * activations))


class SigmoidGalaxyOutputLayer(GalaxyOutput):
    """One logistic function per answer: predictions between 0 and 1 that do not have to obey the tree."""

    def forward(self, activations: Tensor) -> Tensor:
        return activations.sigmoid()

    def forward_no_normalisation(self, activations: Tensor) -> Tensor:
        return self(activations)


class CountWeightedDivGalaxyOutputLayer(DivisiveGalaxyOutputLayer):
    """Divisive normalisation; the squared errors of a question are weighted by n / (n + n0), n the votes on it.

    `n0` is the number of votes whose noise equals the error of the network: about 0.15 / RMSE^2 of the fractions.
    """

    def __init__(self, input_layer: Layer, n0: float, tree: Tree = GALAXY_ZOO_2):
        super().__init__(input_layer, tree)
        self.n0, self.num_counts = n0, len(tree.questions)
        self.register_buffer("question_of", torch.as_tensor(tree.question_of), persistent=False)

    def error_of(
        self,
        activations: Tensor,
        targets: Tensor,
        normalisation: bool = True,
        weights: Tensor | None = None,
        counts: Tensor | None = None,
    ) -> Tensor:
        """Return the mean squared error; `counts` (batch, questions) and `weights` (batch, 1) weight the squares."""
        predictions = self(activations) if normalisation else self.forward_no_normalisation(activations)
        squares = (predictions - targets).square()
        if counts is not None:
            squares = squares * (counts / (counts + self.n0))[:, self.question_of]
        return (squares if weights is None else weights * squares).mean()


class DirichletGalaxyOutputLayer(GalaxyOutput):
    """Concentrations of a Dirichlet distribution of each question's fractions; predictions are their means.

    The error is the negative log-likelihood of the counts of votes, a Dirichlet-multinomial distribution per question:
    few votes weigh less than many. Concentrations are between 1 and 100.

    Source: Walmsley et al. 2020 (arXiv 1905.07424), 2022 (arXiv 2102.08414), 4.
    """

    LEAST, MOST = 1.0, 100.0
    error_name = "root of -log L"

    def __init__(self, input_layer: Layer, tree: Tree = GALAXY_ZOO_2):
        super().__init__(input_layer, tree)
        self.num_counts = len(tree.questions)
        self.register_buffer("question_of", torch.as_tensor(tree.question_of), persistent=False)

    def concentrations(self, activations: Tensor) -> Tensor:
        """Map activations to concentrations, both (batch, answers)."""
        return self.LEAST + (self.MOST - self.LEAST) * activations.sigmoid()

    def fractions(self, activations: Tensor) -> Tensor:
        return self.normalise(self.concentrations(activations))

    def error_of(
        self,
        activations: Tensor,
        targets: Tensor,
        normalisation: bool = True,
        weights: Tensor | None = None,
        counts: Tensor | None = None,
    ) -> Tensor:
        """Return the mean negative log-likelihood of a galaxy's votes; `counts` (batch, questions) are needed."""
        if counts is None:
            raise ValueError("expected counts of votes (batch, questions)")
        totals = self.sum_by_question(targets)
        asked = torch.where(totals > 0, counts[:, self.question_of], 0.0)  # votes on the question of each answer
        votes = targets / totals.clamp(min=1e-30) * asked
        alpha = self.concentrations(activations)
        of_answers = torch.lgamma(votes + alpha) - torch.lgamma(alpha) - torch.lgamma(votes + 1)
        # At the first answer of each question: what depends on all answers of the question.
        firsts = [answers.start for answers in self.tree.slices.values()]
        num, total = asked[:, firsts], self.sum_by_question(alpha)[:, firsts]
        of_questions = torch.lgamma(num + 1) + torch.lgamma(total) - torch.lgamma(num + total)
        surprise = -(of_answers.sum(1, keepdim=True) + of_questions.sum(1, keepdim=True))
        return (surprise if weights is None else weights * surprise).mean()
