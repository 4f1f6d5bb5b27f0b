"""Weights of the training galaxies: how much the error of one counts beside that of another.

A table of labels may have a column `weight`, for example 1 where volunteers voted and 0.2 where only a class is known.
Preparation writes it to data/weights_train.npy. Without that file all galaxies count the same.
"""

import csv
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from machine import tables
from machine.arrays import load_array, save_array
from machine.files import DataError, replacing
from machine.products import check
from survey import folders
from survey.images import ids_of
from survey.own_labels import keys_by_column
from survey.preparation import product
from survey.vote_columns import Choices

if TYPE_CHECKING:
    import pandas

COLUMN = "weight"


def weights_npy() -> Path:
    """Return the path of the array of weights."""
    return folders.current.data / "weights_train.npy"


def weights_csv() -> Path:
    """Return the path of the weights of your own galaxies, beside the table of labels."""
    return folders.current.data / "raw" / "training_weights.csv"


def _column(path: Path) -> str | None:
    """Return the name of the column of weights in a table, None without one."""
    names = [name for name in tables.column_names(path) if name.strip().lower() == COLUMN]
    if len(names) > 1:
        raise DataError(f"{path}: expected one column {COLUMN!r}, got {' and '.join(names)}; remove one")
    return names[0] if names else None


def _numbers(path: Path, cells: "pandas.Series", keys: Sequence[object]) -> np.ndarray:
    """Return the weights (n,) of the galaxies `keys`; raises DataError for a cell that is not one."""
    import pandas

    weights = pandas.to_numeric(cells, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        row = np.flatnonzero(bad)[0]
        raise DataError(
            f"{path}: expected weights of at least 0, got {cells.iloc[row]!r} for {keys[row]!r} in {COLUMN} "
            f"({bad.sum()} such cells); correct them, or remove the column"
        )
    return weights


def read_own(path: Path, names: Sequence[str], choices: Choices) -> np.ndarray | None:
    """Read the weights (n,) of your own galaxies from their table of votes; None without such a column.

    `names` are those that `own_labels.read` returned. Raises DataError.
    """
    if (column := _column(path)) is None:
        return None
    keys = keys_by_column(path, choices)
    chosen = max(keys, key=lambda name: len(set(keys[name]) & set(names)))
    weights = dict(
        zip(keys[chosen], _numbers(path, tables.read_cells(path, [column])[column], keys[chosen]), strict=True)
    )
    return np.array([weights[name] for name in names])


def write_csv(ids: Sequence[int], weights: np.ndarray | None) -> None:
    """Write ids (n,) and weights (n,) as a table, with all digits; without weights, remove an earlier table."""
    if weights is None:
        weights_csv().unlink(missing_ok=True)
        return
    with replacing(weights_csv()) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["GalaxyID", COLUMN])
        writer.writerows(zip(ids, weights.tolist(), strict=True))


def write(overwrite: bool = False) -> None:
    """Write the weights (num_train,) float32, one per training id, if a table has them; print a line.

    Raises DataError for an id without a weight, and for an array of weights that no table has.
    """
    path = weights_npy()
    sources = [source for source in (folders.current.labels_csv, weights_csv()) if source.exists()]
    source = next((source for source in sources if _column(source) is not None), None)
    if source is None:
        if path.exists():
            raise DataError(
                f"{path} exists, but {folders.current.labels_csv.name} has no column {COLUMN!r}; delete the file, or "
                "add the column"
            )
        return
    table = tables.read_cells(source, ["GalaxyID", _column(source)])
    keys = [str(cell).strip() for cell in table["GalaxyID"]]
    weights = dict(zip(keys, _numbers(source, table.iloc[:, 1], keys), strict=True))
    wanted = [str(id) for id in ids_of("train")]
    if len(weights) < len(keys) or not set(wanted) <= weights.keys():
        raise DataError(f"{source}: expected a weight for each training id, once; prepare the data again")
    check([product(path)], overwrite=overwrite)
    save_array(path, np.array([weights[id] for id in wanted], np.float32))
    print(f"wrote the weights of {len(wanted)} galaxies to {path}")


def load() -> np.ndarray | None:
    """Load the weights (num_train,) float32; None without a file. Raises DataError."""
    path, remedy = weights_npy(), "run prepare_data.py again, or delete it"
    if not path.exists():
        return None
    weights = load_array(path, "prepare_data.py", (len(ids_of("train")),), np.floating).astype(np.float32)
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise DataError(f"{path}: expected weights of at least 0, got others; {remedy}")
    return weights


def normalised(indices: np.ndarray) -> np.ndarray | None:
    """Return the weights (num_train, 1) float32, whose mean over the training galaxies `indices` is 1.

    None without a file, and if all weights are equal: the error is then exactly the unweighted one.
    """
    weights = load()
    if weights is None or ((weights[indices] == weights[indices[0]]).all() and weights[indices[0]] > 0):
        return None
    if not weights[indices].any():
        raise DataError(f"{weights_npy()}: expected a weight above 0 for a training galaxy, got none; correct it")
    return (weights / weights[indices].mean(dtype=np.float64)).astype(np.float32)[:, None]


def report(error_of: Callable, indices: np.ndarray) -> None:
    """Print a line if the training galaxies `indices` have weights; raises DataError if `error_of` takes none."""
    if (weights := normalised(indices)) is None:
        return
    if "weights" not in inspect.signature(error_of).parameters:
        raise DataError(
            f"expected an error with weights, as {weights_npy()} exists, but {error_of.__qualname__} takes none; "
            "delete the file, or add the parameter weights"
        )
    low, high = weights[indices].min(), weights[indices].max()
    print(
        f"the training error is weighted: {low:.3g} to {high:.3g} from {weights_npy()}, mean 1; the validation RMSE is "
        "not weighted"
    )
