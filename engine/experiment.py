"""The declaration of an experiment: everything that bears on the result of a training run.

An `Experiment` is frozen and has no defaults: a forgotten number is a TypeError, and the difference of two scripts is
the scientific difference. Exceptions are the decision tree, which all models of 2014 share, and what only a flag asks
for (`--start-from`, `--teacher`).
"""

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

import torch
from skimage.transform import AffineTransform

import layers
from engine.optimizers import LowerRate
from galaxy.decision_tree import GALAXY_ZOO_2
from galaxy.tree import Tree
from machine.files import DataError
from survey.views import Views


@dataclasses.dataclass(frozen=True, kw_only=True)
class NormConstraint:
    """Limits of the L2 norms of weight columns, for the lowest dense layers from the bottom up."""

    every: int
    limits: tuple[float, ...]

    def apply(self, output_layer: layers.Layer) -> None:
        """Rescale columns above the limit (documentation of 2014, 2.3.4; Hinton et al. 2012)."""
        with torch.no_grad():
            for layer, limit in self._limited(output_layer):
                for parameter, value in layer.rescaling_updates(limit):
                    parameter.copy_(value)

    def _limited(self, output_layer: layers.Layer) -> list[tuple[layers.DenseLayer, float]]:
        """Return the dense layers with a limit, from the bottom up, and their limits."""
        dense = [layer for layer in reversed(layers.all_layers(output_layer)) if isinstance(layer, layers.DenseLayer)]
        return list(zip(dense, self.limits, strict=False))

    def exceeded(self, output_layer: layers.Layer) -> list[tuple[float, float]]:
        """Return the smallest norm of a column and the limit, for each layer with all columns above its limit."""
        shortest = [(layer.W.norm(dim=0).min().item(), limit) for layer, limit in self._limited(output_layer)]
        return [(norm, limit) for norm, limit in shortest if norm > limit]


class Schedule(Protocol):
    """A learning rate that changes during a run."""

    def at(self, chunk: float, num_chunks: int) -> float:
        """Return the rate after `chunk` of `num_chunks` chunks; fractions of a chunk count."""

    def scaled(self, scale: float) -> "Schedule":
        """Return the schedule for a run that is `scale` times as long."""


@dataclasses.dataclass(frozen=True)
class Steps:
    """Constant rates: each holds from its chunk until the next one."""

    rates: Mapping[float, float]

    def at(self, chunk: float, num_chunks: int) -> float:
        return self.rates[max(start for start in self.rates if start <= chunk)]

    def scaled(self, scale: float) -> "Steps":
        # Not rounded to whole chunks, so that a rate changes at the same example for any size of chunks.
        return self if scale == 1 else Steps({start * scale: rate for start, rate in self.rates.items()})


@dataclasses.dataclass(frozen=True)
class Cosine:
    """A rate that rises to its peak during the fraction `warm_up` of a run, falls as a cosine (Loshchilov 2017)."""

    peak: float
    warm_up: float

    # The smallest rate, in units of the peak: some update rules divide by the rate, so it is never zero.
    LEAST = 1e-4

    def at(self, chunk: float, num_chunks: int) -> float:
        passed = chunk / num_chunks
        if passed < self.warm_up:
            return self.peak * max(passed / self.warm_up, self.LEAST)
        left = 0.5 * (1 + math.cos(math.pi * (passed - self.warm_up) / (1 - self.warm_up)))
        return self.peak * max(left, self.LEAST)

    def scaled(self, scale: float) -> "Cosine":
        return self


