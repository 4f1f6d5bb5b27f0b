"""Small things that tests build on: a survey in Kaggle's layout, an experiment of milliseconds, and runs of it."""

import contextlib
import dataclasses
import gzip
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from machine.command_line import run_script

import numpy as np
import pytest
import simplejpeg
import torch
from tiny_network import TINY

import layers
import realtime_augmentation as ra
from engine import record, training
from engine.experiment import Experiment, Steps
from engine.network import Network
from engine.optimizers import SGD, Adadelta, Adagrad, AdamW, Momentum, Nesterov, RMSprop
from engine.options import Options
from galaxy.decision_tree import GALAXY_ZOO_2
from machine.arrays import load_pickle, save_gz
from survey import folders, images
from survey.draws import Draw
from survey.views import Views

ROOT = Path(__file__).resolve().parent.parent
CPU = torch.device("cpu")

NUM_TRAIN = 30
# Sorted by number they stand in another order than sorted by name.
TEST_IDS = (7, 31, 100, 205, 1003, 20011, 100024, 900080)


@dataclass(frozen=True)
class Survey:
    """A survey on disk: labels (30, 37) as the table has them, in the order of train_ids (30,)."""

    root: Path
    train_ids: np.ndarray
    test_ids: np.ndarray
    labels: np.ndarray

    @property
    def raw(self) -> Path:
        return self.root / "data" / "raw"

    @property
    def csv(self) -> Path:
        return self.raw / "training_solutions_rev1.csv"


def draw_blob(rng: np.random.Generator) -> np.ndarray:
    """Return a smooth ellipse on a dark sky, (424, 424, 3) uint8."""
    x, y = (np.arange(424) - rng.normal(211.5, 4, size=(2, 1))).reshape(2, 424)
    angle, long, short = rng.uniform(0, np.pi), rng.uniform(25, 70), rng.uniform(12, 25)
    along = np.cos(angle) * x + np.sin(angle) * y[:, None]
    across = np.cos(angle) * y[:, None] - np.sin(angle) * x
    light = np.exp(-np.hypot(along / long, across / short))
    return (light[:, :, None] * rng.uniform(100, 250, size=3) + 4).astype(np.uint8)


def write_jpeg(path: Path, image: np.ndarray) -> None:
    """Write an image (rows, columns, 3) uint8 as a JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=90, colorspace="RGB"))


def draw_labels(num_galaxies: int, rng: np.random.Generator) -> np.ndarray:
    """Return labels (num_galaxies, 37) that obey the decision tree, some of them hard zeros."""
    fractions = rng.gamma(0.5, size=(num_galaxies, GALAXY_ZOO_2.num_answers))
    for columns in GALAXY_ZOO_2.slices.values():
        fractions[:, columns] /= fractions[:, columns].sum(axis=1, keepdims=True)
    return GALAXY_ZOO_2.weigh(fractions)


def write_csv(path: Path, ids: np.ndarray, labels: np.ndarray) -> None:
    """Write labels as Kaggle does, with six decimals."""
    header = ",".join(("GalaxyID", *GALAXY_ZOO_2.columns))
    rows = [f"{i}," + ",".join(f"{v:.6f}" for v in row) for i, row in zip(ids, labels, strict=True)]
    path.write_text("\n".join([header, *rows]) + "\n")


def read_submission(path: Path) -> list[list[str]]:
    """Return the cells of a submission, a list a line."""
    with gzip.open(path, "rt") as file:
        return [line.rstrip("\n").split(",") for line in file]


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files below a folder by their names."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def cases_of(rows: dict[str, list]) -> list:
    """Return the cases of several rows of doc/bad_data.md as parameters, each with its row's name."""
    return [pytest.param(*case, id=f"{row} {n}") for row, of_row in rows.items() for n, case in enumerate(of_row)]


def rows_of_page(section: str) -> set[str]:
    """Return the names of the rows of a section of doc/bad_data.md."""
    page = (ROOT / "doc" / "bad_data.md").read_text()
    text = page.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| ([^|]+?) +\|", text, re.MULTILINE)) - {"what came", "---"}


