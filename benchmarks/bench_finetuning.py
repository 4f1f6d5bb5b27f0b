"""Training and eight-view prediction of EfficientNet-Lite0, beside a plain PyTorch loop with the same network.

    python benchmarks/bench_finetuning.py [--root DIR]

1. Images per second of training: ours, from JPEGs and from the decoded cache, against a `DataLoader` with one or two
   workers on OpenCV and the eager network.
2. Galaxies per second of prediction under eight transforms: ours, exact, and in bfloat16 if the processor has it.
3. Peak memory of each, with its workers.

Each peer runs in a process of its own, in turns. Weights are random, which costs the same as published ones. Without
`--root`, simulated galaxies are used.
"""

import dataclasses
import itertools
import math
import multiprocessing
import resource
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure
from skimage.transform import ProjectiveTransform
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import backbones
import custom
import layers
from benchmarks import bench_training, measuring, peers
from benchmarks.peers import Work, repeated, with_and_without_cache
from doc import plain_pytorch
from engine import prediction
from engine.examples import Examples
from engine.experiment import Experiment
from engine.network import Network, fastest_precision, find_device
from engine.options import Options
from galaxy.affine import build_flip_transform
from survey import images
from try_finetune_efficientnet_lite0 import EXPERIMENT

# As in the script.
FROZEN_BLOCKS = 3
EIGHT = [build_flip_transform(1.0, 45 * turn, flip=turn % 2 == 0) for turn in range(8)]


