"""The model that is delivered: whole, small, said to be what it is, and right about galaxies that it learnt from."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas
import pytest

import predict_galaxies
from catalogue.answer_columns import fractions_of
from catalogue.request import find_models
from galaxy.decision_tree import GALAXY_ZOO_2

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "models" / "lite0.onnx"
REAL = ROOT.parent / "shared" / "galaxyzoo"


def test_it_is_the_default():
    assert find_models([], Path(".")) == [MODEL]


def test_its_card_is_its_own_and_says_first_what_it_is():
    content = MODEL.read_bytes()
    assert len(content) <= 8_000_000
    sha256 = hashlib.sha256(content).hexdigest()
    facts = json.loads((ROOT / "models" / "facts.json").read_text())
    beside = json.loads(MODEL.with_suffix(".json").read_text())
    assert beside["sha256"] == sha256 and facts.items() <= beside["facts"].items()
    page = MODEL.with_suffix(".md").read_text()
    assert sha256 in page and page.splitlines()[2] == f"Read this first: {facts['read this first']}"


@pytest.mark.skipif(not REAL.is_dir(), reason="no real galaxies at hand")
def test_it_knows_real_galaxies(tmp_path: Path, run_main):
    classes = pandas.read_csv(REAL / "classes.csv").iloc[::80]
    means = pandas.read_csv(REAL / "class_mean_votes.csv", index_col=0)[list(GALAXY_ZOO_2.columns)]
    images = [REAL / "data" / "raw" / "images_train_rev1" / f"{id}.jpg" for id in classes["GalaxyID"]]
    run_main(predict_galaxies, *images, "--weighted", "--output", tmp_path / "c.parquet", "--num-workers", 1)
    table = pandas.read_parquet(tmp_path / "c.parquet")
    votes = table[list(fractions_of(GALAXY_ZOO_2))].to_numpy()
    assert votes.shape == (50, 37)
    nearest = ((votes[:, None] - means.to_numpy()) ** 2).sum(axis=2).argmin(axis=1)
    assert np.mean(means.index[nearest] == classes["class"]) >= 0.9
