"""Cross-validate an experiment: each labelled galaxy is predicted by a network that was not trained on it.

    python benchmarks/cross_validation.py --root DIR --classes classes.csv --class-means class_mean_votes.csv \
        --epochs 18 NAME

Every fifth galaxy is in a fold; the others train. Predictions are kept fold by fold in `cross_validation/`: a finished
fold is not repeated, and an interrupted one resumes. The output is RMSE and five-class accuracy, by one view and by the
script's test transforms. The tables are those of `ensemble_results.py`.
"""

import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from machine.command_line import hms, positive_int, run_script

from benchmarks.ensemble_results import class_flags, scorer
from benchmarks.measuring import table
from engine import prediction, training
from engine.experiment import Experiment
from engine.options import Options
from export_model import find_experiment
from machine.arrays import load_gz, save_gz
from survey import images
from survey.folders import use_folders
from survey.predictions import rmse


def fold_of(num_galaxies: int, fold: int, num_folds: int) -> np.ndarray:
    """Return the indices of a fold."""
    return np.arange(fold, num_galaxies, num_folds)


def split_of(num_galaxies: int, fold: int, num_folds: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices for training and for validation: all other folds, and this one."""
    valid = fold_of(num_galaxies, fold, num_folds)
    return np.setdiff1d(np.arange(num_galaxies), valid), valid


def predict_both(run: training.Run) -> tuple[np.ndarray, np.ndarray]:
    """Return a run's predictions (n, 37) of the validation galaxies by one view and by all; delete its checkpoint."""
    one_view = run.predict(run.valid_indices, "train")
    with run.trainer.predicting():
        averaged = prediction.predict(run.network, run.examples, run.valid_indices, "train")
    run.store.clear()
    return one_view, averaged


def predict_fold(experiment: Experiment, options: Options, fold: int, num_folds: int, epochs: int | None) -> np.ndarray:
    """Train on the other folds and return this one's predictions (2, n, 37), of one view and of all."""
    num_galaxies = len(images.load_labels())
    name = f"{experiment.name}_fold{fold}of{num_folds}"
    experiment = dataclasses.replace(experiment, name=name, seed=experiment.seed + fold, validate_every=10**6)
    if epochs is not None:
        num_train = num_galaxies * (num_folds - 1) / num_folds
        experiment = experiment.resized(max(1, round(epochs * num_train / experiment.chunk_size)))
    run = training.Run.prepare(experiment, options, split=split_of(num_galaxies, fold, num_folds))
    run.train()
    return np.stack(predict_both(run))


def report(predictions: np.ndarray, labels: np.ndarray, is_right: Callable[[np.ndarray], np.ndarray]) -> list[str]:
    """Return the cells of a row: RMSE and accuracy of predictions (2, n, 37), of one view and of all."""
    return [text for each in predictions for text in (f"{rmse(each, labels):.4f}", f"{is_right(each).mean():.4f}")]


def main() -> None:
    parser = class_flags(__doc__)
    parser.add_argument("--folds", type=positive_int, default=5, metavar="N", help="default: %(default)s")
    parser.add_argument("--epochs", type=positive_int, metavar="N", help="default: the script's number of chunks")
    parser.add_argument("--num-workers", type=positive_int, metavar="N", help="default: cores")
    parser.add_argument("name", help="the experiment: the name of its training script")
    args = parser.parse_args()
    use_folders(args.root, args.data)
    output = args.output / "cross_validation"
    output.mkdir(parents=True, exist_ok=True)
    experiment = find_experiment(args.name)
    options = Options(root=args.root, data=args.data, device="cpu", num_workers=args.num_workers)
    labels = images.load_labels()
    predictions, rows = np.empty((2, *labels.shape), np.float32), []
    passes = f"_{args.epochs}epochs" if args.epochs else ""
    header = ["fold", "RMSE, one view", "accuracy", "RMSE, all views", "accuracy"]
    for fold in range(args.folds):
        path = output / f"{args.name}{passes}_fold{fold}of{args.folds}.npy.gz"
        indices = fold_of(len(labels), fold, args.folds)
        is_right = scorer(args.classes, args.class_means, indices)
        if not path.exists():
            start = time.monotonic()
            save_gz(path, predict_fold(experiment, options, fold, args.folds, args.epochs))
            print(f"wrote {path}, {hms(time.monotonic() - start)}", flush=True)
        predictions[:, indices] = load_gz(path)
        rows.append([fold, *report(predictions[:, indices], labels[indices], is_right)])
        print(table(header, rows[-1:]), flush=True)
    is_right = scorer(args.classes, args.class_means, np.arange(len(labels)))
    print(table(header, [*rows, ["all", *report(predictions, labels, is_right)]]))


if __name__ == "__main__":
    run_script(main)
