"""Searches in catalogues: exact, the same over shards, and what they refuse."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pyarrow as pa
import pytest
import similar
from pyarrow import parquet

import predict_galaxies
from catalogue import feature_tables, similar_rows
from catalogue.feature_tables import FeatureTables
from machine import seals, tables
from machine.files import DataError
from predict_galaxies import find_similar

VALUES = similar.features(1000, 60)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read few rows at a time."""
    monkeypatch.setattr(feature_tables, "_ROWS", 64)


def write_labels(path: Path, rows: dict[int, str]) -> Path:
    pandas.DataFrame({"id_str": [f"g{row}" for row in rows], "label": list(rows.values())}).to_csv(path, index=False)
    return path


def expected_order(examples: list[int]) -> np.ndarray:
    values = VALUES.astype(int)
    squares = np.min([((values - values[row]) ** 2).sum(axis=1) for row in examples], axis=0)
    order = np.argsort(squares, kind="stable")
    return order[~np.isin(order, examples)]


@pytest.mark.parametrize("num_files", [1, 7])
@pytest.mark.parametrize("examples", [[5], [5, 700]])
def test_the_nearest_rows_are_those_of_all_distances(tmp_path: Path, num_files: int, examples: list[int]):
    paths = similar.write(tmp_path, VALUES, num_files)
    found = find_similar(paths, like=[f"g{row}" for row in examples], limit=300)
    assert found["z"].tolist() == expected_order(examples)[:300].tolist()
    assert found["like_rank"].tolist() == list(range(1, 301)) and list(found)[:3] == [
        "like_rank",
        "like_distance",
        "id_str",
    ]
    first = VALUES[found["z"][0]].astype(float) - VALUES[examples]
    assert found["like_distance"][0] == pytest.approx(np.sqrt((first**2).sum(axis=1).min()) / 24)


def test_equal_rows_are_taken_in_their_order(tmp_path: Path):
    found = find_similar(similar.write(tmp_path, np.ones((900, 4), np.int8), 7), like="g450", limit=120)
    assert found["z"].tolist() == list(range(120)) and (found["like_distance"] == 0).all()


@pytest.mark.parametrize("num_files", [1, 7])
def test_labels_rank_the_rare_first_the_same_over_shards(tmp_path: Path, num_files: int):
    rows = {row: "ring" if row < 60 else "other" for row in (0, 1, 2, 300, 400, 500, 600, 700)}
    labels = write_labels(tmp_path / "l.csv", rows)
    found = find_similar(similar.write(tmp_path, VALUES, num_files), labels=labels, limit=1000)
    assert len(found) == 992 and not set(found["z"]) & set(rows)
    assert (found["z"][:30] < 60).all() and found["like_probability"].isna().all()
    whole = find_similar(similar.write(tmp_path, VALUES, 1), labels=labels, limit=1000)
    pandas.testing.assert_frame_equal(found, whole)


def test_enough_labels_give_probabilities_and_wanted_chooses(tmp_path: Path):
    paths = similar.write(tmp_path, VALUES)
    labels = write_labels(tmp_path / "l.csv", {row: "ring" if row < 60 else "not" for row in range(45, 90)})
    found = find_similar(paths, labels=labels)
    rare = found["z"] < 60
    assert found["like_probability"].is_monotonic_decreasing
    assert found["like_probability"][rare].mean() > 0.8 > 0.2 > found["like_probability"][~rare].mean()
    reverse = find_similar(paths, labels=labels, wanted="not")
    assert reverse["z"].tolist()[-20:] != found["z"].tolist()[-20:] and reverse["z"][0] >= 60


def test_labels_of_one_answer_rank_by_distance(tmp_path: Path):
    paths = similar.write(tmp_path, VALUES)
    labels = write_labels(tmp_path / "l.csv", {5: "ring", 700: "ring"})
    found = find_similar(paths, labels=labels, limit=50)
    assert found["z"].tolist() == expected_order([5, 700])[:50].tolist()


