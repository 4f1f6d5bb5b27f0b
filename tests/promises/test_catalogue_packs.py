"""Packs of images are catalogued by jobs of an array, each once, and gone on with where one was killed."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import exported
import numpy as np
import pytest
from tiny import ROOT, draw_blob, files_of, write_jpeg

import predict_galaxies
from machine.tables import read_columns


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    """Return a folder of two packs, of three images and two."""
    rng = np.random.default_rng(0)
    (tmp_path / "packs").mkdir()
    for pack, names in (("a", "xyz"), ("b", "uv")):
        with tarfile.open(tmp_path / "packs" / f"{pack}.tar", "w") as tar:
            for name in names:
                write_jpeg(tmp_path / "images" / pack / f"{name}.jpg", draw_blob(rng))
                tar.add(tmp_path / "images" / pack / f"{name}.jpg", f"{name}.jpg")
    return tmp_path / "packs"


def job(number: int | None, *arguments: object) -> subprocess.CompletedProcess:
    own = {} if number is None else {"SLURM_ARRAY_TASK_ID": str(number)}
    return subprocess.run(
        [ROOT / "workflow" / "catalogue_packs.sh", *map(str, arguments)],
        env={**os.environ, "PYTHON": sys.executable, **own},
        capture_output=True,
        text=True,
    )


def test_each_job_makes_the_table_of_its_pack(packs: Path, tmp_path: Path, run_main):
    flags = "--model", exported.tiny_model(), "--num-workers", 0, "--threads", 1
    tables = tmp_path / "tables"
    for number in range(2):
        done = job(number, packs, tables, *flags)
        assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tables.glob("[ab]*")) == [
        "a.parquet", "a.sample.csv", "b.parquet", "b.sample.csv",
    ]  # fmt: skip
    assert not list(tables.glob(".*"))
    rows = read_columns(tables / "a.parquet")
    assert rows["id_str"].tolist() == ["x", "y", "z"] and set(rows["status"]) == {"ok"}
    run_main(predict_galaxies, tmp_path / "images" / "a", "--output", tmp_path / "whole.parquet", *flags)
    whole = read_columns(tmp_path / "whole.parquet")
    for name in set(rows) - {"file_loc"}:
        np.testing.assert_array_equal(rows[name], whole[name])
    before = files_of(tables)
    again = job(0, packs, tables, *flags)
    assert again.returncode == 0 and "a.parquet exists" in again.stdout and files_of(tables) == before


@pytest.mark.parametrize(
    ("number", "says"),
    [(2, "expected a pack for job 2, but there are 2; run --array=0-1"), (None, "expected a job of an array")],
)
def test_a_job_without_a_pack_says_so(packs: Path, tmp_path: Path, number: int | None, says: str):
    done = job(number, packs, tmp_path / "tables")
    assert done.returncode == 1 and says in done.stderr and not (tmp_path / "tables").exists()


def test_a_folder_without_packs_is_named(tmp_path: Path):
    done = job(0, tmp_path, tmp_path / "tables")
    assert done.returncode == 1 and "expected packs *.tar" in done.stderr
