"""Small runs of all commands, each in a process of its own, which can be killed at an operation on a file.

A server that has imported the libraries forks the processes, so that a run costs no imports. `COMMANDS` has each
command with the folder that it needs; `Trial` runs one in a fresh copy of that folder.
"""

import atexit
import dataclasses
import functools
import json
import multiprocessing
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import similar
from astropy.io import fits
from commands_in_processes import run_here
from fields import draw_field
from tiny import ROOT, draw_blob, draw_labels, write_csv, write_jpeg

from machine.arrays import load_pickle, save_array, save_gz

SECONDS = 120
SCRATCH = tempfile.mkdtemp(prefix="harness-")
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)
TRAIN_IDS, TEST_IDS = tuple(range(500, 512)), (3, 20)
MODEL = ROOT / "models" / "lite0.onnx"

# Scripts of the tiny experiment, in the folder of a trial. Of the export, all is real but the graph, which takes
# seconds: it is that of the model in the box.
SCRIPTS = {
    "train.py": "import tiny\nfrom engine import training\ntraining.main(tiny.TINY)\n",
    "predict.py": "import tiny\nfrom engine import prediction, prediction_shards\n"
    "prediction_shards.PredictionStore.INTERVAL = 0.0\nprediction.main(tiny.TINY)\n",
    "export.py": f"""
import onnx, tiny, export_model
from catalogue import card
def build(*_):
    model = onnx.load({str(MODEL)!r})
    text = next(prop.value for prop in model.metadata_props if prop.key == card.KEY)
    del model.metadata_props[:]
    model.metadata_props.add(key=card.KEY, value=text)
    return model, card.from_json(text)
export_model.build, export_model.find_experiment = build, lambda name: tiny.TINY
export_model.Model = lambda path: None
export_model.main()
""",
}


