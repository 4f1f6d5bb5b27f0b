"""Two commands at once in one folder give what they give one after the other, or one refuses in one line.

The first command stops before it replaces its first file, the second one runs to its end, and the first one goes on.
Some pairs for every day; all pairs with TORTURE=1 in the environment.
"""

import atexit
import contextlib
import functools
import io
import itertools
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from machine.command_line import run_script

import numpy as np
import pytest
import torch
from exported import tiny_model
from tiny import TINY, Survey, draw_blob, files_of, write_analysis, write_models

import convert_training_labels_to_npy
import copy_data_to_shm
import create_submission_from_npy
import create_test_ids_file
import create_train_ids_file
import ensemble_predictions_npy
import extract_pysex_params_extra
import extract_pysex_params_gen2
import predict_galaxies
import prepare_data
import show_results
from engine import prediction, training
from machine.arrays import save_gz

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks")

LONG = bool(os.environ.get("TORTURE"))
# Products whose bytes are equal for equal content.
COMPARED = (".npy", ".npy.gz", ".npz", ".csv", ".csv.gz", ".parquet", ".jpg", ".txt")
CPU = ("--device", "cpu", "--num-workers", "1")


@dataclass(frozen=True)
class Command:
    """A command in a folder: its main function, its flags, and the products that are removed before it runs."""

    main: Callable[[], None]
    flags: Callable[[Path], list[object]]
    products: tuple[str, ...]


def of_survey(main: Callable[[], None], *products: str, flags: tuple[object, ...] = ()) -> Command:
    return Command(main, lambda root: ["--root", root, *flags], products)


