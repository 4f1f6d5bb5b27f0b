"""Training and eight-view prediction of EfficientNet-Lite0, beside a plain PyTorch loop with the same network.

    python benchmarks/bench_finetuning.py [--root DIR]

1. Images a second of training: ours, from JPEGs and from the decoded cache, against a `DataLoader` with one or two
   workers on OpenCV and the eager network.
2. Galaxies a second of prediction under eight transforms: ours, exact and in bfloat16 where the processor has it.
3. The memory that each takes at its peak, workers included.

Each runs in a process of its own, in turns. Weights are random, which costs what published ones do. Without `--root`,
simulated galaxies are used.
"""

import dataclasses
import itertools
import math
import multiprocessing
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure
from skimage.transform import AffineTransform
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import backbones
import custom
import layers
from benchmarks import measuring, peers
from benchmarks.peers import Work, prepared
from engine import prediction, training
from engine.checkpoints import Progress
from engine.examples import Examples
from engine.experiment import Experiment
from engine.network import Network, fastest_precision, find_device
from engine.options import Options
from engine.steps import Trainer
from galaxy.affine import build_flip_transform, random_perturbation_transform
from survey import decoded_cache, images
from survey.draws import colour_channel_weights
from try_finetune_efficientnet_lite0 import EXPERIMENT

# As the script has it.
FROZEN_BLOCKS = 3
EIGHT = [build_flip_transform(1.0, 45 * turn, flip=turn % 2 == 0) for turn in range(8)]


class PlainConvNorm(backbones.ConvNorm):
    """A convolution, then its norm, in training and in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(self.pad(x)))


class PlainNetwork(nn.Module):
    """EfficientNet-Lite below a linear layer and a softmax a question; its first blocks do not learn."""

    def __init__(self, variant: str, frozen_blocks: int):
        super().__init__()
        self.backbone = backbones.EfficientNetLite(variant)
        for each in self.backbone.modules():
            if isinstance(each, backbones.ConvNorm):
                each.__class__ = PlainConvNorm
        self.backbone.freeze(frozen_blocks)
        self.linear = nn.Linear(backbones.FEATURES, 37)
        # What turns 37 activations into predictions holds no parameters: it is ours.
        answers = layers.DenseLayer(layers.Input2DLayer(1, 1, 1, 1), 37, 0.01, 0.1)
        self.tree = [custom.GalaxyOutputLayer(answers)]

    def forward(self, images: Tensor) -> Tensor:
        return self.tree[0](self.linear(self.backbone(images)))


class Galaxies(Dataset):
    """Galaxies read and warped by OpenCV, at random or under given transforms, one view an item."""

    def __init__(self, experiment: Experiment, paths: Sequence[Path], transforms: Sequence[AffineTransform] | None):
        self.recipe, self.paths, self.transforms = experiment.views, paths, transforms
        self.labels = images.load_labels()

    def __len__(self) -> int:
        return len(self.paths) * (1 if self.transforms is None else len(self.transforms))

    def __getitem__(self, item: int) -> tuple[np.ndarray, np.ndarray]:
        number, which = divmod(item, 1 if self.transforms is None else len(self.transforms))
        image = cv2.cvtColor(cv2.imread(str(self.paths[number])), cv2.COLOR_BGR2RGB).astype(np.float32) / 255
        if self.transforms is None:
            tform = random_perturbation_transform(**self.recipe.perturbations)
            noise = np.float32(np.random.default_rng().normal(0, self.recipe.colour_std)) * colour_channel_weights
        else:
            tform, noise = self.transforms[which], np.float32(0)
        [ds_transform], [(rows, columns)] = self.recipe.ds_transforms, self.recipe.target_sizes
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        matrix = (ds_transform + tform).params[:2]
        view = cv2.warpAffine(image, matrix, (columns, rows), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
        return np.clip(view + noise, 0, 1).transpose(2, 0, 1), self.labels[number]


def loader(
    experiment: Experiment, paths: Sequence[Path], batch_size: int, num_workers: int, transforms: Sequence | None = None
) -> DataLoader:
    """Return a DataLoader of views (n, 3, rows, columns) and labels (n, 37)."""
    galaxies = Galaxies(experiment, paths, transforms)
    return DataLoader(galaxies, batch_size, shuffle=transforms is None, num_workers=num_workers)


class PlainTraining:
    """Steps of AdamW on a plain network, and the average of its weights."""

    def __init__(self, experiment: Experiment, network: PlainNetwork, decay: float):
        self.network = network.train()
        rule = experiment.make_optimizer
        self.optimizer = torch.optim.AdamW(network.parameters(), 1e-4, rule.betas, weight_decay=rule.weight_decay)
        self.average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=False)

    def take(self, batches: Iterator[tuple[Tensor, Tensor]]) -> float:
        """Take a step for each batch; return the root of the mean error."""
        total, number = 0.0, 0
        for views, labels in batches:
            self.optimizer.zero_grad()
            error = functional.mse_loss(self.network(views), labels)
            error.backward()
            self.optimizer.step()
            self.average.update_parameters(self.network)
            total, number = total + error.item(), number + 1
        return math.sqrt(total / number)


def eight_views(experiment: Experiment = EXPERIMENT) -> Experiment:
    """Return the experiment with eight transforms in prediction."""
    return dataclasses.replace(experiment, test_transforms=EIGHT)


def train_ours(work: Work, steps: int) -> Callable[[], float]:
    """Return what trains one chunk of ours, the next being made meanwhile."""
    work.paths()
    experiment = dataclasses.replace(EXPERIMENT, chunk_size=steps * EXPERIMENT.batch_size, num_chunks=10**6)
    network = Network(experiment, find_device("cpu"))
    layers.reset_without_loading(network.output_layer)
    for each in layers.all_layers(network.output_layer):
        if isinstance(each, layers.ModuleLayer):
            each.module.freeze(FROZEN_BLOCKS)
    trainer = Trainer(experiment, network)
    indices, _ = images.split(len(images.ids_of("train")))
    chunks = Examples(experiment, Options(device="cpu", num_workers=1), network.device).training(0, indices)

    def run() -> float:
        views, labels = next(chunks)
        progress = Progress()
        training.train_chunk(trainer, views, labels, progress)
        return sum(training.read_errors(progress.errors)) / len(labels)

    return run


def train_plain(work: Work, steps: int, num_workers: int) -> Callable[[], float]:
    """Return what trains the plain network for so many steps."""
    paths = work.paths()
    plain = PlainTraining(EXPERIMENT, PlainNetwork("lite0", FROZEN_BLOCKS), EXPERIMENT.weight_average)
    batches = _forever(lambda: loader(EXPERIMENT, paths, EXPERIMENT.batch_size, num_workers))
    return lambda: plain.take(itertools.islice(batches, steps))


def _forever(make: Callable[[], Iterator]) -> Iterator:
    while True:
        yield from make()


def predict_ours(work: Work, galaxies: int, precision: str) -> Callable[[], np.ndarray]:
    """Return what predicts so many galaxies under eight transforms."""
    work.paths()
    experiment = eight_views()
    torch.manual_seed(0)
    network = Network(experiment, find_device("cpu"), precision)
    layers.reset_without_loading(network.output_layer)
    examples = Examples(experiment, Options(device="cpu", num_workers=1, chunk_size=256), network.device)
    return lambda: prediction.predict(network, examples, np.arange(galaxies), "train")


def predict_plain(work: Work, galaxies: int, num_workers: int) -> Callable[[], torch.Tensor]:
    """Return what predicts with the plain network, a view an item."""
    paths = work.paths()[:galaxies]
    network = PlainNetwork("lite0", FROZEN_BLOCKS).eval()

    @torch.inference_mode()
    def run() -> torch.Tensor:
        batches = loader(EXPERIMENT, paths, 64, num_workers, EIGHT)
        return torch.cat([network(views) for views, _ in batches]).unflatten(0, (-1, 8)).mean(dim=1)

    return run


def builds(
    work: Work, cached: Work, steps: int, galaxies: int
) -> tuple[dict[str, peers.Build], dict[str, peers.Build]]:
    """Return what is timed of training and of prediction, the plain ones first."""
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


def _megabytes(build: peers.Build) -> tuple[float, float]:
    run = build()
    run()
    run()
    peaks = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return tuple(peaks)


def megabytes(build: peers.Build) -> float:
    """Return what a process that does two rounds holds at its peak, what it shares with its workers counted once."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        return executor.submit(_megabytes, build).result()[0]


