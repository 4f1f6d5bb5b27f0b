"""The arrays of ids and labels that all scripts read, written from images and a table of labels, and their check.

Each public function is one of 2014's preparation scripts; `prepare_data.py` calls them all.

Source: documentation of 2014, 2.2.2, 3.4 and 5.4.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from galaxy.decision_tree import TOLERANCE
from machine import locks
from machine.arrays import read_seal, save_array
from machine.files import DataError
from machine.products import Product, check
from survey import folders
from survey.images import ids_of, list_ids, read_labels_csv
from survey.survey_tree import read_tree


def alone() -> contextlib.AbstractContextManager[None]:
    """Hold the lock of the data folder: ids, labels and images belong together."""
    return locks.alone(folders.current.data_lock("prepare"), "preparation of the data")


def product(path: Path) -> Product:
    """Return an array of ids or labels as a file to be written."""
    return Product(path, read_seal=read_seal)


def read_table() -> tuple[np.ndarray, np.ndarray]:
    """Read the table of training labels: ids (n,), labels (n, answers); raises DataError for a table without rows."""
    ids, labels = read_labels_csv()
    if len(ids) == 0:
        raise DataError(f"{folders.current.labels_csv}: expected one line per galaxy, got none; download it again")
    return ids, labels


def write_train_ids(overwrite: bool = False) -> None:
    """Write the ids of the training galaxies, in the order of the table; print a line.

    Raises DataError if an image has no line in the table. A line without an image is accepted.
    """
    ids, _ = read_table()
    folder = folders.current.images("train")
    if folder.is_dir() and len(strangers := np.setdiff1d(list_ids("train"), ids)):
        raise DataError(
            f"{folder}: expected an image for each line of {folders.current.labels_csv.name}, but "
            f"{strangers[0]}.jpg has no line ({len(strangers)} such images); download the table again, "
            "or move them elsewhere"
        )
    _write_ids("train", ids, overwrite)


def write_test_ids(overwrite: bool = False) -> None:
    """Write the ids of the test galaxies, from the names of their images, ascending; print a line."""
    _write_ids("test", list_ids("test"), overwrite)


def _write_ids(subset: str, ids: np.ndarray, overwrite: bool) -> None:
    path = folders.current.data / f"{subset}_ids.npy"
    check([product(path)], overwrite=overwrite)
    save_array(path, ids)
    print(f"wrote {len(ids)} ids to {path}")


def write_labels(overwrite: bool = False) -> None:
    """Write the training labels, float32, one row per training id; print a line.

    Raises DataError for an id without a row, and for labels outside of [0, 1].
    """
    ids, labels = read_labels_csv()
    _refuse_outside(folders.current.labels_csv, ids, labels)
    labels = labels[rows_of(ids_of("train"), ids)].astype(np.float32)
    path = folders.current.data / "solutions_train.npy"
    check([product(path)], overwrite=overwrite)
    save_array(path, labels)
    print(f"wrote {len(labels)} rows of {labels.shape[1]} labels to {path} ({len(ids)} lines read)")


def rows_of(wanted: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return the row of each id of `wanted` in `ids` (all different); raises DataError for an id without a row."""
    if absent := sorted(set(wanted.tolist()) - set(ids.tolist())):
        raise DataError(
            f"expected a line of labels for each of the {len(wanted)} ids in train_ids.npy, "
            f"but GalaxyID {absent[0]} has none ({len(absent)} such ids); run create_train_ids_file.py again"
        )
    order = np.argsort(ids)
    return order[np.searchsorted(ids, wanted, sorter=order)]


def _refuse_outside(path: Path, ids: np.ndarray, labels: np.ndarray) -> None:
    """Raise DataError for labels (n, answers) outside of [0, 1]."""
    outside = np.argwhere((labels < -TOLERANCE) | (labels > 1 + TOLERANCE))
    if len(outside):
        row, column = outside[0]
        raise DataError(
            f"{path}: expected fractions within [0, 1], got {labels[row, column]:g} for "
            f"GalaxyID {ids[row]} in {read_tree(folders.current).columns[column]} ({len(outside)} such cells); "
            "download it again; check_label_constraints.py counts them"
        )


@dataclass(frozen=True)
class Deviations:
    """Deviations of the labels of `ids` (n,) from the tree's sums (n, questions), and from the interval [0, 1] (n,)."""

    ids: np.ndarray
    sums: np.ndarray
    outside: np.ndarray

    def complaint(self, tolerance: float) -> str | None:
        """Return one line about the labels that deviate by more than `tolerance`; None if all are within it."""
        violating = (self.sums > tolerance).any(axis=1) | (self.outside > tolerance)
        if not violating.any():
            return None
        return (
            f"{folders.current.labels_csv}: expected labels within {tolerance:g} of the decision tree, but "
            f"{violating.sum()} of {len(self.ids)} galaxies are not, GalaxyID {self.ids[violating][0]} first; "
            "download training_solutions_rev1 again"
        )


def measure_deviations() -> Deviations:
    """Measure the deviations of the table of training labels from the decision tree."""
    ids, labels = read_table()
    totals, expected = read_tree(folders.current).question_totals(labels)
    return Deviations(ids, np.abs(totals - expected), np.maximum(-labels, labels - 1).max(axis=1).clip(min=0))
