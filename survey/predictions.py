"""Files of predictions: the models that have one, their contents, their score, and the questions that a model lost."""

import json

import numpy as np

from galaxy.decision_tree import TOLERANCE
from galaxy.tree import Tree
from machine.arrays import load_array
from machine.files import DataError, read_text
from survey.folders import Folders
from survey.folds import without_fold
from survey.survey_tree import read_tree

# The suffix of the name of an experiment that was trained on all galaxies.
ALL_GALAXIES = "_all_galaxies"


def twin_of(name: str) -> str:
    """Return the name without the suffixes of `--all-galaxies` and `--fold`: that of the script."""
    return without_fold(name.removesuffix(ALL_GALAXIES))


def made_by(name: str) -> str:
    """Return the name of the script that writes a model's predictions."""
    return f"the predict_augmented_npy script of {twin_of(name)}"


def find_models(folders: Folders, part: str) -> list[str]:
    """Return the sorted names of the models with predictions of 'valid' or 'test'; raises DataError without any."""
    folder = folders.augmented(part, "").parent
    names = sorted(path.name.removesuffix(".npy.gz") for path in folder.glob("*.npy.gz"))
    if not names:
        raise DataError(f"expected predictions in {folder}, got none; run predict_augmented_npy_*.py scripts first")
    return names


def check_model_tree(folders: Folders, name: str, tree: Tree) -> None:
    """Raise DataError if the run record of a model says that it answers the questions of another tree."""
    try:
        record = json.loads(read_text(folders.analysis(twin_of(name)).with_suffix(".json"), "train again"))
        declared = record["experiment"]["tree"]
        other, checksum = str(declared["name"]), declared["sha256"]
    except (DataError, ValueError, KeyError, TypeError, RecursionError):
        return  # records of earlier versions, and models of 2014, have the only tree
    if checksum != tree.checksum:
        raise DataError(
            f"{name}: expected a model of the tree {tree.name}, as the labels in {folders.data}, got one of {other}; "
            "models of different trees cannot be blended or compared; train it again, or move its files away"
        )


def load_predictions(folders: Folders, part: str, name: str, num_galaxies: int) -> np.ndarray:
    """Load a model's predictions (num_galaxies, answers) of 'valid' or 'test'.

    Raises DataError for a missing or damaged file, another tree or shape, NaN or infinity.
    """
    path, tree = folders.augmented(part, name), read_tree(folders)
    check_model_tree(folders, name, tree)
    predictions = load_array(path, made_by(name), (num_galaxies, tree.num_answers), np.floating)
    if not (finite := np.isfinite(predictions).all(axis=1)).all():
        raise DataError(
            f"{path}: expected finite numbers, got NaN or infinity in row {np.flatnonzero(~finite)[0]}; "
            "train the model again, or move its files away"
        )
    return predictions


def rmse(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Return the root mean squared error over all galaxies and answers, predictions clipped to [0, 1].

    This is Kaggle's score. Predictions without normalisation can be outside of [0, 1].
    """
    return float(np.sqrt(np.mean((np.clip(predictions, 0, 1) - labels) ** 2, dtype=np.float64)))


def lost_questions(predictions: np.ndarray, tree: Tree) -> dict[int, int]:
    """Return {question: number of galaxies} for each question that a model lost, from its predictions (n, answers).

    A question is lost for a galaxy if all its answers are zero, although the answer that leads to it is not. The
    rectifier of the output layers of 2014 does that if all activations of a question are negative.
    """
    totals, expected = tree.question_totals(predictions)
    num_lost = ((totals == 0) & (expected > TOLERANCE)).sum(axis=0)
    return {question: int(num) for question, num in zip(tree.numbers, num_lost, strict=True) if num}


def describe_lost(name: str, galaxies: str, predictions: np.ndarray, tree: Tree) -> str | None:
    """Return a line on the questions lost in predictions (n, answers) of the named `galaxies`, None without any."""
    lost = [
        f"{question} ({'all' if num == len(predictions) else num})"
        for question, num in lost_questions(predictions, tree).items()
    ]
    header = f"questions lost by {name} (all answers are zero), of {len(predictions)} {galaxies}"
    return f"{header}: {', '.join(lost)}" if lost else None
