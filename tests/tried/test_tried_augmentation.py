from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from skimage.transform import AffineTransform, warp
from tiny import PARAMS

import cc_layers
import custom
import layers
import load_data
import realtime_augmentation as ra
from survey.chunk_workers import Workers
from survey.draws import Stream, generator
from tried import augmentation as tried
from tried import layers as tried_layers

TWO = Workers(2)
GENERATORS = ("post_augment_gamma_gen", "post_augment_gaussian_noise_gen", "post_augment_gaussian_noise_gen_separate")


def make_chunks(num_chunks: int = 2, sizes: tuple[int, ...] = (40, 40)) -> list:
    """Return chunks of five random images with a view of each size, and labels."""
    rng = np.random.default_rng(1)
    views = [[rng.random((5, size, size, 3)).astype(np.float32) for size in sizes] for _ in range(num_chunks)]
    return [([*each, rng.random((5, 37)).astype(np.float32)], 5) for each in views]


def augment(name: str, **options: object) -> list:
    """Return what a generator makes of `make_chunks`, as chunks (views, labels)."""
    chunks = list(getattr(tried, name)(iter(make_chunks()), **options))
    assert [length for _, length in chunks] == [5, 5]
    return [arrays for arrays, _ in chunks]


@pytest.mark.parametrize("name", GENERATORS)
def test_draws_depend_on_seed_and_chunk_alone_and_labels_stay(name):
    first, second = augment(name, seed=3)
    (plain, _), _ = make_chunks()
    np.testing.assert_array_equal(first[-1], plain[-1])
    assert all(view.dtype == np.float32 for view in first[:-1])
    behind = [make_chunks(1, (9, 9))[0], make_chunks()[1]]  # another chunk before it
    _, (again, _) = getattr(tried, name)(iter(behind), seed=3)
    for array, expected in zip(again, second, strict=True):
        np.testing.assert_array_equal(array, expected)
    other, _ = augment(name, seed=4)
    assert not np.array_equal(other[0], first[0])


def test_gamma_is_one_log_normal_power_an_image_for_all_views():
    gammas = []
    for (plain, _), changed in zip(make_chunks(), augment("post_augment_gamma_gen", std=0.5, seed=0), strict=True):
        for position in range(5):
            drawn = []
            for before, after in zip(plain[:2], changed[:2], strict=True):
                gamma = np.log(after[position][10, 10, 0]) / np.log(before[position][10, 10, 0])
                np.testing.assert_allclose(after[position], before[position].astype(float) ** gamma, atol=1e-4)
                drawn.append(gamma)
            assert drawn[0] == pytest.approx(drawn[1], rel=1e-3)
            gammas.append(drawn[0])
    assert len(set(np.round(gammas, 3))) == 10
    places = [(chunk, position) for chunk in range(2) for position in range(5)]
    expected = [np.exp(generator(Stream.GAMMA, 0, *place).normal(0, 0.5)) for place in places]
    np.testing.assert_allclose(gammas, expected, rtol=1e-3)


@pytest.mark.parametrize("name", GENERATORS)
def test_without_a_seed_draws_are_fresh(name):
    assert not np.array_equal(augment(name)[0][0], augment(name)[0][0])


@pytest.mark.parametrize("separate", [False, True])
def test_noise_is_normal_and_shared_by_the_views_or_not(separate):
    name = GENERATORS[2] if separate else GENERATORS[1]
    noises = []
    for (plain, _), changed in zip(make_chunks(), augment(name, std=0.1, seed=0), strict=True):
        assert 0 <= changed[0].min() < changed[0].max() <= 1
        noise = np.stack([after - before for before, after in zip(plain[:2], changed[:2], strict=True)])
        # Clipping leaves pixels alone that lie four standard deviations from both ends.
        middle = np.abs(plain[0] - 0.5) < 0.1
        inside = middle & (np.abs(plain[1] - 0.5) < 0.1)
        assert noise[0][middle].std() == pytest.approx(0.1, rel=0.05)
        if separate:
            assert abs(np.corrcoef(noise[0][middle], noise[1][middle])[0, 1]) < 0.15
            assert not np.allclose(noise[0][inside], noise[1][inside], atol=1e-4)
        else:
            np.testing.assert_allclose(noise[0][inside], noise[1][inside], atol=1e-6)
        noises.append(noise[0][0])
    assert abs(np.corrcoef(noises[0].ravel(), noises[1].ravel())[0, 1]) < 0.1


def test_noise_can_be_shared_only_by_views_of_one_size():
    with pytest.raises(ValueError, match=r"expected views of one size.*\(30, 30, 3\), \(40, 40, 3\)"):
        list(tried.post_augment_gaussian_noise_gen(iter(make_chunks(1, (40, 30)))))
    [(arrays, _)] = tried.post_augment_gaussian_noise_gen_separate(iter(make_chunks(1, (40, 30))))
    assert arrays[1].shape == (5, 30, 30, 3)


