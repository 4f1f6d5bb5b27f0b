"""What holds for every script: help, wrong arguments, and that importing reads nothing."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import ROOT

from machine.version import VERSION
from survey.folders import use_folders

# What a script cannot do without.
ARGUMENTS = {
    "create_submission_from_npy.py": ["nothing.npy.gz"],
    "export_model.py": ["try_convnet_cc_multirotflip_3x69r45_maxout2048"],
    "predict_galaxies.py": ["nothing", "--output", "catalogue.csv"],
}
# Those that read no survey have no --data.
OF_OWN_IMAGES = {"predict_galaxies.py"}
SCRIPTS = sorted(path.name for path in ROOT.glob("*.py") if '__name__ == "__main__"' in path.read_text())


def run(script: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Run a script as a program, in this process."""
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    runpy.run_path(str(ROOT / script), run_name="__main__")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Stand in a folder without any data, so that a script which read some would fail."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    use_folders(".")


def test_all_scripts_are_found():
    """Models are found by the names of their files (see test_models.py); these are what 2014 documents beside them."""
    assert {path.name for pattern in ("try_*.py", "predict_*.py") for path in ROOT.glob(pattern)} <= set(SCRIPTS)
    assert {
        "check_label_constraints.py", "convert_training_labels_to_npy.py", "copy_data_to_shm.py",
        "create_submission_from_npy.py", "create_test_ids_file.py", "create_train_ids_file.py",
        "ensemble_predictions_npy.py", "extract_pysex_params_extra.py", "extract_pysex_params_gen2.py",
        "show_results.py", "simulate_galaxies.py",
    } <= set(SCRIPTS)  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_answered(script, monkeypatch, capsys, empty_folder):
    with pytest.raises(SystemExit) as stop:
        run(script, monkeypatch, "--help")
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "--root DIR" in out
    assert ("--data DIR" in out) is (script not in OF_OWN_IMAGES)
    assert not list(empty_folder.iterdir())


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_wrong_argument_is_one_clear_line(script, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        run(script, monkeypatch, "--no-such-flag", "x")
    assert stop.value.code == 2
    assert "error: " in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("script", [s for s in SCRIPTS if s != "simulate_galaxies.py"])
def test_without_data_a_script_says_what_is_missing(script, monkeypatch, empty_folder):
    with pytest.raises(SystemExit) as stop:
        run(script, monkeypatch, *ARGUMENTS.get(script, []))
    message = str(stop.value.code)
    assert message.startswith("error: ")
    assert "\n" not in message
    assert not [path for path in empty_folder.rglob("*") if path.is_file()]
    if script.startswith("try_") and "pip install" not in message:
        assert "prepare_data.py" in message and "make demo" in message


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_version_is_answered(script, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        run(script, monkeypatch, "--version")
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"{script} of version {VERSION}\n"


MODELS = ("try_", "predict_augmented_npy_")
# Of the scripts of models, one per sequence of imports.
IMPORTING = [script for script in SCRIPTS if not script.startswith(MODELS)] + [
    "try_convnet_cc_multirotflip_3x69r45_bigger.py",
    "try_convnet_cc_multirotflip_3x69r45_pysex.py",
    "try_finetune_efficientnet_lite0.py",
    "try_finetune_efficientnet_lite1.py",
    "predict_augmented_npy_bigger.py",
]


@pytest.mark.parametrize("script", IMPORTING)
def test_a_package_that_cannot_be_imported_is_one_line(script: str, empty_folder: Path):
    for package in ("numpy", "torch", "pandas", "cv2"):
        (empty_folder / f"{package}.py").write_text("raise ImportError('libm.so.7: cannot open shared object file')")
    environment = os.environ | {"PYTHONPATH": str(empty_folder)}
    command = [sys.executable, str(ROOT / script), "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        "error: libm.so.7: cannot open shared object file; install the packages of requirements.txt "
        "(pip install -r requirements.txt)\n"
    )


def test_importing_the_pipeline_does_not_import_torch():
    # Worker processes and preparation scripts start in a fraction of a second.
    code = "import sys, realtime_augmentation; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