@dataclasses.dataclass(frozen=True)
class Command:
    """A command line below a folder; `stage` makes what is in the folder before, `an_input` is one of its inputs."""

    line: tuple[str, ...]
    stage: Callable[[Path], None]
    an_input: str


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended: its status (negative: the signal), its output, the number of operations on files."""

    status: int
    text: str
    num_operations: int

    @property
    def message(self) -> str:
        """The line of an error; fails where a run ended otherwise."""
        lines = [line for line in self.text.splitlines() if line.startswith("error: ")]
        assert self.status == 1 and len(lines) == 1 and "Traceback" not in self.text, (self.status, self.text)
        return lines[0]


def script_of(line: tuple[str, ...], folder: Path) -> Path:
    """Return the script of a command line."""
    return folder / line[0] if line[0] in SCRIPTS else ROOT / line[0]


@functools.cache
def _server() -> multiprocessing.context.BaseContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["commands_in_processes"])
    return context


def run(line: tuple[str, ...], folder: Path, kill_at: int | None = None) -> Outcome:
    """Run a command line in a folder; `kill_at` 2n: killed before operation n; 2n + 1: after it."""
    log = Path(f"{folder}.log")
    log.with_suffix(".count").unlink(missing_ok=True)
    before = os.environ.get("PYTHONPATH"), os.environ.get("OMP_NUM_THREADS")
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, (ROOT, ROOT / "tests", Path(__file__).parent)))
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        process = _server().Process(target=run_here, args=(line, script_of(line, folder), folder, log, kill_at))
        process.start()
    finally:
        for name, value in zip(("PYTHONPATH", "OMP_NUM_THREADS"), before, strict=True):
            os.environ.pop(name)
            os.environ |= {} if value is None else {name: value}
    process.join(SECONDS)
    hangs = process.is_alive()
    process.kill()
    process.join()
    assert not hangs, f"{line} does not end: {log.read_text()}"
    count = log.with_suffix(".count")
    text = log.read_text(errors="replace") if log.exists() else ""
    return Outcome(process.exitcode, text, int(count.read_text()) if count.exists() else 0)


def images(folder: Path) -> None:
    """Two images of a galaxy, and their text file."""
    rng = np.random.default_rng(1)
    (folder / "in").mkdir()
    for number in range(2):
        cv2.imwrite(str(folder / "in" / f"{number}.png"), draw_blob(rng)[162:262, 162:262])


def field(folder: Path) -> None:
    """An image of the sky."""
    light, _ = draw_field()
    fits.PrimaryHDU(light[:200, :300]).writeto(folder / "field.fits")


def raw(folder: Path) -> None:
    """The images and the table of a survey, and the scripts of the tiny experiment."""
    _survey(folder / "data" / "raw", "images_train_rev1")
    for name, text in SCRIPTS.items():
        (folder / name).write_text(text)


def _survey(folder: Path, train: str) -> None:
    rng = np.random.default_rng(2)
    for name, ids in ((train, TRAIN_IDS), ("images_test_rev1", TEST_IDS)):
        for number in ids:
            write_jpeg(folder / name / f"{number}.jpg", draw_blob(rng))
    write_csv(folder / "training_solutions_rev1.csv", np.array(TRAIN_IDS), _labels())


def _labels() -> np.ndarray:
    return draw_labels(len(TRAIN_IDS), np.random.default_rng(3)).round(6)


def ready(folder: Path) -> None:
    """A survey with its arrays."""
    raw(folder)
    save_array(folder / "data" / "train_ids.npy", np.array(TRAIN_IDS))
    save_array(folder / "data" / "test_ids.npy", np.array(TEST_IDS))
    save_array(folder / "data" / "solutions_train.npy", _labels().astype(np.float32))


def trained(folder: Path) -> None:
    """A survey with a trained tiny network."""
    ready(folder)
    (folder / "facts.json").write_text('{"data": "blobs"}')
    _make(folder, COMMANDS["training"].line)


def predicted(folder: Path) -> None:
    """A survey with predictions of two models."""
    ready(folder)
    for seed, (name, num_galaxies) in enumerate((("valid", 1), ("test", len(TEST_IDS)))):
        for model in ("a", "b"):
            rows = draw_labels(num_galaxies, np.random.default_rng([seed, ord(model)])).astype(np.float32)
            save_gz(folder / "predictions" / "final" / "augmented" / name / f"{model}.npy.gz", rows)
            save_gz(folder / f"{name}_{model}.npy.gz", rows)


def sharded(folder: Path) -> None:
    """Two images, and the tables of two shards."""
    images(folder)
    _make(folder, *((*CATALOGUE, "--output", "c.parquet", "--shard", f"{index}/2") for index in (1, 2)))


def described(folder: Path) -> None:
    """Two images, and their catalogue with features."""
    images(folder)
    _make(folder, (*CATALOGUE, "--output", "c.parquet", "--features"))


def _make(folder: Path, *lines: tuple[str, ...]) -> None:
    for line in lines:
        made = run(line, folder)
        assert made.status == 0, made.text


def in_shards(folder: Path) -> None:
    """A survey with the predictions of two shards."""
    trained(folder)
    _make(folder, *((*COMMANDS["prediction"].line, "--shard", f"{index}/2") for index in (1, 2)))


def positions(folder: Path) -> None:
    """An image of the sky, and a table of positions."""
    field(folder)
    (folder / "positions.csv").write_text("id,x,y\n7,100,100\n8,200,50\n")


def with_copies(folder: Path) -> None:
    """A survey with copies of its images, and decoded ones."""
    with_ram(folder)
    _make(folder, COMMANDS["RAM copies"].line, COMMANDS["decoded maps"].line)


def download(folder: Path) -> None:
    """Kaggle's zips."""
    _survey(folder / "unpacked", "images_training_rev1")
    (folder / "download").mkdir()
    for path in (folder / "unpacked").iterdir():
        with zipfile.ZipFile(folder / "download" / f"{path.stem}.zip", "w") as archive:
            for file in sorted(path.iterdir()) if path.is_dir() else [path]:
                archive.write(file, file.relative_to(folder / "unpacked"))
    shutil.rmtree(folder / "unpacked")


def cutouts(folder: Path) -> None:
    """Your own images with a table of votes."""
    rng = np.random.default_rng(4)
    (folder / "cutouts").mkdir()
    names = [f"g{number}" for number in range(12)]
    for name in names:
        cv2.imwrite(str(folder / "cutouts" / f"{name}.png"), draw_blob(rng)[100:300, 100:300])
    write_csv(folder / "votes.csv", np.array(range(12)), _labels())
    lines = (folder / "votes.csv").read_text().splitlines()
    cells = [lines[0], *(f"{name},{line.split(',', 1)[1]}" for name, line in zip(names, lines[1:], strict=True))]
    (folder / "votes.csv").write_text("\n".join(cells) + "\n")


