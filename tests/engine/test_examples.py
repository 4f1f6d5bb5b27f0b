"""Examples are the same wherever they are made, and whatever is left out of them."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from other_family import EXPERIMENT as OTHER
from tiny import CPU, OPTIONS, TINY, files_of, run

import realtime_augmentation as ra
from engine import device_augmentation, training
from engine.examples import Examples
from engine.experiment import Experiment
from machine.files import DataError
from survey import images
from tried.augmentation import polar_views

TRAIN = np.arange(27)
FOUR = dataclasses.replace(TINY, num_chunks=4)


def source(experiment: Experiment = FOUR, device: torch.device = CPU, **options: object) -> Examples:
    return Examples(experiment, dataclasses.replace(OPTIONS, **options), device)


def chunks_of(examples: Examples, first: int = 0, indices: np.ndarray = TRAIN) -> Iterator[list[np.ndarray]]:
    """Yield copies of views and labels, which the workers overwrite."""
    for views, labels in examples.training(first, indices):
        yield [np.asarray(each).copy() for each in (*views, labels)]


@pytest.mark.usefixtures("prepared_survey")
class TestTrainingExamples:
    def test_are_the_same_wherever_a_run_starts(self):
        whole = list(chunks_of(source()))
        assert len(whole) == 4
        assert [each.shape for each in whole[0]] == [(24, 15, 15, 3), (24, 15, 15, 3), (24, 37)]
        for first in (1, 3):
            for ours, theirs in zip(chunks_of(source(num_workers=2), first), whole[first:], strict=True):
                for array, expected in zip(ours, theirs, strict=True):
                    np.testing.assert_array_equal(array, expected)
        assert list(chunks_of(source(), 4)) == []

    def test_are_the_same_on_the_device_to_rounding(self):
        for ours, theirs in zip(chunks_of(source(augment_on="device")), chunks_of(source()), strict=True):
            *views, labels = ours
            np.testing.assert_array_equal(labels, theirs[-1])
            for view, expected in zip(views, theirs, strict=False):
                np.testing.assert_allclose(view, expected, rtol=0, atol=1e-3)

    def test_are_of_the_galaxies_asked_for_and_have_their_labels(self):
        labels = images.load_labels()
        some = np.array([3, 5, 20])
        for chunk in chunks_of(source(), 2, some):
            rows = [np.flatnonzero((labels == row).all(axis=1))[0] for row in chunk[-1]]
            assert set(rows) == set(some)
            assert rows.count(3) == 8  # each as often as the others

    def test_of_one_view_with_noise_are_clipped(self):
        [views, _] = next(chunks_of(source(OTHER)))
        assert views.shape == (24, 64, 64, 3)
        assert 0 <= views.min() < views.max() <= 1


def noisy(**changes: object) -> Experiment:
    return dataclasses.replace(TINY, views=dataclasses.replace(TINY.views, **changes))


NOT_AFFINE = {
    "gamma": noisy(gamma_std=0.1),
    "noise": noisy(noise_std=0.1),
    "warp": noisy(warp=polar_views),
}


class TestWhatOnlyWorkersMake:
    @pytest.mark.parametrize("name", NOT_AFFINE)
    def test_is_refused_for_the_device_in_one_line(self, prepared_survey, run_main, name):
        before = files_of(prepared_survey.root)
        with pytest.raises(SystemExit) as ended:
            run(run_main, prepared_survey, "--augment-on", "device", experiment=NOT_AFFINE[name])
        line = ended.value.code
        assert line.startswith("error: --augment-on device: the views of tiny have gamma noise, pixel noise or their")
        assert line.endswith("use --augment-on cpu")
        assert "\n" not in line
        assert {path for path in files_of(prepared_survey.root) if "analysis/images_" not in path} == set(before)

    @pytest.mark.parametrize("name", NOT_AFFINE)
    def test_is_made_by_workers_unless_the_device_is_asked_for(self, prepared_survey, run_main, name):
        accelerator = torch.device("cuda")  # nothing is put there before images are asked for
        assert not source(NOT_AFFINE[name], accelerator).on_device
        assert source(TINY, accelerator).on_device
        assert not source(TINY, accelerator, augment_on="cpu").on_device
        assert not source(TINY, CPU).on_device
        one = dataclasses.replace(NOT_AFFINE[name], num_chunks=1)
        assert len(run(run_main, prepared_survey, experiment=one)["losses_train"]) == 1


@pytest.mark.usefixtures("prepared_survey")
class TestFixedExamples:
    @pytest.mark.parametrize("options", [{}, {"num_workers": 2}, {"augment_on": "device"}])
    @pytest.mark.parametrize("chunk_size", [1, 7, 100])
    def test_hold_whole_images_and_nothing_else(self, options, chunk_size):
        transforms = ra.sixty_transforms()[:3]
        made = [
            [np.asarray(view).copy() for view in views]
            for views in source(**options).fixed(np.arange(8), "test", transforms, chunk_size)
        ]
        assert all(len(view) % 3 == 0 for views in made for view in views)
        rows = {1: [3] * 8, 7: [6] * 4, 100: [24]}[chunk_size]
        assert [len(views[0]) for views in made] == rows
        joined = [np.concatenate(views) for views in zip(*made, strict=True)]
        expected = [np.empty((24, 15, 15, 3), np.float32) for _ in range(2)]
        TINY.views.write_fixed(expected, np.arange(8), "test", transforms)
        np.testing.assert_allclose(joined, expected, rtol=0, atol=1e-3 if options.get("augment_on") else 0)

    @pytest.mark.parametrize("augment_on", ["cpu", "device"])
    def test_of_no_images_are_none(self, augment_on):
        assert list(source(augment_on=augment_on).fixed(np.arange(0), "test")) == []


class TestBadImages:
    @pytest.fixture
    def spoilt_survey(self, prepared_survey):
        (prepared_survey.raw / "images_test_rev1" / "100.jpg").write_bytes(b"no JPEG")
        (prepared_survey.raw / "images_train_rev1" / f"{prepared_survey.train_ids[4]}.jpg").unlink()
        return prepared_survey

    def test_end_the_run_unless_they_are_to_be_left_out(self, spoilt_survey):
        with pytest.raises(DataError, match=r"1 of 30 train images are bad: .*--on-bad-image skip"):
            source()

    @pytest.mark.parametrize("augment_on", ["cpu", "device"])
    def test_are_left_out_of_training_and_of_prediction(self, spoilt_survey, augment_on):
        examples = source(on_bad_image="skip", augment_on=augment_on)
        assert list(examples.good(np.array([3, 4, 5]), "train")) == [3, 5]
        assert list(examples.good(np.arange(8), "test")) == [0, 1, 3, 4, 5, 6, 7]
        assert {subset: list(reasons) for subset, reasons in examples.left_out().items()} == {
            "train": [str(spoilt_survey.train_ids[4])], "test": ["100"],
        }  # fmt: skip
        good = examples.good(TRAIN, "train")
        bad_labels = images.load_labels()[4]
        for chunk in chunks_of(examples, 0, good):
            assert not (chunk[-1] == bad_labels).all(axis=1).any()
        [views] = examples.fixed(examples.good(np.arange(8), "test"), "test")
        assert [len(view) for view in views] == [7, 7]

    def test_get_the_mean_votes_of_the_training_galaxies(self, spoilt_survey):
        examples = source(on_bad_image="skip")
        predictions = np.full((7, 37), 0.25)
        rows = examples.with_bad(predictions, np.arange(8), "test")
        np.testing.assert_array_equal(np.delete(rows, 2, axis=0), predictions)
        np.testing.assert_allclose(rows[2], images.load_labels()[:27].mean(axis=0))

    def test_are_no_reason_to_load_the_others_twice(self, spoilt_survey, monkeypatch):
        """Training and validation share the images that stay on the device."""
        loaded, load_all = [], device_augmentation.Images._load_all

        def count(self: device_augmentation.Images, num: int, left_out: object) -> torch.Tensor:
            loaded.append(self.subset)
            return load_all(self, num, left_out)

        monkeypatch.setattr(device_augmentation.Images, "_load_all", count)
        monkeypatch.setattr(device_augmentation.Images, "_has_room", lambda self, num: True)
        options = dataclasses.replace(OPTIONS, on_bad_image="skip", augment_on="device")
        made = []

        class Resident(device_augmentation.Images):
            """Takes a CPU for an accelerator."""

            def __init__(self, subset: str, device: torch.device, workers: int, resident: object, left_out: object):
                made.append((subset, resident))
                super().__init__(subset, device, workers, resident is None, left_out)

        monkeypatch.setattr(device_augmentation, "Images", Resident)
        training.train(TINY, options)
        assert made == [("train", None), ("test", False)]
        assert loaded == ["train"]
