"""What the checks of `gpu.py` are given, and what several of them start from.

Examples and parameters are made on the CPU in this process, the same on every machine: a check that needs them does not
depend on what another one checks.
"""

import contextlib
import functools
import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import layers
from benchmarks import trial
from engine import device_augmentation, steps
from engine.experiment import Experiment
from engine.network import Network, find_device, use_precision
from survey import folders, images
from survey.decoded_cache import load_pixels
from survey.folders import adopt, use_folders
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT

CPU = torch.device("cpu")
# Images that are decoded for examples, whatever the number of those.
MOST_DECODED = 160
# (network, optimizer, normalisation) -> what takes steps
Kind = Callable[[Network, torch.optim.Optimizer, bool], steps.Step]
graphed: Kind = partial(steps.make_step, graphs=True)
eager: Kind = partial(steps.make_step, graphs=False)


@dataclass(frozen=True)
class Setting:
    """Where and on what the checks are made: a small prepared survey, and perhaps a real one for what is timed.

    With `quick` all sizes are so small that a CPU does them in seconds. `known` holds what was found until then.
    """

    survey: Path
    scratch: Path
    root: Path | None = None
    device: str | None = None
    quick: bool = False
    known: dict[tuple[str, str], object] = field(default_factory=dict, compare=False)

    @property
    def on(self) -> torch.device:
        """The device."""
        return find_device(self.device)

    @property
    def full(self) -> Experiment:
        """The experiment that is timed: the same network with its recipe."""
        return trial.SMALL if self.quick else EXPERIMENT

    @property
    def calm(self) -> Experiment:
        """The experiment that is compared: the best model at rates that keep rounding errors small."""
        return trial.SMALL if self.quick else trial.BEST

    def begin(self) -> bool:
        """Wake the device; say whether it is one of CUDA."""
        torch.zeros(1, device=self.on)
        return self.on.type == "cuda"

    def reset(self) -> None:
        """Bring back what a check may have changed, and give memory back."""
        use_folders(self.survey)
        use_precision("tf32")
        torch.backends.cudnn.benchmark = torch.backends.cudnn.deterministic = False
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def use_real(self) -> None:
        """Read real galaxies from now on, where they were named."""
        if self.root is not None:
            use_folders(self.root)


@functools.lru_cache(maxsize=4)
def examples(setting: Setting, num: int) -> tuple[list[Tensor], Tensor]:
    """Return the views (num, rows, columns, 3) and labels (num, 37) of examples as in training, on the CPU."""
    before = folders.current
    use_folders(setting.survey)
    try:
        views, num_decoded = setting.calm.views, min(num, MOST_DECODED, len(images.ids_of("train")))
        pixels = torch.from_numpy(np.stack([load_pixels(index, "train") for index in range(num_decoded)]))
        draw = views.draw(np.arange(num_decoded), num, 0, 0)
        matrices = views.matrices(draw.indices, "train", draw.perturbations)[:, 0, :, :2].astype(np.float32)
        labels = images.load_labels()[draw.indices]
    finally:
        adopt(before)
    which, of_views = torch.from_numpy(draw.indices), torch.from_numpy(matrices).unbind(1)
    arrays = []
    for size, of_view in zip(views.target_sizes, of_views, strict=True):
        some = zip(which.split(64), of_view.split(64), strict=True)
        arrays.append(torch.cat([device_augmentation.sample(pixels, *each, size) for each in some]))
    device_augmentation.add_colour(arrays, torch.from_numpy(draw.colour).float())
    return arrays, torch.from_numpy(labels)


def batches(setting: Setting, sizes: Sequence[int]) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Yield batches of so many examples on the device."""
    views, labels = examples(setting, sum(sizes))
    for *some, wanted in zip(*(array.split(list(sizes)) for array in (*views, labels)), strict=True):
        yield [view.to(setting.on) for view in some], wanted.to(setting.on)


@functools.lru_cache(maxsize=2)
def _values(setting: Setting) -> list[np.ndarray]:
    """Draw parameters under which no question's answers sum to almost nothing, in training and without dropout.

    By such a sum predictions are divided, and rounding errors with them.
    """
    torch.manual_seed(0)
    network = Network(setting.calm, CPU)
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
    """Return the network of the setting's experiments, with the same parameters on every device."""
    values = _values(setting)
    network = Network(setting.calm, device, precision)
    layers.set_param_values(network.output_layer, values)
    return network


@contextlib.contextmanager
def stepping(kind: Kind) -> Iterator[None]:
    """Have trainers take their steps with a kind of step in the block."""
    before = steps.make_step
    steps.make_step = lambda network, optimizer, normalisation, *_, **__: kind(network, optimizer, normalisation)
    try:
        yield
    finally:
        steps.make_step = before


def random_state(device: torch.device) -> Tensor:
    """Return the state of the generator that draws on a device."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def values_of(network: Network) -> list[Tensor]:
    """Return copies of a network's parameters and state, on the CPU."""
    return [each.detach().cpu().clone() for each in (*network.parameters, *network.state)]


def distance(ours: Sequence[Tensor], theirs: Sequence[Tensor], start: Sequence[Tensor] | None = None) -> float:
    """Return how far tensors, as one vector, are from `theirs`: as a part of its length, or of its way from `start`."""
    way = theirs if start is None else _differences(theirs, start)
    return _length(_differences(ours, theirs)) / max(_length(way), 1e-300)


def _differences(some: Sequence[Tensor], others: Sequence[Tensor]) -> list[Tensor]:
    return [a.double() - b.double() for a, b in zip(some, others, strict=True)]


def _length(tensors: Sequence[Tensor]) -> float:
    return sum(float(each.double().square().sum()) for each in tensors) ** 0.5
