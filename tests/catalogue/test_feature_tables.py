"""Catalogues with features are read in batches; other files are one message."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import similar
from pyarrow import parquet

from catalogue.feature_tables import FeatureTables
from machine.files import DataError

VALUES = similar.features(330, 20)


def test_features_and_rows_are_those_of_the_files_in_order(tmp_path: Path):
    values = VALUES.copy()
    values[[3, 200]] = -128  # without answers
    catalogue = FeatureTables(similar.write(tmp_path, values, 3))
    rows, features = (np.concatenate(parts) for parts in zip(*catalogue.features(), strict=True))
    assert len(catalogue) == 330 and rows.tolist() == [row for row in range(330) if row not in (3, 200)]
    np.testing.assert_array_equal(features, values[rows])
    taken = catalogue.take([329, 0, 120, 0])
    assert taken["z"].to_pylist() == [329, 0, 120, 0] and taken.column_names == catalogue.schema.names
    assert catalogue.take([]).num_rows == 0
    assert catalogue.find(["g7", "g300", "none"]) == {"g7": [7], "g300": [300], "none": []}


def test_null_lists_and_null_features_are_rows_without_features(tmp_path: Path):
    data_type = pa.list_(pa.int8(), 2)
    column = pa.array([[1, 2], None, [3, None], [5, 6]], data_type)
    parquet.write_table(pa.table({"id_str": list("abcd"), "features": column}), tmp_path / "a.parquet")
    [(rows, features)] = FeatureTables([tmp_path / "a.parquet"]).features()
    assert rows.tolist() == [0, 3] and features.tolist() == [[1, 2], [5, 6]]


def test_shards_are_sorted_by_their_index(tmp_path: Path):
    paths = similar.write(tmp_path, VALUES, 11)
    for index, path in enumerate(paths):
        whole = parquet.read_table(path)
        parquet.write_table(whole.replace_schema_metadata({"shard": f"{index + 1}/11 abc 0123456789ab"}), path)
    catalogue = FeatureTables(sorted(paths, reverse=True))
    assert catalogue.paths == paths


def without(*names: str) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.drop_columns(list(names))


def with_features(column: pa.Array) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(table.column_names.index("features"), "features", column)


FAULTS = {
    "no column features": without("features"),
    "no column id_str": without("id_str"),
    "of int8 of one length": with_features(pa.array([[1.0, 2.0]] * 330)),
    "expected 1 to 256 features, got 300": with_features(pa.array([[1] * 300] * 330, pa.list_(pa.int8(), 300))),
    "provenance": lambda table: table.replace_schema_metadata({"provenance": "[" * 40}),
    "has type timestamp": lambda table: table.append_column("t", pa.array([0] * 330, pa.timestamp("s"))),
}


@pytest.mark.parametrize("message", FAULTS)
def test_a_table_without_usable_features_is_one_message(tmp_path: Path, message: str):
    parquet.write_table(FAULTS[message](similar.table(VALUES)), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=message):
        FeatureTables([tmp_path / "a.parquet"])


def test_foreign_damaged_and_unlike_files_are_one_message(tmp_path: Path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 none PAR1")
    with pytest.raises(DataError, match="not a Parquet table"):
        FeatureTables([tmp_path / "a.parquet"])
    with pytest.raises(DataError, match="missing"):
        FeatureTables([tmp_path / "none.parquet"])
    [path] = similar.write(tmp_path, VALUES)
    content = bytearray(path.read_bytes())
    content[100:4000] = bytes(3900)
    (tmp_path / "b.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"b\.parquet is damaged"):
        list(FeatureTables([tmp_path / "b.parquet"]).features())
    parquet.write_table(similar.table(VALUES).drop_columns("z"), tmp_path / "c.parquet")
    with pytest.raises(DataError, match="other columns than"):
        FeatureTables([path, tmp_path / "c.parquet"])
    other = similar.table(VALUES).replace_schema_metadata({"provenance": '{"features of": {"sha256": "1"}}'})
    parquet.write_table(other, tmp_path / "d.parquet")
    with pytest.raises(DataError, match="features of another model"):
        FeatureTables([path, tmp_path / "d.parquet"])
