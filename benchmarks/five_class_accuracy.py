"""Score an experiment's validation predictions as a five-class classifier, beside its RMSE.

    python benchmarks/five_class_accuracy.py --root DIR --classes classes.csv --class-means class_mean_votes.csv NAME

A prediction belongs to the class whose mean votes are nearest (squared distance over the 37 answers). The classes are
those of the clean sample of Dai & Tong 2018 (arXiv 1807.10406): completely round, in-between, cigar-shaped, edge-on,
spiral. Both tables have a first column of names and are given by the user.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas

sys.path.insert(0, str(Path(__file__).parent.parent))
from galaxy import decision_tree
from machine.command_line import run_script, script_parser
from machine.files import load_pickle
from survey import images
from survey.folders import use_folders
from survey.predictions import load_predictions, rmse


def scorer(classes_csv: str, means_csv: str, indices: np.ndarray | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """Return what says of predictions (n, 37) of training galaxies which are of the right class (n,).

    They are those of the given indices (n,), the validation galaxies' where there are none.
    """
    ids = images.load_ids("train")
    indices = images.split(len(ids))[1] if indices is None else indices
    classes = pandas.read_csv(classes_csv).set_index("GalaxyID")["class"].loc[ids].to_numpy()[indices]
    means = pandas.read_csv(means_csv, index_col=0)[list(decision_tree.COLUMN_NAMES)]

    def is_right(predictions: np.ndarray) -> np.ndarray:
        distances = ((predictions[:, None] - means.to_numpy()) ** 2).sum(axis=2)
        return means.index.to_numpy()[distances.argmin(axis=1)] == classes

    return is_right


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--classes", required=True, metavar="CSV", help="GalaxyID,class")
    parser.add_argument("--class-means", required=True, metavar="CSV", help="class and 37 columns of mean votes")
    parser.add_argument("name", help="the experiment: the name of its training script")
    args = parser.parse_args()
    folders = use_folders(args.root, args.data)
    analysis = load_pickle(folders.analysis(args.name), f"{args.name}.py")
    labels = images.load_labels()
    train, valid = images.split(len(labels))
    is_right = scorer(args.classes, args.class_means)

    def report(title: str, predictions: np.ndarray) -> None:
        right, error = is_right(predictions), rmse(predictions, labels[valid])
        print(f"{title:36}  RMSE {error:.6f}  accuracy {right.mean():.4f} ({right.sum()} of {len(right)})")

    report("mean votes of the training galaxies", np.broadcast_to(labels[train].mean(axis=0), labels[valid].shape))
    report("one prediction a galaxy", analysis["predictions"])
    if folders.augmented("valid", args.name).exists():
        report("mean over its transforms", load_predictions(folders, "valid", args.name, len(valid)))


if __name__ == "__main__":
    run_script(main)