def refused(run_main: Callable[..., None], root: Path, script: object, *arguments: object) -> str:
    """Run a script that is to end with one line and status 1, and to leave all files as they were; return the line.

    What it remembers of a look at the images is no such file.
    """

    def files() -> dict[str, bytes]:
        return {name: content for name, content in files_of(root).items() if not name.startswith("analysis/images_")}

    before = files()
    with pytest.raises(SystemExit) as ended:
        run_script(lambda: run_main(script, "--root", root, *arguments))
    line = ended.value.code  # a text is printed, and makes the status 1
    assert isinstance(line, str) and line.startswith("error: ") and "\n" not in line
    assert files() == before
    return line


VIEW = ra.build_ds_transform(3.0, target_size=(69, 69))
VIEWS = [VIEW, VIEW + ra.build_augmentation_transform(rotation=45)]
SIZES = [(69, 69), (69, 69)]
PARAMS = {
    "zoom_range": (1 / 1.3, 1.3),
    "rotation_range": (0, 360),
    "shear_range": (0, 0),
    "translation_range": (-4, 4),
    "do_flip": True,
}


def draws_of(views: Views, num_chunks: int, chunk_size: int = 40, first_chunk: int = 0) -> Iterator[Draw]:
    """Draw chunks of the survey's training galaxies, with seed 5."""
    train, _ = images.split(NUM_TRAIN)
    return (views.draw(train, chunk_size, 5, chunk) for chunk in range(first_chunk, first_chunk + num_chunks))


# The seven documented update rules and AdamW, and a rate at which each trains TINY.
RULES = {
    "sgd": (SGD(), 0.04),
    "regular_momentum": (Momentum(momentum=0.9, weight_decay=0.01), 0.04),
    "nesterov_momentum": (Nesterov(momentum=0.9, weight_decay=0.01, decay_biases=True), 0.04),
    "nesterov_momentum_no_bias_decay": (Nesterov(momentum=0.9, weight_decay=0.01), 0.04),
    "adagrad": (Adagrad(epsilon=1e-6), 0.01),
    "rmsprop": (RMSprop(rho=0.9, epsilon=1e-6), 0.002),
    "adadelta": (Adadelta(rho=0.95, epsilon=1e-6), 1.0),
    "adamw": (AdamW(betas=(0.9, 0.99), weight_decay=0.05, share=0.5), 0.002),
}
STEPS_A_CHUNK = 3
SIX_CHUNKS = dataclasses.replace(TINY, num_chunks=6, learning_rate=Steps({0: 0.04, 3: 0.004}))
OPTIONS = Options(device="cpu", num_workers=1)


def run(run_main: Callable, survey: Survey, *arguments: object, experiment: Experiment = TINY) -> dict:
    """Train an experiment as its script does, in this process; return its analysis."""

    class Script:
        __name__ = experiment.name

        @staticmethod
        def main() -> None:
            training.main(experiment)

    run_main(Script, "--root", survey.root, "--device", "cpu", "--num-workers", 1, *arguments)
    return load_pickle(survey.root / "analysis" / "final" / f"{experiment.name}.pkl", "the test")


def interrupt_after(monkeypatch: pytest.MonkeyPatch, steps: int, number: int) -> None:
    """Have this process get a signal in the middle of a training step."""
    count, inputs = 0, Network.inputs

    def counted(self: Network, views: object) -> dict:
        nonlocal count
        if torch.is_grad_enabled():  # not for validation
            count += 1
            if count == steps:
                os.kill(os.getpid(), number)
        return inputs(self, views)

    monkeypatch.setattr(Network, "inputs", counted)


def assert_same_result(ours: dict, theirs: dict) -> None:
    for a, b in zip(ours["param_values"], theirs["param_values"], strict=True):
        np.testing.assert_array_equal(a, b)
    assert ours["losses_train"] == theirs["losses_train"]
    assert ours["losses_valid"] == theirs["losses_valid"]
    assert ours["param_stds"] == theirs["param_stds"]
    np.testing.assert_array_equal(ours["predictions"], theirs["predictions"])


