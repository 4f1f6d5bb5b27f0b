"""Columns of a table as they are read: values of the types that the file has, their unit and description.

Whole numbers and logical values with gaps are masked arrays: in a float64, ids of eighteen digits lose the last ones.
pyarrow, pandas and astropy are imported by the readers that need them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas
    import pyarrow as pa


@dataclass(frozen=True, eq=False)
class TableColumn:
    """A column: `values` (n,), or (n, m) for vectors; object arrays hold texts, or lists of different lengths.

    Missing numbers are NaN or masked, missing texts None.
    """

    values: np.ndarray
    unit: str = ""
    description: str = ""

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: slice | np.ndarray) -> "TableColumn":
        return TableColumn(self.values[rows], self.unit, self.description)


def is_missing(value: object) -> bool:
    """Return whether a cell is empty."""
    if value is None or value is np.ma.masked or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def text_of(value: object) -> str:
    """Return a cell as text; bytes are decoded."""
    if isinstance(value, bytes):
        try:
            return value.rstrip(b"\0").decode("utf-8")
        except UnicodeDecodeError:
            return value.rstrip(b"\0").decode("latin-1")
    return str(value)


def of_arrow(column: "pa.ChunkedArray", field: "pa.Field") -> TableColumn:
    """Return a column of an Arrow table."""
    import pyarrow as pa

    notes = {key: (field.metadata or {}).get(key.encode(), b"").decode() for key in ("unit", "description")}
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    data_type = column.type
    if pa.types.is_integer(data_type) or pa.types.is_boolean(data_type):
        values = column.fill_null(False if pa.types.is_boolean(data_type) else 0).to_numpy()
        if column.null_count:
            values = np.ma.MaskedArray(values, column.is_null().to_numpy())
    elif pa.types.is_floating(data_type):
        values = column.to_numpy()
    elif pa.types.is_list(data_type) or pa.types.is_large_list(data_type) or pa.types.is_fixed_size_list(data_type):
        values = _stacked(column.to_pylist())
    else:
        values = _objects(column.to_pylist())
    return TableColumn(values, **notes)


def of_pandas(column: "pandas.Series") -> TableColumn:
    """Return a column of a pandas table with nullable types."""
    if column.dtype.kind in "iub" and column.isna().any():
        default = False if column.dtype.kind == "b" else 0
        values = column.fillna(default).to_numpy(column.dtype.numpy_dtype)
        return TableColumn(np.ma.MaskedArray(values, column.isna().to_numpy(bool)))
    if column.dtype.kind == "f":
        return TableColumn(column.to_numpy(np.float64, na_value=np.nan))
    if column.dtype.kind in "iub":
        return TableColumn(column.to_numpy(getattr(column.dtype, "numpy_dtype", column.dtype)))
    return TableColumn(_objects(column.tolist()))


def of_astropy(column: Any) -> TableColumn:
    """Return a column of an astropy table."""
    unit, description = (str(getattr(column, name, None) or "") for name in ("unit", "description"))
    mask = np.ma.getmaskarray(column) if isinstance(column, np.ma.MaskedArray) else None
    values = np.ma.getdata(column) if mask is not None else np.asarray(column)
    kind = values.dtype.kind
    if kind in "biuf":
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if kind == "f" and mask is not None and mask.any():
        values = np.where(mask, values.dtype.type(np.nan), values)
    elif kind in "biu" and mask is not None and mask.any() and values.ndim == 1:
        values = np.ma.MaskedArray(values, mask)
    elif kind in "SUO" and values.ndim == 1:
        cells = [None if mask is not None and np.all(mask[row]) else values[row] for row in range(len(values))]
        lists = any(isinstance(cell, np.ndarray | list | tuple) for cell in cells)
        values = _stacked(cells) if lists else _objects(cells)
    elif kind not in "biuf":
        values = _objects(values.tolist())
    return TableColumn(values, unit, description)


def _objects(cells: Sequence[object]) -> np.ndarray:
    """Return cells that are not numbers as an object array of texts and None."""
    values = np.empty(len(cells), object)
    values[:] = [None if is_missing(cell) else text_of(cell) for cell in cells]
    return values


def _stacked(cells: Sequence[Any]) -> np.ndarray:
    """Return lists as a matrix where they have one length and numbers, else as an object array of lists."""
    lists = [
        None if cell is None else list(np.ma.filled(cell)) if hasattr(cell, "filled") else list(cell) for cell in cells
    ]
    if lists and None not in lists and len(set(map(len, lists))) == 1 and lists[0]:
        matrix = np.array(lists)
        if matrix.dtype.kind in "biuf" and matrix.ndim == 2:
            return matrix
    values = np.empty(len(lists), object)
    values[:] = [None] * len(lists)
    for row, cell in enumerate(lists):
        values[row] = cell
    return values
