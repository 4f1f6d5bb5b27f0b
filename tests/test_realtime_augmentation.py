import multiprocessing
import subprocess
import sys
from pathlib import Path

import numpy as np
import processors_of_2014 as of_2014
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import AffineTransform, warp
from tiny import PARAMS, ROOT, SIZES, VIEW, VIEWS, draws_of

import load_data
import realtime_augmentation as ra
from machine.files import DataError
from survey import chunk_workers, images
from survey.chunk_workers import Workers
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT as BEST

REFERENCE = np.load(Path(__file__).parent / "reference" / "augmentation.npz")
TWO = Workers(2)
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
    with pytest.raises(ValueError, match="expected mode reflect"):
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


def training_chunks(num_chunks: int | None, chunk_size: int = 40, *, seed: int | None = 5, num_workers: int = 1):
    return ra.realtime_augmented_data_gen(
        num_chunks, chunk_size, PARAMS, VIEWS, SIZES, seed=seed, workers=Workers(num_workers)
    )


@pytest.mark.usefixtures("prepared_survey")
class TestTrainingChunks:
    def test_hold_views_and_labels_of_training_galaxies(self, prepared_survey):
        [(arrays, length)] = training_chunks(1)
        view0, view45, labels = arrays
        assert length == 40
        assert view0.shape == view45.shape == (40, 69, 69, 3)
        assert view0.dtype == np.float32
        assert 0 <= view0.min() < view0.max() <= 1
        # 40 of 27 training galaxies: each once or twice, none of the validation part.
        rows = [np.flatnonzero((prepared_survey.labels.astype(np.float32) == row).all(axis=1))[0] for row in labels]
        counts = np.bincount(rows, minlength=30)
        assert set(counts[:27]) == {1, 2}
        assert counts[27:].sum() == 0

    def test_are_those_of_an_experiment_of_the_same_numbers(self):
        """The documented generators and the engine make the same chunks."""
        noisy = list(ra.post_augment_brightness_gen(training_chunks(2), BEST.views.colour_std, seed=5))
        made = chunk_workers.drawn_chunks(BEST.views, draws_of(BEST.views, 2), 40, Workers(1))
        labels = images.load_labels()
        for ((*views, of_images), length), (expected, draw) in zip(noisy, made, strict=True):
            assert length == len(draw)
            for view, other in zip(views, expected, strict=True):
                np.testing.assert_array_equal(view, other)
            np.testing.assert_array_equal(of_images, labels[draw.indices])

    def test_without_a_seed_are_drawn_afresh(self):
        (first, _), (second, _) = (next(training_chunks(1, 4, seed=None)) for _ in range(2))
        assert not np.array_equal(first[0], second[0])
        noises = [next(ra.post_augment_brightness_gen(training_chunks(1, 4)))[0][0] for _ in range(2)]
        assert not np.array_equal(*noises)

    def test_an_endless_generator_stops_with_its_consumer(self):
        gen = training_chunks(None, 4, num_workers=2)
        next(gen)
        assert len(multiprocessing.active_children()) == 2
        gen.close()
        assert not multiprocessing.active_children()

    def test_a_bad_image_s_error_comes_through(self, prepared_survey):
        for path in (prepared_survey.raw / "images_train_rev1").glob("*.jpg"):
            path.write_bytes(b"not a JPEG")
        with pytest.raises(DataError, match="cannot be decoded as a JPEG"):
            next(training_chunks(1))

    def test_colour_noise_is_one_draw_an_image_for_both_views(self):
        [plain] = training_chunks(1, 6)
        [noisy] = ra.post_augment_brightness_gen(training_chunks(1, 6), 0.5, seed=5)
        alphas = []
        for before, after in zip(plain[0][:2], noisy[0][:2], strict=True):
            change = (after - before) / ra.colour_channel_weights
            inside = (after > 0) & (after < 1)
            alphas.append([np.median(change[i][inside[i]]) for i in range(6)])
            for i in range(6):
                np.testing.assert_allclose(change[i][inside[i]], alphas[-1][i], atol=1e-4)
        np.testing.assert_allclose(alphas[0], alphas[1], atol=1e-4)
        assert len(set(np.round(alphas[0], 3))) == 6


