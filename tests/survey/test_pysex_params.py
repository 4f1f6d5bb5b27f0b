"""Measurements of all galaxies of a survey: in the order of the ids, and extractions that are interrupted."""

import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import ROOT, Survey

import extract_pysex_params_extra
import extract_pysex_params_gen2
import load_data
from machine.arrays import load_gz, save_array
from machine.progress import Lines
from survey import folders, pysex_params
from survey.centering import EXTRA_PARAMS, GEN2_PARAMS, PysexParams
from survey.folders import Folders, adopt, use_folders
from survey.pysex_params import extract, measure

SCRIPTS = {"gen2": extract_pysex_params_gen2, "extra": extract_pysex_params_extra}


def test_the_scripts_write_a_file_each_in_the_order_of_the_ids(prepared_survey: Survey, run_main, capsys):
    for script in SCRIPTS.values():
        run_main(script, "--root", prepared_survey.root, "--num-workers", 1)
    use_folders(prepared_survey.root)
    data = prepared_survey.root / "data"
    names = {f"pysex_params_{name}_{subset}.npy.gz" for name in SCRIPTS for subset in ("train", "test")}
    assert {path.name for path in data.glob("*pysex*")} | {path.name for path in data.glob(".*")} == names
    assert "wrote 30 rows of x, y, a, b, theta, petro_radius to" in capsys.readouterr().out
    ids = {"train": prepared_survey.train_ids, "test": prepared_survey.test_ids}
    for catalogue in (GEN2_PARAMS, EXTRA_PARAMS):
        for subset, index in (("train", 0), ("train", 29), ("test", 3)):
            rows = load_gz(catalogue.path(subset))
            assert rows.dtype == np.float64
            assert rows.shape == (len(ids[subset]), len(catalogue.columns))
            image = load_data.load_image(ids[subset][index], subset, normalise=False)
            np.testing.assert_array_equal(rows[index], measure(image[:, :, 1], catalogue))
    # What is complete is left alone.
    before = {name: (data / name).stat().st_mtime_ns for name in names}
    run_main(extract_pysex_params_gen2, "--root", prepared_survey.root)
    assert "already exists; delete it to measure again" in capsys.readouterr().out
    assert {name: (data / name).stat().st_mtime_ns for name in names} == before


def test_several_processes_measure_what_one_does(prepared_survey: Survey, tmp_path: Path, capsys):
    ram = tmp_path / "ram"
    shutil.copytree(prepared_survey.raw / "images_test_rev1", ram / "images_test_rev1")
    adopt(Folders(prepared_survey.root, ram=ram))
    extract(GEN2_PARAMS, "test", num_workers=1)
    one = GEN2_PARAMS.load("test")
    GEN2_PARAMS.path("test").unlink()
    shutil.rmtree(prepared_survey.raw / "images_test_rev1")
    adopt(Folders(prepared_survey.root, ram=ram, from_ram=True))
    extract(GEN2_PARAMS, "test", num_workers=2)
    np.testing.assert_array_equal(GEN2_PARAMS.load("test"), one)


