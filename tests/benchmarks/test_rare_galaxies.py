"""A thinned class is found by labels, and a network learns these labels."""

import dataclasses
import json

import numpy as np
import pytest
import similar
from scipy.stats import mannwhitneyu

from benchmarks import rare_galaxies


def test_labels_find_a_rare_class_that_features_separate():
    stored, is_rare = similar.features(3000, 200), np.arange(3000) < 200
    sample, found = rare_galaxies.find_rare(stored, is_rare, 0, 30)
    assert found["rare"] == round(2800 * 0.02 / 0.98) and found["random"] == pytest.approx(0.6, rel=0.01)
    assert found["found"] > 20 * found["random"] and 0.9 < found["auroc"] <= 1
    assert len(sample.labelled) == 31 == len(set(sample.labelled))
    assert found["found"] == is_rare[sample.galaxies][sample.labelled[1:]].sum()
    _, without = rare_galaxies.find_rare(stored[:, 3:], is_rare, 0, 30)
    assert without["found"] < 5 and 0.3 < without["auroc"] < 0.7


def test_the_auroc_is_the_chance_that_a_wanted_galaxy_ranks_before_another():
    rng = np.random.default_rng(1)
    wanted = rng.random(60) < 0.3
    sample = rare_galaxies.Sample(np.arange(60), wanted, [0, 7, 30])
    scores = np.round(rng.random(57), 1)  # ties
    of = wanted[sample.rest]
    expected = mannwhitneyu(scores[of], scores[~of]).statistic / of.sum() / (~of).sum()
    assert sample.auroc(scores) == pytest.approx(expected)
    assert np.isnan(dataclasses.replace(sample, wanted=np.zeros(60, bool)).auroc(scores))


def test_a_network_learns_the_labels_of_a_search(prepared_survey, tables, tmp_path, run_main, monkeypatch, capsys):
    small = dataclasses.replace(rare_galaxies.EXPERIMENT, batch_size=4, chunk_size=8)
    monkeypatch.setattr(rare_galaxies, "EXPERIMENT", small)
    for name, value in (("RARE", 0.3), ("NUM_LABELS", 12), ("CHUNK_SIZE", 8), ("NUM_CHUNKS", 1)):
        monkeypatch.setattr(rare_galaxies, name, value)
    flags = ["--root", prepared_survey.root, *tables[:2], "--output", tmp_path, "--seeds", 2, "--train", "--others", 3]
    run_main(rare_galaxies, *flags, "smooth")
    results = json.loads((tmp_path / "rare_galaxies.json").read_text())
    assert [(each["class"], each["seed"]) for each in results] == [("smooth", 0), ("smooth", 1)]
    assert all(0 <= each["trained"] <= 1 and each["found"] <= 12 for each in results)
    monkeypatch.setattr(rare_galaxies, "measure", pytest.fail)
    run_main(rare_galaxies, *flags, "smooth")
    assert capsys.readouterr().out.splitlines()[-1].startswith("| smooth")
