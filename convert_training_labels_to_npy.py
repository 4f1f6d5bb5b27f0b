"""Write data/solutions_train.npy: the training labels (num_train, 37) float32, one row for each of train_ids.npy.

Kaggle's table is text, and nothing but its header says which line is whose; here every row is looked up by its id.

Source: documentation of 2014, 3.4 and 5.4.
"""

from pathlib import Path

import numpy as np

from machine.command_line import run_script, script_parser
from machine.files import DataError, save_array
from survey import decision_tree
from survey.folders import use_folders
from survey.images import ids_of, read_labels_csv


def rows_of(wanted: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return where each of `wanted` stands in `ids`, which has no id twice; raises DataError for one without a row."""
    if absent := sorted(set(wanted.tolist()) - set(ids.tolist())):
        raise DataError(
            f"expected a line of labels for each of the {len(wanted)} ids in train_ids.npy, "
            f"but GalaxyID {absent[0]} has none ({len(absent)} such ids); run create_train_ids_file.py again"
        )
    order = np.argsort(ids)
    return order[np.searchsorted(ids, wanted, sorter=order)]


def refuse_outside(path: Path, ids: np.ndarray, labels: np.ndarray) -> None:
    """Raise DataError for labels (n, 37) that are no fractions."""
    outside = np.argwhere((labels < -decision_tree.TOLERANCE) | (labels > 1 + decision_tree.TOLERANCE))
    if len(outside):
        row, column = outside[0]
        raise DataError(
            f"{path}: expected fractions within [0, 1], got {labels[row, column]:g} for "
            f"GalaxyID {ids[row]} in {decision_tree.COLUMN_NAMES[column]} ({len(outside)} such cells); "
            "download it again; check_label_constraints.py counts them"
        )


def main() -> None:
    args = script_parser(__doc__).parse_args()
    folders = use_folders(args.root, args.data)
    ids, labels = read_labels_csv()
    refuse_outside(folders.labels_csv, ids, labels)
    labels = labels[rows_of(ids_of("train"), ids)].astype(np.float32)
    path = folders.data / "solutions_train.npy"
    save_array(path, labels)
    print(f"wrote {len(labels)} rows of {labels.shape[1]} labels to {path} ({len(ids)} lines read)")


if __name__ == "__main__":
    run_script(main)
