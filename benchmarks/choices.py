"""The value of each choice in Lite0's script: the script with one thing changed.

    python benchmarks/choices.py --root DIR --classes classes.csv --class-means class_mean_votes.csv [CHOICE ...]

Each choice is trained with the same seeds, and validated by one view and by the script's test transforms. Results are
kept in `choices.json`: a run with a result is not repeated.
"""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas
import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from machine.command_line import positive_int, run_script

import backbones
import custom
import layers
import realtime_augmentation as ra
from benchmarks.ensemble_results import class_flags, scorer
from benchmarks.measuring import KeptResults, table
from engine import prediction, training
from engine.checkpoints import Progress
from engine.experiment import Experiment
from engine.options import Options
from galaxy.decision_tree import GALAXY_ZOO_2
from survey.folders import use_folders
from survey.predictions import rmse
from try_finetune_efficientnet_lite0 import EXPERIMENT


class StackLayer(layers.Layer):
    """Concatenates the minibatches of several layers: (batch, ...) each -> (layers * batch, ...)."""

    def get_output_shape(self) -> tuple[int, ...]:
        batch, *rest = self.input_layers[0].get_output_shape()
        return len(self.input_layers) * batch, *rest

    def forward(self, *views: Tensor) -> Tensor:
        return torch.cat(views)


class MeanOverViews(nn.Module):
    """Averages stacked minibatches: (views * batch, features) -> (batch, features)."""

    def __init__(self, num_views: int):
        super().__init__()
        self.num_views = num_views

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(0, (self.num_views, -1)).mean(dim=0)


class GrowingLayer(layers.Layer):
    """Shrinks views (batch, colours, n, n) in training to `size`."""

    size = 96

    def forward(self, x: Tensor) -> Tensor:
        return x

    def forward_dropout(self, x: Tensor) -> Tensor:
        return functional.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)


