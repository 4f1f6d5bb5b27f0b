"""A student learns beside the same network without teachers, and both are scored on the validation galaxies."""

import dataclasses
import json

import numpy as np
import pytest

from benchmarks import students
from machine.files import DataError
from survey import folds, images
from survey.predictions import rmse


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Make networks learn in minibatches of four, and predict by two views."""
    transforms = students.EXPERIMENT.test_transforms[:2]
    small = dataclasses.replace(students.EXPERIMENT, batch_size=4, test_transforms=transforms)
    monkeypatch.setattr(students, "EXPERIMENT", small)
    monkeypatch.setattr(students, "CHUNK_SIZE", 8)


def test_students_and_their_teachers_are_scored_once(prepared_survey, run_main, monkeypatch, capsys):
    root = prepared_survey.root
    flags = [root, "--seeds", 1, 2, "--examples", 8, "--fold-examples", 8, "--numbers", "1,1,0"]
    run_main(students, *flags)
    run_main(students, *flags, "--only", 2, "--folds", 2)
    kept = [json.loads((root / "students" / f"seed_{seed}.json").read_text()) for seed in (1, 2)]
    numbers = "label_weight 1, unlabelled 1, consistency 0"
    together = [students.ALONE, f"teachers: 2 networks; {numbers}"]
    assert [each["run"] for each in kept[0]] == together
    assert [each["run"] for each in kept[1]] == [*together, "2 folds", f"teachers: 2 folds; {numbers}"]
    assert all(0 < each[views] < 1 for each in [*kept[0], *kept[1]] for views in ("one", "eight", "all"))
    # The teachers of a student are the mean of the networks, and the error of a mean is at most the mean error.
    labels = images.load_labels()
    _, valid = images.split(len(labels))
    alone = [folds.load_predictions(f"alone_{seed}", 37)[0][valid] for seed in (1, 2)]
    assert kept[0][1]["all"] == pytest.approx(rmse(np.mean(alone, axis=0), labels[valid]), abs=1e-6)
    assert kept[1][2]["all"] <= kept[1][2]["eight"] + 1e-9
    for name in ("learn", "teach"):
        monkeypatch.setattr(students, name, pytest.fail)
    capsys.readouterr()
    run_main(students, *flags)
    assert "| teachers: 2 networks; label_weight 1, unlabelled 1, consistency 0 |     2 |" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        run_main(students, root, "--seeds", 1, "--numbers", "0.5,1")


def test_students_learn_from_the_first_labels_only(prepared_survey, run_main, monkeypatch, capsys):
    root, prepare, splits = prepared_survey.root, students.training.Run.prepare, []

    def noted(experiment, options, split):
        splits.append(split)
        return prepare(experiment, options, split=split)

    monkeypatch.setattr(students.training.Run, "prepare", noted)
    run_main(students, root, "--seeds", 1, "--examples", 8, "--labelled", 8)
    labels = images.load_labels()
    for train, scored in splits:
        assert (train == np.arange(8)).all() and (scored == np.arange(8, len(labels))).all()
    kept = json.loads((root / "students" / "seed_1.json").read_text())
    own = folds.load_predictions("alone_1", 37)[0][8:]
    assert [each["all"] for each in kept] == pytest.approx([rmse(own, labels[8:])] * 2, abs=1e-6) and len(splits) == 2
    with pytest.raises(DataError, match="expected --labelled below"):
        run_main(students, root, "--seeds", 2, "--labelled", len(labels))
    with pytest.raises(SystemExit):
        run_main(students, root, "--seeds", 1, "--labelled", 8, "--folds", 2)
