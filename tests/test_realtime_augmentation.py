import multiprocessing
import os
import signal
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import AffineTransform, warp

import load_data
import realtime_augmentation as ra

REFERENCE = np.load(Path(__file__).parent / "reference" / "augmentation.npz")
TEXTURE = np.random.default_rng(7).integers(0, 256, (424, 424, 3), dtype=np.uint8)


def test_ds_transforms_are_the_reference():
    for factor, target, subpixel_shift, *matrix in REFERENCE["ds_transform.factor_target_subpixelshift_matrix"]:
        tform = ra.build_ds_transform(factor, target_size=(int(target),) * 2, subpixel_shift=bool(subpixel_shift))
        np.testing.assert_allclose(tform.params.ravel(), matrix, rtol=0, atol=1e-9)
    no_shift = ra.build_ds_transform(3.0, do_shift=False)
    np.testing.assert_allclose(no_shift.params, REFERENCE["ds_transform_no_shift_factor3"], rtol=0, atol=1e-9)


def test_ds_transform_takes_rows_before_columns():
    tform = ra.build_ds_transform(2.0, orig_size=(100, 200), target_size=(10, 20))
    # The centre of the target (x, y) is the centre of the original.
    np.testing.assert_allclose(tform((9.5, 4.5)), [[99.5, 49.5]])


def test_augmentation_transforms_are_the_reference():
    for zoom, rotation, shear, tx, ty, *matrix in REFERENCE["augmentation_transform.zoom_rotation_shear_tx_ty_matrix"]:
        tform = ra.build_augmentation_transform(zoom, rotation, shear, (tx, ty))
        np.testing.assert_allclose(tform.params.ravel(), matrix, rtol=0, atol=1e-9)


def test_sixty_transforms_are_the_reference_in_order():
    matrices = np.stack([tform.params for tform in ra.sixty_transforms()])
    np.testing.assert_allclose(matrices, REFERENCE["sixty_transforms"], rtol=0, atol=1e-9)
    assert (np.linalg.det(matrices) < 0).sum() == 30
    assert len(np.unique(matrices.round(6), axis=0)) == 60


def test_warps_are_the_reference():
    image = REFERENCE["warp.image_uint8"].astype(np.float32) / 255
    for matrix, expected in zip(REFERENCE["warp.augmentation_matrices"], REFERENCE["warp.outputs"], strict=True):
        augmentation = type(VIEW)(matrix=matrix)
        [views] = ra.augment_fixed_and_dscrop(image, VIEWS, [augmentation], SIZES)
        error = np.abs(np.stack(views) - expected)
        assert error.max() < 1e-4
        assert error.mean() < 1e-5


@given(
    zoom=st.floats(0.3, 3),
    rotation=st.floats(0, 360),
    x=st.floats(-300, 300),
    y=st.floats(-300, 300),
    size=st.tuples(st.integers(1, 80), st.integers(1, 80)),
)
@settings(max_examples=150, deadline=None)
def test_converting_only_what_a_warp_touches_changes_nothing(zoom, rotation, x, y, size):
    tform = ra.build_ds_transform(3.0, target_size=size) + ra.build_augmentation_transform(zoom, rotation, 0, (x, y))
    out = np.empty((1, *size, 3), np.float32)
    matrices = tform.params[None, None]
    ra.warp_views(TEXTURE, ra.touched_parts(matrices[None], [size])[0], matrices, [out])
    expected = ra.fast_warp(TEXTURE / np.float32(255), tform, size)
    np.testing.assert_allclose(out[0], expected, rtol=0, atol=2e-4 if max(abs(x), abs(y)) > 150 else 1e-4)


def test_colour_weights_are_the_reference():
    np.testing.assert_array_equal(ra.colour_channel_weights, REFERENCE["colour_channel_weights"])


def test_fast_warp_is_scikit_image_s_warp_away_from_the_border():
    image = np.random.default_rng(0).random((424, 424, 3)).astype(np.float32)
    tform = VIEW + ra.build_augmentation_transform(1.1, 33, 5, (2, -3))
    expected = warp(image, tform, output_shape=(69, 69), order=1)
    np.testing.assert_allclose(ra.fast_warp(image, tform, (69, 69)), expected, rtol=0, atol=1e-4)


def test_fast_warp_names_its_modes():
    with pytest.raises(ValueError, match="mode is one of reflect"):
        ra.fast_warp(np.zeros((9, 9), np.float32), VIEW, mode="mirror")