@pytest.mark.usefixtures("prepared_survey")
class TestProcessors:
    def test_one_image_at_random_or_under_fixed_transforms(self):
        rng = np.random.default_rng
        views = ra.LoadAndProcess(VIEWS, PARAMS, SIZES)(3, rng(1))
        [matrix] = ra.random_perturbations(1, **PARAMS, rng=rng(1))
        [fixed] = ra.LoadAndProcessFixed("train", VIEWS, [AffineTransform(matrix=matrix)], SIZES)(3)
        image = load_data.load_image(load_data.train_ids[3])
        for view, same, ds_transform in zip(views, fixed, VIEWS, strict=True):
            assert view.shape == (69, 69, 3)
            np.testing.assert_array_equal(view, same)
            expected = ra.fast_warp(image, ds_transform + AffineTransform(matrix=matrix), (69, 69))
            np.testing.assert_allclose(view, expected, rtol=0, atol=1e-5)

    def test_galaxies_lie_where_the_class_says(self):
        assert ra.LoadAndProcess(VIEWS, PARAMS, SIZES).views.placement is None
        for name, placement in (
            ("PysexCentering", ra.CENTRED),
            ("PysexCenteringRescaling", ra.GEN2),
            ("PysexGen1CenteringRescaling", ra.GEN1),
        ):
            for processor in (
                getattr(ra, f"LoadAndProcess{name}")(VIEWS, PARAMS, SIZES),
                getattr(ra, f"LoadAndProcessFixed{name}")("test", VIEWS, [ra.tform_identity], SIZES),
            ):
                assert processor.views.placement is placement

    def test_attributes_are_those_of_2014(self):
        drawn = ra.LoadAndProcess(VIEWS, PARAMS, SIZES)
        assert (drawn.ds_transforms, drawn.augmentation_params, drawn.target_sizes) == (VIEWS, PARAMS, SIZES)
        transforms = ra.sixty_transforms()[:2]
        fixed = ra.LoadAndProcessFixed("test", VIEWS, transforms, SIZES)
        assert (fixed.subset, fixed.ds_transforms, fixed.target_sizes) == ("test", VIEWS, SIZES)
        assert fixed.augmentation_transforms is transforms


def called_chunks(processor_class: type, workers: Workers = TWO, **options: object) -> list[list[np.ndarray]]:
    """Return two chunks of six examples."""
    options = {"seed": 5, "target_sizes": SIZES} | options
    gen = ra.realtime_augmented_data_gen(
        2, 6, PARAMS, VIEWS, processor_class=processor_class, workers=workers, **options
    )
    return [arrays for arrays, _ in gen]


def fixed_chunk(processor_class: type, workers: Workers = TWO) -> list[np.ndarray]:
    """Return the views of three test images under two transforms."""
    transforms = ra.sixty_transforms()[:2]
    [(arrays, length)] = ra.realtime_fixed_augmented_data_gen(
        np.arange(3), "test", VIEWS, transforms, 7, SIZES, processor_class, workers=workers
    )
    assert length == 6
    return arrays


