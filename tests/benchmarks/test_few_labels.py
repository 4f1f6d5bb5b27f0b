"""A draw trains on some galaxies and scores those that it left out."""

import dataclasses
import json

import numpy as np
import pytest

from benchmarks import few_labels


def test_a_draw_leaves_another_fifth_out_and_keeps_its_smaller_draws():
    left_out = []
    for draw in range(5):
        small, large = (few_labels.split_of(50, number, draw) for number in (10, 40))
        assert len(small[0]) == 10 and set(small[0]) < set(large[0])
        assert not set(large[0]) & set(large[1]) and len(large[0]) == 40
        np.testing.assert_array_equal(small[1], large[1])
        left_out += list(small[1])
    assert sorted(left_out) == list(range(50))


def test_labels_are_learned_from_each_start_once(prepared_survey, tmp_path, run_main, monkeypatch, capsys):
    small = dataclasses.replace(few_labels.EXPERIMENT, batch_size=4, chunk_size=8)
    monkeypatch.setattr(few_labels, "EXPERIMENT", small)
    for name, value in (("PASSES", 1), ("LEAST", 8), ("CHUNK_SIZE", 8)):
        monkeypatch.setattr(few_labels, name, value)
    flags = ["--root", prepared_survey.root, "--output", tmp_path, "--labels", 4, 8, "--draws", 2]
    run_main(few_labels, *flags, "--start-from", "lite0")
    results = json.loads((tmp_path / "few_labels.json").read_text())
    assert len(results) == 2 * 2 * 3
    assert {each["start"] for each in results} == set(few_labels.STARTS)
    assert all(0 < each["rmse"] < 1 and 0 <= each["first"] <= 1 for each in results)
    assert (tmp_path / "few_labels.png").stat().st_size > 1000
    assert "published weights" in capsys.readouterr().out
    monkeypatch.setattr(few_labels, "learn", pytest.fail)
    run_main(few_labels, *flags)
    assert capsys.readouterr().out.count("| ") > 5
    assert not list((prepared_survey.root / "analysis").rglob("*.pt"))