def test_random_perturbations_have_the_reference_s_distribution():
    def describe(matrices: np.ndarray) -> tuple[np.ndarray, float]:
        determinants = np.linalg.det(matrices[:, :2, :2])
        return np.log(np.abs(determinants)) / -2, (determinants < 0).mean()

    rng = np.random.default_rng(1)
    ours = np.stack([ra.random_perturbation_transform(**PARAMS, rng=rng).params for _ in range(4000)])
    log_zooms, mirrored = describe(ours)
    assert abs(mirrored - 0.5) < 0.04
    limit = np.log(1.3)
    assert -limit <= log_zooms.min() < -0.98 * limit
    assert 0.98 * limit < log_zooms.max() <= limit
    assert abs(log_zooms.mean()) < 0.01  # log-uniform: as often smaller as larger
    angles = np.arctan2(ours[:, 1, 0], ours[:, 0, 0])
    assert np.histogram(angles, bins=8, range=(-np.pi, np.pi))[0].min() > 400
    shifts = (ours @ [211.5, 211.5, 1])[:, :2] - 211.5
    assert np.abs(shifts).max() <= 4
    assert shifts.std(axis=0) == pytest.approx(8 / 12**0.5, rel=0.05)
    theirs, theirs_mirrored = describe(REFERENCE["random_perturbation_seeded"])
    assert np.abs(theirs).max() <= limit
    assert 0.2 < theirs_mirrored < 0.8


@given(zoom=st.floats(0.5, 2), rotation=st.floats(-720, 720), flip=st.booleans())
@settings(max_examples=60, deadline=None)
def test_perturbations_keep_the_centre_and_scale_areas(zoom: float, rotation: float, flip: bool):
    tform = ra.build_flip_transform(zoom, rotation, flip)
    np.testing.assert_allclose(tform((211.5, 211.5)), [[211.5, 211.5]], atol=1e-9)
    assert np.linalg.det(tform.params) == pytest.approx((-1 if flip else 1) / zoom**2)


