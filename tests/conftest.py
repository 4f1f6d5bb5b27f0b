"""Fixtures that several test files share: a tiny survey in Kaggle's layout, and a way to run a script's `main`."""

import os

# Read when NumPy is loaded. On a busy machine, OpenBLAS's threads wait for each other far longer than the tests'
# small matrices take, an L-BFGS step thirty times as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

import decision_tree
import load_data

NUM_TRAIN = 30
# Sorted by number they stand in another order than sorted by name.
TEST_IDS = (7, 31, 100, 205, 1003, 20011, 100024, 900080)


@dataclass(frozen=True)
class Survey:
    """A survey on disk: votes (30, 37) as the table has them, in the order of train_ids (30,)."""

    root: Path
    train_ids: np.ndarray
    test_ids: np.ndarray
    votes: np.ndarray

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


def draw_votes(num_galaxies: int, rng: np.random.Generator) -> np.ndarray:
    """Return votes (num_galaxies, 37) that obey the decision tree, some of them hard zeros."""
    fractions = rng.gamma(0.5, size=(num_galaxies, decision_tree.NUM_ANSWERS))
    for columns in decision_tree.SLICES.values():
        fractions[:, columns] /= fractions[:, columns].sum(axis=1, keepdims=True)
    return decision_tree.weigh(fractions)


def write_csv(path: Path, ids: np.ndarray, votes: np.ndarray) -> None:
    """Write labels as Kaggle does, with six decimals."""
    header = ",".join(("GalaxyID", *decision_tree.COLUMN_NAMES))
    rows = [f"{i}," + ",".join(f"{v:.6f}" for v in row) for i, row in zip(ids, votes, strict=True)]
    path.write_text("\n".join([header, *rows]) + "\n")


@pytest.fixture(scope="session")
def survey_template(tmp_path_factory: pytest.TempPathFactory) -> Survey:
    """Write the tiny survey once; tests get copies of it."""
    rng = np.random.default_rng(2014)
    root = tmp_path_factory.mktemp("survey")
    train_ids = 100000 + np.cumsum(rng.integers(1, 90, size=NUM_TRAIN))
    votes = draw_votes(NUM_TRAIN, rng).round(6)
    survey = Survey(root, train_ids, np.array(TEST_IDS), votes)
    for subset, ids in (("train", train_ids), ("test", TEST_IDS)):
        for img_id in ids:
            write_jpeg(survey.raw / f"images_{subset}_rev1" / f"{img_id}.jpg", draw_blob(rng))
    write_csv(survey.csv, train_ids, votes)
    return survey


@pytest.fixture
def survey(survey_template: Survey, tmp_path: Path) -> Iterator[Survey]:
    """Copy the tiny survey (30 train, 8 test galaxies, nothing derived from them) and use its folders."""
    root = tmp_path / "survey"
    shutil.copytree(survey_template.root, root)
    load_data.use_folders(root)
    yield Survey(root, survey_template.train_ids, survey_template.test_ids, survey_template.votes)
    load_data.use_folders(".")


@pytest.fixture
def prepared_survey(survey: Survey) -> Survey:
    """Add the ids and labels as arrays, as the preparation scripts do."""
    load_data.save_array(survey.root / "data" / "train_ids.npy", survey.train_ids)
    load_data.save_array(survey.root / "data" / "test_ids.npy", survey.test_ids)
    load_data.save_array(survey.root / "data" / "solutions_train.npy", survey.votes.astype(np.float32))
    return survey


@pytest.fixture
def run_main(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Return a function that runs a script's `main` with arguments, in this process."""

    def run(script: object, *arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", [f"{script.__name__}.py", *map(str, arguments)])
        script.main()

    yield run
    load_data.use_folders(".")


def cases_of(rows: dict[str, list]) -> list:
    """Return the cases of several rows of doc/bad_data.md as parameters, each with its row's name."""
    return [pytest.param(*case, id=f"{row} {n}") for row, of_row in rows.items() for n, case in enumerate(of_row)]


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files below a folder by their names."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(run_main: Callable[..., None], root: Path, script: object, *arguments: object) -> str:
    """Run a script that is to end with one line and status 1, and to leave all files as they were; return the line."""
    before = files_of(root)
    with pytest.raises(SystemExit) as ended:
        load_data.run_script(lambda: run_main(script, "--root", root, *arguments))
    line = ended.value.code  # a text is printed, and makes the status 1
    assert isinstance(line, str) and line.startswith("error: ") and "\n" not in line
    assert files_of(root) == before
    return line
