"""Predictions are the mean over an experiment's transforms, whatever interrupts them and however they are made."""

import dataclasses

import numpy as np
import pytest
import tiny
import torch
from crafted import write_python2_pickle
from tiny import CPU, TINY, write_analysis

import layers
import load_data
import realtime_augmentation as ra
import show_results
from engine import part_sharing, prediction, record
from engine.examples import Examples
from engine.experiment import Experiment
from engine.options import Options
from engine.prediction_shards import PredictionStore
from galaxy.decision_tree import GALAXY_ZOO_2
from machine.arrays import load_gz
from machine.files import DataError
from survey import folders, images

OPTIONS = dataclasses.replace(tiny.OPTIONS, chunk_size=130)


def source(**options: object) -> Examples:
    return Examples(TINY, dataclasses.replace(OPTIONS, **options), CPU)


def predict_all(experiment: Experiment, options: Options) -> None:
    prediction.Prediction(experiment, options).whole()


@pytest.fixture
def trained(prepared_survey):
    return write_analysis()


def test_predictions_are_the_mean_over_sixty_transforms(trained):
    predict_all(TINY, OPTIONS)
    for name, subset, indices in (("valid", "train", range(27, 30)), ("test", "test", range(8))):
        ids = load_data.train_ids if subset == "train" else load_data.test_ids
        predictions = load_gz(folders.current.augmented(name, "tiny"))
        assert predictions.shape == (len(indices), 37)
        assert predictions.dtype == np.float32
        for row, index in enumerate(indices):
            image = load_data.load_image(ids[index], subset)
            total = np.zeros(37)
            for tform in ra.sixty_transforms():
                views = [ra.fast_warp(image, view + tform, (15, 15))[None] for view in TINY.views.ds_transforms]
                total += trained.predict(views)[0]
            np.testing.assert_allclose(predictions[row], total / 60, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"chunk_size": 500}, {"chunk_size": 15, "num_workers": 2}, {"augment_on": "device"}]
)
def test_how_examples_are_made_changes_nothing(trained, options):
    expected = prediction.predict(trained, source(chunk_size=1), np.arange(8), "test")
    predictions = prediction.predict(trained, source(**options), np.arange(8), "test")
    np.testing.assert_allclose(predictions, expected, rtol=0, atol=1e-4 if "augment_on" in options else 1e-6)


def test_a_stopped_prediction_goes_on_to_the_same_result(trained, monkeypatch, capsys):
    options = dataclasses.replace(OPTIONS, chunk_size=120)  # two galaxies
    predict_all(TINY, options)
    product = folders.current.augmented("test", "tiny")
    expected = load_gz(product)
    product.unlink()
    capsys.readouterr()

    monkeypatch.setattr(PredictionStore, "INTERVAL", 0.0)
    count, predict = 0, part_sharing.PartSharing.predict

    def stop_at_the_fifth(self, *args: object) -> np.ndarray:
        nonlocal count
        count += 1
        if count == 5:  # two chunks of the validation set, two of the test set
            raise KeyboardInterrupt
        return predict(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(part_sharing.PartSharing, "predict", stop_at_the_fifth)
        with pytest.raises(KeyboardInterrupt):
            predict_all(TINY, options)
    assert not product.exists()
    predict_all(TINY, options)
    assert "4 rows done" in capsys.readouterr().out
    np.testing.assert_array_equal(load_gz(product), expected)
    assert [path.name for path in product.parent.iterdir()] == [product.name]


def test_a_prediction_of_which_only_the_file_was_missing_is_finished(trained, capsys):
    predict_all(TINY, OPTIONS)
    product = folders.current.augmented("test", "tiny")
    expected = load_gz(product)
    product.unlink()
    indices = np.arange(len(images.load_ids("test")))
    with (
        pytest.raises(KeyboardInterrupt),
        PredictionStore(product, prediction.identity(TINY, trained, indices, "test"), 37) as store,
    ):
        store.save(expected)
        raise KeyboardInterrupt
    capsys.readouterr()
    predict_all(TINY, OPTIONS)
    assert "8 rows done" in capsys.readouterr().out
    np.testing.assert_array_equal(load_gz(product), expected)


def test_rows_of_other_parameters_are_not_gone_on_from(trained, tmp_path):
    store = PredictionStore(tmp_path / "a.npy.gz", "one", 37)
    store.INTERVAL = 0.0
    store.save(np.ones((2, 37), np.float32))
    assert PredictionStore(tmp_path / "a.npy.gz", "other", 37).restore().shape == (0, 37)
    assert PredictionStore(tmp_path / "a.npy.gz", "one", 37).restore().shape == (2, 37)
    store.path.write_bytes(b"PK damaged")
    assert PredictionStore(tmp_path / "a.npy.gz", "one", 37).restore().shape == (0, 37)


def test_images_left_out_get_the_mean_votes(trained, prepared_survey):
    (prepared_survey.raw / "images_test_rev1" / "100.jpg").write_bytes(b"no JPEG")
    (prepared_survey.raw / "images_train_rev1" / f"{prepared_survey.train_ids[28]}.jpg").unlink()
    predict_all(TINY, dataclasses.replace(OPTIONS, on_bad_image="skip"))
    for name, row, num in (("valid", 1, 3), ("test", 2, 8)):
        predictions = load_gz(folders.current.augmented(name, "tiny"))
        assert predictions.shape == (num, 37)
        np.testing.assert_allclose(predictions[row], images.load_labels()[:27].mean(axis=0), atol=1e-6)


def test_a_question_that_the_model_lost_is_reported(trained, capsys):
    lost = GALAXY_ZOO_2.slices[6]
    with torch.no_grad():
        last = trained.output_layer.input_layer
        last.W[:, lost], last.b[lost] = 0, -1  # the rectifier makes these answers zero for all galaxies
    values = {"param_values": layers.get_param_values(trained.output_layer)}
    record.save_analysis(folders.current.analysis("tiny"), values, {})
    predict_all(TINY, OPTIONS)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("questions lost")]
    header = "questions lost by tiny (all answers are zero), of"
    assert [line.split(": ")[0] for line in lines] == [f"{header} 3 validation galaxies", f"{header} 8 test galaxies"]
    assert all("6 (all)" in line for line in lines)