@given(num=st.integers(1, 50), num_selected=st.integers(0, 170), seed=st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_selected_indices_come_in_whole_passes(num: int, num_selected: int, seed: int):
    selected = ra.select_indices(num, num_selected, np.random.default_rng(seed))
    assert len(selected) == num_selected
    counts = np.bincount(selected, minlength=num)
    assert counts.max(initial=0) - counts.min() <= 1


def training_chunks(num_chunks: int, chunk_size: int = 40, **options: object) -> list:
    return list(
        ra.realtime_augmented_data_gen(num_chunks, chunk_size, PARAMS, VIEWS, SIZES, colour_std=0.5, seed=5, **options)
    )


def assert_same_chunks(ours: list, theirs: list) -> None:
    assert len(ours) == len(theirs)
    for (arrays, length), (expected, expected_length) in zip(ours, theirs, strict=True):
        assert length == expected_length
        for array, other in zip(arrays, expected, strict=True):
            np.testing.assert_array_equal(array, other)


@pytest.mark.usefixtures("prepared_survey")
class TestTrainingChunks:
    def test_are_the_same_for_any_number_of_workers_and_start_method(self):
        one = training_chunks(2, num_workers=1, start_method="fork")
        for workers, start_method in ((2, "fork"), (3, "fork"), (1, "spawn"), (2, "spawn")):
            assert_same_chunks(training_chunks(2, num_workers=workers, start_method=start_method), one)

    def test_hold_views_and_labels_of_training_galaxies(self, prepared_survey):
        [(arrays, length)] = training_chunks(1)
        view0, view45, labels = arrays
        assert length == 40
        assert view0.shape == view45.shape == (40, 69, 69, 3)
        assert view0.dtype == np.float32
        assert 0 <= view0.min() < view0.max() <= 1
        # 40 of 27 training galaxies: each once or twice, none of the validation part.
        rows = [np.flatnonzero((prepared_survey.votes.astype(np.float32) == label).all(axis=1))[0] for label in labels]
        counts = np.bincount(rows, minlength=30)
        assert set(counts[:27]) == {1, 2}
        assert counts[27:].sum() == 0

    def test_are_what_a_plain_loop_makes(self):
        [(arrays, _)] = training_chunks(1, chunk_size=5)
        drawn = ra.select_indices(27, 5, ra.generator(1, 5, 0))
        alphas = ra.generator(3, 5, 0).normal(0, 0.5, size=5)
        perturbations = ra.random_perturbations(5, **PARAMS, rng=ra.generator(2, 5, 0))
        for position, index in enumerate(drawn):
            image = load_data.load_image(load_data.train_ids[index])
            tform = AffineTransform(matrix=perturbations[position])
            for array, view in zip(arrays, VIEWS, strict=False):
                slow = warp(image, view + tform, output_shape=(69, 69), order=1, mode="reflect")
                slow = np.clip(slow + alphas[position] * ra.colour_channel_weights, 0, 1)
                # Past the border the two libraries mirror differently; the galaxy is far from it.
                np.testing.assert_allclose(array[position][8:-8, 8:-8], slow[8:-8, 8:-8], rtol=0, atol=1e-4)

    def test_differ_from_chunk_to_chunk_and_resume(self):
        chunks = training_chunks(3)
        assert not np.array_equal(chunks[0][0][0], chunks[1][0][0])
        assert_same_chunks(training_chunks(2, first_chunk=1), chunks[1:])

    def test_reused_buffers_hold_the_same_until_the_next_but_one(self):
        expected = [arrays for arrays, _ in training_chunks(3)]
        gen = ra.realtime_augmented_data_gen(3, 40, PARAMS, VIEWS, SIZES, colour_std=0.5, seed=5, reuse_buffers=True)
        for arrays, (views, _) in zip(expected, gen, strict=True):
            np.testing.assert_array_equal(views[0], arrays[0])

    def test_the_next_chunk_is_made_while_this_one_is_used(self, prepared_survey):
        gen = ra.realtime_augmented_data_gen(2, 4, PARAMS, VIEWS, SIZES, num_workers=1)
        next(gen)
        executor = gen.gi_frame.f_locals["chunks"].gi_frame.f_locals
        concurrent_tasks = executor["pending"]
        assert concurrent_tasks
        for task in concurrent_tasks:
            task.result(timeout=30)  # done though nobody asked for the second chunk yet
        gen.close()

    def test_an_endless_generator_stops_with_its_consumer(self):
        gen = ra.realtime_augmented_data_gen(None, 4, PARAMS, VIEWS, SIZES, num_workers=2)
        next(gen)
        assert len(multiprocessing.active_children()) == 2
        gen.close()
        assert not multiprocessing.active_children()

    def test_a_dead_worker_ends_the_run(self):
        gen = ra.realtime_augmented_data_gen(None, 200, PARAMS, VIEWS, SIZES, num_workers=2)
        next(gen)
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
        with pytest.raises(BrokenProcessPool, match=r"a worker process died.*--num-workers"):
            for _ in range(20):
                next(gen)
        assert not multiprocessing.active_children()

    def test_a_bad_image_s_error_comes_through(self, prepared_survey):
        for path in (prepared_survey.raw / "images_train_rev1").glob("*.jpg"):
            path.write_bytes(b"not a JPEG")
        with pytest.raises(load_data.DataError, match="can not be decoded as a JPEG"):
            training_chunks(1)

    def test_have_the_colour_noise_of_the_generator_that_adds_it(self):
        gen = ra.realtime_augmented_data_gen(2, 40, PARAMS, VIEWS, SIZES, seed=5)
        assert_same_chunks(list(ra.post_augment_brightness_gen(gen, 0.5, seed=5)), training_chunks(2))

    def test_colour_noise_is_one_draw_an_image_for_both_views(self):
        plain = next(ra.realtime_augmented_data_gen(1, 6, PARAMS, VIEWS, SIZES, seed=5))
        noisy = next(ra.post_augment_brightness_gen(iter([plain_copy(plain)]), 0.5, seed=5))
        alphas = []
        for before, after in zip(plain[0][:2], noisy[0][:2], strict=True):
            change = (after - before) / ra.colour_channel_weights
            inside = (after > 0) & (after < 1)
            alphas.append([np.median(change[i][inside[i]]) for i in range(6)])
            for i in range(6):
                np.testing.assert_allclose(change[i][inside[i]], alphas[-1][i], atol=1e-4)
        np.testing.assert_allclose(alphas[0], alphas[1], atol=1e-4)
        assert len(set(np.round(alphas[0], 3))) == 6


def plain_copy(chunk: tuple[list[np.ndarray], int]) -> tuple[list[np.ndarray], int]:
    return [array.copy() for array in chunk[0]], chunk[1]


@pytest.mark.usefixtures("prepared_survey")
class TestFixedChunks:
    def test_hold_all_transforms_of_an_image_together_and_zeros_after_the_last(self):
        transforms = ra.sixty_transforms()[:4]
        gen = ra.realtime_fixed_augmented_data_gen(
            np.arange(8), "test", VIEWS, transforms, chunk_size=22, target_sizes=SIZES, num_workers=2
        )
        chunks = list(gen)
        assert [length for _, length in chunks] == [20, 12]  # 22 holds five whole images of four
        for (views, length), first in zip(chunks, (0, 5), strict=True):
            for view, tform_view in zip(views, VIEWS, strict=True):
                assert view.shape == (22, 69, 69, 3)
                assert not view[length:].any()
                for row in range(length):
                    image = load_data.load_image(load_data.test_ids[first + row // 4], "test")
                    expected = ra.fast_warp(image, tform_view + transforms[row % 4], (69, 69))
                    np.testing.assert_allclose(view[row], expected, rtol=0, atol=1e-5)

    def test_a_chunk_too_small_for_one_image_is_refused(self):
        with pytest.raises(ValueError, match="at least 60, the transforms of one image, got 59"):
            next(
                ra.realtime_fixed_augmented_data_gen(
                    np.arange(2), "test", VIEWS, ra.sixty_transforms(), chunk_size=59, target_sizes=SIZES
                )
            )

    def test_nothing_selected_yields_nothing(self):
        assert list(ra.realtime_fixed_augmented_data_gen(np.arange(0), "test", chunk_size=4)) == []

    def test_default_sizes_are_53(self):
        views, _ = next(ra.realtime_fixed_augmented_data_gen(np.arange(1), "train", chunk_size=1))
        assert [view.shape for view in views] == [(1, 53, 53, 3)] * 2
