"""Trained on all galaxies: no validation, a name of its own, prediction as usual."""

import contextlib
import dataclasses
import json

import numpy as np
import pytest
from tiny import CPU, OPTIONS, SIX_CHUNKS, TINY, run

from engine import prediction, training
from engine.examples import Examples
from engine.options import Options, named
from machine.arrays import load_gz, load_pickle
from machine.files import DataError
from survey import folders

NAME = "tiny_all_galaxies"


def analysis() -> dict:
    return load_pickle(folders.current.analysis(NAME), "the test")


@pytest.fixture
def trained(prepared_survey, run_main):
    run(run_main, prepared_survey)  # the twin
    run(run_main, prepared_survey, "--all-galaxies")
    return prepared_survey


def test_nothing_is_validated_and_the_record_says_so(trained):
    ours, twin = analysis(), load_pickle(folders.current.analysis("tiny"), "the test")
    assert len(ours["losses_train"]) == 3
    assert ours["losses_valid"] == [] and ours["mean_valid_loss"] is None
    assert ours["predictions"].shape == ours["targets"].shape == (0, 37)
    assert not np.array_equal(ours["param_values"][0], twin["param_values"][0])
    record = json.loads(folders.current.analysis(NAME).with_suffix(".json").read_text())
    assert record["all galaxies"] is True
    assert record["experiment"]["name"] == NAME
    assert (folders.current.predictions / f"{NAME}.csv.gz").exists()


def test_the_last_galaxies_are_drawn_too(prepared_survey):
    drawn = []
    for options in (OPTIONS, dataclasses.replace(OPTIONS, all_galaxies=True)):
        examples = Examples(dataclasses.replace(TINY, chunk_size=30), options, CPU)
        with contextlib.closing(examples.training(0, examples.split()[0])) as chunks:
            _, labels = next(chunks)
        drawn.append(labels)
    valid = prepared_survey.labels[-3:].astype(np.float32)
    found = [sum(any(np.array_equal(row, each) for row in labels) for each in valid) for labels in drawn]
    assert found == [0, 3]


def test_prediction_writes_the_test_galaxies_alone(trained, run_main):
    class Script:
        __name__ = "predict_augmented_npy_tiny"

        @staticmethod
        def main() -> None:
            prediction.main(TINY)

    run_main(Script, "--root", trained.root, "--device", "cpu", "--num-workers", 1, "--all-galaxies")
    assert load_gz(folders.current.augmented("test", NAME)).shape == (8, 37)
    assert not folders.current.augmented("valid", NAME).exists()
    assert not folders.current.augmented("test", "tiny").exists()


def test_untrained_the_flag_is_named(prepared_survey):
    options = Options(device="cpu", num_workers=1, all_galaxies=True)
    with pytest.raises(DataError, match=r"tiny_all_galaxies.pkl is missing; run tiny.py --all-galaxies first"):
        prediction.Prediction(named(TINY, True), options)


def test_a_run_does_not_resume_from_its_twin(prepared_survey):
    training.Run.prepare(named(SIX_CHUNKS, True), dataclasses.replace(OPTIONS, all_galaxies=True)).save()
    with pytest.raises(DataError, match="all galaxies: True, now False"):
        training.train(named(SIX_CHUNKS, True), OPTIONS)


def test_names_have_the_ending_once():
    assert named(named(TINY, True), True).name == NAME
    assert named(named(TINY, True), False).name == "tiny"