class TestInterruption:
    """An extraction of the 30 training images that ends after 7 of them."""

    @pytest.fixture
    def measured(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """Count what is measured; the eighth image is never reached the first time."""
        measured = []

        def measure(channel: np.ndarray, catalogue: PysexParams) -> np.ndarray:
            if len(measured) == 7:
                measured.append(np.nan)
                raise KeyboardInterrupt
            measured.append(float(channel.mean()))
            return np.full(len(catalogue.columns), channel.mean())

        monkeypatch.setattr(pysex_params, "measure", measure)
        return measured

    @pytest.fixture
    def interrupted(self, prepared_survey: Survey, measured: list[float]) -> Survey:
        with pytest.raises(KeyboardInterrupt):
            extract(GEN2_PARAMS, "train", num_workers=1)
        assert not GEN2_PARAMS.path("train").exists()
        return prepared_survey

    def expected(self) -> np.ndarray:
        images = load_data.load_images(load_data.train_ids, normalise=False)
        return np.repeat(images[..., 1].mean(axis=(1, 2))[:, None], 6, axis=1)

    def test_the_next_one_goes_on(self, interrupted: Survey, measured: list[float]):
        extract(GEN2_PARAMS, "train", num_workers=1)
        assert len(measured) == 1 + 30  # one of them the interruption
        np.testing.assert_allclose(GEN2_PARAMS.load("train"), self.expected())
        assert not list((interrupted.root / "data").glob(".*"))

    def test_other_ids_start_anew(self, interrupted: Survey, measured: list[float]):
        save_array(interrupted.root / "data" / "train_ids.npy", interrupted.train_ids[::-1].copy())
        use_folders(interrupted.root)
        extract(GEN2_PARAMS, "train", num_workers=1)
        assert len(measured) == 8 + 30
        np.testing.assert_allclose(GEN2_PARAMS.load("train"), self.expected())

    def test_a_damaged_remainder_starts_anew(self, interrupted: Survey, measured: list[float]):
        [remainder] = (interrupted.root / "data").glob(".*")
        remainder.write_bytes(remainder.read_bytes()[:100])
        extract(GEN2_PARAMS, "train", num_workers=1)
        assert len(measured) == 8 + 30

    def test_a_changed_image_starts_anew(self, interrupted: Survey, measured: list[float]):
        os.utime(next((interrupted.raw / "images_train_rev1").iterdir()), (1, 1))
        extract(GEN2_PARAMS, "train", num_workers=1)
        assert len(measured) == 8 + 30

    def test_the_other_catalogue_does_not_take_it(self, interrupted: Survey, measured: list[float]):
        extract(EXTRA_PARAMS, "train", num_workers=1)
        assert len(measured) == 8 + 30
        assert EXTRA_PARAMS.load("train").shape == (30, 9)


def test_rows_are_saved_while_an_extraction_runs(prepared_survey: Survey, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pysex_params, "IMAGES_A_SAVE", 10)
    monkeypatch.setattr(pysex_params, "measure", lambda channel, catalogue: np.zeros(len(catalogue.columns)))
    lengths = []
    monkeypatch.setattr(pysex_params, "save_rows", lambda path, rows, source: lengths.append(len(rows)))
    extract(GEN2_PARAMS, "train", num_workers=1)
    assert lengths == [10, 20, 30]


@pytest.mark.usefixtures("prepared_survey")
def test_an_interrupted_extraction_ends_its_processes_and_keeps_their_work(monkeypatch: pytest.MonkeyPatch):
    class Bar(Lines):
        def update(self, n: int = 1) -> None:
            super().update(n)
            if self.n == 5:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pysex_params, "showing", lambda total, **_: Bar(None, total, 0, "images"))
        with pytest.raises(KeyboardInterrupt):
            extract(GEN2_PARAMS, "train", num_workers=2)
    assert not multiprocessing.active_children()
    [remainder] = folders.current.data.glob(".*")
    assert np.load(remainder).shape == (5, 7)
    extract(GEN2_PARAMS, "train", num_workers=1)
    resumed = GEN2_PARAMS.load("train")
    GEN2_PARAMS.path("train").unlink()
    extract(GEN2_PARAMS, "train", num_workers=1)
    np.testing.assert_array_equal(resumed, GEN2_PARAMS.load("train"))


def test_a_missing_image_ends_a_script_with_one_line(prepared_survey: Survey):
    (prepared_survey.raw / "images_train_rev1" / f"{prepared_survey.train_ids[4]}.jpg").unlink()
    command = [sys.executable, ROOT / "extract_pysex_params_extra.py", "--root", prepared_survey.root]
    done = subprocess.run([*command, "--num-workers", "2"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 1
    assert f"{prepared_survey.train_ids[4]}.jpg is missing" in done.stderr
    assert "Traceback" not in done.stderr
