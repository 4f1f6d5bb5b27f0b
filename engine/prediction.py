"""Predictions of a trained experiment, averaged over its test transforms.

In 2014 each galaxy was seen at three sizes, ten angles and mirrored; the mean of its predictions is better than any of
them.

Source: documentation of 2014, 2.4.1 and 3.3.2.
"""

import contextlib
import hashlib
import json
import time

import numpy as np
import torch
from tqdm import tqdm

import layers
from engine.checkpoints import PredictionStore
from engine.description import describe
from engine.examples import Examples
from engine.experiment import Experiment
from engine.flags import Options, explain_want_of_memory, named, shared_parser
from engine.network import PRECISIONS, Network, fastest_precision, find_device
from engine.part_sharing import PartSharing
from machine.command_line import hms, run_script
from machine.files import DataError, load_pickle, save_gz
from machine.locks import alone
from machine.signals import ending_in_order
from survey import folders, images
from survey.decision_tree import NUM_ANSWERS
from survey.predictions import twin_of
from survey.scores import rmse
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
    if not isinstance(analysis, dict) or "param_values" not in analysis:
        raise DataError(f"{path}: expected a dictionary with param_values; run {experiment.name}.py again")
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
    chunk_size = examples.options.chunk_size or experiment.chunk_size
    batch = images_a_batch(experiment.views, len(sharing.representatives), network.device)
    done = store.restore() if store else None
    rows = np.empty((0, NUM_ANSWERS), np.float32) if done is None else done
    chunks = examples.fixed(indices[len(rows) :], subset, sharing.representatives, chunk_size)
    with (
        contextlib.closing(chunks),
        tqdm(total=len(indices), initial=len(rows), desc=subset, unit="galaxy", disable=None) as bar,
    ):
        for views in chunks:
            predictions = sharing.predict(views, batch)
            rows = np.concatenate([rows, predictions])
            bar.update(len(predictions))
            if store:
                store.save(rows)
    return rows


def identity(experiment: Experiment, network: Network, ids: np.ndarray) -> str:
    """Return a checksum of what predictions depend on: parameters, numbers, images."""
    digest = hashlib.sha256(
        json.dumps(describe(experiment, network.output_layer)).encode() + ids.tobytes() + network.precision.encode()
    )
    for values in layers.get_param_values(network.output_layer):
        digest.update(values.tobytes())
    return digest.hexdigest()


def predict_augmented(experiment: Experiment, options: Options) -> None:
    """Write the averaged predictions of the validation galaxies and of the test galaxies."""
    device = find_device(options.device)
    precision = fastest_precision(device) if options.precision == "auto" else options.precision
    network = load_network(experiment, device, precision)
    labels = images.load_labels()
    _, valid_indices = images.split(len(labels))
    examples = Examples(experiment, options, network.device)
    parts = [("valid", "train", valid_indices), ("test", "test", np.arange(len(images.ids_of("test"))))]
    for part, subset, indices in parts[options.all_galaxies :]:  # who trained on all galaxies has none to validate on
        start = time.monotonic()
        path = folders.current.augmented(part, experiment.name)
        good = examples.good(indices, subset)
        with PredictionStore(path, identity(experiment, network, images.ids_of(subset)[good])) as store:
            predictions = predict(network, examples, good, subset, store)
            predictions = examples.with_bad(predictions, indices, subset)
            save_gz(path, predictions)
            store.clear()
        score = f", RMSE {rmse(predictions, labels[indices]):.6f}" if part == "valid" else ""
        print(f"wrote {len(predictions)} rows to {path}{score}, {hms(time.monotonic() - start)}")


def main(experiment: Experiment) -> None:
    """Run a prediction script."""
    num = len(experiment.test_transforms)
    parser = shared_parser(f"Predict with {experiment.name}, averaged over {num} transforms.", (*PRECISIONS, "auto"))
    options = Options.of(parser.parse_args())
    experiment = named(experiment, options.all_galaxies)

    def run() -> None:
        options.use_folders()
        lock, name = folders.current.lock(experiment.name, "predict"), experiment.name
        with ending_in_order(), explain_want_of_memory(), alone(lock, f"prediction of {name}"):
            predict_augmented(experiment, options)

    run_script(run)
