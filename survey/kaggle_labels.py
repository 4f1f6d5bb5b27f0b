"""A validating reader of Kaggle's table of training labels: columns in any order, finite numbers, each id once."""

import os
import warnings
from pathlib import Path

import numpy as np
import pandas

from galaxy.tree import Tree
from machine.files import DataError, duplicate, first_line, open_file

# Five times the size of the competition's table, ten times that of its header.
MAX_BYTES, MAX_HEADER_BYTES = 2**27, 2**12
# Eighteen digits fit an int64.
MAX_ID = 10**18 - 1
_HINT = "download it from Kaggle or run simulate_galaxies.py"


def _read_text(path: Path, tree: Tree) -> pandas.DataFrame:
    """Read the cells without conversion; raises DataError unless header and rows have the columns of the tree."""
    with open_file(path, _HINT) as file:
        if (size := os.fstat(file.fileno()).st_size) > MAX_BYTES:
            raise DataError(f"{path}: expected at most {MAX_BYTES} bytes, got {size}; {_HINT}")
        header = file.readline(MAX_HEADER_BYTES).decode("utf-8-sig", "replace")
        names = [name.strip('"') for name in header.rstrip("\r\n").split(",")]
        if missing := [name for name in ("GalaxyID", *tree.columns) if name not in names]:
            listed = ", ".join(missing[:3]) + ", ..." * (len(missing) > 3)
            raise DataError(
                f"{path}: expected GalaxyID and {tree.num_answers} answer columns, but {listed} is missing; {_HINT}"
            )
        if len(set(names)) < len(names):
            raise DataError(f"{path}: expected each column once, got a repeated name; {_HINT}")
        with warnings.catch_warnings():
            # pandas drops the last cells of rows that are longer than the header, with only a warning.
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            try:
                return pandas.read_csv(
                    file, header=None, names=names, index_col=False, float_precision="round_trip", low_memory=False
                )
            except (ValueError, pandas.errors.ParserWarning) as error:  # undecodable bytes are ValueErrors
                raise DataError(f"{path} is not a CSV table ({first_line(error)}); {_HINT}") from None


def read(path: Path, tree: Tree) -> tuple[np.ndarray, np.ndarray]:
    """Read ids (n,) int64 and weighted labels (n, answers) float64, in the order of the tree's columns.

    Conditional columns are weighted down the tree; a question that nobody was asked may have empty cells there. Raises
    DataError if the file or a column is missing, a cell is not a finite number, an id is not a whole number of at least
    0, or an id is repeated.
    """
    table = _read_text(path, tree)
    cells = table[list(tree.columns)]
    labels = cells.apply(pandas.to_numeric, errors="coerce").to_numpy(np.float64)
    if not tree.weighted:
        empty = cells.isna().to_numpy()
        labels = tree.weigh(np.where(empty, 0.0, labels))
        _refuse_gaps(path, table["GalaxyID"].tolist(), labels, empty, tree)
    ids = pandas.to_numeric(table["GalaxyID"], errors="coerce").to_numpy()
    numbers = ids.astype(np.float64)
    bad = ~np.isfinite(labels).all(axis=1) | ~((numbers >= 0) & (numbers <= MAX_ID) & (numbers == np.floor(numbers)))
    if bad.any():
        line = np.flatnonzero(bad)[0] + 2
        raise DataError(f"{path}: line {line} contains a cell that is not a number, or a wrong GalaxyID; {_HINT}")
    ids = ids.astype(np.int64)
    if (repeated := duplicate(ids)) is not None:
        raise DataError(f"{path}: expected each GalaxyID once, got {repeated} twice; {_HINT}")
    return ids, labels


def _refuse_gaps(path: Path, ids: list, labels: np.ndarray, empty: np.ndarray, tree: Tree) -> None:
    """Raise DataError for empty cells of a question that was asked, by weighted labels (n, answers)."""
    _, weights = tree.question_totals(labels)
    wrong = empty & (weights[:, tree.question_of] > 0)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise DataError(
            f"{path}: expected a fraction for GalaxyID {ids[row]} in {tree.columns[column]}, whose question was asked, "
            f"got an empty cell ({wrong.sum()} such cells); {_HINT}"
        )
