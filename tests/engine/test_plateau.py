"""A run on the plateau of the mean votes says so, once, after others have left it."""

import dataclasses

import numpy as np
import pytest
from tiny import TINY, draw_labels, run

from engine import plateau
from engine.network import INITIALISATIONS
from engine.plateau import describe_plateau, mean_votes_rmse

MEAN_VOTES = 0.1627


def test_the_mean_votes_are_those_of_the_training_galaxies():
    labels = draw_labels(20, np.random.default_rng(3))
    expected = np.sqrt(((labels[:15].mean(axis=0) - labels[15:]) ** 2).mean())
    assert mean_votes_rmse(labels[:15], labels[15:]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("initialisation", "losses_valid", "is_said"),
    [
        ("variance-preserving", {2: 0.18, 4: 0.163}, False),  # 400 steps
        ("variance-preserving", {4: 0.15, 6: 0.163}, True),
        ("variance-preserving", {6: 0.158}, True),
        ("variance-preserving", {6: 0.157}, False),
        ("variance-preserving", {5: 0.157, 6: 0.163}, False),  # it had left the plateau
        ("variance-preserving", {5: 0.163, 6: 0.163}, False),  # it was said after chunk 5
        ("2014", {6: 0.163, 60: 0.163}, False),
        ("2014", {60: 0.163, 63: 0.163}, True),
        ("2014", {63: 0.09}, False),
        ("2014", {}, False),
    ],
)
def test_a_line_is_said_at_the_first_validation_after_others_left(initialisation, losses_valid, is_said):
    line = describe_plateau(initialisation, 100, losses_valid, MEAN_VOTES)
    assert (line is not None) == is_said
    if is_said:
        assert "0.162700" in line and line.endswith("--seed N --no-resume")


def test_training_prints_the_line_once(prepared_survey, run_main, capsys, monkeypatch):
    monkeypatch.setitem(plateau.STEPS, "2014", 6)
    patient = dataclasses.replace(TINY, num_chunks=4, validate_every=1)
    run(run_main, prepared_survey, experiment=patient)
    lines = capsys.readouterr().out.splitlines()
    assert [after.startswith("still at the error of the mean votes") for after in lines if "mean votes" in after] == [
        True
    ]
    [index] = [index for index, line in enumerate(lines) if "mean votes" in line]
    assert lines[index - 1].startswith("chunk 2/4") and "after 6 steps" in lines[index]


def test_every_initialisation_has_a_number_of_steps():
    assert set(plateau.STEPS) == set(INITIALISATIONS)
