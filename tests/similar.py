"""Synthetic catalogues with features, for tests of searches."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet


def features(num_rows: int, num_rare: int, seed: int = 0, size: int = 16) -> np.ndarray:
    """Return whole features (num_rows, size) in which the first `num_rare` rows are a group of their own."""
    values = np.random.default_rng(seed).normal(0, 20, (num_rows, size))
    values[:num_rare, :3] += 45
    return np.clip(np.rint(values), -127, 127).astype(np.int8)


def table(values: np.ndarray, first: int = 0) -> pa.Table:
    """Return a catalogue of features (n, k) with id_str, file_loc and a column of its own."""
    ids = [f"g{first + row}" for row in range(len(values))]
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), type=pa.list_(pa.int8(), values.shape[1]))
    files, numbers = pa.array([f"{name}.jpg" for name in ids]), pa.array(range(first, first + len(ids)), pa.int64())
    return pa.table({"id_str": ids, "file_loc": files, "z": numbers, "features": column})


def write(folder: Path, values: np.ndarray, num_files: int = 1) -> list[Path]:
    """Write a catalogue in so many files, in groups of 50 rows; return their paths."""
    cuts = np.linspace(0, len(values), num_files + 1).astype(int)
    paths = [folder / f"{num_files}_{index}.parquet" for index in range(num_files)]
    for path, start, stop in zip(paths, cuts, cuts[1:], strict=False):
        parquet.write_table(table(values[start:stop], start), path, row_group_size=50)
    return paths
