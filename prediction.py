"""Predictions of a trained experiment, averaged over the sixty transforms.

Each galaxy is seen at three sizes, ten angles and mirrored; the mean of its predictions is better than any of them.

Source: documentation of 2014, 2.4.1 and 3.3.2.
"""

import argparse
import contextlib
import hashlib
import json
import time
from collections.abc import Callable

import numpy as np
import torch
from tqdm import tqdm

import layers
import load_data
import realtime_augmentation as ra
from checkpoints import PredictionStore
from examples import Examples, add_flags, explain_want_of_memory, use_folders
from experiment import Experiment, Network, find_device, rmse
from part_sharing import PartSharing
from stopping import ending_in_order

# Images whose views go through the network together; a gigabyte of activations on an accelerator.
_IMAGES_A_BATCH = {"cpu": 4}
_IMAGES_A_BATCH_ELSEWHERE = 16


def load_network(experiment: Experiment, device: torch.device, precision: str = "tf32") -> Network:
    """Build an experiment's network with the parameters of its analysis pickle."""
    path = load_data.folders.analysis(experiment.name)
    analysis = load_data.load_pickle(path, f"{experiment.name}.py")
    if not isinstance(analysis, dict) or "param_values" not in analysis:
        raise load_data.DataError(f"{path}: expected a dictionary with param_values; run {experiment.name}.py again")
    network = Network(experiment, device, precision)
    try:
        layers.set_param_values(network.output_layer, analysis["param_values"])
    except ValueError as error:
        raise load_data.DataError(f"{path}: {error}") from None
    return network


def predict(
    network: Network,
    examples: Examples,
    indices: np.ndarray,
    subset: str,
    done: np.ndarray | None = None,
    save: Callable[[np.ndarray], None] = lambda rows: None,
) -> np.ndarray:
    """Return predictions (n, 37) float32 for images of 'train' or 'test', averaged over the sixty transforms.

    `done` holds the rows that are there already; `save` is given all there are, chunk by chunk.
    """
    experiment = examples.experiment
    sharing = PartSharing(network, experiment, ra.sixty_transforms())
    chunk_size = examples.options.chunk_size or experiment.chunk_size
    images_a_batch = _IMAGES_A_BATCH.get(network.device.type, _IMAGES_A_BATCH_ELSEWHERE)
    rows = np.empty((0, 37), np.float32) if done is None else done
    chunks = examples.fixed(indices[len(rows) :], subset, sharing.representatives, chunk_size)
    with (
        contextlib.closing(chunks),
        tqdm(total=len(indices), initial=len(rows), desc=subset, unit="galaxy", disable=None) as bar,
    ):
        for views in chunks:
            predictions = sharing.predict(views, images_a_batch)
            rows = np.concatenate([rows, predictions])
            bar.update(len(predictions))
            save(rows)
    return rows


def identity(experiment: Experiment, network: Network, ids: np.ndarray) -> str:
    """Return a checksum of what predictions depend on: parameters, numbers, images."""
    digest = hashlib.sha256(json.dumps(experiment.numbers()).encode() + ids.tobytes() + network.precision.encode())
    for values in layers.get_param_values(network.output_layer):
        digest.update(values.tobytes())
    return digest.hexdigest()


def predict_augmented(experiment: Experiment, options: argparse.Namespace) -> None:
    """Write the averaged predictions of the validation set and of the test set."""
    network = load_network(experiment, find_device(options.device), options.precision)
    labels = load_data.load_solutions()
    _, valid_indices = load_data.split(load_data.num_train)
    examples = Examples(experiment, options, network.device)
    for name, subset, indices in (
        ("valid", "train", valid_indices),
        ("test", "test", np.arange(load_data.num_test)),
    ):
        start = time.monotonic()
        path = load_data.folders.augmented(name, experiment.name)
        good = examples.good(indices, subset)
        of_what = identity(experiment, network, load_data.load_ids(subset)[good])
        with PredictionStore(path, of_what) as store:
            predictions = predict(network, examples, good, subset, store.restore(), store.save)
            predictions = examples.with_bad(predictions, indices, subset)
            load_data.save_gz(path, predictions)
            store.clear()
        score = f", RMSE {rmse(predictions, labels[indices]):.6f}" if name == "valid" else ""
        print(f"wrote {len(predictions)} rows to {path}{score}, {load_data.hms(time.monotonic() - start)}")


def main(experiment: Experiment) -> None:
    """Run a prediction script."""
    parser = load_data.script_parser(f"Predict with {experiment.name}, averaged over 60 transforms.")
    add_flags(parser)
    options = parser.parse_args()

    def run() -> None:
        use_folders(options)
        with ending_in_order(), explain_want_of_memory():
            predict_augmented(experiment, options)

    load_data.run_script(run)