def test_without_a_trained_model_the_script_to_run_is_named(prepared_survey):
    with pytest.raises(DataError, match=r"tiny.pkl is missing; run tiny.py first"):
        predict_all(TINY, OPTIONS)


def test_another_network_s_parameters_are_refused(trained):
    other = dataclasses.replace(TINY, build_network=narrower)
    with pytest.raises(DataError, match="another network's"):
        predict_all(other, OPTIONS)


def narrower(batch_size: int) -> tuple[list[layers.Layer], layers.Layer]:
    inputs, output = TINY.build_network(batch_size)
    top = layers.DenseLayer(layers.FlattenLayer(inputs[0]), 37, 0.1, 0.1)
    return inputs, type(output)(top)


@pytest.mark.parametrize("analysis", [{"predictions": np.zeros(3)}, {"param_values": None}, [1]])
def test_a_pickle_that_is_no_analysis_is_refused(trained, analysis):
    record.save_analysis(folders.current.analysis("tiny"), analysis, {})
    with pytest.raises(DataError, match="expected a dictionary with param_values"):
        predict_all(TINY, OPTIONS)


def test_results_are_shown_with_a_picture(trained, run_main, capsys):
    predict_all(TINY, OPTIONS)
    run_main(show_results, "--root", folders.current.root)
    out = capsys.readouterr().out
    labels = images.load_labels()
    baseline = np.sqrt(np.mean((labels[:27].mean(axis=0) - labels[27:]) ** 2))
    assert f"{baseline:.6f}" in out
    picture = folders.current.predictions / "predictions.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(picture) in out


def test_galaxies_shown_are_different_ones():
    targets = np.random.default_rng(0).random((9, 37))
    targets[4] = 2  # the most voted for everything
    rows = show_results.pick_galaxies(targets, GALAXY_ZOO_2)
    assert len(set(rows)) == len(show_results.SHOWN_ANSWERS)
    assert rows[0] == 4
    assert len(show_results.pick_galaxies(targets[:3], GALAXY_ZOO_2)) == 3


def test_without_predictions_nothing_is_shown(prepared_survey, run_main):
    with pytest.raises(
        DataError, match=r"expected predictions in .*augmented/valid, got none; run predict_augmented_npy"
    ):
        run_main(show_results, "--root", prepared_survey.root)


def test_an_analysis_pickle_of_2014_predicts_unchanged(trained):
    values = layers.get_param_values(trained.output_layer)
    expected = prediction.predict(trained, source(), np.arange(8), "test")
    write_python2_pickle(folders.current.analysis("tiny"), {"param_values": values, "mean_valid_loss": np.float32(1)})
    predict_all(TINY, OPTIONS)
    np.testing.assert_array_equal(load_gz(folders.current.augmented("test", "tiny")), expected)