def grow(run: training.Run) -> None:
    """Let the views of a run grow after each third: 96, 128, all pixels."""
    [layer] = (each for each in layers.all_layers(run.network.output_layer) if isinstance(each, GrowingLayer))
    sizes, num_chunks = (96, 128, layer.get_output_shape()[-1]), run.experiment.num_chunks

    def on_chunk(progress: Progress) -> None:
        layer.size = sizes[min(2, 3 * progress.chunk // num_chunks)]

    run.on_chunk = on_chunk
    on_chunk(run.progress)


@torch.no_grad()
def features_of(run: training.Run, indices: np.ndarray) -> Tensor:
    """Return what the head sees of one view of each labelled galaxy (n, features)."""
    layer = run.network.output_layer.input_layer.input_layer
    with contextlib.closing(run.examples.fixed(indices, "train")) as chunks:
        views = (run.network.inputs([run.network.to_device(view) for view in chunk]) for chunk in chunks)
        return torch.cat([run.network.output_of(layer, each, dropout_active=False) for each in views])


@torch.no_grad()
def fit_head(run: training.Run, num_galaxies: int = 1600) -> None:
    """Initialise the head of a new run by ridge regression of the logarithms of answers on ImageNet's features.

    Answers are fractions of their question, at least 0.02. The ridge is the mean variance of a feature.
    """
    if run.progress.seconds:
        return
    indices, head = run.train_indices[:num_galaxies], run.network.output_layer.input_layer
    features = features_of(run, indices)
    votes = torch.as_tensor(run.labels[indices])
    answers = torch.cat(
        [votes[:, of] / votes[:, of].sum(1, keepdim=True).clamp(min=1e-6) for of in GALAXY_ZOO_2.slices.values()], 1
    )
    targets = answers.clamp(min=0.02).log()
    mean, middle = features.mean(0), targets.mean(0)
    centred = (features - mean).double()
    square = centred.T @ centred
    ridge = square.trace() / len(square) * torch.eye(len(square))
    weights = torch.linalg.solve(square + ridge, centred.T @ (targets - middle).double()).float()
    head.W.copy_(weights)
    head.b.copy_(middle - mean @ weights)


def network(
    batch_size: int,
    pixels: int = 128,
    views: int = 1,
    frozen_blocks: int = 3,
    drop_path: float = 0.0,
    output: Callable[[layers.Layer], layers.Layer] = custom.GalaxyOutputLayer,
    bias: float = 0.0,
    growing: bool = False,
) -> tuple[list[layers.Layer], layers.Layer]:
    """Return the input layers and the output layer of Lite0 with changed numbers."""
    inputs = [layers.Input2DLayer(batch_size, 3, pixels, pixels) for _ in range(views)]
    images = inputs[0] if views == 1 else StackLayer(*inputs)
    features = layers.ModuleLayer(
        GrowingLayer(images) if growing else images,
        backbones.EfficientNetLite("lite0", drop_path),
        output_shape=(views * batch_size, backbones.FEATURES),
        load=partial(backbones.load, variant="lite0", frozen_blocks=frozen_blocks),
    )
    if views > 1:
        features = layers.ModuleLayer(features, MeanOverViews(views), (batch_size, backbones.FEATURES))
    dense = layers.DenseLayer(features, 37, weights_std=0.001, init_bias_value=bias, nonlinearity=layers.identity)
    return inputs, output(dense)


def built(**changes: object) -> Experiment:
    """Return the experiment with another network."""
    return dataclasses.replace(EXPERIMENT, build_network=partial(network, **changes))


def seen(
    crops: Sequence[float] = (200,), pixels: int = 128, rotations: Sequence[float] = (0,), **changes: object
) -> Experiment:
    """Return the experiment with other crops (pixels of 424), sizes and rotations of views, and another network."""
    transforms = [
        ra.build_ds_transform(crop / pixels, target_size=(pixels, pixels))
        + ra.build_augmentation_transform(rotation=rotation)
        for crop in crops
        for rotation in rotations
    ]
    sizes = [(pixels, pixels)] * len(transforms)
    views = dataclasses.replace(EXPERIMENT.views, ds_transforms=transforms, target_sizes=sizes)
    return dataclasses.replace(built(pixels=pixels, views=len(transforms), **changes), views=views)


CHOICES: dict[str, Experiment] = {
    "the script": EXPERIMENT,
    "views of 96 pixels": seen(pixels=96),
    "views of 160 pixels": seen(pixels=160),
    "views of 192 pixels": seen(pixels=192),
    "the middle 256 of 424 pixels": seen([256]),
    "the middle 160 of 424 pixels": seen([160]),
    "two views, one turned by 45 degrees": seen(rotations=(0, 45)),
    "two views, the middle 150 and 300 pixels": seen([150, 300]),
    "sigmoid, the tree left to the network": built(output=custom.SigmoidGalaxyOutputLayer),
    "rectified and divided, as in 2014": built(output=custom.OptimisedDivGalaxyOutputLayer, bias=0.1),
    "nothing frozen": built(frozen_blocks=0),
    "stem and five blocks frozen": built(frozen_blocks=5),
    "drop path, 0.1 at the last block": built(drop_path=0.1),
    "all below the head at a third of the rate": dataclasses.replace(
        EXPERIMENT, make_optimizer=dataclasses.replace(EXPERIMENT.make_optimizer, share=1 / 3)
    ),
    "no average of weights": dataclasses.replace(EXPERIMENT, weight_average=None),
    "no colour noise": dataclasses.replace(
        EXPERIMENT, views=dataclasses.replace(EXPERIMENT.views, colour_std=0.0)
    ),
    "views that grow: 96, 128, 160 pixels": seen(pixels=160, growing=True),
    "a head from a ridge solution": EXPERIMENT,
}  # fmt: skip
# Called before the first step of a run.
PREPARATIONS = {"views that grow: 96, 128, 160 pixels": grow, "a head from a ridge solution": fit_head}
IsRight = Callable[[np.ndarray], np.ndarray]


def resized(experiment: Experiment, name: str, seed: int, num_examples: int) -> Experiment:
    """Return an experiment for so many examples, without validation on the way."""
    changed = dataclasses.replace(experiment, name=name, seed=seed, validate_every=10**6)
    return changed.resized(max(1, round(num_examples / EXPERIMENT.chunk_size)))


def scores(run: training.Run, predictions: np.ndarray, is_right: IsRight, views: str = "") -> dict[str, float]:
    """Return accuracy and RMSE of the validation galaxies; `views` follows their names."""
    error = rmse(predictions, run.labels[run.valid_indices])
    return {f"accuracy{views}": float(is_right(predictions).mean()), f"rmse{views}": float(error)}


def predict_both(run: training.Run) -> tuple[np.ndarray, np.ndarray]:
    """Return a run's predictions (n, 37) of the validation galaxies by one view and by all; delete its checkpoint."""
    one_view = run.predict(run.valid_indices, "train")
    with run.trainer.predicting():
        averaged = prediction.predict(run.network, run.examples, run.valid_indices, "train")
    run.store.clear()
    return one_view, averaged


def measured(choice: str, seed: int, num_examples: int, options: Options, is_right: IsRight) -> dict[str, float | None]:
    """Train a choice; return its scores by one view and by all, and processor seconds of training.

    The seconds are those of this process, without the workers that make views; None for a resumed run.
    """
    name = f"choice_{list(CHOICES).index(choice)}_{seed}"
    run = training.Run.prepare(resized(CHOICES[choice], name, seed, num_examples), options)
    is_new, start = not run.progress.seconds, time.process_time()
    if prepare := PREPARATIONS.get(choice):
        prepare(run)
    run.train()
    seconds = time.process_time() - start if is_new else None
    one_view, averaged = predict_both(run)
    return {"seconds": seconds, **scores(run, one_view, is_right), **scores(run, averaged, is_right, ", all")}


def rows_of(results: pandas.DataFrame, keys: Sequence[str], columns: Sequence[str]) -> list[list[object]]:
    """Return a row for each combination of keys: the number of seeds, and means over them."""
    groups = results.groupby(list(keys), sort=False)
    return [[*key, len(same), *(f"{same[name].mean():.4f}" for name in columns)] for key, same in groups]


def print_choices(results: pandas.DataFrame) -> None:
    """Print a row for each choice."""
    columns = ("accuracy", "rmse", "accuracy, all", "rmse, all")
    minutes = (results["seconds"].astype(float) / 60).groupby(results["choice"], sort=False).mean()
    texts = ["-" if np.isnan(value) else f"{value:.1f}" for value in minutes]
    rows = [[*row, text] for row, text in zip(rows_of(results, ["choice"], columns), texts, strict=True)]
    head = ["choice", "seeds", "accuracy, one view", "RMSE", "accuracy, all views", "RMSE", "minutes"]
    print(table(head, rows))


def main() -> None:
    parser = class_flags(__doc__)
    parser.add_argument("--examples", type=positive_int, default=16000, metavar="N", help="examples of each run")
    parser.add_argument("--seeds", type=positive_int, default=1, metavar="N", help="default: %(default)s")
    parser.add_argument("--num-workers", type=positive_int, default=1, metavar="N")
    parser.add_argument("choices", nargs="*", metavar="CHOICE", help=f"of: {'; '.join(CHOICES)} (default: all)")
    args = parser.parse_args()
    if strangers := sorted(set(args.choices) - set(CHOICES)):
        parser.error(f"expected choices among {'; '.join(CHOICES)}, got {strangers[0]}")
    use_folders(args.root, args.data)
    options = Options(root=args.root, data=args.data, device="cpu", num_workers=args.num_workers)
    results = KeptResults(args.output / "choices.json")
    is_right = scorer(args.classes, args.class_means)
    for seed in range(args.seeds):
        for choice in args.choices or CHOICES:
            key = {"choice": choice, "seed": seed, "examples": args.examples}
            results.add(key, partial(measured, choice, seed, args.examples, options, is_right))
    print_choices(pandas.DataFrame(each for each in results if each["examples"] == args.examples))


if __name__ == "__main__":
    run_script(main)
