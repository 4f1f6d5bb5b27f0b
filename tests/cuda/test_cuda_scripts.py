"""Whole scripts on a device: runs that a signal ends resume to the same result; broken images are left out."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import trial
from cuda_setting import CPU, Note, Setting, distance, network_of
from tiny import ROOT

import layers
from engine import record
from machine.arrays import load_gz, load_pickle
from machine.signals import UNFINISHED
from survey import folders, images

pytestmark = pytest.mark.skipif(
    not (torch.cuda.is_available() or os.environ.get("TORTURE")), reason="a minute on a CPU: TORTURE=1"
)
# The exit status of a run that a signal ends in step 4 of its third chunk, and what the next run resumes from: SIGTERM
# lets the step finish; SIGKILL loses what came after the last checkpoint.
SIGNALS = {
    "SIGTERM": (UNFINISHED, "2 chunks and 5 steps done"),
    "SIGKILL": (-signal.SIGKILL, "2 chunks and 0 steps done"),
}


def run(command: Sequence[object], ends: str = "") -> subprocess.CompletedProcess[str]:
    """Run a script to its end, or to where `ends` says that it sends itself a signal (`trial.py`)."""
    environment = os.environ | {"TRIAL_ENDS": ends} | ({"OMP_NUM_THREADS": "1"} if "cpu" in command else {})
    texts = [sys.executable, trial.__file__, *map(str, command)]
    ended = subprocess.run(
        texts, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=ROOT, check=False
    )
    print(f"$ {' '.join(texts)}\n{ended.stdout}exit status {ended.returncode}")
    return ended


def command(setting: Setting, verb: str, name: str, data: Path) -> list[object]:
    """Return the command that trains or predicts with the galaxies in `data`; results are below a folder `name`."""
    size = "small" if setting.is_small else "best"
    return [verb, size, "--root", setting.folder / name, "--data", data, "--device", setting.device.type]


def parameters(root: Path) -> list[torch.Tensor]:
    """Return the parameters that a run left."""
    [path] = (root / "analysis" / "final").glob("*.pkl")
    values = load_pickle(path, "a training script")["param_values"]
    return [torch.from_numpy(np.array(value)) for value in values]


@pytest.mark.timeout(180)
def test_a_run_that_a_signal_ends_resumes_to_the_same_result(setting: Setting, note: Note):
    flags = ["--initialisation", "variance-preserving", "--checkpoint-every", 1]
    commands = {
        name: [*command(setting, "train", name, setting.survey / "data"), *flags] for name in ("alone", *SIGNALS)
    }

    def end_and_resume(name: str) -> tuple[subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]:
        return run(commands[name], f"{name}:2:4"), run(commands[name])

    with ThreadPoolExecutor() as threads:
        start = time.perf_counter()
        pairs = {name: threads.submit(end_and_resume, name) for name in SIGNALS}
        assert run(commands["alone"]).returncode == 0
        note("seconds of a run left alone", time.perf_counter() - start)
    expected = parameters(setting.folder / "alone")
    for name, (status, progress) in SIGNALS.items():
        ended, resumed = pairs[name].result()
        assert (ended.returncode, resumed.returncode) == (status, 0)
        assert progress in resumed.stdout
        found = parameters(setting.folder / name)
        difference = distance(found, expected)
        note(f"parameters after {name}", difference)
        note(f"bit for bit after {name}", all(torch.equal(a, b) for a, b in zip(found, expected, strict=True)))
        assert difference <= 1e-4


def break_images(setting: Setting, data: Path) -> dict[str, int]:
    """Copy the survey's data, the last training image and the first test image truncated; return their indices."""
    shutil.copytree(setting.survey / "data", data)
    broken = {"train": len(images.ids_of("train")) - 1, "test": 0}
    for subset, index in broken.items():
        folder = data / folders.current.images(subset).relative_to(setting.survey / "data")
        image = folder / f"{images.ids_of(subset)[index]}.jpg"
        image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    return broken


@pytest.mark.timeout(180)
def test_scripts_leave_broken_images_out(setting: Setting, note: Note):
    name, whole_data, broken_data = setting.experiment.name, setting.survey / "data", setting.folder / "broken"
    broken = break_images(setting, broken_data)
    values = layers.get_param_values(network_of(setting, CPU).output_layer)
    for root in ("whole", "skip"):
        path = setting.folder / root / "analysis" / "final" / f"{name}.pkl"
        record.save_analysis(path, {"param_values": values}, {})
    skip = ["--on-bad-image", "skip"]
    commands = [
        [*command(setting, "predict", "whole", whole_data), "--precision", "float32"],
        [*command(setting, "predict", "skip", broken_data), "--precision", "float32", *skip],
        [*command(setting, "train", "train", broken_data), "--num-chunks", 2, *skip],
    ]
    with ThreadPoolExecutor() as threads:
        assert [ended.returncode for ended in threads.map(run, commands)] == [0, 0, 0]
    labels = images.load_labels()
    train, valid = images.split(len(labels))
    mean = labels[train].mean(axis=0)
    for part, num, row in (
        ("valid", len(valid), broken["train"] - len(train)),
        ("test", len(images.ids_of("test")), broken["test"]),
    ):
        predictions = Path("predictions", "final", "augmented", part, f"{name}.npy.gz")
        whole, left = (load_gz(setting.folder / root / predictions) for root in ("whole", "skip"))
        assert whole.shape == left.shape == (num, 37)
        others = np.arange(num) != row
        note(f"other rows, {part}", float(np.abs(whole - left)[others].max()))
        assert whole.max() <= 1 + 1e-5
        np.testing.assert_allclose(left[others], whole[others], rtol=0, atol=1e-5)
        np.testing.assert_allclose(left[row], mean, rtol=0, atol=1e-5)