def test_brightness_is_normalised_by_the_middle_s_brightest_percent():
    rng = np.random.default_rng(0)
    image = rng.random((424, 424, 3)).astype(np.float32) ** 3 * 0.3
    normalised = tried.normalise_brightness(image)
    greys = sorted(sum(image[i, j].astype(float)) / 3 for i in range(108, 315) for j in range(108, 315))
    white = np.interp(0.99 * (len(greys) - 1), np.arange(len(greys)), greys)
    np.testing.assert_allclose(normalised, np.clip(image / white, 0, 1), rtol=1e-5)
    np.testing.assert_allclose(tried.normalise_brightness(image / 2), normalised, rtol=1e-5)
    black = np.zeros((424, 424, 3), np.float32)
    np.testing.assert_array_equal(tried.normalise_brightness(black), black)


def slow_polar(image: np.ndarray, tform: AffineTransform, radii: int, angles: int) -> np.ndarray:
    """Sample a polar view pixel by pixel with SciPy."""
    out = np.zeros((radii, angles, 3))
    for i, j in np.ndindex(radii, angles):
        radius, angle = i + 0.5, np.deg2rad(360 * j / angles)
        x, y = tform((radius * np.cos(angle), radius * np.sin(angle)))[0]
        for channel in range(3):
            out[i, j, channel] = map_coordinates(image[:, :, channel], [[y], [x]], order=1)[0]
    return out


def test_a_polar_view_is_the_slow_sampling_and_a_turn_shifts_it():
    image = np.random.default_rng(0).random((424, 424, 3)).astype(np.float32)
    frame = ra.build_ds_transform(3.0, target_size=(1, 1))
    np.testing.assert_allclose(frame((0, 0)), [[211.5, 211.5]])
    tform = frame + ra.build_augmentation_transform(zoom=1.1, rotation=20, translation=(3, -2))
    view = tried.polar_warp(image, tform, (12, 16))
    assert view.dtype == np.float32
    np.testing.assert_allclose(view, slow_polar(image, tform, 12, 16), atol=1e-4)
    turned = tried.polar_warp(image, frame + ra.build_augmentation_transform(rotation=90), (12, 16))
    np.testing.assert_allclose(turned, np.roll(tried.polar_warp(image, frame, (12, 16)), -4, axis=1), atol=1e-4)


def test_views_by_a_warp_of_their_own_are_not_affine():
    for kind in (tried.LoadAndProcessPolar, tried.LoadAndProcessBrightnessNorm):
        assert not kind(tried.ds_transforms_polar, PARAMS, tried.target_sizes_polar).views.only_affine


