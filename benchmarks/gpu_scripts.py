"""Right or wrong in whole scripts on the device: stopped and killed runs that go on, predictions, images left out.

Each runs in a process of its own, as a user runs it.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import layers
from benchmarks.gpu_setting import CPU, Setting, distance, network_of
from benchmarks.supervision import Finding, at_most, equal, measured
from engine import record
from machine.files import load_gz, load_pickle
from machine.signals import UNFINISHED
from survey import folders, images

ROOT = Path(__file__).resolve().parent.parent
TRIAL = (sys.executable, str(ROOT / "benchmarks" / "trial.py"))
# The status of a run that is ended in step 4 of its third chunk, and what its next run finds done: the last step is
# taken before a run stops in order; one that is killed loses what came after the last checkpoint.
SIGNALS = {
    "SIGTERM": (UNFINISHED, "2 chunks and 5 steps done"),
    "SIGKILL": (-signal.SIGKILL, "2 chunks and 0 steps done"),
}


@dataclass(frozen=True)
class Ended:
    """A script that has ended: its exit status, all that it printed, and the seconds that it took."""

    status: int
    text: str
    seconds: float

    @property
    def last_line(self) -> str:
        """What it printed last."""
        return next((line for line in reversed(self.text.splitlines()) if line.strip()), "")


def run(command: Sequence[object], ends: str = "") -> Ended:
    """Run a script to its end, or to where `ends` says that it sends itself a signal (`benchmarks.trial`)."""
    start = time.perf_counter()
    environment = os.environ | {"TRIAL_ENDS": ends}
    texts = [str(each) for each in command]
    ended = subprocess.run(
        texts, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=ROOT, check=False
    )
    print(f"$ {' '.join(texts)}\n{ended.stdout}exit status {ended.returncode}", flush=True)
    return Ended(ended.returncode, ended.stdout, time.perf_counter() - start)


def _training(setting: Setting, root: Path) -> list[object]:
    """Return the command that trains the trial experiment of the survey, with results below `root`."""
    size = "small" if setting.quick else "best"
    where = ["--root", root, "--data", setting.survey / "data", "--device", setting.on]
    return [*TRIAL, "train", size, *where, "--initialisation", "variance-preserving", "--checkpoint-every", 1]


def kills(setting: Setting, command: Sequence[object] | None = None) -> Iterator[Finding]:
    """A run that was ended with SIGTERM or SIGKILL goes on to the result of one that was left alone.

    `command` is another training script, which is given --root.
    """
    roots = {name: setting.scratch / f"kills-{name}" for name in ("alone", *SIGNALS)}
    commands = {}
    for name, root in roots.items():
        shutil.rmtree(root, ignore_errors=True)
        commands[name] = _training(setting, root) if command is None else [*command, "--root", root]
    with ThreadPoolExecutor() as threads:
        alone = threads.submit(run, commands["alone"])
        pairs = {name: threads.submit(_end_and_go_on, commands[name], name) for name in SIGNALS}
        yield equal("status of a run left alone", alone.result().status, 0)
        yield measured("last line of a run left alone", alone.result().last_line)
        yield measured("seconds of a run left alone", alone.result().seconds)
        for name, pair in pairs.items():
            yield from _judge(setting, name, *pair.result(), _parameters(roots[name]), _parameters(roots["alone"]))


def _judge(
    setting: Setting, name: str, ended: Ended, resumed: Ended, found: list[torch.Tensor], expected: list[torch.Tensor]
) -> Iterator[Finding]:
    """Judge a run that was ended with a signal, and the one that went on."""
    status, place = SIGNALS[name]
    yield equal(f"status after {name}", ended.status, status)
    yield measured(f"last line after {name}", ended.last_line)
    yield equal(f"status of the run after {name}", resumed.status, 0)
    yield measured(f"last line of the run after {name}", resumed.last_line)
    went_on = [line.partition(": ")[2] for line in resumed.text.splitlines() if line.startswith("going on from")]
    yield equal(f"goes on after {name}", ", ".join(went_on), place)
    yield equal(f"results of both, {name}", bool(found and expected), True)
    if found and expected:
        yield at_most(f"parameters after {name}", distance(found, expected), 1e-4)
        same = all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        words = f"bit for bit after {name}"
        bitwise = setting.known.get(("determinism", "bit for bit, deterministic"))
        yield equal(words, same, True) if bitwise else measured(words, same)


def _end_and_go_on(command: Sequence[object], name: str) -> tuple[Ended, Ended]:
    """End a run with a signal in its third chunk, and run it again."""
    return run(command, f"{name}:2:4"), run(command)


def _parameters(root: Path) -> list[torch.Tensor]:
    """Return the parameters that a run left; none where it left none."""
    paths = list((root / "analysis" / "final").glob("*.pkl"))
    values = load_pickle(paths[0], "a training script")["param_values"] if paths else []
    return [torch.from_numpy(np.array(each)) for each in values]


def _write_analysis(setting: Setting, root: Path, name: str) -> None:
    """Write what the prediction script needs: the parameters that all checks start from."""
    values = layers.get_param_values(network_of(setting, CPU).output_layer)
    path = root / "analysis" / "final" / f"{name}.pkl"
    record.save_analysis(path, {"param_values": values}, {})


def _break_images(setting: Setting, data: Path) -> dict[str, int]:
    """Copy the survey's data, the last training image and the first test image broken; return their indices."""
    shutil.rmtree(data, ignore_errors=True)
    shutil.copytree(setting.survey / "data", data)
    broken = {"train": len(images.ids_of("train")) - 1, "test": 0}
    for subset, index in broken.items():
        path = data / folders.current.images(subset).relative_to(setting.survey / "data")
        image = path / f"{images.ids_of(subset)[index]}.jpg"
        image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    return broken


