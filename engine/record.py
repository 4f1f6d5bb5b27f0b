"""The products of a run: its identity, the analysis pickle, the run record.

Source: documentation of 2014, 3.3.1 (the analysis pickle).
"""

import json
import platform
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from engine.checkpoints import Progress
from engine.description import Plain, checksum, describe_optimizer
from engine.examples import Examples
from engine.starting_weights import StartingWeights
from engine.steps import Trainer
from machine import seals
from machine.arrays import save_pickle
from machine.files import replacing
from machine.version import VERSION
from survey import folders, images, label_weights, vote_counts


def identity(
    description: dict[str, Plain],
    trainer: Trainer,
    examples: Examples,
    indices: np.ndarray,
    labels: np.ndarray,
    start: StartingWeights | None = None,
) -> dict[str, Plain]:
    """Return the plain values that a run must share with a run that it resumes.

    `description` is the experiment's, `indices` (n,) are the training galaxies.
    """
    return {
        "started from": start and start.sha256,
        **description,
        "optimizer": describe_optimizer(trainer.optimizer),
        "initialisation": examples.options.initialisation,
        "precision": examples.options.precision,
        "all galaxies": examples.options.all_galaxies,
        "training galaxies": checksum(images.ids_of("train"), indices),
        "places": checksum(examples.experiment.views.places(indices, "train")),
        "labels": checksum(labels),
        "weights": weights_checksum(indices),
        "teachers": examples.teachers and examples.teachers.checksums,
        "unlabelled galaxies": unlabelled_checksum(examples),
        **({"counts": checksum(vote_counts.needed_counts()[indices])} if examples.with_counts else {}),
    }


def unlabelled_checksum(examples: Examples) -> str | None:
    """Return the checksum of the unlabelled galaxies of a run, None without any."""
    indices = examples.unlabelled
    if not len(indices):
        return None
    return checksum(images.ids_of("test")[indices], examples.experiment.views.places(indices, "test"))


def weights_checksum(indices: np.ndarray) -> str | None:
    """Return the checksum of the weights of the training galaxies `indices`, None if all count the same."""
    weights = label_weights.normalised(indices)
    return None if weights is None else checksum(weights[indices])


def analysis_of(
    progress: Progress, param_values: Sequence[np.ndarray], predictions: np.ndarray, valid: np.ndarray
) -> dict[str, object]:
    """Return the dictionary of the analysis pickle; `predictions` (n, answers) are of the validation galaxies (n,)."""
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
        "param_stds": progress.param_stds,
    }


def record_of(
    description: dict[str, Plain],
    examples: Examples,
    progress: Progress,
    identity: dict[str, Plain],
    start: StartingWeights | None = None,
) -> dict[str, Plain]:
    """Return the run record: the experiment's description, the options, the machine, the losses.

    `identity` is the run's.
    """
    options, device = examples.options, examples.device
    cuda = device.type == "cuda"
    return {
        "experiment": description,
        "initialisation": options.initialisation,
        "started from": start and {"file": str(start.path), "sha256": start.sha256},
        "all galaxies": options.all_galaxies,
        "labels": {"file": str(folders.current.data / "solutions_train.npy"), "sha256": identity["labels"]},
        "weights": identity["weights"] and {"file": str(label_weights.weights_npy()), "sha256": identity["weights"]},
        "teachers": identity["teachers"],
        "device": torch.cuda.get_device_name(device) if cuda else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "precision": options.precision,
        "augmented on": "device" if examples.on_device else "cpu",
        "images left out": examples.left_out(),
        "versions": {"project": VERSION, "python": platform.python_version(), "torch": torch.__version__}
        | {module.__name__: module.__version__ for module in (np, cv2)},
        "seconds": progress.seconds,
        "losses_train": progress.losses_train,
        "losses_valid": progress.losses_valid,
    }


def save_analysis(path: Path, analysis: dict, record: dict, source: str = seals.NO_SOURCE) -> None:
    """Write an analysis pickle (NumPy arrays and plain values only) and its run record, each whole or not at all.

    `source` is that of their seals.
    """
    save_pickle(path, analysis, source)
    record_path = path.with_suffix(".json")
    with replacing(record_path, sealed=True) as temporary:
        temporary.write_text(json.dumps({**record, "seal": seals.blank(source)}, indent=1) + "\n")
    print(f"wrote {path} and {record_path.name}")