@pytest.mark.usefixtures("prepared_survey")
class TestProcessors:
    def chunk(self, processor_class: type, ds_transforms: list, sizes: list, params: dict = PARAMS) -> list[np.ndarray]:
        gen = ra.realtime_augmented_data_gen(1, 4, params, ds_transforms, sizes, processor_class, seed=5, workers=TWO)
        return next(gen)[0]

    def expected(self, make: Callable, params: dict = PARAMS) -> np.ndarray:
        """Return make(image, perturbation) for each example of the chunk."""
        drawn = ra.select_indices(27, 4, generator(Stream.INDICES, 5, 0))
        loaded = [load_data.load_image(load_data.train_ids[index]) for index in drawn]
        perturbations = ra.random_perturbations(4, **params, rng=generator(Stream.PERTURBATION, 5, 0))
        tforms = [AffineTransform(matrix=matrix) for matrix in perturbations]
        return np.stack([make(*pair) for pair in zip(loaded, tforms, strict=True)])

    def fixed(self, processor_class: type, ds_transforms: list, sizes: list, tform: AffineTransform) -> np.ndarray:
        gen = ra.realtime_fixed_augmented_data_gen(
            np.arange(3), "test", ds_transforms, [tform], 3, sizes, processor_class, workers=Workers(1)
        )
        return next(gen)[0][0]

    def test_brightness_is_normalised_before_the_warp(self):
        view, size = ra.build_ds_transform(3.0, target_size=(69, 69)), (69, 69)
        [views, _] = self.chunk(tried.LoadAndProcessBrightnessNorm, [view], [size])
        expected = self.expected(lambda img, tform: ra.fast_warp(tried.normalise_brightness(img), view + tform, size))
        np.testing.assert_allclose(views, expected, rtol=0, atol=1e-5)
        fixed = self.fixed(tried.LoadAndProcessFixedBrightnessNorm, [view], [size], ra.build_flip_transform())
        image = tried.normalise_brightness(load_data.load_image(load_data.test_ids[2], "test"))
        np.testing.assert_array_equal(fixed[2], ra.fast_warp(image, view + ra.build_flip_transform(), size))

    def test_polar_views_are_perturbed_as_usual(self):
        [frame], [size] = tried.ds_transforms_polar, tried.target_sizes_polar
        [views, _] = self.chunk(tried.LoadAndProcessPolar, [frame], [size])
        assert views.shape == (4, 34, 120, 3)
        np.testing.assert_array_equal(views, self.expected(lambda img, tf: tried.polar_warp(img, frame + tf, size)))
        turn = ra.build_augmentation_transform(rotation=30)
        fixed = self.fixed(tried.LoadAndProcessFixedPolar, [frame], [size], turn)
        image = load_data.load_image(load_data.test_ids[2], "test")
        np.testing.assert_array_equal(fixed[2], tried.polar_warp(image, frame + turn, size))

    def test_shear_slants_the_views(self):
        params = PARAMS | {"shear_range": (-25, 25), "do_flip": False}
        view = ra.build_ds_transform(3.0, target_size=(69, 69))
        [views, _] = self.chunk(ra.LoadAndProcess, [view], [(69, 69)], params)
        angles = []

        def slow(image: np.ndarray, tform: AffineTransform) -> np.ndarray:
            # The images of the two axes, which shear alone makes lean towards each other.
            (ax, bx), (ay, by) = tform.params[:2, :2]
            angles.append(np.rad2deg(np.arctan2(by, bx) - np.arctan2(ay, ax)) % 360 - 90)
            return warp(image, view + tform, output_shape=(69, 69), order=1, mode="reflect")

        np.testing.assert_allclose(views[:, 12:-12, 12:-12], self.expected(slow, params)[:, 12:-12, 12:-12], atol=1e-4)
        assert (np.abs(angles) <= 25).all()
        assert len(np.unique(np.round(angles, 3))) == 4

    @pytest.mark.parametrize("name", ["multiscale", "strided"])
    def test_other_scales_are_warped_and_trained_on(self, name):
        ds_transforms = getattr(tried, f"ds_transforms_{name}")
        sizes = getattr(tried, f"target_sizes_{name}")
        *views, labels = self.chunk(ra.LoadAndProcess, ds_transforms, sizes)
        for view, tform_ds, size in zip(views, ds_transforms, sizes, strict=True):
            slow = self.expected(
                lambda img, tf, tform_ds=tform_ds, size=size: warp(img, tform_ds + tf, output_shape=size, order=1)
            )
            middle = slice(size[0] // 3, -size[0] // 3)  # the two libraries mirror at the border differently
            np.testing.assert_allclose(view[:, middle, middle], slow[:, middle, middle], atol=1e-4)
        torch.manual_seed(0)
        inputs, output = {"multiscale": build_multiscale_network, "strided": build_strided_network}[name](4)
        layers.reset_variance_preserving(output)
        bc01 = [torch.from_numpy(view).permute(0, 3, 1, 2) for view in views]
        given = dict(zip(inputs, bc01, strict=True))
        optimizer = layers.gen_updates_regular_momentum(layers.all_parameters(output), 0.01, 0.9, 0.0)
        before = output.error(given, torch.from_numpy(labels))
        before.backward()
        assert all(param.grad.abs().max() > 0 for param in layers.all_parameters(output))
        optimizer.step()
        assert output.error(given, torch.from_numpy(labels)).item() < before.item()


def build_multiscale_network(batch_size: int) -> tuple[list[layers.Layer], layers.Layer]:
    """Return a network with a column of its own for each scale (bc01 layers throughout)."""
    inputs = [layers.Input2DLayer(batch_size, 3, 69, 69) for _ in range(3)]
    columns = []
    for view in inputs:
        x = tried_layers.Conv2DLayer(view, 4, filter_size=6, weights_std=0.01, init_bias_value=0.1)
        x = tried_layers.ResponseNormalisationLayer(tried_layers.Pooling2DLayer(x, 4))
        x = tried_layers.NIN2DLayer(x, 6, weights_std=0.1, init_bias_value=0.1)
        columns.append(tried_layers.GlobalPooling2DLayer(x))
    dense = layers.DenseLayer(layers.ConcatenateLayer(columns), 37, 0.01, 0.1, nonlinearity=layers.identity)
    return inputs, custom.OptimisedDivGalaxyOutputLayer(dense)


def build_strided_network(batch_size: int) -> tuple[list[layers.Layer], layers.Layer]:
    """Return a narrow copy of the best network whose first convolution has stride 2 on parts of twice the size."""
    inputs = [layers.Input2DLayer(batch_size, 3, 138, 138) for _ in range(2)]
    x = cc_layers.ShuffleBC01ToC01BLayer(layers.MultiRotSliceLayer(inputs, part_size=90))
    x = cc_layers.CudaConvnetConv2DLayer(x, 4, 12, 0.01, 0.1, stride=2, untie_biases=True)
    assert x.get_output_shape() == (4, 40, 40, 16 * batch_size)  # as many maps' pixels as with 3x and filters of 6
    x = cc_layers.CudaConvnetPooling2DLayer(x, pool_size=4)
    x = layers.MultiRotMergeLayer(cc_layers.ShuffleC01BToBC01Layer(x), num_views=4)
    dense = layers.DenseLayer(x, 37, 0.01, 0.1, nonlinearity=layers.identity)
    return inputs, custom.OptimisedDivGalaxyOutputLayer(dense)