def test_the_command_writes_a_sealed_table_that_can_be_searched_again(
    tmp_path: Path, run_main: Callable[..., None], capsys
):
    paths = similar.write(tmp_path, VALUES, 2)
    for suffix in ("parquet", "fits", "csv"):
        output = tmp_path / f"near.{suffix}"
        run_main(predict_galaxies, "--like", "g5", "--from", *paths, "--output", output, "--limit", 20)
        assert list(tables.read_columns(output)["z"]) == expected_order([5])[:20].tolist()
    assert "ranked by their distance to 1 example\nwrote 20 rows" in capsys.readouterr().out
    assert seals.read(tmp_path / "near.parquet").is_whole
    again = find_similar(tmp_path / "near.parquet", like=f"g{expected_order([5])[3]}")
    assert len(again) == 19 and list(again).count("like_rank") == 1
    # Another search does not replace a table unasked.
    with pytest.raises(SystemExit) as ended:
        run_main(predict_galaxies, "--like", "g6", "--from", *paths, "--output", tmp_path / "near.parquet")
    assert "from other inputs or options" in str(ended.value.code)
    with pytest.raises(SystemExit) as ended:
        run_main(predict_galaxies, "--like", "g6", "--from", *paths, "--output", paths[0], "--overwrite")
    assert "is an input" in str(ended.value.code)


def test_ids_that_repeat_are_told_apart_by_their_file(tmp_path: Path):
    table = similar.table(VALUES)
    ids = pa.array(["twin" if row in (5, 700) else f"g{row}" for row in range(1000)])
    parquet.write_table(table.set_column(0, "id_str", ids), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="twin is the id_str of 2 rows"):
        find_similar(tmp_path / "a.parquet", like="twin")
    (tmp_path / "l.csv").write_text("id_str,file_loc,label\ntwin,g5.jpg,ring\ng800,,other\n")
    found = find_similar(tmp_path / "a.parquet", labels=tmp_path / "l.csv", limit=1000)
    assert 700 in set(found["z"]) and 5 not in set(found["z"])
    (tmp_path / "l.csv").write_text("id_str,label\ntwin,ring\ng800,other\n")
    with pytest.raises(DataError, match="file_loc does not say which"):
        find_similar(tmp_path / "a.parquet", labels=tmp_path / "l.csv")


FAULTS = {
    "neither an id_str of the catalogue nor an image": {"like": "nobody"},
    "--like with examples, or --labels": {},
    "--wanted with --labels": {"like": "g1", "wanted": "ring"},
    "--limit of 1 to": {"like": "g1", "limit": 0},
    "no labelled galaxy is in the catalogue": {"labels": "id_str,label\nx,ring\n"},
    "no labelled galaxy of the catalogue is ring": {"labels": "id_str,label\nx,ring\ng1,other\n"},
    "g1 has no features": {"like": "g1"},
}


@pytest.mark.parametrize("message", FAULTS)
def test_faults_of_a_search_are_one_message(tmp_path: Path, message: str):
    values = VALUES.copy()
    values[1] = -128 if "no features" in message else values[1]
    asked = dict(FAULTS[message])
    if "labels" in asked:
        (tmp_path / "l.csv").write_text(asked["labels"])
        asked["labels"] = tmp_path / "l.csv"
    with pytest.raises(DataError, match=message):
        find_similar(similar.write(tmp_path, values), **asked)


def test_a_search_reads_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sizes = []
    original = similar_rows.nearest_square

    def noting(examples: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        squares = original(examples)
        return lambda values: (sizes.append(len(values)), squares(values))[1]

    monkeypatch.setattr(similar_rows, "nearest_square", noting)
    find_similar(similar.write(tmp_path, VALUES), like="g3", limit=5)
    assert max(sizes) <= 64 and sum(sizes) == 999
    best = similar_rows._Best(5)
    for start in range(0, 100_000, 100):
        best.add(np.arange(start, start + 100)[::-1] % 977 * 1.0, np.arange(start, start + 100))
    assert len(best.keys) < 2000
    assert isinstance(FeatureTables(similar.write(tmp_path, VALUES)).model, type(None))
