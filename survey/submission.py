"""Submissions in Kaggle's format: one row of fractions per test galaxy, `.csv.gz`.

Source: documentation of 2014, 3.4 and 5.8.
"""

from pathlib import Path

import numpy as np

from galaxy.decision_tree import GALAXY_ZOO_2
from galaxy.tree import Tree
from machine import seals
from machine.files import DataError, replacing
from machine.gzip_writer import GzipWriter


def no_submission(tree: Tree) -> str | None:
    """Return why predictions of a tree's answers cannot be submitted; None if they can."""
    if tree == GALAXY_ZOO_2:
        return None
    return f"expected the answers of Kaggle's tree in a submission, got those of the tree {tree.name}"


def write_submission(path: str | Path, ids: np.ndarray, predictions: np.ndarray, source: str = seals.NO_SOURCE) -> None:
    """Write predictions (n, answers) of the test images ids (n,) in Kaggle's format, `.csv.gz`.

    `source` is that of the seal. The file is complete or absent, and equal predictions give equal bytes. Raises
    DataError for another shape, NaN or a value outside of [0, 1].
    """
    expected = (len(ids), GALAXY_ZOO_2.num_answers)
    if predictions.shape != expected:
        raise DataError(
            f"{path}: expected predictions {expected}, one row per test id, got {predictions.shape}; predict again"
        )
    if np.isnan(predictions).any():
        id = ids[np.isnan(predictions).any(axis=1)][0]
        raise DataError(f"{path}: expected numbers, got NaN for GalaxyID {id}; train the model again")
    low, high = predictions.min(initial=0), predictions.max(initial=1)
    if low < -1e-6 or high > 1 + 1e-6:  # rounding of float32 averages
        raise DataError(f"{path}: expected predictions within [0, 1], got {low:g} to {high:g}; predict again")
    row_format = "%d" + ",%.9g" * GALAXY_ZOO_2.num_answers + "\n"  # nine digits identify a float32
    with (
        replacing(path, sealed=True) as temporary,
        temporary.open("wb") as raw,
        GzipWriter(raw, source) as file,
    ):
        file.write(",".join(("GalaxyID", *GALAXY_ZOO_2.columns)).encode() + b"\n")
        for id, row in zip(ids.tolist(), predictions.tolist(), strict=True):
            file.write((row_format % (id, *row)).encode())
