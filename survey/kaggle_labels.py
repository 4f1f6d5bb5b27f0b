"""Kaggle's table of training labels, read with suspicion: columns in any order, finite numbers, each id once."""

import os
import warnings
from pathlib import Path

import numpy as np
import pandas

from galaxy import decision_tree
from machine.files import DataError, duplicate, first_line, open_file

# Five times the competition's table, and ten times its header.
MAX_BYTES, MAX_HEADER_BYTES = 2**27, 2**12
# Eighteen digits fit an int64.
MAX_ID = 10**18 - 1
_HINT = "download it from Kaggle or run simulate_galaxies.py"


def _read_text(path: Path) -> pandas.DataFrame:
    """Read the cells as they stand; raises DataError unless there are the 38 columns and rows of that length."""
    with open_file(path, _HINT) as file:
        if (size := os.fstat(file.fileno()).st_size) > MAX_BYTES:
            raise DataError(f"{path}: expected at most {MAX_BYTES} bytes, got {size}; {_HINT}")
        header = file.readline(MAX_HEADER_BYTES).decode("utf-8-sig", "replace")
        names = [name.strip('"') for name in header.rstrip("\r\n").split(",")]
        if missing := [name for name in ("GalaxyID", *decision_tree.COLUMN_NAMES) if name not in names]:
            listed = ", ".join(missing[:3]) + ", ..." * (len(missing) > 3)
            raise DataError(f"{path}: expected GalaxyID and 37 answer columns, but {listed} is missing; {_HINT}")
        if len(set(names)) < len(names):
            raise DataError(f"{path}: expected each column once, got one twice; {_HINT}")
        with warnings.catch_warnings():
            # Where rows are longer than the header, pandas would drop their last cells with no more than a warning.
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            try:
                return pandas.read_csv(
                    file, header=None, names=names, index_col=False, float_precision="round_trip", low_memory=False
                )
            except (ValueError, pandas.errors.ParserWarning) as error:  # bytes that are no text are ValueErrors
                raise DataError(f"{path} is no CSV table ({first_line(error)}); {_HINT}") from None


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read ids (n,) int64 and labels (n, 37) float64, in the decision tree's order of columns.

    Raises DataError when the file or a column is missing, a cell is no finite number, an id is no whole number of at
    least 0, or there twice.
    """
    table = _read_text(path)
    labels = table[list(decision_tree.COLUMN_NAMES)].apply(pandas.to_numeric, errors="coerce").to_numpy(np.float64)
    ids = pandas.to_numeric(table["GalaxyID"], errors="coerce").to_numpy()
    numbers = ids.astype(np.float64)
    bad = ~np.isfinite(labels).all(axis=1) | ~((numbers >= 0) & (numbers <= MAX_ID) & (numbers == np.floor(numbers)))
    if bad.any():
        line = np.flatnonzero(bad)[0] + 2
        raise DataError(f"{path}: line {line} holds a cell that is no number, or a wrong GalaxyID; {_HINT}")
    ids = ids.astype(np.int64)
    if (twice := duplicate(ids)) is not None:
        raise DataError(f"{path}: expected each GalaxyID once, got {twice}, which stands twice; {_HINT}")
    return ids, labels
