"""The views that are made in the accelerator's memory are those that the worker processes make; here on the CPU."""

import dataclasses
import multiprocessing

import numpy as np
import pytest
import torch
from tiny import CPU, ROOT, VIEWS, draws_of

import load_data
import realtime_augmentation as ra
from engine import device_augmentation
from engine.device_augmentation import Images
from machine.arrays import save_gz
from machine.files import DataError
from survey import chunk_workers, images
from survey.centering import GEN2_PARAMS
from survey.chunk_workers import Workers
from survey.views import Views
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT as BEST

REFERENCE = np.load(ROOT / "tests" / "reference" / "augmentation.npz")
ONE = Workers(1)


def test_samples_are_the_reference():
    pixels = torch.from_numpy(REFERENCE["warp.image_uint8"])[None]
    matrices = REFERENCE["warp.augmentation_matrices"]
    views = [view.params for view in VIEWS]
    for matrix, expected in zip(matrices, REFERENCE["warp.outputs"], strict=True):
        on_device = torch.from_numpy((matrix @ views)[:, :2].astype(np.float32))
        views_of = device_augmentation.sample(pixels, torch.zeros(2, dtype=int), on_device, (69, 69))
        error = np.abs(views_of.numpy() - expected)
        assert error.max() < 1e-4
        assert error.mean() < 1e-5


def test_borders_are_mirrored_as_by_the_warp():
    rng = np.random.default_rng(4)
    pixels = rng.integers(0, 256, (3, 40, 52, 3), dtype=np.uint8)
    matrices = rng.normal(0, 3, (12, 2, 3))
    matrices[:, :, 2] *= 30  # far beyond the borders, in all directions
    which = rng.integers(0, 3, 12)
    views = device_augmentation.sample(
        torch.from_numpy(pixels), torch.from_numpy(which), torch.from_numpy(matrices.astype(np.float32)), (9, 11)
    )
    for view, img_index, matrix in zip(views, which, matrices, strict=True):
        tform = type(VIEWS[0])(matrix=np.vstack([matrix, [0, 0, 1]]))
        expected = ra.fast_warp(pixels[img_index] / np.float32(255), tform, (9, 11))
        np.testing.assert_allclose(view, expected, rtol=0, atol=1e-3)


def assert_close(tensors: list[torch.Tensor], arrays: list[np.ndarray]) -> None:
    for tensor, array in zip(tensors, arrays, strict=True):
        error = np.abs(tensor.numpy() - array)
        assert error.max() < 2e-3
        assert error.mean() < 1e-4


def assert_drawn_chunks_are_the_workers(source: Images, views: Views, num_chunks: int, size: int, first: int) -> None:
    draws = (draws_of(views, num_chunks, size, first) for _ in range(2))
    ours = device_augmentation.drawn_chunks(source, views, next(draws), size)
    theirs = chunk_workers.drawn_chunks(views, next(draws), size, ONE)
    chunks = list(zip(ours, theirs, strict=True))
    assert len(chunks) == num_chunks
    for (tensors, indices), (arrays, draw) in chunks:
        np.testing.assert_array_equal(indices, draw.indices)
        assert_close(tensors, arrays)
    assert not multiprocessing.active_children()


