"""Fixtures that several test files share: a tiny survey in Kaggle's layout, and a way to run a script's `main`."""

import os

# Read when NumPy is loaded. On a busy machine, OpenBLAS's threads wait for each other far longer than the tests'
# small matrices take.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import NUM_TRAIN, TEST_IDS, Survey, draw_blob, draw_labels, write_csv, write_jpeg

from machine.arrays import save_array
from survey.folders import use_folders


@pytest.fixture(scope="session")
def survey_template(tmp_path_factory: pytest.TempPathFactory) -> Survey:
    """Write the tiny survey once; tests get copies of it."""
    rng = np.random.default_rng(2014)
    root = tmp_path_factory.mktemp("survey")
    train_ids = 100000 + np.cumsum(rng.integers(1, 90, size=NUM_TRAIN))
    labels = draw_labels(NUM_TRAIN, rng).round(6)
    survey = Survey(root, train_ids, np.array(TEST_IDS), labels)
    for subset, ids in (("train", train_ids), ("test", TEST_IDS)):
        for img_id in ids:
            write_jpeg(survey.raw / f"images_{subset}_rev1" / f"{img_id}.jpg", draw_blob(rng))
    write_csv(survey.csv, train_ids, labels)
    return survey


@pytest.fixture
def survey(survey_template: Survey, tmp_path: Path) -> Iterator[Survey]:
    """Copy the tiny survey (30 train, 8 test galaxies, nothing derived from them) and use its folders."""
    root = tmp_path / "survey"
    shutil.copytree(survey_template.root, root)
    use_folders(root)
    yield Survey(root, survey_template.train_ids, survey_template.test_ids, survey_template.labels)
    use_folders(".")


@pytest.fixture
def prepared_survey(survey: Survey) -> Survey:
    """Add the ids and labels as arrays, as the preparation scripts do."""
    save_array(survey.root / "data" / "train_ids.npy", survey.train_ids)
    save_array(survey.root / "data" / "test_ids.npy", survey.test_ids)
    save_array(survey.root / "data" / "solutions_train.npy", survey.labels.astype(np.float32))
    return survey


@pytest.fixture
def run_main(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Return a function that runs a script's `main` with arguments, in this process."""

    def run(script: object, *arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", [f"{script.__name__}.py", *map(str, arguments)])
        script.main()

    yield run
    use_folders(".")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Compute with one thread, as another process of the test does: last digits depend on the number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
