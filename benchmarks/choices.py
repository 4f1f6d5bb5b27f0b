"""What each choice in Lite0's script is worth, and how many labels it takes: the script with one thing changed.

    python benchmarks/choices.py --root DIR --classes classes.csv --class-means class_mean_votes.csv --examples 16000
    python benchmarks/choices.py labels --root DIR --classes classes.csv --class-means class_mean_votes.csv

Each run of the first learns from the training galaxies and is validated on the others, by one view and by the script's
test transforms, from the same seeds. Each run of the second sees the same number of examples, drawn from the first 100,
300, ... training galaxies, and starts from ImageNet's weights or from random ones; it is validated by one view.

Results are kept in `choices.json` and `fewer_labels.json` as they come: a run with a result is not repeated.
"""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import backbones
import custom
import layers
import realtime_augmentation as ra
from benchmarks.ensemble_results import class_flags, scorer
from benchmarks.measuring import KeptResults, table
from engine import prediction, training
from engine.experiment import Experiment
from engine.options import Options
from galaxy.decision_tree import SLICES
from machine.command_line import positive_int, run_script
from survey import images
from survey.folders import use_folders
from survey.predictions import rmse
from try_finetune_efficientnet_lite0 import EXPERIMENT


class StackLayer(layers.Layer):
    """Lays the minibatches of several layers one after another: (batch, ...) each -> (layers * batch, ...)."""

    def get_output_shape(self) -> tuple[int, ...]:
        batch, *rest = self.input_layers[0].get_output_shape()
        return len(self.input_layers) * batch, *rest

    def forward(self, *views: Tensor) -> Tensor:
        return torch.cat(views)


class MeanOverViewsLayer(layers.Layer):
    """Averages what was stacked: (views * batch, features) -> (batch, features)."""

    def __init__(self, input_layer: layers.Layer, num_views: int):
        super().__init__(input_layer)
        self.num_views = num_views

    def get_output_shape(self) -> tuple[int, ...]:
        rows, *rest = self.input_layer.get_output_shape()
        return rows // self.num_views, *rest

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(0, (self.num_views, -1)).mean(dim=0)