@pytest.mark.usefixtures("prepared_survey")
class TestProcessorsOfOthers:
    """Classes that are called, as `processor_class` was in 2014."""

    @pytest.mark.parametrize("start_method", ["fork", "spawn"])
    def test_are_called_in_workers_with_the_index_of_each_example(self, prepared_survey, start_method):
        labels = prepared_survey.labels.astype(np.float32)
        chunks = called_chunks(of_2014.Marked, Workers(2, start_method))
        expected = called_chunks(ra.LoadAndProcess)
        for (first, second, of_images), (*_, of_ours) in zip(chunks, expected, strict=True):
            assert first.shape == second.shape == (6, 69, 69, 3)
            assert first.dtype == np.float32
            indices = second[:, 0, 0, 0].astype(int)
            np.testing.assert_array_equal(second, np.broadcast_to(indices[:, None, None, None], second.shape))
            np.testing.assert_array_equal(of_images, labels[indices])
            np.testing.assert_array_equal(of_images, of_ours)  # the same images for the same seed

    @pytest.mark.parametrize("processor_class", [of_2014.Marked, of_2014.Plain, of_2014.Inverted])
    def test_make_the_same_chunk_with_any_number_of_workers(self, processor_class):
        one, two, other = (
            called_chunks(processor_class, Workers(num), seed=seed) for num, seed in ((1, 5), (3, 5), (1, 6))
        )
        for chunk, same in zip(one, two, strict=True):
            for array, expected in zip(chunk, same, strict=True):
                np.testing.assert_array_equal(array, expected)
        drawn = {view.tobytes() for chunk in one for view in chunk[0]}
        assert len(drawn) == 12  # each example has draws of its own
        assert not np.array_equal(one[0][0], other[0][0])

    def test_draw_afresh_without_a_seed(self):
        assert not np.array_equal(*(called_chunks(of_2014.Marked, seed=None)[0][0] for _ in range(2)))

    def test_that_do_as_2014_did_make_views_of_the_training_images(self):
        image = load_data.load_image(load_data.train_ids[3])
        np.random.seed(1)  # noqa: NPY002 (what the perturbation goes on from)
        views = of_2014.Plain(VIEWS, PARAMS, SIZES)(3)
        np.random.seed(1)  # noqa: NPY002
        tform = ra.random_perturbation_transform(**PARAMS)
        np.testing.assert_allclose(views[0], ra.fast_warp(image, VIEW + tform, (69, 69)), rtol=0, atol=1e-5)

    def test_a_subclass_of_ours_that_overrides_the_call_is_used(self):
        for chunk in called_chunks(of_2014.Inverted):
            assert (np.median(chunk[0], axis=(1, 2, 3)) > 0.9).all()  # the sky is bright
        np.testing.assert_array_equal(
            fixed_chunk(of_2014.InvertedFixed)[1][:6], 1 - fixed_chunk(ra.LoadAndProcessFixed)[1][:6]
        )

    @pytest.mark.parametrize("start_method", ["fork", "spawn"])
    def test_a_subclass_for_fixed_transforms_is_made_and_called_as_in_2014(self, start_method):
        mirrored = fixed_chunk(of_2014.MirroredFixed, Workers(2, start_method))
        for view, straight in zip(mirrored, fixed_chunk(ra.LoadAndProcessFixed), strict=True):
            assert straight[:6].any()
            np.testing.assert_array_equal(view[:6], straight[:6, :, ::-1])

    @pytest.mark.parametrize("start_method", ["fork", "spawn"])
    def test_of_fixed_transforms_are_made_with_the_subset_first_as_in_2014(self, start_method):
        ours, theirs = fixed_chunk(ra.LoadAndProcessFixed), fixed_chunk(of_2014.PlainFixed, Workers(2, start_method))
        for view, expected in zip(theirs, ours, strict=True):
            np.testing.assert_allclose(view, expected, rtol=0, atol=1e-5)
            assert not view[6:].any()

    def test_sizes_are_53_unless_given(self):
        [(first, *_), _] = called_chunks(of_2014.Marked, target_sizes=None)
        assert first.shape == (6, 53, 53, 3)

    @pytest.mark.parametrize(
        ("processor_class", "got"),
        [
            (of_2014.TooSmall, r"\[\(69, 68, 3\), \(69, 68, 3\)\]"),
            (of_2014.OneView, r"\[\(69, 69, 3\)\]"),
            (of_2014.Nothing, "NoneType"),
        ],
    )
    def test_views_of_another_shape_are_refused(self, processor_class, got):
        expected = r"expected views of the shapes \[\(69, 69, 3\), \(69, 69, 3\)\] of image \d+"
        with pytest.raises(ValueError, match=f"^{processor_class.__name__}: {expected}, got {got}$"):
            called_chunks(processor_class)

    def test_another_number_of_transforms_is_refused(self):
        with pytest.raises(ValueError, match=r"^OneTransform: expected the views of 2 transforms, got 1$"):
            fixed_chunk(of_2014.OneTransform)

    def test_what_workers_can_not_be_sent_is_refused(self):
        class Local(of_2014.Plain):
            pass

        for processor_class in (Local, of_2014.Locked):
            with pytest.raises(TypeError, match=r"cannot be sent to worker processes \(.*\); define it at the top of"):
                called_chunks(processor_class)
        with pytest.raises(TypeError, match="expected a callable processor, got an instance of NotCalled"):
            called_chunks(of_2014.NotCalled)

    def test_what_is_typed_in_can_not_be_sent_to_spawned_workers(self, prepared_survey):
        code = (
            "import realtime_augmentation as ra; from survey.folders import use_folders\n"
            "class Typed(ra.LoadAndProcess):\n    def __call__(self, img_index): return super().__call__(img_index)\n"
            f"use_folders({str(prepared_survey.root)!r})\n"
            "gen = ra.realtime_augmented_data_gen(1, 2, processor_class=Typed, workers=ra.Workers(1, 'spawn'))\n"
            "try:\n    next(gen)\nexcept TypeError as error:\n    print(error)\n"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("Typed cannot be sent to worker processes (it is not defined in a file)")


@pytest.mark.usefixtures("prepared_survey")
class TestFixedChunks:
    def test_hold_all_transforms_of_an_image_together_and_zeros_after_the_last(self):
        transforms = ra.sixty_transforms()[:4]
        gen = ra.realtime_fixed_augmented_data_gen(
            np.arange(8), "test", VIEWS, transforms, chunk_size=22, target_sizes=SIZES, workers=Workers(2)
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