@dataclasses.dataclass(frozen=True)
class Adaptation:
    """What differs in a run that starts from a trained network.

    Layers below the top one learn at `lower_rate` times the rate.
    """

    learning_rate: Schedule
    lower_rate: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distillation:
    """How a run learns from teachers (`--teacher`)."""

    # The weight of a galaxy's label in its target; the rest is that of the teachers.
    label_weight: float
    # Examples of test images, which have no label, per example of a training image.
    unlabelled: float
    # The weight of the squared difference from the average of weights on another view (Tarvainen & Valpola 2017).
    consistency: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """One model and its training: all scientific numbers, without defaults."""

    name: str
    # batch size -> input layers, one per view, and the output layer
    build_network: Callable[[int], tuple[list[layers.Layer], layers.Layer]]

    views: Views
    # A galaxy's prediction is the mean over these perturbations of its views.
    test_transforms: Sequence[AffineTransform]

    batch_size: int
    chunk_size: int
    num_chunks: int
    # Steps at the start of a run without normalised predictions.
    num_steps_nonorm: int
    # output layer -> optimizer of all parameters; a frozen dataclass of `engine.optimizers`, or a function
    make_optimizer: Callable[[layers.Layer], torch.optim.Optimizer]
    learning_rate: Schedule
    norm_constraint: NormConstraint | None
    # Decay per step of the average of weights, which then predicts; None: the last weights predict.
    weight_average: float | None
    validate_every: int
    seed: int
    # The questions that the labels answer: those of Galaxy Zoo 2, or others that the script declares (`answering`).
    tree: Tree = GALAXY_ZOO_2
    # What `--start-from` changes, and how `--teacher` teaches; None: nothing, not at all.
    adaptation: Adaptation | None = None
    distillation: Distillation | None = None

    @property
    def steps_a_chunk(self) -> int:
        """The number of minibatches of a chunk; the last one is smaller if a chunk is no multiple of the minibatch."""
        return -(-self.chunk_size // self.batch_size)

    @property
    def first_normalised_step(self) -> int:
        """The first step with normalised predictions, at latest after a third of a short run."""
        return min(self.num_steps_nonorm, self.num_chunks * self.steps_a_chunk // 3)

    def answering(self, tree: Tree) -> "Experiment":
        """Return the experiment for labels of a tree.

        A script that declares no tree learns any, if its `build_network` has an argument `tree`. Raises DataError for
        another tree than the script's.
        """
        if tree == self.tree:
            return self
        bound = self.build_network.keywords if isinstance(self.build_network, partial) else {}
        free = "tree" in inspect.signature(self.build_network).parameters and "tree" not in bound
        if self.tree != GALAXY_ZOO_2 or not free:
            raise DataError(
                f"expected labels of the tree {self.tree.name}, which {self.name}.py declares, got those of "
                f"{tree.name}; train a try_finetune script, declare that tree, or prepare the data with --tree"
            )
        return dataclasses.replace(self, tree=tree, build_network=partial(self.build_network, tree=tree))

    def adapted(self) -> "Experiment":
        """Return the experiment for a run that starts from a trained network."""
        if (adaptation := self.adaptation) is None:
            return self
        rule, share = self.make_optimizer, adaptation.lower_rate
        return dataclasses.replace(
            self,
            learning_rate=adaptation.learning_rate,
            make_optimizer=rule if share == 1 else LowerRate(rule, share),
            adaptation=None,
        )

    def untaught(self) -> "Experiment":
        """Return the experiment for a run without teachers."""
        return dataclasses.replace(self, distillation=None)

    def whole_minibatches(self, chunk_size: int) -> int:
        """Round a chunk size down to a multiple of the minibatch, so that a run of any size takes as many steps.

        A size below the minibatch stays as it is.
        """
        return chunk_size - chunk_size % self.batch_size if chunk_size > self.batch_size else chunk_size

    def resized(
        self, num_chunks: int | None = None, chunk_size: int | None = None, keep_schedule: bool = False
    ) -> "Experiment":
        """Return the experiment with another number or size of chunks.

        Another size alone keeps the recipe: the same number of examples, and rates that change at the same examples
        (documentation of 2014, 4); it is rounded by `whole_minibatches`. Another number gives a shorter or longer run:
        rates and validations move to the same fractions of the run, or, with `keep_schedule`, stay at the same
        examples.
        """
        size = self.whole_minibatches(chunk_size) if chunk_size else self.chunk_size
        by_size = self.chunk_size / size
        num = num_chunks or max(1, round(self.num_chunks * by_size))
        scale = by_size if keep_schedule or num_chunks is None else num / self.num_chunks
        adaptation = self.adaptation
        if adaptation is not None:
            adaptation = dataclasses.replace(adaptation, learning_rate=adaptation.learning_rate.scaled(scale))
        return dataclasses.replace(
            self,
            num_chunks=num,
            chunk_size=size,
            learning_rate=self.learning_rate.scaled(scale),
            adaptation=adaptation,
            validate_every=max(1, round(self.validate_every * scale)),
        )
