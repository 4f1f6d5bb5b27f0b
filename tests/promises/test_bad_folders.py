"""Folders that can not be read or written, and writing that ends early: each such row of doc/bad_data.md."""

import errno
import io
import os
import shutil
import signal
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from tiny import ROOT, STEMS, Survey, cases_of, files_of, refused, rows_of_page, write_models

import convert_training_labels_to_npy
import create_submission_from_npy
import create_test_ids_file
import create_train_ids_file
import ensemble_predictions_npy
import show_results
import try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense as model
from engine import training
from machine.arrays import load_gz, save_array, save_gz
from machine.files import temporary_path

train_script = types.SimpleNamespace(__name__=model.EXPERIMENT.name, main=lambda: training.main(model.EXPERIMENT))


def put(path: Path, content: bytes = b"") -> None:
    """Write a file, as one that stands in the way or one of an earlier run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def move_data(survey: Survey) -> None:
    (survey.root / "data").rename(survey.root / "elsewhere")
    put(survey.root / "data")


# The script, its flags that name a path below the survey's folder, what becomes of the survey, and what is said of it.
FOLDERS = {
    "empty or missing folder": [
        (
            create_test_ids_file,
            {},
            lambda s: shutil.rmtree(s.raw / "images_test_rev1"),
            "the folder is missing; download",
        ),
        (
            create_test_ids_file,
            {},
            lambda s: [path.unlink() for path in (s.raw / "images_test_rev1").iterdir()],
            "it contains no .jpg file; download",
        ),
        (train_script, {}, lambda s: shutil.rmtree(s.raw / "images_train_rev1"), "images_train_rev1 is missing"),
        *[
            (
                script,
                {},
                lambda s: shutil.rmtree(s.root / "predictions"),
                f"augmented/{part}, got none; run predict_augmented_npy_*.py",
            )
            for script, part in ((ensemble_predictions_npy, "test"), (show_results, "valid"))
        ],
    ],
    "`--root` or `--data` that is a file": [
        (create_test_ids_file, {"--root": "file"}, lambda s: put(s.root / "file"), "--root: expected a folder, but"),
        (create_test_ids_file, {"--data": "file"}, lambda s: put(s.root / "file"), "--data: expected a folder, but"),
    ],
    "file where a folder is to be": [
        (create_train_ids_file, {}, move_data, "data: expected a folder, got a file"),
        (
            ensemble_predictions_npy,
            {},
            lambda s: put(s.root / "predictions/final/blended"),
            "final/blended, which is a file",
        ),
    ],
    "folder or pipe where a file is to be": [
        (create_train_ids_file, {}, lambda s: (s.csv.unlink(), s.csv.mkdir()), "expected a regular file"),
        (create_train_ids_file, {}, lambda s: (s.csv.unlink(), os.mkfifo(s.csv)), "expected a regular file"),
        (
            create_test_ids_file,
            {},
            lambda s: ((path := s.root / "data" / "test_ids.npy").unlink(), path.mkdir()),
            "test_ids.npy is a folder",
        ),
    ],
}


@pytest.mark.parametrize(("script", "flags", "spoil", "complaint"), cases_of(FOLDERS))
def test_bad_folder(prepared_survey: Survey, run_main, script, flags: dict[str, str], spoil, complaint: str):
    write_models(prepared_survey, 1)
    spoil(prepared_survey)
    arguments = [part for flag, name in flags.items() for part in (flag, prepared_survey.root / name)]
    assert complaint in refused(run_main, prepared_survey.root, script, *arguments)


# What each script writes first, and the argument that it needs.
PRODUCTS = {
    create_train_ids_file: ("data/train_ids.npy",),
    create_test_ids_file: ("data/test_ids.npy",),
    convert_training_labels_to_npy: ("data/solutions_train.npy",),
    ensemble_predictions_npy: (f"predictions/final/blended/{STEMS[0]}.npy.gz",),
    create_submission_from_npy: (
        "predictions/final/augmented/test/try_model_a.csv.gz",
        "predictions/final/augmented/test/try_model_a.npy.gz",
    ),
}
# Rows of the page whose tests are functions of their own.
WRITING = {"no permission to write, or a read-only folder", "disk full", "writing that is interrupted"}
each_script = pytest.mark.parametrize("script", PRODUCTS, ids=lambda script: script.__name__)


def prepare(survey: Survey, script: object) -> Path:
    """Put an old product where a script is to write, and return its path."""
    write_models(survey, 1)
    product = survey.root / PRODUCTS[script][0]
    if script not in (create_train_ids_file, create_test_ids_file, convert_training_labels_to_npy):
        put(product, b"an old product")
    assert product.exists()
    return product


def refused_to_write(run_main, survey: Survey, script: object) -> str:
    """Run a script that can not write its first product; return what it says."""
    product, *arguments = (survey.root / name for name in PRODUCTS[script])
    flags = ["--overwrite"] if script in (ensemble_predictions_npy, create_submission_from_npy) else []
    line = refused(run_main, survey.root, script, *arguments, *flags)
    assert f"error: {product} cannot be written (" in line
    assert "an earlier file there is unchanged; make room, allow writing or name another folder" in line
    return line


@each_script
@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EDQUOT], ids=errno.errorcode.get)
def test_no_permission_to_write(prepared_survey: Survey, run_main, monkeypatch, script, number: int):
    # Root may write anywhere: what the system would say is said for it.
    prepare(prepared_survey, script)
    opened = Path.open

    def refuse(path: Path, mode: str = "r", *options: object, **more: object) -> object:
        if "w" in mode:
            raise OSError(number, os.strerror(number), str(path))
        return (io.open if "opener" in more else opened)(path, mode, *options, **more)

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr("builtins.open", lambda path, *options, **more: refuse(Path(path), *options, **more))  # gzip's
    assert os.strerror(number) in refused_to_write(run_main, prepared_survey, script)


@each_script
def test_disk_full(prepared_survey: Survey, run_main, script):
    product = prepare(prepared_survey, script)
    # Whatever is written to this device finds no room.
    temporary_path(product).symlink_to("/dev/full")
    assert "No space left on device" in refused_to_write(run_main, prepared_survey, script)


def test_disk_that_becomes_full_in_the_middle(tmp_path: Path):
    path = tmp_path / "array.npy.gz"
    save_gz(path, np.arange(5))
    before = files_of(tmp_path)
    code = (
        "import resource, numpy; from machine.command_line import run_script; from machine.arrays import save_gz\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "array = numpy.random.default_rng(0).random(10**5)\n"
        f"run_script(lambda: save_gz({str(path)!r}, array))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "cannot be written (File too large)" in done.stderr and done.stderr.count("\n") == 1
    assert files_of(tmp_path) == before


def test_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "array.npy.gz"
    save_gz(path, np.arange(5))
    before = files_of(tmp_path)

    def interrupted(file: object, array: np.ndarray, **options: object) -> None:
        file.write(b"half an array")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", interrupted)
    for save, name in ((save_gz, "array.npy.gz"), (save_array, "new.npy")):
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path / name, np.arange(9))
    assert files_of(tmp_path) == before


def test_killed_write_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "array.npy.gz"
    save_gz(path, np.arange(5))
    code = (
        "import os, signal; from machine.files import replacing\n"
        f"with replacing({str(path)!r}) as temporary, temporary.open('wb') as file:\n"
        "    file.write(b'half an array')\n"
        "    file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == -signal.SIGKILL
    np.testing.assert_array_equal(load_gz(path), np.arange(5))
    assert list(tmp_path.glob("*.npy.gz")) == [path]


def test_the_page_has_a_row_for_each_test():
    assert rows_of_page("Folders and writing") == {*FOLDERS, *WRITING}