def rows_of(timings: dict[str, measuring.Timing], memory: dict[str, float]) -> list[list[object]]:
    """Return the rows of a table, the quicker of the two plain loops being the measure."""
    plain = min(each.median for name, each in timings.items() if name.startswith("plain"))
    return [
        [name, each, f"{1 / each.median:.1f}", f"{plain / each.median:.2f}", f"{memory[name]:.0f} MB"]
        for name, each in timings.items()
    ]


def draw_figure(timings: dict[str, dict[str, measuring.Timing]]) -> Figure:
    """Draw what is faster."""
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    for ax, (name, unit) in zip(
        figure.subplots(1, 2), (("training", "images"), ("prediction", "galaxies")), strict=True
    ):
        ax.barh(list(timings[name]), [1 / each.median for each in timings[name].values()], color="#4c72b0")
        ax.set(xlabel=f"{unit} a second", title=name)
        ax.invert_yaxis()
    return figure


def main() -> None:
    flags = measuring.parser(__doc__)
    flags.add_argument("--root", type=Path, metavar="DIR", help="prepared real galaxies (default: simulated ones)")
    options = flags.parse_args()
    steps, galaxies = (1, 2) if options.quick else (8, 32)
    threads = options.threads or torch.get_num_threads()
    described = measuring.print_environment()
    results = {"environment": described}
    with prepared(options.root, 40 if options.quick else 600) as folders, tempfile.TemporaryDirectory() as ram:
        work = Work(dataclasses.replace(folders, ram=Path(ram) / "none"), min(600, len(images.ids_of("train"))))
        cached = dataclasses.replace(work, folders=dataclasses.replace(folders, ram=Path(ram)))
        cached.paths()
        decoded_cache.build("train")
        train, predict = builds(work, cached, steps, galaxies)
        for title, each, items in (
            ("training", train, steps * EXPERIMENT.batch_size),
            ("prediction", predict, galaxies),
        ):
            results[title] = peers.in_turns(each, items, options.repeats, threads)
            results[f"{title}, MB"] = {name: megabytes(build) for name, build in each.items()}
            unit = "an image" if title == "training" else "a galaxy"
            rows = rows_of(results[title], results[f"{title}, MB"])
            print(measuring.table([title, unit, "a second", "times plain", "memory"], rows), "\n")
    measuring.save(options.output, "finetuning", results, draw_figure(results))


if __name__ == "__main__":
    main()
