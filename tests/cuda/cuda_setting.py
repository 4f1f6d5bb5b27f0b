"""What the tests of this folder start from: a device, and examples and parameters that are the same on every device."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import trial
from torch import Tensor

import layers
from engine import device_augmentation, steps
from engine.experiment import Experiment
from engine.network import Network
from survey import images
from survey.decoded_cache import load_pixels

CPU = torch.device("cpu")
# (network, optimizer, normalisation) -> the function that takes steps
MakeStep = Callable[[Network, torch.optim.Optimizer, bool], steps.Step]
graphed: MakeStep = partial(steps.make_step, graphs=True)
eager: MakeStep = partial(steps.make_step, graphs=False)
Batch = tuple[list[Tensor], Tensor]
ON_CPU = pytest.mark.parametrize("device", ["cpu"], indirect=True)  # for tests of the comparisons themselves
Note = Callable[[str, object], None]  # notes a measured value by name


@dataclass(frozen=True)
class Setting:
    """A device, the root of a prepared survey that is in use, and an empty folder. On a CPU all sizes are small."""

    device: torch.device
    survey: Path
    folder: Path

    @property
    def is_small(self) -> bool:
        """Whether sizes are such that a CPU takes seconds."""
        return self.device.type == "cpu"

    @property
    def experiment(self) -> Experiment:
        """The best model on CUDA, its kinds of layers in small on a CPU; at rates that keep rounding errors small."""
        return trial.SMALL if self.is_small else trial.BEST


@functools.lru_cache(maxsize=2)
def examples(setting: Setting, num: int) -> Batch:
    """Return the views (num, rows, columns, 3) and labels (num, 37) of training examples, on the CPU."""
    views, num_galaxies = setting.experiment.views, len(images.ids_of("train"))
    pixels = torch.from_numpy(np.stack([load_pixels(index, "train") for index in range(num_galaxies)]))
    draw = views.draw(np.arange(num_galaxies), num, 0, 0)
    matrices = views.matrices(draw.indices, "train", draw.perturbations)[:, 0, :, :2].astype(np.float32)
    indices = torch.from_numpy(draw.indices)
    arrays = []
    for size, of_view in zip(views.target_sizes, torch.from_numpy(matrices).unbind(1), strict=True):
        pieces = zip(indices.split(64), of_view.split(64), strict=True)
        arrays.append(torch.cat([device_augmentation.sample(pixels, *piece, size) for piece in pieces]))
    device_augmentation.add_colour(arrays, torch.from_numpy(draw.colour).float())
    return arrays, torch.from_numpy(images.load_labels()[draw.indices])


def batches(setting: Setting, sizes: Sequence[int]) -> Iterator[Batch]:
    """Yield batches of the given sizes on the device."""
    views, labels = examples(setting, sum(sizes))
    for *batch, wanted in zip(*(array.split(list(sizes)) for array in (*views, labels)), strict=True):
        yield [view.to(setting.device) for view in batch], wanted.to(setting.device)


@functools.lru_cache(maxsize=1)
def _values(setting: Setting) -> list[np.ndarray]:
    """Draw parameters under which no question's answers sum to almost nothing, with and without dropout.

    Predictions are divided by that sum, and so are their rounding errors.
    """
    torch.manual_seed(0)
    network = Network(setting.experiment, CPU)
    layers.reset_variance_preserving(network.output_layer)
    views, _ = examples(setting, 32)
    top, inputs = network.output_layer.input_layer, network.inputs(views)
    with torch.no_grad():
        spread = network.output_of(top, inputs, dropout_active=True).std(0).mean()
        middle = network.output_of(top, inputs, dropout_active=False).mean(0) - top.b
        top.W.mul_(0.03 / spread)
        top.b.copy_(0.1 - 0.03 / spread * middle)
    return layers.get_param_values(network.output_layer)


def network_of(setting: Setting, device: torch.device, precision: str = "float32") -> Network:
    """Return the network of the experiment, with the same parameters on every device."""
    values = _values(setting)
    network = Network(setting.experiment, device, precision)
    layers.set_param_values(network.output_layer, values)
    return network


@contextlib.contextmanager
def stepping(make_step: MakeStep) -> Iterator[None]:
    """Make trainers take their steps with `make_step` in the block."""
    before = steps.make_step
    steps.make_step = lambda network, optimizer, normalisation, *_, **__: make_step(network, optimizer, normalisation)
    try:
        yield
    finally:
        steps.make_step = before


def random_state(device: torch.device) -> Tensor:
    """Return the state of the generator that draws on a device."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def values_of(network: Network) -> list[Tensor]:
    """Return copies of a network's parameters and state, on the CPU."""
    return [each.detach().cpu().clone() for each in (*network.parameters, *network.state)]


def distance(ours: Sequence[Tensor], theirs: Sequence[Tensor], start: Sequence[Tensor] | None = None) -> float:
    """Return how far tensors, as one vector, are from `theirs`, relative to its length or to its way from `start`."""
    way = theirs if start is None else _differences(theirs, start)
    return _length(_differences(ours, theirs)) / max(_length(way), 1e-300)


def _differences(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> list[Tensor]:
    return [a.double() - b.double() for a, b in zip(ours, theirs, strict=True)]


def _length(tensors: Sequence[Tensor]) -> float:
    return sum(float(tensor.double().square().sum()) for tensor in tensors) ** 0.5
