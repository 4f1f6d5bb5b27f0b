"""What a network sees of a galaxy: affine views of the right pixels, their noise, and what is random in both."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import AffineTransform, warp
from tiny import PARAMS, VIEWS, draws_of

import load_data
import realtime_augmentation as ra
from survey import chunk_workers
from survey.chunk_workers import Workers
from survey.draws import Stream, draw_gamma, draw_noise, generator, select_indices
from survey.views import Views
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT as BEST

PLAIN = dataclasses.replace(BEST.views, colour_std=0.0)


def chunks_of(views: Views, num_chunks: int = 1, chunk_size: int = 6, num_workers: int = 1) -> list[list[np.ndarray]]:
    """Return the views of some chunks, [chunk][view]."""
    draws = draws_of(views, num_chunks, chunk_size)
    return [arrays for arrays, _ in chunk_workers.drawn_chunks(views, draws, chunk_size, Workers(num_workers))]


@pytest.mark.usefixtures("prepared_survey")
class TestDrawnViews:
    def test_are_what_a_plain_loop_makes(self):
        [arrays] = chunks_of(BEST.views, chunk_size=5)
        drawn = select_indices(27, 5, generator(Stream.INDICES, 5, 0))
        alphas = generator(Stream.COLOUR, 5, 0).normal(0, 0.5, size=5)
        perturbations = ra.random_perturbations(5, **PARAMS, rng=generator(Stream.PERTURBATION, 5, 0))
        for position, index in enumerate(drawn):
            image = load_data.load_image(load_data.train_ids[index])
            tform = AffineTransform(matrix=perturbations[position])
            for array, view in zip(arrays, VIEWS, strict=True):
                slow = warp(image, view + tform, output_shape=(69, 69), order=1, mode="reflect")
                slow = np.clip(slow + alphas[position] * ra.colour_channel_weights, 0, 1)
                # Past the border the two libraries mirror differently; the galaxy is far from it.
                np.testing.assert_allclose(array[position][8:-8, 8:-8], slow[8:-8, 8:-8], rtol=0, atol=1e-4)

    def test_colour_noise_is_that_of_the_generator_that_adds_it(self):
        for plain, noisy in zip(chunks_of(PLAIN, 2), chunks_of(BEST.views, 2), strict=True):
            assert not np.array_equal(plain[0], noisy[0])
        labelled = (([*views, np.zeros((6, 37))], 6) for views in chunks_of(PLAIN, 2))
        expected = [arrays[:-1] for arrays, _ in ra.post_augment_brightness_gen(labelled, 0.5, seed=5)]
        np.testing.assert_array_equal(chunks_of(BEST.views, 2), expected)

    def test_gamma_is_a_power_of_each_example_s_own_the_same_for_all_its_views(self):
        [plain], [powered] = chunks_of(PLAIN), chunks_of(dataclasses.replace(PLAIN, gamma_std=0.5))
        gammas = draw_gamma(5, 0, 6, 0.5)
        assert len(set(gammas.round(3))) == 6
        for before, after in zip(plain, powered, strict=True):
            assert after.dtype == np.float32
            np.testing.assert_allclose(after, before.astype(float) ** gammas[:, None, None, None], atol=1e-5)

    def test_pixel_noise_is_each_view_s_own(self):
        views = dataclasses.replace(PLAIN, noise_std=0.05)
        for plain, noisy in zip(chunks_of(PLAIN, 2), chunks_of(views, 2), strict=True):
            noises = []
            for before, after in zip(plain, noisy, strict=True):
                # Clipping leaves pixels alone that lie three standard deviations from both ends.
                middle = (before > 0.15) & (before < 0.85)
                assert (after - before)[middle].std() == pytest.approx(0.05, rel=0.1)
                noises += [*(after - before)]
            assert len({noise.tobytes() for noise in noises}) == 12  # six examples, two views each

    def test_noise_is_drawn_from_the_place_of_its_view_alone(self):
        views = dataclasses.replace(PLAIN, noise_std=0.05)
        _, [plain, _] = chunks_of(PLAIN, 2)
        _, [noisy, _] = chunks_of(views, 2)
        noise = draw_noise(np.array([Stream.NOISE_SEPARATE, 5, 1, 3, 0]), (69, 69, 3), 0.05)
        np.testing.assert_allclose(noisy[3], np.clip(plain[3] + noise, 0, 1), atol=1e-6)

    @pytest.mark.parametrize("noise", [{"gamma_std": 0.5}, {"noise_std": 0.3}, {"gamma_std": 0.5, "noise_std": 0.3}])
    def test_noise_is_clipped_and_the_same_for_any_number_of_workers(self, noise):
        views = dataclasses.replace(BEST.views, **noise)
        one = chunks_of(views, 2, 40)
        assert all(0 <= view.min() < view.max() <= 1 for arrays in one for view in arrays)
        assert not np.array_equal(one[0], chunks_of(BEST.views, 1, 40)[0])
        assert not np.array_equal(one[0], one[1])
        for num_workers in (2, 3):
            np.testing.assert_array_equal(chunks_of(views, 2, 40, num_workers), one)

    def test_prediction_has_no_noise(self):
        loud = dataclasses.replace(BEST.views, colour_std=3.0, gamma_std=1.0, noise_std=1.0)
        for subset in ("train", "test"):
            made = []
            for views in (PLAIN, loud):
                outs = [np.empty((6, 69, 69, 3), np.float32) for _ in VIEWS]
                views.write_fixed(outs, np.arange(3), subset, ra.sixty_transforms()[:2])
                made.append(outs)
            np.testing.assert_array_equal(*made)


def test_a_view_without_a_size_is_refused():
    with pytest.raises(ValueError, match="expected a target size for each of 2 ds_transforms, got 1"):
        dataclasses.replace(BEST.views, target_sizes=[(69, 69)])


def test_a_forgotten_number_of_views_is_a_type_error():
    fields = {field.name: getattr(BEST.views, field.name) for field in dataclasses.fields(Views)}
    for name in fields:
        with pytest.raises(TypeError, match=name):
            Views(**{key: value for key, value in fields.items() if key != name})


def test_only_samples_and_colour_noise_are_affine():
    assert BEST.views.only_affine
    assert dataclasses.replace(BEST.views, placement=ra.GEN2).only_affine
    for change in ({"gamma_std": 0.1}, {"noise_std": 0.1}, {"warp": print}):
        assert not dataclasses.replace(BEST.views, **change).only_affine


def test_a_part_of_a_draw_has_those_rows_of_everything():
    views = dataclasses.replace(BEST.views, gamma_std=0.1, noise_std=0.1)
    [draw] = draws_of(views, 1, 9)
    part = draw[2:5]
    assert (len(draw), len(part)) == (9, 3)
    for field in dataclasses.fields(draw):
        np.testing.assert_array_equal(getattr(part, field.name), getattr(draw, field.name)[2:5])
    [plain] = draws_of(PLAIN, 1, 9)
    assert (plain[:2].colour, plain[:2].gamma, plain[:2].noise_keys) == (None, None, None)


def test_no_two_streams_of_random_numbers_are_the_same():
    firsts = {
        generator(stream, *place).random()
        for stream in Stream
        for place in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    }
    assert len(firsts) == 4 * len(Stream)


@given(num=st.integers(1, 50), num_selected=st.integers(0, 170), seed=st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_selected_indices_come_in_whole_passes(num: int, num_selected: int, seed: int):
    selected = select_indices(num, num_selected, np.random.default_rng(seed))
    assert len(selected) == num_selected
    counts = np.bincount(selected, minlength=num)
    assert counts.max(initial=0) - counts.min() <= 1
