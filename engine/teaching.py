"""Targets from teachers: the mix of a galaxy's label and of what other networks predict for it.

Teachers are experiments whose folds have predicted all galaxies (`survey.folds`): no training galaxy is taught by a
network that was trained on its label. Their predictions under their test transforms are averaged. The student sees one
augmented view, of labelled and of unlabelled images.

Source: Hinton, Vinyals & Dean 2015 (arXiv 1503.02531); Bucila, Caruana & Niculescu-Mizil 2006.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.description import checksum
from engine.experiment import Experiment
from machine.files import DataError
from survey import folds, images


@dataclass(frozen=True)
class Teachers:
    """Predictions of teachers: the mean over them for 'train' (num_train, answers) and 'test' (num_test, answers).

    `checksums` has the SHA-256 of each teacher's predictions.
    """

    train: np.ndarray
    test: np.ndarray
    checksums: dict[str, str]


def load(names: Sequence[str]) -> Teachers:
    """Load the predictions of teachers; raises DataError if those of a fold are missing or damaged."""
    names = list(dict.fromkeys(name.removesuffix(".py") for name in names))
    num_answers = images.load_labels().shape[1]
    loaded = {name: folds.load_predictions(name, num_answers) for name in names}
    train, test = (np.mean([both[n] for both in loaded.values()], axis=0, dtype=np.float64) for n in (0, 1))
    checksums = {name: checksum(*both) for name, both in loaded.items()}
    return Teachers(train.astype(np.float32), test.astype(np.float32), checksums)


def prepare(experiment: Experiment, names: Sequence[str]) -> tuple[Experiment, Teachers | None]:
    """Return the experiment for a run with or without teachers, and the teachers.

    Raises DataError for an experiment without numbers for them.
    """
    if not names:
        return experiment.untaught(), None
    if experiment.distillation is None:
        raise DataError(
            f"--teacher: {experiment.name} declares no distillation; add its numbers to the script, or train "
            "try_distilled_lite0.py"
        )
    return experiment, load(names)


def mixed_targets(labels: np.ndarray, teachers: Teachers, label_weight: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the targets of 'train' and 'test', from labels (num_train, answers), perhaps with a column of weights.

    Unlabelled galaxies count as much as a labelled one on average.
    """
    num_answers = teachers.train.shape[1]
    train, test = labels.copy(), teachers.test
    share = np.float32(label_weight)
    train[:, :num_answers] = share * labels[:, :num_answers] + (1 - share) * teachers.train
    if labels.shape[1] > num_answers:
        test = np.hstack([test, np.ones((len(test), 1), np.float32)])
    return train, test