def scripts(setting: Setting, trial: Sequence[object] = TRIAL) -> Iterator[Finding]:
    """Scripts of prediction and training run to their end; with `--on-bad-image skip`, without what is broken."""
    size, name = ("small", "trial_small") if setting.quick else ("best", "trial_best")
    broken_data = setting.scratch / "broken"
    broken = _break_images(setting, broken_data)
    roots = {words: setting.scratch / f"scripts-{words}" for words in ("predict", "skip", "train")}
    for words, root in roots.items():
        shutil.rmtree(root, ignore_errors=True)
        if words != "train":
            _write_analysis(setting, root, name)
    data = {"predict": setting.survey / "data", "skip": broken_data, "train": broken_data}
    flags = {words: ["--root", root, "--data", data[words], "--device", setting.on] for words, root in roots.items()}
    commands = {
        "predict": [*trial, "predict", size, *flags["predict"], "--precision", "float32"],
        "skip": [*trial, "predict", size, *flags["skip"], "--precision", "float32", "--on-bad-image", "skip"],
        "train": [*trial, "train", size, *flags["train"], "--num-chunks", 2, "--on-bad-image", "skip"],
    }
    with ThreadPoolExecutor() as threads:
        for words, ended in zip(commands, threads.map(run, commands.values()), strict=True):
            yield equal(f"status, {words}", ended.status, 0)
            yield measured(f"last line, {words}", ended.last_line)
            yield measured(f"seconds, {words}", ended.seconds)
    yield from _skipped(setting, roots, broken, name)


def _skipped(setting: Setting, roots: dict[str, Path], broken: dict[str, int], name: str) -> Iterator[Finding]:
    """Predictions without what is broken are those with all images, but for the rows of what is broken."""
    labels = images.load_labels()
    train, valid = images.split(len(labels))
    mean = labels[train].mean(axis=0)
    for part, num, row in (
        ("valid", len(valid), broken["train"] - len(train)),
        ("test", len(images.ids_of("test")), broken["test"]),
    ):
        whole, left = (_predictions(roots[words], part, name) for words in ("predict", "skip"))
        shapes, expected = [list(np.shape(each)) for each in (whole, left)], [[num, labels.shape[1]]] * 2
        yield equal(f"shapes, {part}", shapes, expected)
        if shapes != expected:
            continue
        yield at_most(f"most, {part}", whole.max(), 1 + 1e-5)
        others = np.arange(num) != row
        yield at_most(f"other rows without what is broken, {part}", np.abs(whole - left)[others].max(), 1e-5)
        yield at_most(f"mean votes for what is broken, {part}", np.abs(left[row] - mean).max(), 1e-5)


def _predictions(root: Path, part: str, name: str) -> np.ndarray | None:
    """Return the predictions that a script wrote, where it wrote any."""
    path = root / "predictions" / "final" / "augmented" / part / f"{name}.npy.gz"
    return load_gz(path) if path.exists() else None