class GrowingLayer(layers.Layer):
    """Shrinks views in the first thirds of a run, so that they grow to their own size: (batch, colours, n, n)."""

    def __init__(self, input_layer: layers.Layer, sizes: Sequence[int] = (96, 128)):
        super().__init__(input_layer)
        self.sizes, self.size = (*sizes, input_layer.get_output_shape()[-1]), sizes[0]

    def get_output_shape(self) -> tuple[int, ...]:
        return self.input_layer.get_output_shape()

    def forward(self, x: Tensor) -> Tensor:
        return x

    def forward_dropout(self, x: Tensor) -> Tensor:
        return functional.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)

    def grow(self, chunk: int, num_chunks: int) -> None:
        """Take the size of the third of a run that the next chunk lies in."""
        self.size = self.sizes[min(len(self.sizes) - 1, len(self.sizes) * chunk // num_chunks)]


def grow(run: training.Run) -> None:
    """Have a run's views grow from chunk to chunk."""
    [layer] = (each for each in layers.all_layers(run.network.output_layer) if isinstance(each, GrowingLayer))
    run.on_chunk = lambda progress: layer.grow(progress.chunk, run.experiment.num_chunks)
    run.on_chunk(run.progress)


@torch.no_grad()
def fit_head(run: training.Run, num_galaxies: int = 1600) -> None:
    """Begin a run with a head that was fitted to ImageNet's features: ridge regression on the logarithms of answers.

    Each answer is taken among those of its question, and is 0.02 at least; the ridge is the mean variance of a feature.
    """
    if run.progress.seconds:
        return
    indices, head = run.train_indices[:num_galaxies], run.network.output_layer.input_layer
    with contextlib.closing(run.examples.fixed(indices, "train")) as chunks:
        views = (run.network.inputs([run.network.to_device(view) for view in chunk]) for chunk in chunks)
        features = torch.cat([run.network.output_of(head.input_layer, each, dropout_active=False) for each in views])
    votes = torch.as_tensor(run.labels[indices])
    answers = torch.cat([votes[:, of] / votes[:, of].sum(1, keepdim=True).clamp(min=1e-6) for of in SLICES.values()], 1)
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
    """Return the input layers and the output layer of Lite0 with other numbers than the script's."""
    inputs = [layers.Input2DLayer(batch_size, 3, pixels, pixels) for _ in range(views)]
    images = inputs[0] if views == 1 else StackLayer(*inputs)
    features = layers.ModuleLayer(
        GrowingLayer(images) if growing else images,
        backbones.EfficientNetLite("lite0", drop_path),
        output_shape=(views * batch_size, backbones.FEATURES),
        load=partial(backbones.load, variant="lite0", frozen_blocks=frozen_blocks),
    )
    if views > 1:
        features = MeanOverViewsLayer(features, views)
    dense = layers.DenseLayer(features, 37, weights_std=0.001, init_bias_value=bias, nonlinearity=layers.identity)
    return inputs, output(dense)


def built(**changes: object) -> Experiment:
    """Return the script with another network."""
    return dataclasses.replace(EXPERIMENT, build_network=partial(network, **changes))


def seen(
    crops: Sequence[float] = (200,), pixels: int = 128, rotations: Sequence[float] = (0,), **changes: object
) -> Experiment:
    """Return the script with views of other crops (pixels of 424), of other numbers of pixels, with another network."""
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
# What becomes of a run before its first step.
PREPARATIONS: dict[str, Callable[[training.Run], None]] = {
    "views that grow: 96, 128, 160 pixels": grow,
    "a head from a ridge solution": fit_head,
}


def measured(
    choice: str, seed: int, num_examples: int, options: Options, is_right: Callable[[np.ndarray], np.ndarray]
) -> dict[str, float | None]:
    """Return accuracy and RMSE of the validation galaxies by one view and by all, and processor seconds of training.

    The seconds are those of this process, whose workers make the views; None of a run that went on from a checkpoint.
    """
    experiment = dataclasses.replace(
        CHOICES[choice], name=f"choice_{list(CHOICES).index(choice)}_{seed}", seed=seed, validate_every=10**6
    ).resized(max(1, round(num_examples / EXPERIMENT.chunk_size)))
    run = training.Run.prepare(experiment, options)
    is_new, start = not run.progress.seconds, time.process_time()
    if prepare := PREPARATIONS.get(choice):
        prepare(run)
    run.train()
    seconds = time.process_time() - start if is_new else None
    one_view = run.predict(run.valid_indices, "train")
    with run.trainer.predicting():
        averaged = prediction.predict(run.network, run.examples, run.valid_indices, "train")
    run.store.clear()
    found: dict[str, float | None] = {"seconds": seconds}
    for name, each in (("", one_view), (", all", averaged)):
        found[f"accuracy{name}"] = float(is_right(each).mean())
        found[f"rmse{name}"] = float(rmse(each, run.labels[run.valid_indices]))
    return found


def rows_of(results: Sequence[dict]) -> list[list[object]]:
    """Return a row for each choice: the mean over seeds."""
    rows = []
    for choice in dict.fromkeys(each["choice"] for each in results):
        same = [each for each in results if each["choice"] == choice]
        means = [np.mean([each[name] for each in same]) for name in ("accuracy", "rmse", "accuracy, all", "rmse, all")]
        seconds = [each["seconds"] for each in same if each["seconds"] is not None]
        minutes = f"{np.mean(seconds) / 60:.1f}" if seconds else "-"
        rows.append([choice, len(same), *(f"{mean:.4f}" for mean in means), minutes])
    return rows


STARTS = {"2014": "fine-tuned", "random": "from scratch"}


def split_of(num_galaxies: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the first galaxies for training, and of all validation galaxies."""
    train, valid = images.split(len(images.load_labels()))
    return train[:num_galaxies], valid


def learn(num_galaxies: int, start: str, seed: int, num_examples: int, options: Options) -> np.ndarray:
    """Return predictions (n, 37) of the validation galaxies after a run."""
    experiment = dataclasses.replace(
        EXPERIMENT, name=f"fewer_labels_{num_galaxies}_{start}_{seed}", seed=seed, validate_every=10**6
    ).resized(max(1, round(num_examples / EXPERIMENT.chunk_size)))
    options = dataclasses.replace(options, initialisation=start)
    run = training.Run.prepare(experiment, options, split=split_of(num_galaxies))
    run.train()
    run.store.clear()
    return run.predict(run.valid_indices, "train")


def rows_of_labels(results: Sequence[dict]) -> list[list[object]]:
    """Return a row for each number of labels and start: the mean over seeds."""
    rows = []
    for number in sorted({each["labels"] for each in results}):
        for start, words in STARTS.items():
            same = [each for each in results if each["labels"] == number and each["start"] == start]
            if same:
                accuracy, error = (np.mean([each[name] for each in same]) for name in ("accuracy", "rmse"))
                rows.append([number, words, len(same), f"{accuracy:.4f}", f"{error:.4f}"])
    return rows


def draw_labels(results: Sequence[dict]) -> Figure:
    """Draw accuracy and RMSE over the number of labels."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    for ax, name in zip(figure.subplots(1, 2), ("accuracy", "rmse"), strict=True):
        for start, words in STARTS.items():
            of_start = [each for each in results if each["start"] == start]
            numbers = sorted({each["labels"] for each in of_start})
            means = [np.mean([each[name] for each in of_start if each["labels"] == number]) for number in numbers]
            [line] = ax.plot(numbers, means, marker="o", markersize=4, label=words)
            ax.plot(
                [e["labels"] for e in of_start], [e[name] for e in of_start], ".", color=line.get_color(), alpha=0.4
            )
        ax.set(xscale="log", xlabel="labelled galaxies", ylabel=name.replace("rmse", "RMSE"))
        everywhere = sorted({each["labels"] for each in results})
        ax.set_xticks(everywhere, [f"{number:,}" for number in everywhere], minor=False)
        ax.minorticks_off()
        ax.legend(frameon=False)
    return figure


def main_of_labels() -> None:
    """Measure how many labels it takes."""
    parser = class_flags(__doc__)
    parser.add_argument("--labels", type=positive_int, nargs="+", default=[100, 300, 1000, 3600], metavar="N")
    parser.add_argument("--examples", type=positive_int, default=16000, metavar="N", help="that each run sees")
    parser.add_argument("--seeds", type=positive_int, default=3, metavar="N")
    parser.add_argument("--num-workers", type=positive_int, default=1, metavar="N")
    args = parser.parse_args()
    use_folders(args.root, args.data)
    results = KeptResults(args.output / "fewer_labels.json")
    options = Options(root=args.root, data=args.data, device="cpu", num_workers=args.num_workers)
    is_right = scorer(args.classes, args.class_means)
    labels = images.load_labels()
    _, valid = images.split(len(labels))

    def scores(num_labels: int, start: str, seed: int) -> dict[str, float]:
        predictions = learn(num_labels, start, seed, args.examples, options)
        return {"accuracy": float(is_right(predictions).mean()), "rmse": float(rmse(predictions, labels[valid]))}

    for seed in range(args.seeds):
        for num_labels in args.labels:
            for start in STARTS:
                key = {"labels": num_labels, "start": start, "seed": seed, "examples": args.examples}
                results.add(key, partial(scores, num_labels, start, seed))
    print(table(["labels", "", "seeds", "accuracy", "RMSE"], rows_of_labels(results)))
    figure = results.path.with_suffix(".png")
    draw_labels(results).savefig(figure, dpi=90)
    print(f"wrote {results.path}, {figure}")


def main() -> None:
    if "labels" in sys.argv[1:2]:
        del sys.argv[1]
        return main_of_labels()
    parser = class_flags(__doc__)
    parser.add_argument("--examples", type=positive_int, default=16000, metavar="N", help="that each run sees")
    parser.add_argument("--seeds", type=positive_int, default=1, metavar="N")
    parser.add_argument("--num-workers", type=positive_int, default=1, metavar="N")
    parser.add_argument("choices", nargs="*", metavar="CHOICE", help=f"of: {'; '.join(CHOICES)} (default: all)")
    args = parser.parse_args()
    if strangers := sorted(set(args.choices) - set(CHOICES)):
        parser.error(f"expected choices among {'; '.join(CHOICES)}, got {strangers[0]}")
    use_folders(args.root, args.data)
    results = KeptResults(args.output / "choices.json")
    options = Options(root=args.root, data=args.data, device="cpu", num_workers=args.num_workers)
    is_right = scorer(args.classes, args.class_means)
    for seed in range(args.seeds):
        for choice in args.choices or CHOICES:
            key = {"choice": choice, "seed": seed, "examples": args.examples}
            results.add(key, partial(measured, choice, seed, args.examples, options, is_right))
    told = [each for each in results if each["examples"] == args.examples]
    head = ["choice", "seeds", "accuracy, one view", "RMSE", "accuracy, all views", "RMSE", "minutes"]
    print(table(head, rows_of(told)))


if __name__ == "__main__":
    run_script(main)