def labelled(folder: Path) -> None:
    """A catalogue with features in two files, and a table of labels."""
    similar.write(folder, similar.features(100, 10), 2)
    _write_labels(folder, (f"g{row}" for row in range(0, 100, 2)))


def own_labels(folder: Path) -> None:
    """Your own images with a table of one label each."""
    cutouts(folder)
    _write_labels(folder, (f"g{number}" for number in range(12)))


def _write_labels(folder: Path, names: Iterable[str]) -> None:
    lines = [f"{name},{'other' if index % 3 else 'ring'}" for index, name in enumerate(names)]
    (folder / "labels.csv").write_text("\n".join(["id_str,label", *lines]) + "\n")


def with_ram(folder: Path) -> None:
    """A survey with its arrays, and a folder for copies."""
    ready(folder)
    (folder / "ram").mkdir()


def empty(folder: Path) -> None:
    """A folder with a file of somebody."""
    (folder / "notes.txt").write_text("mine\n")


CATALOGUE = ("predict_galaxies.py", "in", "--num-workers", "0", "--threads", "1")
AN_IMAGE = "data/raw/images_train_rev1/500.jpg"
TABLE = "data/raw/training_solutions_rev1.csv"
HERE = ("--root", ".")
ONE = ("--num-workers", "1")
ON_CPU = (*HERE, *ONE, "--device", "cpu")
COMMANDS = {
    "catalogue": Command((*CATALOGUE, "--output", "c.csv", "--report", "page.html"), images, "in/0.png"),
    "shard of a catalogue": Command((*CATALOGUE, "--output", "c.parquet", "--shard", "1/2"), images, "in/0.png"),
    "merged catalogue": Command(
        ("predict_galaxies.py", "--merge", "c.1of2.parquet", "c.2of2.parquet", "--output", "c.fits"),
        sharded,
        "c.1of2.parquet",
    ),
    "drawn galaxy": Command(
        ("predict_galaxies.py", "in/0.png", *CATALOGUE[2:], "--output", "c.ecsv", "--draw", "tree.png"),
        images,
        "in/0.png",
    ),
    "field": Command(
        ("predict_galaxies.py", "field.fits", *CATALOGUE[2:], "--detect", "--output", "f.vot", "--report", "f.html"),
        field,
        "field.fits",
    ),
    "positions": Command(
        ("predict_galaxies.py", "field.fits", *CATALOGUE[2:], "--at", "positions.csv", "--output", "f.parquet"),
        positions,
        "positions.csv",
    ),
    "search": Command(
        ("predict_galaxies.py", "--like", "0", "--from", "c.parquet", "--output", "near.csv"), described, "c.parquet"
    ),
    "search by labels": Command(
        ("predict_galaxies.py", "--labels", "labels.csv", "--from", "2_0.parquet", "2_1.parquet", "--output", "r.fits"),
        labelled,
        "labels.csv",
    ),
    "training": Command(("train.py", *ON_CPU, "--checkpoint-every", "1"), ready, AN_IMAGE),
    "prediction": Command(("predict.py", *ON_CPU, "--chunk-size", "60"), trained, "analysis/final/tiny.pkl"),
    "shard of predictions": Command(
        ("predict.py", *ON_CPU, "--chunk-size", "60", "--shard", "1/2"), trained, "analysis/final/tiny.pkl"
    ),
    "export": Command(
        ("export.py", "tiny", *ON_CPU, "--output", "own.onnx", "--facts", "facts.json"), trained, "facts.json"
    ),
    "merged predictions": Command(
        ("predict.py", *ON_CPU, "--chunk-size", "60", "--merge-shards", "2"), in_shards, "analysis/final/tiny.pkl"
    ),
    "starting weights": Command(
        ("export.py", "tiny", *ON_CPU, "--starting-weights", "own.npz", "--facts", "facts.json"), trained, "facts.json"
    ),
    "results": Command(
        ("show_results.py", *HERE, "--output", "r.png", "--report", "r.html"),
        predicted,
        "predictions/final/augmented/valid/a.npy.gz",
    ),
    "norms": Command(
        ("show_results.py", *HERE, "--norms", "tiny", "--output", "n.png"), trained, "analysis/final/tiny.pkl"
    ),
    "ensemble": Command(
        ("ensemble_predictions_npy.py", *HERE), predicted, "predictions/final/augmented/valid/a.npy.gz"
    ),
    "submission": Command(("create_submission_from_npy.py", *HERE, "test_a.npy.gz"), predicted, "test_a.npy.gz"),
    "preparation": Command(("prepare_data.py", *HERE), raw, TABLE),
    "download": Command(("prepare_data.py", *HERE, "--kaggle", "download"), download, "download/images_test_rev1.zip"),
    "own galaxies": Command(
        ("prepare_data.py", *HERE, "--images", "cutouts", "--labels", "votes.csv", *ONE), cutouts, "cutouts/g0.png"
    ),
    "own labels": Command(
        ("prepare_data.py", *HERE, "--images", "cutouts", "--labels", "labels.csv", *ONE), own_labels, "labels.csv"
    ),
    "training ids": Command(("create_train_ids_file.py", *HERE), raw, TABLE),
    "test ids": Command(("create_test_ids_file.py", *HERE), raw, TABLE),
    "labels": Command(("convert_training_labels_to_npy.py", *HERE), ready, TABLE),
    "extraction gen2": Command(("extract_pysex_params_gen2.py", *HERE, *ONE), ready, AN_IMAGE),
    "extraction extra": Command(("extract_pysex_params_extra.py", *HERE, *ONE), ready, AN_IMAGE),
    "simulation": Command(
        ("simulate_galaxies.py", *HERE, *ONE, "--num-train", "3", "--num-test", "1"), empty, "notes.txt"
    ),
    "RAM copies": Command(("copy_data_to_shm.py", *HERE, "--ram", "ram"), with_ram, AN_IMAGE),
    "removal of copies": Command(("copy_data_to_shm.py", *HERE, "--ram", "ram", "--remove"), with_copies, AN_IMAGE),
    "decoded maps": Command(("copy_data_to_shm.py", *HERE, "--ram", "ram", "--decoded", *ONE), with_ram, AN_IMAGE),
}


