"""The views that are made in the accelerator's memory are those that the worker processes make; here on the CPU."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from test_realtime_augmentation import PARAMS, SIZES, VIEWS

import device_augmentation
import load_data
import more_augmentation
import realtime_augmentation as ra
from centering import GEN2

REFERENCE = np.load(Path(__file__).parent / "reference" / "augmentation.npz")
CPU = torch.device("cpu")


def test_samples_are_the_reference():
    images = torch.from_numpy(REFERENCE["warp.image_uint8"])[None]
    matrices = REFERENCE["warp.augmentation_matrices"]
    views = [view.params for view in VIEWS]
    for matrix, expected in zip(matrices, REFERENCE["warp.outputs"], strict=True):
        on_device = torch.from_numpy((matrix @ views)[:, :2].astype(np.float32))
        views_of = device_augmentation.sample(images, torch.zeros(2, dtype=int), on_device, (69, 69))
        error = np.abs(views_of.numpy() - expected)
        assert error.max() < 1e-4
        assert error.mean() < 1e-5


def test_borders_are_mirrored_as_by_the_warp():
    rng = np.random.default_rng(4)
    images = rng.integers(0, 256, (3, 40, 52, 3), dtype=np.uint8)
    matrices = rng.normal(0, 3, (12, 2, 3))
    matrices[:, :, 2] *= 30  # far beyond the borders, in all directions
    which = rng.integers(0, 3, 12)
    views = device_augmentation.sample(
        torch.from_numpy(images), torch.from_numpy(which), torch.from_numpy(matrices.astype(np.float32)), (9, 11)
    )
    for view, img_index, matrix in zip(views, which, matrices, strict=True):
        tform = type(VIEWS[0])(matrix=np.vstack([matrix, [0, 0, 1]]))
        expected = ra.fast_warp(images[img_index] / np.float32(255), tform, (9, 11))
        np.testing.assert_allclose(view, expected, rtol=0, atol=1e-3)


def assert_close_chunks(ours: list, theirs: list) -> None:
    assert len(ours) == len(theirs)
    for (tensors, length), (arrays, expected_length) in zip(ours, theirs, strict=True):
        assert length == expected_length
        for tensor, array in zip(tensors, arrays, strict=True):
            error = np.abs(tensor.numpy() - array[:length])
            assert error.max() < 2e-3
            assert error.mean() < 1e-4


@pytest.mark.usefixtures("prepared_survey")
@pytest.mark.parametrize("resident", [True, False])
class TestChunks:
    def test_are_those_of_the_workers_for_the_same_seed(self, resident: bool, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(device_augmentation, "_PIECE", 16)  # 40 examples take three pieces
        images = device_augmentation.Images("train", CPU, num_workers=1, resident=resident)
        options = {"colour_std": 0.5, "seed": 5, "first_chunk": 2}
        ours = device_augmentation.realtime_augmented_data_gen(images, 2, 40, PARAMS, VIEWS, SIZES, **options)
        theirs = ra.realtime_augmented_data_gen(2, 40, PARAMS, VIEWS, SIZES, **options)
        assert_close_chunks(list(ours), list(theirs))
        assert not multiprocessing.active_children()

    def test_centre_the_galaxy(self, resident: bool):
        rng = np.random.default_rng(1)
        rows = rng.uniform([190, 190, 9, 5, -90, 4], [230, 230, 20, 9, 90, 12], (load_data.num_train, 6))
        load_data.save_gz(GEN2.path("train"), rows)
        images = device_augmentation.Images("train", CPU, num_workers=1, resident=resident)
        processor = ra.LoadAndProcessPysexCenteringRescaling
        ours = device_augmentation.realtime_augmented_data_gen(images, 1, 20, PARAMS, VIEWS, SIZES, processor, seed=1)
        theirs = ra.realtime_augmented_data_gen(1, 20, PARAMS, VIEWS, SIZES, processor, seed=1)
        assert_close_chunks(list(ours), list(theirs))

    @pytest.mark.parametrize("subset", ["train", "test"])
    def test_under_fixed_transforms_are_those_of_the_workers(self, resident: bool, subset: str):
        images = device_augmentation.Images(subset, CPU, num_workers=1, resident=resident)
        transforms, indices = ra.sixty_transforms()[:4], np.arange(8)
        ours = device_augmentation.realtime_fixed_augmented_data_gen(images, indices, VIEWS, transforms, 22, SIZES)
        theirs = ra.realtime_fixed_augmented_data_gen(indices, subset, VIEWS, transforms, 22, SIZES)
        assert_close_chunks(list(ours), list(theirs))


def test_what_reads_other_pixels_is_not_supported():
    assert device_augmentation.supports(ra.LoadAndProcess)
    assert device_augmentation.supports(ra.LoadAndProcessPysexCenteringRescaling)
    assert not device_augmentation.supports(more_augmentation.LoadAndProcessPolar)
    assert not device_augmentation.supports(more_augmentation.LoadAndProcessBrightnessNorm)


@pytest.mark.usefixtures("prepared_survey")
def test_images_travel_to_workers_without_their_pixels():
    images = device_augmentation.Images("test", CPU, num_workers=1, resident=True)
    assert images.all.shape == (8, 424, 424, 3)
    assert images.__getstate__()["all"] is None
    np.testing.assert_array_equal(images.all[3], load_data.load_image(load_data.test_ids[3], "test", normalise=False))
