"""What an experiment declares: everything that bears on the result of a training run.

An `Experiment` is frozen and has no defaults: a forgotten number is a TypeError, and the difference of two scripts is
the scientific difference.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from skimage.transform import AffineTransform

import layers
from survey.views import Views


@dataclasses.dataclass(frozen=True, kw_only=True)
class NormConstraint:
    """Limits to the L2 norms of weight columns: one for each dense layer from the bottom up, none for the rest."""

    every: int
    limits: tuple[float, ...]

    def apply(self, output_layer: layers.Layer) -> None:
        """Rescale the columns that are too long (documentation 2.3.4; Hinton et al. 2012)."""
        with torch.no_grad():
            for layer, limit in self._limited(output_layer):
                for parameter, value in layer.rescaling_updates(limit):
                    parameter.copy_(value)

    def _limited(self, output_layer: layers.Layer) -> list[tuple[layers.DenseLayer, float]]:
        """Return the dense layers that have a limit, from the bottom up, and the limits."""
        dense = [each for each in reversed(layers.all_layers(output_layer)) if isinstance(each, layers.DenseLayer)]
        return list(zip(dense, self.limits, strict=False))

    def exceeded(self, output_layer: layers.Layer) -> list[tuple[float, float]]:
        """Return the shortest column's norm and the limit of each layer whose columns all are too long."""
        shortest = [(layer.W.norm(dim=0).min().item(), limit) for layer, limit in self._limited(output_layer)]
        return [(norm, limit) for norm, limit in shortest if norm > limit]


class Schedule(Protocol):
    """A learning rate that changes while a run goes on."""

    def at(self, chunk: float, num_chunks: int) -> float:
        """Return the rate after so many chunks of `num_chunks`, fractions of a chunk counted."""

    def scaled(self, scale: float) -> "Schedule":
        """Return the schedule of a run that is `scale` times as long."""


@dataclasses.dataclass(frozen=True)
class Steps:
    """A rate that holds from a place on, in chunks from the start, until the next one does."""

    rates: Mapping[float, float]

    def at(self, chunk: float, num_chunks: int) -> float:
        return self.rates[max(start for start in self.rates if start <= chunk)]

    def scaled(self, scale: float) -> "Steps":
        # Fractions of a chunk are kept, so that a rate changes at the same example whatever the size of chunks.
        return self if scale == 1 else Steps({start * scale: rate for start, rate in self.rates.items()})


@dataclasses.dataclass(frozen=True)
class Cosine:
    """A rate that rises to its peak in the fraction `warm_up` of a run, then falls along a cosine (Loshchilov 2017)."""

    peak: float
    warm_up: float

    # The rate never is zero, by which some update rules would divide.
    LEAST = 1e-4  # of the peak

    def at(self, chunk: float, num_chunks: int) -> float:
        passed = chunk / num_chunks
        if passed < self.warm_up:
            return self.peak * max(passed / self.warm_up, self.LEAST)
        left = 0.5 * (1 + math.cos(math.pi * (passed - self.warm_up) / (1 - self.warm_up)))
        return self.peak * max(left, self.LEAST)

    def scaled(self, scale: float) -> "Cosine":
        return self


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """One model and its training; every scientific number stands here, none has a default."""

    name: str
    # batch size -> input layers, one a view, and the output layer
    build_network: Callable[[int], tuple[list[layers.Layer], layers.Layer]]

    views: Views
    # The predictions of a galaxy are averaged over these perturbations of its views.
    test_transforms: Sequence[AffineTransform]

    batch_size: int
    chunk_size: int
    num_chunks: int
    # The steps of the start, in which predictions are not normalised.
    num_steps_nonorm: int
    # output layer -> what moves its parameters; a frozen dataclass of `optimizers`, or any function
    make_optimizer: Callable[[layers.Layer], torch.optim.Optimizer]
    learning_rate: Schedule
    norm_constraint: NormConstraint | None
    # The decay a step of the average of weights that predicts in place of the last ones; None: the last ones predict.
    weight_average: float | None
    validate_every: int
    seed: int

    @property
    def steps_a_chunk(self) -> int:
        """The minibatches of a chunk, the last one perhaps smaller."""
        return -(-self.chunk_size // self.batch_size)

    @property
    def first_normalised_step(self) -> int:
        """The step from which on predictions are normalised: no more than a third of a short run goes without."""
        return min(self.num_steps_nonorm, self.num_chunks * self.steps_a_chunk // 3)

    def resized(
        self, num_chunks: int | None = None, chunk_size: int | None = None, keep_schedule: bool = False
    ) -> "Experiment":
        """Return the experiment with chunks of another size, or with another number of them.

        Another size alone is the same recipe: as many examples, and rates that change at the same ones (documentation
        4). Another number makes a shorter or longer run, whose rates and validations keep their fractions; with
        `keep_schedule`, their examples.
        """
        size = chunk_size or self.chunk_size
        by_size = self.chunk_size / size
        number = num_chunks or max(1, round(self.num_chunks * by_size))
        scale = by_size if keep_schedule or num_chunks is None else number / self.num_chunks
        return dataclasses.replace(
            self,
            num_chunks=number,
            chunk_size=size,
            learning_rate=self.learning_rate.scaled(scale),
            validate_every=max(1, round(self.validate_every * scale)),
        )