@functools.cache
def _template(stage: Callable[[Path], None]) -> Path:
    folder = Path(tempfile.mkdtemp(dir=SCRATCH), "folder")
    folder.mkdir()
    stage(folder)
    return folder


def snapshot(folder: Path) -> dict[str, object]:
    """Return the contents of all files below a folder by name, without the seconds that a training took."""
    contents = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            contents[name] = os.readlink(path)
        elif path.is_fifo():
            contents[name] = "a pipe"
        elif path.is_file():
            contents[name] = _content(path, name, str(folder.resolve()))
    return contents


def _content(path: Path, name: str, folder: str) -> object:
    content = path.read_bytes().replace(folder.encode(), b"FOLDER")  # manifests of copies name it
    if not name.startswith("analysis/final/") or name.startswith("analysis/final/."):
        return content
    try:
        values = load_pickle(path, "") if path.suffix == ".pkl" else json.loads(content)
    except Exception:  # an obstacle
        return content
    return repr({key: value for key, value in values.items() if key not in ("time_since_start", "seconds", "seal")})


class Trial:
    """A command in a fresh copy of its folder."""

    def __init__(self, name: str, folder: Path):
        self.command, self.folder = COMMANDS[name], folder
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(_template(self.command.stage), folder)
        self.before = snapshot(folder)

    def run(self, *flags: str, kill_at: int | None = None) -> Outcome:
        return run((*self.command.line, *flags), self.folder, kill_at)

    def new(self) -> dict[str, object]:
        """Return the contents of new and of changed files by name."""
        return {name: content for name, content in self.snapshot().items() if self.before.get(name) != content}

    def snapshot(self) -> dict[str, object]:
        return snapshot(self.folder)

    def path(self, name: str) -> Path:
        return self.folder / name


@functools.cache
def undisturbed(name: str) -> tuple[dict[str, object], dict[str, object], int]:
    """Return what an undisturbed run leaves, what of it is new or changed, and its number of operations on files."""
    trial = Trial(name, Path(tempfile.mkdtemp(dir=SCRATCH), "folder"))
    outcome = trial.run()
    assert outcome.status == 0, outcome.text
    return trial.snapshot(), trial.new(), outcome.num_operations
