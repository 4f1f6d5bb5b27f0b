"""What a run leaves behind for others: its identity, the analysis pickle, the run record.

Source: documentation of 2014, 3.3.1 (the analysis pickle).
"""

import hashlib
import json
import pickle
import platform
from pathlib import Path

import cv2
import numpy as np
import torch

import layers
from engine.checkpoints import Progress
from engine.description import Plain, describe, describe_optimizer
from engine.examples import Examples
from engine.experiment import Experiment
from engine.network import Network
from engine.options import Options
from engine.steps import Trainer
from machine.files import replacing
from survey import folders, images


def identity(
    experiment: Experiment, trainer: Trainer, options: Options, indices: np.ndarray, labels: np.ndarray
) -> dict[str, Plain]:
    """Return what two runs must have in common for one to continue the other, as plain values."""
    return {
        **describe(experiment, trainer.network.output_layer),
        "optimizer": describe_optimizer(trainer.optimizer),
        "initialisation": options.initialisation,
        "precision": options.precision,
        "all galaxies": options.all_galaxies,
        "training galaxies": _checksum(images.ids_of("train"), indices),
        "places": _checksum(experiment.views.places(indices, "train")),
        "labels": _checksum(labels),
    }


def _checksum(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def analysis_of(progress: Progress, network: Network, predictions: np.ndarray, valid: np.ndarray) -> dict[str, object]:
    """Return the analysis pickle's dictionary, given the predictions (n, 37) of the validation galaxies (n,)."""
    param_values = layers.get_param_values(network.output_layer)
    losses_valid = list(progress.losses_valid.values())
    return {
        "ids": images.ids_of("train")[valid],
        "predictions": predictions,
        "targets": images.load_labels()[valid],
        "mean_train_loss": progress.losses_train[-1],
        "mean_valid_loss": losses_valid[-1] if losses_valid else None,
        "time_since_start": progress.seconds,
        "losses_train": progress.losses_train,
        "losses_valid": losses_valid,
        "param_values": param_values,
        "param_stds": [float(values.std()) for values in param_values],
    }


def record_of(examples: Examples, network: Network, progress: Progress, labels: np.ndarray) -> dict[str, Plain]:
    """Return the run record: what was declared and chosen, on what it ran, and how it went."""
    options, device = examples.options, examples.device
    cuda = device.type == "cuda"
    return {
        "experiment": describe(examples.experiment, network.output_layer),
        "initialisation": options.initialisation,
        "all galaxies": options.all_galaxies,
        "labels": {"file": str(folders.current.data / "solutions_train.npy"), "sha256": _checksum(labels)},
        "device": torch.cuda.get_device_name(device) if cuda else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "precision": options.precision,
        "augmented on": "device" if examples.on_device else "cpu",
        "images left out": examples.left_out(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__}
        | {module.__name__: module.__version__ for module in (np, cv2)},
        "seconds": progress.seconds,
        "losses_train": progress.losses_train,
        "losses_valid": progress.losses_valid,
    }


def save_analysis(path: Path, analysis: dict, record: dict) -> None:
    """Write an analysis pickle (NumPy arrays and plain values only) and its run record, each whole or not at all."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        pickle.dump(analysis, file, protocol=4)
    record_path = path.with_suffix(".json")
    with replacing(record_path) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")
    print(f"wrote {path} and {record_path.name}")
