"""Predictions of a trained experiment, averaged over the sixty transforms.

Each galaxy is seen at three sizes, ten angles and mirrored; the mean of its predictions is better than any of them.

Source: documentation of 2014, 2.4.1 and 3.3.2.
"""

import argparse
import time

import numpy as np
import torch
from tqdm import tqdm

import layers
import load_data
import realtime_augmentation as ra
import training


def load_network(experiment: training.Experiment, device: torch.device) -> training.Network:
    """Build an experiment's network with the parameters of its analysis pickle."""
    path = load_data.folders.analysis(experiment.name)
    analysis = load_data.load_pickle(path, f"{experiment.name}.py")
    if not isinstance(analysis, dict) or "param_values" not in analysis:
        raise load_data.DataError(f"{path}: expected a dictionary with param_values; run {experiment.name}.py again")
    network = training.Network(experiment, device)
    try:
        layers.set_param_values(network.output_layer, analysis["param_values"])
    except ValueError as error:
        raise load_data.DataError(f"{path}: {error}") from None
    return network


def predict(
    network: training.Network,
    experiment: training.Experiment,
    indices: np.ndarray,
    subset: str,
    options: argparse.Namespace,
) -> np.ndarray:
    """Return predictions (n, 37) float32 for images of 'train' or 'test', averaged over the sixty transforms."""
    transforms = ra.sixty_transforms()
    chunk_size = max(options.chunk_size or experiment.chunk_size, len(transforms))
    averaged = []
    with tqdm(total=len(indices), desc=subset, unit="galaxy", disable=None) as bar:
        for views in training.fixed_chunks(experiment, indices, subset, options, transforms, chunk_size):
            predictions = network.predict(views)
            averaged.append(predictions.reshape(-1, len(transforms), predictions.shape[1]).mean(axis=1))
            bar.update(len(averaged[-1]))
    return np.concatenate(averaged)


def predict_augmented(experiment: training.Experiment, options: argparse.Namespace) -> None:
    """Write the averaged predictions of the validation set and of the test set."""
    network = load_network(experiment, training.find_device(options.device))
    labels = load_data.load_solutions()
    _, valid_indices = load_data.split(load_data.num_train)
    for subset in load_data.SUBSETS:
        training.check_images(subset, bool(options.from_ram))
    for name, subset, indices in (
        ("valid", "train", valid_indices),
        ("test", "test", np.arange(load_data.num_test)),
    ):
        start = time.monotonic()
        predictions = predict(network, experiment, indices, subset, options)
        path = load_data.folders.augmented(name, experiment.name)
        load_data.save_gz(path, predictions)
        score = f", RMSE {training.rmse(predictions, labels[indices]):.6f}" if name == "valid" else ""
        print(f"wrote {len(predictions)} rows to {path}{score}, {load_data.hms(time.monotonic() - start)}")


def main(experiment: training.Experiment) -> None:
    """Run a prediction script."""
    parser = load_data.script_parser(f"Predict with {experiment.name}, averaged over 60 transforms.")
    training.add_flags(parser)
    options = parser.parse_args()

    def run() -> None:
        training.use_folders(options)
        predict_augmented(experiment, options)

    load_data.run_script(run)