HOLD = """
import sys, time
from pathlib import Path
from machine.locks import alone
with alone(Path(sys.argv[1]), "it"):
    print("held", flush=True)
    time.sleep(600)
"""


@contextlib.contextmanager
def held(lock: Path) -> Iterator[subprocess.Popen]:
    """Have another process hold a lock during the block."""
    with subprocess.Popen([sys.executable, "-c", HOLD, lock], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


# Runs a script that is killed as soon as it has printed a line with such a start (none without one).
KILLED_AT = """
import builtins, os, runpy, sys
line, script = sys.argv[1:3]
del sys.argv[:2]
say = builtins.print
def say_and_die(*words, **options):
    say(*words, **options)
    if line and str(words[0]).startswith(line):
        os.kill(os.getpid(), 9)
builtins.print = say_and_die
runpy.run_path(script, run_name="__main__")
"""


def is_killed_at(line: str, script: Path, *flags: object) -> bool:
    """Run a training script with one worker in a session of its own, killed at a line; return whether it was.

    Its number of threads is that of all runs here: last digits depend on it. Fails where a process of it stays.
    """
    common = ("--root", folders.current.root, "--device", "cpu", "--num-workers", "1", "--checkpoint-every", "1")
    with subprocess.Popen(
        [sys.executable, "-c", KILLED_AT, line, script, *map(str, (*common, *flags))],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        pass
    assert process.returncode in (0, -signal.SIGKILL)
    wait_for_end_of_session(process.pid)
    return process.returncode != 0


def is_killed_at_file(count: int, action: Callable[[], object]) -> bool:
    """Run an action in a forked process that is killed before file `count` gets its name; return whether it was."""
    left, replace = count, Path.replace

    def counted(path: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(path, target)

    def counting() -> None:
        Path.replace = counted
        action()

    status = status_of_fork(counting)
    assert status in (0, -signal.SIGKILL)
    return status != 0


def status_of_fork(action: Callable[[], object]) -> int:
    """Run an action in a forked process, which must not compute with torch; return its exit status."""
    process = multiprocessing.get_context("fork").Process(target=action)
    process.start()
    process.join()
    return process.exitcode


def wait_for_end_of_session(session: int) -> None:
    """Wait until no process of a session lives; fails where one stays."""
    deadline = time.monotonic() + 60
    while processes_of_session(session) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not processes_of_session(session)


def processes_of_session(session: int) -> list[int]:
    """Return the living processes of a session (Linux)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, of_session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(of_session) == session and state not in "ZX":
            found.append(int(folder.name))
    return found


def write_analysis() -> Network:
    """Write an analysis pickle of the tiny experiment with some parameters; return the network."""
    torch.manual_seed(3)
    network = Network(TINY, CPU)
    layers.reset_variance_preserving(network.output_layer)
    values = layers.get_param_values(network.output_layer)
    record.save_analysis(folders.current.analysis("tiny"), {"param_values": values}, {})
    return network


STEMS = (
    "blended_predictions_uniform",
    "blended_predictions",
    "blended_predictions_questions",
    "blended_predictions_separate",
)


def write_models(survey: Survey, num_models: int) -> list[str]:
    """Write predictions of models, the first the best, and return the models' names."""
    generator = np.random.default_rng(10)
    labels = images.load_labels()
    _, valid = images.split(len(labels))
    names = [f"try_model_{letter}" for letter in "abcdefgh"[:num_models]]
    truth = {"valid": labels[valid], "test": draw_labels(len(survey.test_ids), generator)}
    for index, name in enumerate(names):
        for part, true in truth.items():
            predictions = true + 0.05 * (1 + index) * generator.normal(size=true.shape)
            save_gz(folders.current.augmented(part, name), predictions.clip(0, 1).astype(np.float32))
    return names
