"""Predictions of a trained experiment, averaged over its test transforms.

2014 predicted each galaxy at three sizes, ten angles and mirrored. The mean of these predictions is better than any of
them.

Source: documentation of 2014, 2.4.1 and 3.3.2.
"""

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from machine.command_line import hms, run_script

import numpy as np
import torch

import layers
from engine.description import checksum, describe
from engine.device_augmentation import IMAGES_A_PIECE
from engine.examples import Examples
from engine.experiment import Experiment
from engine.network import Network, fastest_precision, find_device, load_network
from engine.options import Options, explain_out_of_memory, named, prediction_parser
from engine.part_sharing import PartSharing
from engine.prediction_shards import PredictionStore, Shard, merge, partial_path, shard_path
from machine import products, seals
from machine.arrays import read_seal, save_gz
from machine.locks import alone
from machine.products import Product
from machine.progress import showing
from survey import folders, folds, images
from survey.folders import SUBSETS
from survey.predictions import describe_lost, rmse
from survey.survey_tree import read_tree
from survey.views import Views

# Bytes of the views in one batch; activations take about forty times as much memory.
_BUDGET = {"cpu": 7e6}
_BUDGET_ELSEWHERE = 28e6


def images_a_batch(views: Views, num_transforms: int, device: torch.device) -> int:
    """Return the number of images in one batch of views, at least 1."""
    num_bytes = 4 * num_transforms * sum(int(np.prod(shape)) for shape in views.shapes)
    return max(1, int(_BUDGET.get(device.type, _BUDGET_ELSEWHERE) // num_bytes))


def images_a_chunk(sharing: PartSharing, examples: Examples) -> int:
    """Return the number of images in a chunk: the same on any device, so that shards fit together."""
    chunk_size = examples.options.chunk_size or examples.experiment.chunk_size
    return min(max(1, chunk_size // len(sharing.representatives)), IMAGES_A_PIECE)


def predict(network: Network, examples: Examples, indices: np.ndarray, subset: str) -> np.ndarray:
    """Return predictions (n, answers) float32 of images of 'train' or 'test', averaged over the test transforms."""
    sharing = PartSharing(network, examples.experiment.views, examples.experiment.test_transforms)
    return predict_with(sharing, examples, indices, subset)


def predict_with(
    sharing: PartSharing, examples: Examples, indices: np.ndarray, subset: str, store: PredictionStore | None = None
) -> np.ndarray:
    """Predict as `predict`; resume from the rows in `store` and save all rows to it after each chunk."""
    views, transforms = examples.experiment.views, sharing.representatives
    batch = images_a_batch(views, len(transforms), sharing.network.device)
    chunk_size = images_a_chunk(sharing, examples) * len(transforms)
    rows = np.empty((0, examples.experiment.tree.num_answers), np.float32) if store is None else store.restore()
    chunks = examples.fixed(indices[len(rows) :], subset, transforms, chunk_size)
    with (
        contextlib.closing(chunks),
        showing(total=len(indices), initial=len(rows), desc=subset, unit="galaxy") as bar,
    ):
        for chunk in chunks:
            predictions = sharing.predict(chunk, batch)
            rows = np.concatenate([rows, predictions])
            bar.update(len(predictions))
            if store:
                store.save(rows)
    return rows


def identity(experiment: Experiment, network: Network, indices: np.ndarray, subset: str) -> str:
    """Return a checksum of what predictions depend on: parameters, experiment, images, places of galaxies in them."""
    ids, places = images.ids_of(subset)[indices], experiment.views.places(indices, subset)
    description = json.dumps(describe(experiment, network.output_layer)).encode()
    values = layers.get_param_values(network.output_layer)
    return checksum(description, ids, network.precision.encode(), places, *values)


@dataclasses.dataclass(frozen=True)
class Work:
    """Galaxies to predict: `indices` (n,), the validation galaxies of 'train' or all galaxies of 'test'.

    `good` are the indices without bad images; `identity` is a checksum of what their predictions depend on; `product`
    is the file of the predictions of all n.
    """

    subset: str
    indices: np.ndarray
    good: np.ndarray
    identity: str
    product: Path

    @property
    def source(self) -> str:
        """The source of the product's seal."""
        return seals.source_of(self.identity)

    def announce(self) -> None:
        """Print a line if the product exists from another training or other images."""
        products.announce([Product(self.product, self.source)])


class Prediction:
    """An experiment's predictions of the validation galaxies and of the test galaxies, whole or in shards."""

    def __init__(self, experiment: Experiment, options: Options):
        """Load the network, check all images, find shared parts; raises DataError."""
        device = find_device(options.device)
        precision = fastest_precision(device) if options.precision == "auto" else options.precision
        experiment = experiment.answering(read_tree(folders.current))
        network = load_network(experiment, device, precision)
        self.examples = Examples(experiment, options, device)
        self.sharing = PartSharing(network, experiment.views, experiment.test_transforms)
        self.images_a_chunk = images_a_chunk(self.sharing, self.examples)
        self.labels = images.load_labels()
        _, valid = images.split(len(self.labels))
        if options.fold:
            valid = folds.predicted(options.fold)
        galaxies = {"train": valid, "test": np.arange(len(images.ids_of("test")))}
        self.works = []
        for subset, product in _predictions_of(experiment.name, options):
            indices = galaxies[subset]
            good = self.examples.good(indices, subset)
            key = identity(experiment, network, good, subset)
            self.works.append(Work(subset, indices, good, key, product))

    def whole(self) -> None:
        """Predict all galaxies."""
        for work in self.works:
            start = time.monotonic()
            work.announce()
            with self._rows(work, work.good, work.product, work.identity) as rows:
                self._finish(work, rows, start)

    def shard(self, shard_index: int, num_shards: int) -> None:
        """Predict the galaxies of one shard, unless its file exists already."""
        for work in self.works:
            [shard] = self._shards(work, num_shards, [shard_index])
            path = shard.path(work.product)
            if shard.is_made(work.product):
                print(f"{path} exists already")
                partial_path(path).unlink(missing_ok=True)  # a kill came just before its removal
                continue
            with self._rows(work, work.good[shard.first : shard.stop], path, shard.key) as rows:
                shard.save(work.product, rows)
            print(f"wrote {len(rows)} rows to {path}")

    def merge(self, num_shards: int) -> None:
        """Merge the files of all shards."""
        for work in self.works:
            start = time.monotonic()
            work.announce()
            shards = self._shards(work, num_shards, range(1, num_shards + 1))
            self._finish(work, merge(work.product, shards), start)

    def _shards(self, work: Work, num_shards: int, shard_indices: Sequence[int]) -> list[Shard]:
        total = len(work.good)
        return [Shard.cut(index, num_shards, work.identity, total, self.images_a_chunk) for index in shard_indices]

    @contextlib.contextmanager
    def _rows(self, work: Work, indices: np.ndarray, path: Path, key: str) -> Iterator[np.ndarray]:
        """Yield the predictions of galaxies for a file; the unfinished rows beside it are removed after the block."""
        with PredictionStore(path, key, self.examples.experiment.tree.num_answers) as store:
            yield predict_with(self.sharing, self.examples, indices, work.subset, store)
            store.clear()

    def _finish(self, work: Work, rows: np.ndarray, start: float) -> None:
        """Write the predictions of all galaxies, from those of the good images."""
        predictions = self.examples.with_bad(rows, work.indices, work.subset)
        save_gz(work.product, predictions, work.source)
        score = f", RMSE {rmse(predictions, self.labels[work.indices]):.6f}" if work.subset == "train" else ""
        print(f"wrote {len(predictions)} rows to {work.product}{score}, {hms(time.monotonic() - start)}")
        experiment = self.examples.experiment
        labelled = "labelled galaxies" if self.examples.options.fold else "validation galaxies"
        galaxies = labelled if work.subset == "train" else "test galaxies"
        if lost := describe_lost(experiment.name, galaxies, predictions, experiment.tree):
            print(lost)


def _predictions_of(name: str, options: Options) -> list[tuple[str, Path]]:
    """Return the subsets that a script predicts, and their files; trained on all galaxies, there is no validation."""
    if options.fold:
        return [(subset, folds.product(subset, name)) for subset in SUBSETS]
    parts = [("train", "valid"), ("test", "test")][options.all_galaxies :]
    return [(subset, folders.current.augmented(part, name)) for subset, part in parts]


def _products(name: str, options: Options, shard: tuple[int, int] | None) -> Iterator[Product]:
    """Yield the files of predictions that a script writes, and those of their unfinished rows."""
    for _, path in _predictions_of(name, options):
        if shard:
            path = shard_path(path, *shard)
        yield Product(path)
        yield Product(partial_path(path), read_seal=read_seal)


def main(experiment: Experiment) -> None:
    """Run a prediction script: read its flags, predict."""
    args = prediction_parser(experiment).parse_args()
    options = Options.from_args(args)
    experiment = named(experiment, options.all_galaxies, options.fold)

    def run() -> None:
        options.use_folders()
        work = f"predict.{args.shard[0]}of{args.shard[1]}" if args.shard else "predict"
        lock = folders.current.lock(experiment.name, work)
        with explain_out_of_memory(), alone(lock, f"prediction of {experiment.name}"):
            written = _products(experiment.name, options, args.shard)
            products.check(written, [folders.current.analysis(experiment.name)], options.overwrite)
            prediction = Prediction(experiment, options)
            if args.shard:
                prediction.shard(*args.shard)
            elif args.merge_shards:
                prediction.merge(args.merge_shards)
            else:
                prediction.whole()

    run_script(run)