@pytest.mark.usefixtures("prepared_survey")
@pytest.mark.parametrize("resident", [True, False])
class TestChunks:
    def test_are_those_of_the_workers_for_the_same_seed(self, resident: bool, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(device_augmentation, "IMAGES_A_PIECE", 16)  # 40 examples take three pieces
        source = Images("train", CPU, num_workers=1, resident=resident)
        assert_drawn_chunks_are_the_workers(source, BEST.views, 2, 40, first=2)

    def test_centre_the_galaxy(self, resident: bool):
        rng = np.random.default_rng(1)
        rows = rng.uniform([190, 190, 9, 5, -90, 4], [230, 230, 20, 9, 90, 12], (load_data.num_train, 6))
        save_gz(GEN2_PARAMS.path("train"), rows)
        source = Images("train", CPU, num_workers=1, resident=resident)
        views = dataclasses.replace(BEST.views, placement=ra.GEN2, colour_std=0.0)
        assert_drawn_chunks_are_the_workers(source, views, 1, 20, first=0)

    @pytest.mark.parametrize("subset", ["train", "test"])
    def test_under_fixed_transforms_are_those_of_the_workers(self, resident: bool, subset: str):
        source = Images(subset, CPU, num_workers=1, resident=resident)
        transforms, indices = ra.sixty_transforms()[:4], np.arange(8)
        ours = device_augmentation.fixed_chunks(source, BEST.views, indices, transforms, 22)
        theirs = chunk_workers.fixed_chunks(BEST.views, indices, subset, transforms, 22, ONE)
        for (tensors, length), (arrays, expected_length) in zip(ours, theirs, strict=True):
            assert length == expected_length
            assert_close(tensors, [array[:length] for array in arrays])

    def test_of_good_images_do_not_read_those_left_out(self, prepared_survey, resident: bool):
        bad = {4: b"no JPEG", 11: None}
        for index, content in bad.items():
            path = prepared_survey.raw / "images_train_rev1" / f"{prepared_survey.train_ids[index]}.jpg"
            path.unlink() if content is None else path.write_bytes(content)
        source = Images("train", CPU, num_workers=1, resident=resident, left_out=bad)
        good = np.setdiff1d(np.arange(27), list(bad))
        draws = (BEST.views.draw(good, 40, 5, 0) for _ in range(2))
        [(tensors, indices)] = device_augmentation.drawn_chunks(source, BEST.views, iter([next(draws)]), 40)
        [(arrays, _)] = chunk_workers.drawn_chunks(BEST.views, iter([next(draws)]), 40, ONE)
        assert_close(tensors, arrays)
        assert not np.isin(indices, list(bad)).any()


@pytest.mark.usefixtures("prepared_survey")
class TestResidentImages:
    def test_are_all_there_and_those_left_out_are_black(self, prepared_survey):
        (prepared_survey.raw / "images_test_rev1" / "100.jpg").write_bytes(b"no JPEG")
        source = Images("test", CPU, num_workers=2, resident=True, left_out={2})
        assert source.all.shape == (8, 424, 424, 3)
        assert not source.all[2].any()
        for index in (0, 1, 3, 7):
            expected = load_data.load_image(load_data.test_ids[index], "test", normalise=False)
            np.testing.assert_array_equal(source.all[index], expected)

    def test_of_which_all_are_left_out_are_read_by_nobody(self, prepared_survey):
        for path in (prepared_survey.raw / "images_test_rev1").iterdir():
            path.unlink()
        source = Images("test", CPU, num_workers=1, resident=True, left_out=range(8))
        assert not source.all.any()

    def test_that_are_bad_and_not_left_out_are_named(self, prepared_survey):
        (prepared_survey.raw / "images_test_rev1" / "100.jpg").write_bytes(b"no JPEG")
        with pytest.raises(DataError, match=r"100.jpg cannot be decoded"):
            Images("test", CPU, num_workers=1, resident=True)

    def test_do_not_travel_to_workers(self, monkeypatch: pytest.MonkeyPatch):
        """What a task is made of is pickled; images would take longer than they take to decode."""
        source = Images("test", CPU, num_workers=1, resident=False)
        made = []
        make_chunks = device_augmentation.make_chunks

        def spy(make: object, *rest: object) -> object:
            made.append(make)
            return make_chunks(make, *rest)

        monkeypatch.setattr(device_augmentation, "make_chunks", spy)
        next(device_augmentation.fixed_chunks(source, BEST.views, np.arange(8), [ra.tform_identity], 8))
        [make] = made
        assert len(multiprocessing.reduction.ForkingPickler.dumps(make)) < 1000

    def test_stay_only_where_there_is_room(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
        needed = 30 * 424 * 424 * 3
        source = Images("train", CPU, num_workers=1)
        assert source.all is None  # on a CPU they would be a copy
        for free, room in ((needed / 0.71, False), (needed / 0.69, True)):
            monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 2 * free))
            assert source._has_room(len(images.ids_of("train"))) is room
        assert capsys.readouterr().out.count("each chunk decodes its images again") == 1
