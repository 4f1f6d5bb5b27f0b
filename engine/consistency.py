"""An error that also compares two views of a galaxy: one by the network, one by the average of its weights.

The average predicts without dropout and without a gradient. It reads the tensors of `WeightAverage` themselves, so that
each step sees the latest average.

Source: Tarvainen & Valpola 2017 (arXiv 1703.01780), "mean teacher".
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from engine.ema import WeightAverage
from engine.experiment import Experiment
from engine.network import Network
from machine.files import DataError


class Consistency:
    """The network's error, plus `weight` times the mean squared difference between the predictions of two views."""

    def __init__(self, experiment: Experiment, network: Network, average: WeightAverage | None, weight: float):
        if average is None:
            raise DataError(
                f"{experiment.name}: a consistency term compares with the average of weights, but weight_average is "
                "None; declare a decay in the script"
            )
        self.network, self.weight = network, weight
        with torch.random.fork_rng(devices=[]):  # its parameters are drawn, and replaced at once
            self.mean = Network(experiment, network.device, network.precision)
        for tensor, value in zip((*self.mean.parameters, *self.mean.state), average.values, strict=True):
            tensor.data = value

    def __call__(self, views: Sequence[Tensor], labels: Tensor, normalisation: bool) -> Tensor:
        """Return the error for the first and the second views (n, rows, columns, 3) of galaxies, and their labels."""
        num_views = len(views) // 2
        activations = self.network.activations(views[:num_views])
        layer = self.network.output_layer
        predictions = layer(activations) if normalisation else layer.forward_no_normalisation(activations)
        with torch.no_grad():
            others = self.mean.predictions(self.mean.inputs(views[num_views:]))
        error = self.network.error_of(activations, labels, normalisation)
        return error + self.weight * functional.mse_loss(predictions, others)