class PlainConvNorm(backbones.ConvNorm):
    """A convolution, then its norm, in training and in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(self.pad(x)))


class PlainNetwork(nn.Module):
    """EfficientNet-Lite, a linear layer and a softmax for each question; the first blocks do not learn."""

    def __init__(self, variant: str, frozen_blocks: int):
        super().__init__()
        self.backbone = backbones.EfficientNetLite(variant)
        for each in self.backbone.modules():
            if isinstance(each, backbones.ConvNorm):
                each.__class__ = PlainConvNorm
        self.backbone.freeze(frozen_blocks)
        self.linear = nn.Linear(backbones.FEATURES, 37)
        # Our output layer turns 37 activations into predictions; it has no parameters.
        answers = layers.DenseLayer(layers.Input2DLayer(1, 1, 1, 1), 37, 0.01, 0.1)
        self.tree = [custom.GalaxyOutputLayer(answers)]

    def forward(self, images: Tensor) -> Tensor:
        return self.tree[0](self.linear(self.backbone(images)))


class Galaxies(plain_pytorch.Galaxies):
    """Galaxies read and warped by OpenCV."""

    def read(self, path: Path) -> np.ndarray:
        return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB).astype(np.float32) / 255

    def warp(self, image: np.ndarray, tform: ProjectiveTransform, size: tuple[int, int]) -> np.ndarray:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(image, tform.params[:2], size[::-1], flags=flags, borderMode=cv2.BORDER_REFLECT_101)


class PlainTraining:
    """Training of a plain network with AdamW, and the average of its weights."""

    def __init__(self, experiment: Experiment, network: PlainNetwork, decay: float):
        self.network = network.train()
        rule = experiment.make_optimizer
        self.optimizer = torch.optim.AdamW(network.parameters(), 1e-4, rule.betas, weight_decay=rule.weight_decay)
        self.average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=False)

    def take(self, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
        """Take a step for each batch; return the root of the mean error."""
        errors = []
        for views, labels in batches:
            self.optimizer.zero_grad()
            error = functional.mse_loss(self.network(views), labels)
            error.backward()
            self.optimizer.step()
            self.average.update_parameters(self.network)
            errors.append(error.item())
        return math.sqrt(np.mean(errors))


def reset(output_layer: layers.Layer) -> None:
    """Draw random weights, and freeze the blocks that do not learn."""
    layers.reset_without_loading(output_layer)
    for each in layers.all_layers(output_layer):
        if isinstance(each, layers.ModuleLayer):
            each.module.freeze(FROZEN_BLOCKS)


def train_ours(work: Work, steps: int) -> Callable[[], float]:
    """Return a round that trains one chunk of ours while the next one is made."""
    work.paths()
    experiment = dataclasses.replace(EXPERIMENT, chunk_size=steps * EXPERIMENT.batch_size, num_chunks=10**6)
    chunks = bench_training.train(experiment, Options(device="cpu", num_workers=1), reset)
    return lambda: next(chunks)


def train_plain(work: Work, steps: int, num_workers: int) -> Callable[[], float]:
    """Return a round of so many steps of the plain network."""
    galaxies = Galaxies(EXPERIMENT.views, work.paths(), images.load_labels())
    plain = PlainTraining(EXPERIMENT, PlainNetwork("lite0", FROZEN_BLOCKS), EXPERIMENT.weight_average)
    batches = repeated(lambda: plain_pytorch.loader(galaxies, EXPERIMENT.batch_size, num_workers))
    return lambda: plain.take(itertools.islice(batches, steps))


def predict_ours(work: Work, galaxies: int, precision: str) -> Callable[[], np.ndarray]:
    """Return a round that predicts so many galaxies under eight transforms."""
    work.paths()
    experiment = dataclasses.replace(EXPERIMENT, test_transforms=EIGHT)
    torch.manual_seed(0)
    network = Network(experiment, find_device("cpu"), precision)
    layers.reset_without_loading(network.output_layer)
    examples = Examples(experiment, Options(device="cpu", num_workers=1, chunk_size=256), network.device)
    return lambda: prediction.predict(network, examples, np.arange(galaxies), "train")


def predict_plain(work: Work, num_galaxies: int, num_workers: int) -> Callable[[], torch.Tensor]:
    """Return a round that predicts with the plain network, one view per item."""
    galaxies = Galaxies(EXPERIMENT.views, work.paths()[:num_galaxies], images.load_labels(), EIGHT)
    network = PlainNetwork("lite0", FROZEN_BLOCKS).eval()

    @torch.inference_mode()
    def run() -> torch.Tensor:
        batches = plain_pytorch.loader(galaxies, 64, num_workers)
        return torch.cat([network(views) for views, _ in batches]).unflatten(0, (-1, 8)).mean(dim=1)

    return run


def builds(
    work: Work, cached: Work, steps: int, galaxies: int
) -> tuple[dict[str, peers.Build], dict[str, peers.Build]]:
    """Return the peers of training and those of prediction, the plain ones first."""
    train = {f"plain, {n} worker{'s'[: n - 1]}": partial(train_plain, work, steps, n) for n in (1, 2)}
    train |= {
        "ours, from JPEGs": partial(train_ours, work, steps),
        "ours, from the cache": partial(train_ours, cached, steps),
    }
    predict = {f"plain, {n} worker{'s'[: n - 1]}": partial(predict_plain, work, galaxies, n) for n in (1, 2)}
    predict |= {
        "ours, from JPEGs": partial(predict_ours, work, galaxies, "float32"),
        "ours, from the cache": partial(predict_ours, cached, galaxies, "float32"),
    }
    if fastest_precision(find_device("cpu")) == "bf16":
        predict["ours, from JPEGs, bfloat16"] = partial(predict_ours, work, galaxies, "bf16")
    return train, predict


def _megabytes(build: peers.Build) -> float:
    run = build()
    run(), run()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def megabytes(build: peers.Build) -> float:
    """Return the peak memory of a process that does two rounds, MB; memory shared with its workers counts once."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        return executor.submit(_megabytes, build).result()


def main() -> None:
    options = measuring.parser(__doc__, survey=True).parse_args()
    steps, galaxies = (1, 2) if options.quick else (8, 32)
    threads = options.threads or torch.get_num_threads()
    results = {"environment": measuring.print_environment()}
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    with with_and_without_cache(options.root, 40 if options.quick else 600) as works:
        train, predict = builds(*works, steps, galaxies)
        for ax, title, each, num_items, item, items in zip(
            figure.subplots(1, 2), ("training", "prediction"), (train, predict),
            (steps * EXPERIMENT.batch_size, galaxies), ("image", "galaxy"), ("images", "galaxies"), strict=True,
        ):  # fmt: skip
            timings = results[title] = peers.in_turns(each, num_items, options.repeats, threads)
            memory = results[f"{title}, MB"] = {name: megabytes(build) for name, build in each.items()}
            reference = min(timing.median for name, timing in timings.items() if name.startswith("plain"))
            texts = {name: f"{value:.0f} MB" for name, value in memory.items()}
            print(measuring.rates(title, item, timings, reference, memory=texts), "\n")
            measuring.draw_rates(ax, title, items, timings)
    measuring.save(options.output, "finetuning", results, figure)


if __name__ == "__main__":
    main()
