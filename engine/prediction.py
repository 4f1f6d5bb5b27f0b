"""Predictions of a trained experiment, averaged over its test transforms.

In 2014 each galaxy was seen at three sizes, ten angles and mirrored; the mean of its predictions is better than any of
them.

Source: documentation of 2014, 2.4.1 and 3.3.2.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import time
from pathlib import Path

import numpy as np
import torch

import layers
from engine.checkpoints import PredictionStore
from engine.description import describe
from engine.device_augmentation import IMAGES_A_PIECE
from engine.examples import Examples
from engine.experiment import Experiment
from engine.network import PRECISIONS, Network, fastest_precision, find_device
from engine.options import Options, explain_want_of_memory, named, shared_parser
from engine.part_sharing import PartSharing
from engine.prediction_shards import Shard, merge
from galaxy.decision_tree import NUM_ANSWERS
from machine.command_line import hms, positive_int, run_script, shard_of
from machine.files import DataError, load_pickle, save_gz
from machine.locks import alone
from machine.progress import showing
from survey import folders, images
from survey.predictions import rmse, twin_of
from survey.views import Views

# Bytes of views that go through the network together; activations take some forty times as much.
_BUDGET = {"cpu": 7e6}
_BUDGET_ELSEWHERE = 28e6


def images_a_batch(views: Views, num_transforms: int, device: torch.device) -> int:
    """Return how many images' views go through a network together, at least 1."""
    num_bytes = 4 * num_transforms * sum(int(np.prod(shape)) for shape in views.shapes)
    return max(1, int(_BUDGET.get(device.type, _BUDGET_ELSEWHERE) // num_bytes))


def load_network(experiment: Experiment, device: torch.device, precision: str = "tf32") -> Network:
    """Build an experiment's network with the parameters of its analysis pickle."""
    path = folders.current.analysis(experiment.name)
    flag = " --all-galaxies" if experiment.name != twin_of(experiment.name) else ""
    analysis = load_pickle(path, f"{twin_of(experiment.name)}.py{flag}")
    if not isinstance(analysis, dict) or not isinstance(analysis.get("param_values"), list | tuple):
        raise DataError(f"{path}: expected a dictionary with param_values, a list; run {experiment.name}.py again")
    network = Network(experiment, device, precision)
    try:
        layers.set_param_values(network.output_layer, analysis["param_values"])
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    return network


def predict(
    network: Network, examples: Examples, indices: np.ndarray, subset: str, store: PredictionStore | None = None
) -> np.ndarray:
    """Return predictions (n, 37) float32 for images of 'train' or 'test', averaged over the test transforms.

    Rows that `store` has are not predicted again, and it is given all there are, chunk by chunk.
    """
    experiment = examples.experiment
    sharing = PartSharing(network, experiment.views, experiment.test_transforms)
    batch = images_a_batch(experiment.views, len(sharing.representatives), network.device)
    done = store.restore() if store else None
    rows = np.empty((0, NUM_ANSWERS), np.float32) if done is None else done
    chunk_size = images_a_chunk(sharing, examples) * len(sharing.representatives)
    chunks = examples.fixed(indices[len(rows) :], subset, sharing.representatives, chunk_size)
    with (
        contextlib.closing(chunks),
        showing(total=len(indices), initial=len(rows), desc=subset, unit="galaxy") as bar,
    ):
        for views in chunks:
            predictions = sharing.predict(views, batch)
            rows = np.concatenate([rows, predictions])
            bar.update(len(predictions))
            if store:
                store.save(rows)
    return rows


def images_a_chunk(sharing: PartSharing, examples: Examples) -> int:
    """Return how many images are looked at before the next ones are: as many on any device, so that shards fit."""
    chunk_size = examples.options.chunk_size or examples.experiment.chunk_size
    return min(max(1, chunk_size // len(sharing.representatives)), IMAGES_A_PIECE)


def identity(experiment: Experiment, network: Network, indices: np.ndarray, subset: str) -> str:
    """Return a checksum of what predictions depend on: parameters, numbers, images, where galaxies lie in them."""
    ids, places = images.ids_of(subset)[indices], experiment.views.places(indices, subset)
    digest = hashlib.sha256(
        json.dumps(describe(experiment, network.output_layer)).encode() + ids.tobytes() + network.precision.encode()
    )
    for values in (places, *layers.get_param_values(network.output_layer)):
        digest.update(values.tobytes())
    return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class Work:
    """What a script predicts: the galaxies `indices` of a subset, as the part 'valid' or 'test'."""

    part: str
    subset: str
    indices: np.ndarray


class Prediction:
    """An experiment's predictions of the validation galaxies and of the test galaxies, whole or in shards."""

    def __init__(self, experiment: Experiment, options: Options):
        """Load the network, look at all images; raises DataError."""
        device = find_device(options.device)
        precision = fastest_precision(device) if options.precision == "auto" else options.precision
        self.experiment = experiment
        self.network = load_network(experiment, device, precision)
        self.labels = images.load_labels()
        _, valid_indices = images.split(len(self.labels))
        self.examples = Examples(experiment, options, device)
        work = [
            Work("valid", "train", valid_indices),
            Work("test", "test", np.arange(len(images.ids_of("test")))),
        ]
        self.work = work[options.all_galaxies :]  # who trained on all galaxies has none to validate on

    def _path(self, work: Work) -> Path:
        return folders.current.augmented(work.part, self.experiment.name)

    def _good(self, work: Work) -> tuple[np.ndarray, str]:
        """Return the indices of the images that are predicted, and what their predictions depend on."""
        good = self.examples.good(work.indices, work.subset)
        return good, identity(self.experiment, self.network, good, work.subset)

    def _finish(self, work: Work, predictions: np.ndarray, start: float) -> None:
        """Write the predictions of all galaxies, given those of the good images."""
        path = self._path(work)
        predictions = self.examples.with_bad(predictions, work.indices, work.subset)
        save_gz(path, predictions)
        score = f", RMSE {rmse(predictions, self.labels[work.indices]):.6f}" if work.part == "valid" else ""
        print(f"wrote {len(predictions)} rows to {path}{score}, {hms(time.monotonic() - start)}")

    def whole(self) -> None:
        """Predict all galaxies."""
        for work in self.work:
            start = time.monotonic()
            good, key = self._good(work)
            with PredictionStore(self._path(work), key) as store:
                self._finish(work, predict(self.network, self.examples, good, work.subset, store), start)
                store.clear()

    def _cut(self, number: int, of: int, good: np.ndarray, key: str) -> Shard:
        sharing = PartSharing(self.network, self.experiment.views, self.experiment.test_transforms)
        return Shard.cut(number, of, key, len(good), images_a_chunk(sharing, self.examples))

    def shard(self, number: int, of: int) -> None:
        """Predict the galaxies of one shard; one that is made already is left alone."""
        for work in self.work:
            good, key = self._good(work)
            shard = self._cut(number, of, good, key)
            product, path = self._path(work), shard.path(self._path(work))
            if shard.is_made(product):
                print(f"{path} is there already")
                continue
            with PredictionStore(path, shard.key) as store:
                own = good[shard.first : shard.stop]
                shard.save(product, predict(self.network, self.examples, own, work.subset, store))
                store.clear()
            print(f"wrote {len(own)} rows to {path}")

    def merge(self, of: int) -> None:
        """Put all shards together."""
        for work in self.work:
            start = time.monotonic()
            good, key = self._good(work)
            shards = [self._cut(number, of, good, key) for number in range(1, of + 1)]
            self._finish(work, merge(self._path(work), shards), start)


def predict_augmented(experiment: Experiment, options: Options) -> None:
    """Write the averaged predictions of the validation galaxies and of the test galaxies."""
    Prediction(experiment, options).whole()


def flags(experiment: Experiment) -> argparse.ArgumentParser:
    """Return what reads the flags of a prediction script."""
    num = len(experiment.test_transforms)
    parser = shared_parser(f"Predict with {experiment.name}, averaged over {num} transforms.", (*PRECISIONS, "auto"))
    shards = parser.add_mutually_exclusive_group()
    shards.add_argument("--shard", type=shard_of, metavar="I/N", help="only part I of N; each writes a file of its own")
    shards.add_argument("--merge-shards", type=positive_int, metavar="N", help="put the files of all N shards together")
    return parser


def main(experiment: Experiment) -> None:
    """Run a prediction script."""
    args = flags(experiment).parse_args()
    options = Options.of(args)
    experiment = named(experiment, options.all_galaxies)

    def run() -> None:
        options.use_folders()
        work = f"predict.{args.shard[0]}of{args.shard[1]}" if args.shard else "predict"
        lock = folders.current.lock(experiment.name, work)
        with explain_want_of_memory(), alone(lock, f"prediction of {experiment.name}"):
            prediction = Prediction(experiment, options)
            if args.shard:
                prediction.shard(*args.shard)
            elif args.merge_shards:
                prediction.merge(args.merge_shards)
            else:
                prediction.whole()

    run_script(run)