@functools.cache
def model() -> Path:
    """Return a tiny model. A forked process makes it once, since threads of libraries do not survive a fork."""
    folder = Path(tempfile.mkdtemp(prefix="pairs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    child = os.fork()
    if child == 0:
        try:
            shutil.copytree(Path(tiny_model()).parent, folder / "models")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return folder / "models" / "tiny.onnx"


def of_images(name: str, *flags: str) -> Command:
    def all_flags(root: Path) -> list[object]:
        return [root / "own", "--output", root / name, "--model", model(), "--num-workers", "0", *flags]

    return Command(predict_galaxies.main, all_flags, (name, f".{name}*", f"{name}-metadata.json"))


def submit(root: Path) -> list[object]:
    return ["--root", root, root / "predictions/final/blended/blended_predictions.npy.gz"]


def ram(*flags: object) -> Command:
    return Command(copy_data_to_shm.main, lambda root: ["--root", root, "--ram", root / "ram", *flags], ("ram",))


SURVEY = {
    "train ids": of_survey(create_train_ids_file.main, "data/train_ids.npy"),
    "test ids": of_survey(create_test_ids_file.main, "data/test_ids.npy"),
    "labels": of_survey(convert_training_labels_to_npy.main, "data/solutions_train.npy"),
    "prepare": of_survey(prepare_data.main, "data/*.npy", flags=("--num-workers", 1)),
    "extract gen2": of_survey(extract_pysex_params_gen2.main, "data/pysex_params_gen2*", flags=("--num-workers", 1)),
    "extract extra": of_survey(extract_pysex_params_extra.main, "data/pysex_params_extra*", flags=("--num-workers", 1)),
    "ram": ram(),
    "decoded ram": ram("--decoded", "--num-workers", 1),
    "train": of_survey(lambda: training.main(TINY), "analysis/final/tiny*", "predictions/final/tiny*", flags=CPU),
    "predict": of_survey(lambda: prediction.main(TINY), "predictions/final/augmented/*/tiny*", flags=CPU),
    "blend": of_survey(ensemble_predictions_npy.main, "predictions/final/blended"),
    "submission": Command(create_submission_from_npy.main, submit, ("predictions/final/blended/*.csv.gz",)),
    "results": of_survey(show_results.main, "predictions/final/*.png"),
}
CATALOGUE = {
    "catalogue": of_images("catalogue.csv"),
    "other options": of_images("catalogue.csv", "--weighted"),
    "first shard": of_images("catalogue.csv", "--shard", "1/2"),
    "second shard": of_images("catalogue.csv", "--shard", "2/2"),
    "other table": of_images("catalogue.parquet"),
}
COMMANDS = SURVEY | CATALOGUE
SAMPLE = [("labels", "labels"), ("prepare", "train ids")]
PAIRS = [*itertools.product(SURVEY, repeat=2), *itertools.product(CATALOGUE, repeat=2)] if LONG else SAMPLE


@pytest.fixture
def base(prepared_survey: Survey) -> Path:
    """Return a folder with the products of all commands whose products another one reads."""
    write_analysis()
    write_models(prepared_survey, 2)
    blended = prepared_survey.root / "predictions" / "final" / "blended" / "blended_predictions.npy.gz"
    save_gz(blended, np.full((len(prepared_survey.test_ids), 37), 0.5, np.float32))
    rng = np.random.default_rng(3)
    (prepared_survey.root / "own").mkdir()
    for index in range(2):
        image = np.ascontiguousarray(draw_blob(rng))
        (prepared_survey.root / "own" / f"{index}.ppm").write_bytes(b"P6 424 424 255\n" + image.tobytes())
    return prepared_survey.root


class Run:
    """A command in a forked process; `pauses`: it waits before it replaces its first file until `go_on`."""

    def __init__(self, name: str, root: Path, pauses: bool = False):
        self.output = root.with_name(f"{root.name}.{name}.{pauses}.txt")
        self._paused, paused = os.pipe()
        released, self._release = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.close(self._release)  # otherwise a command that waits would outlive this test
            try:
                self.output.write_text(_outcome(COMMANDS[name], root, (paused, released) if pauses else None))
            finally:
                os._exit(0)
        os.close(paused)
        os.close(released)
        if pauses:
            os.read(self._paused, 1)  # nothing, if the command ended before
        else:
            self.go_on()

    def go_on(self) -> None:
        """Let the command, and each process that it forked, replace its first file: their pipe ends."""
        os.close(self._release)

    def end(self) -> str:
        """Wait for the end; return "" or the message of a refusal. A command that hangs is killed with its test."""
        try:
            os.waitpid(self._child, 0)
        except BaseException:
            os.kill(self._child, signal.SIGKILL)
            raise
        finally:
            os.close(self._paused)
        text = self.output.read_text()
        self.output.unlink()
        return text


def _outcome(command: Command, root: Path, pipes: tuple[int, int] | None) -> str:
    """Run a command in this process; return "" or its message."""
    torch.set_num_threads(1)
    if pipes:
        paused, released = pipes
        replace = os.replace

        def pausing_replace(source: object, target: object) -> None:
            os.replace = replace
            os.write(paused, b"x")
            os.read(released, 1)
            replace(source, target)

        os.replace = pausing_replace
    sys.argv = ["command.py", *map(str, command.flags(root))]
    errors = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
            run_script(command.main)
    except SystemExit as ended:
        if ended.code not in (None, 0):
            return ended.code if isinstance(ended.code, str) else f"{errors.getvalue()} ({ended.code})"
    except BaseException as error:
        return "".join(traceback.format_exception(error))
    return ""


def prepared(base: Path, root: Path, pair: tuple[str, str]) -> Path:
    """Copy the base without the products of a pair's commands."""
    shutil.copytree(base, root)
    for name in pair:
        for pattern in COMMANDS[name].products:
            for path in root.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    return root


def content_of(root: Path) -> dict[str, bytes]:
    """Return the files below a folder; those whose bytes hold times are empty."""
    files = {name: content if name.endswith(COMPARED) else b"" for name, content in files_of(root).items()}
    return {name.replace(str(root), ""): content for name, content in files.items()}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("pair", PAIRS, ids=" and ".join)
def test_two_commands_at_once(base: Path, tmp_path: Path, pair: tuple[str, str]):
    first, second = pair
    root = tmp_path / "root"
    if first in CATALOGUE:
        assert model().is_file()

    def in_order(*names: str) -> tuple[dict[str, bytes], list[str]]:
        prepared(base, root, pair)
        said = [Run(name, root).end() for name in names]
        content = content_of(root)
        shutil.rmtree(root)
        return content, said

    orders = {names: in_order(*names) for names in {pair, pair[::-1]}}
    prepared(base, root, pair)
    waiting = Run(first, root, pauses=True)
    try:
        said = [Run(second, root).end()]
    finally:
        waiting.go_on()
    said.append(waiting.end())
    content = content_of(root)
    shutil.rmtree(root)
    refusals = [line for line in said if line]
    assert not [line for line in refusals if not line.startswith("error: ") or "\n" in line], refusals
    assert not [line for line in refusals if "unexpected" in line]
    expected = [content for content, _ in orders.values()]
    if refusals:
        expected += [in_order(name)[0] for name in pair]
    assert content in expected, {
        name: [one.get(name, b"")[:50] for one in (content, *expected)]
        for one in expected
        for name in {*one, *content}
        if one.get(name) != content.get(name)
    }
