"""Counts of votes: how many volunteers answered each question about each training galaxy.

A fraction of 0.6 from five volunteers says less than one from forty. Surveys that know the counts have them in
data/raw/training_counts.csv, beside the table of labels: one column per question, `smooth-or-featured_total`.
Preparation writes them to data/counts_train.npy.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from galaxy.tree import Tree
from machine.arrays import load_array, save_array
from machine.files import DataError, read_text, replacing
from machine.products import check
from survey import folders
from survey.folders import Folders
from survey.images import ids_of
from survey.preparation import product, rows_of
from survey.survey_tree import read_tree

_MAX_BYTES = 2**28
_HINT = "prepare the data again (prepare_data.py), or delete it"


def counts_csv(chosen: Folders | None = None) -> Path:
    """Return the path of the table of counts, in the folders in use or in others."""
    return (chosen or folders.current).data / "raw" / "training_counts.csv"


def counts_npy() -> Path:
    """Return the path of the array of counts."""
    return folders.current.data / "counts_train.npy"


def _columns(tree: Tree) -> list[str]:
    return ["GalaxyID", *(f"{question.name}_total" for question in tree.questions)]


def write_counts_csv(path: Path, ids: Sequence[int], counts: np.ndarray, tree: Tree) -> None:
    """Write ids (n,) and counts (n, questions) as a table."""
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_columns(tree))
        writer.writerows([id, *row] for id, row in zip(ids, np.round(counts, 3).tolist(), strict=True))


def _read_csv(path: Path, tree: Tree) -> tuple[np.ndarray, np.ndarray]:
    """Read ids (n,) int64 and counts (n, questions) float32; raises DataError."""
    lines, wanted = read_text(path, _HINT, _MAX_BYTES).splitlines(), _columns(tree)
    try:
        names, *rows = csv.reader(lines) if lines else [[]]
        columns = [names.index(name) for name in wanted]
        table = [[row[column] for column in columns] for row in rows if row]
        ids = np.array([int(row[0]) for row in table], np.int64)
        counts = np.array([[float(cell or 0) for cell in row[1:]] for row in table], np.float32)
        counts = counts.reshape(len(ids), len(wanted) - 1)
        if not (np.isfinite(counts).all() and (counts >= 0).all()) or len(np.unique(ids)) < len(ids):
            raise ValueError
    except (ValueError, IndexError, OverflowError, csv.Error):
        raise DataError(f"{path}: expected {', '.join(wanted[:3])}, ... with each id once; {_HINT}") from None
    return ids, counts


def write_counts(overwrite: bool = False) -> None:
    """Write the counts (num_train, questions) float32, one row per training id, if there is a table; print a line."""
    table, path = counts_csv(), counts_npy()
    if not table.exists():
        if path.exists():
            path.unlink()
            print(f"removed {path}: {table.name} is gone")
        return
    ids, counts = _read_csv(table, read_tree(folders.current))
    check([product(path)], overwrite=overwrite)
    save_array(path, counts[rows_of(ids_of("train"), ids)])
    print(f"wrote the counts of votes of {len(ids_of('train'))} galaxies to {path}")


def load_counts() -> np.ndarray | None:
    """Load the counts (num_train, questions) float32; None if the survey has none."""
    path = counts_npy()
    if not path.exists():
        return None
    counts = load_array(
        path, "prepare_data.py", (len(ids_of("train")), len(read_tree(folders.current).questions)), np.floating
    )
    if not (np.isfinite(counts).all() and (counts >= 0).all()):
        raise DataError(f"{path}: expected counts of at least 0, got others; run prepare_data.py again")
    return counts.astype(np.float32)


def needed_counts() -> np.ndarray:
    """Load the counts (num_train, questions) float32; raises DataError if the survey has none."""
    counts = load_counts()
    if counts is None:
        raise DataError(
            f"expected counts of votes in {counts_npy()}, which the error of this script needs, got none; prepare the "
            "data from a table with counts, or choose another output layer"
        )
    return counts
