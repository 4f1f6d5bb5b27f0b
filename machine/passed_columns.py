"""Columns of a user's table that pass through to another table: their names, types, units, descriptions and gaps."""

import json
import re
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa

from machine.table_cells import TableColumn, is_missing, text_of
from machine.tables import field, printable

# Types that all formats hold, by the type that is read.
_TYPES = {
    "b1": pa.bool_(), "i1": pa.int16(), "u1": pa.uint8(), "i2": pa.int16(), "u2": pa.int32(), "i4": pa.int32(),
    "u4": pa.int64(), "i8": pa.int64(), "u8": pa.int64(), "f2": pa.float32(), "f4": pa.float32(), "f8": pa.float64(),
}  # fmt: skip


def passed_fields(
    passed: Mapping[str, TableColumn | np.ndarray], taken: Iterable[str]
) -> list[tuple[pa.Field, np.ndarray]]:
    """Return the columns that pass through, with unique names that are valid in all formats.

    No name equals one of `taken`, in upper or lower case.
    """
    used = {name.lower() for name in taken}
    columns = []
    for name, column in passed.items():
        column = column if isinstance(column, TableColumn) else TableColumn(column)
        unique = _unique_name(name, used)
        used.add(unique.lower())
        data_type, values = _typed(column.values)
        description = printable(column.description) or f"passed through: {printable(name)}"
        columns.append((field(unique, data_type, description, printable(column.unit)), values))
    return columns


def arrow_array(values: np.ndarray, data_type: pa.DataType) -> pa.Array:
    """Return values (n,) or (n, m) as an Arrow array; NaN and masked values are null."""
    if pa.types.is_fixed_size_list(data_type):
        flat = pa.array(np.ascontiguousarray(values).ravel(), data_type.value_type)
        return pa.FixedSizeListArray.from_arrays(flat, type=data_type)
    return pa.array(values, data_type, from_pandas=True)


def _typed(values: np.ndarray) -> tuple[pa.DataType, np.ndarray]:
    """Return the type of a column in the table that is written, and its values of that type."""
    data_type = _TYPES.get(values.dtype.str[1:])
    if values.dtype == np.uint64 and values.size and values.max() > np.iinfo(np.int64).max:
        data_type = None  # as text, in all rows
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    if data_type is not None and values.ndim == 1:
        return data_type, values
    if data_type is not None and values.ndim == 2 and values.shape[1]:
        return pa.list_(data_type, values.shape[1]), values
    if values.ndim == 1 and values.dtype == object and any(isinstance(value, list) for value in values):
        return _lists(values)
    cells = values.tolist()
    texts = np.empty(len(cells), object)
    texts[:] = ["" if is_missing(cell) else printable(_text(cell)) for cell in cells]
    return pa.string(), texts


def _lists(values: np.ndarray) -> tuple[pa.DataType, np.ndarray]:
    """Return lists of numbers as they are, others as JSON."""
    flat = [item for cell in values if isinstance(cell, list) for item in cell if item is not None]
    if all(isinstance(item, bool | np.bool_) for item in flat):
        item_type = pa.bool_()
    elif all(isinstance(item, int | np.integer) for item in flat):
        item_type = pa.int64()
    elif all(isinstance(item, int | float | np.number) for item in flat):
        item_type = pa.float64()
    else:
        texts = np.empty(len(values), object)
        texts[:] = ["" if is_missing(cell) else printable(_text(cell)) for cell in values]
        return pa.string(), texts
    return pa.list_(item_type), values


def _text(cell: object) -> str:
    return json.dumps(cell, default=text_of, ensure_ascii=False) if isinstance(cell, list | dict) else text_of(cell)


def _unique_name(name: str, used: set[str]) -> str:
    """Return a name of ASCII letters, digits and underscores that is not in `used`, which holds lower case."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)[:60] or "column"
    plain = plain if plain[0].isalpha() else f"_{plain}"
    candidate, suffix = plain, 1
    while candidate.lower() in used:
        suffix += 1
        candidate = f"{plain}_{suffix}"
    return candidate
