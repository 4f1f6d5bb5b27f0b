"""Detection and measurement of drawn objects with known positions, widths, fluxes and spikes."""

import numpy as np
import pytest
from fields import draw_field

from galaxy import detection
from galaxy.detection import Scene, find_objects, source_of, spikes
from galaxy.photometry import Source

NOISE = 2.0


def draw(*objects: tuple[float, float, float, float, float, float], side: int = 200, seed: int = 0) -> np.ndarray:
    """Return an image (side, side) with noise and Gaussians (x, y, peak, sigma, axis ratio, angle in degrees)."""
    y, x = np.mgrid[:side, :side]
    image = np.random.default_rng(seed).normal(20, NOISE, (side, side))
    for left, top, peak, sigma, ratio, angle in objects:
        turn = np.radians(angle)
        along = np.cos(turn) * (x - left) + np.sin(turn) * (y - top)
        across = (np.cos(turn) * (y - top) - np.sin(turn) * (x - left)) / ratio
        image += peak * np.exp(-(along**2 + across**2) / (2 * sigma**2))
    return image.astype(np.float32)


def find(image: np.ndarray, saturated: np.ndarray | None = None) -> Scene:
    return find_objects(image, np.zeros(image.shape, bool) if saturated is None else saturated, False)


@pytest.mark.parametrize("sigma", [2.0, 5.0, 9.0])
def test_a_round_gaussian_has_its_known_position_radius_and_flux(sigma: float):
    [found] = find(draw((90.3, 110.8, 300, sigma, 1, 0))).objects
    assert (found["x"], found["y"]) == pytest.approx((90.3, 110.8), abs=0.1)
    assert found["half_light_radius"] == pytest.approx(np.sqrt(2 * np.log(2)) * sigma, rel=0.05)
    assert found["fwhm"] == pytest.approx(np.sqrt(8 * np.log(2)) * sigma, rel=0.05)
    assert found["flux"] == pytest.approx(2 * np.pi * 300 * sigma**2, rel=0.05)
    # Half of the peak is at sqrt(2 ln 2) sigma, 95 % at sqrt(2 ln(1 / 0.95)) sigma.
    width = (np.sqrt(2 * np.log(2)) - np.sqrt(-2 * np.log(0.95))) * sigma
    assert found["profile_width"] == pytest.approx(width, abs=0.4)
    assert found["spikes"] < 2.1
    assert not (found["border"] or found["blended"] or found["saturated"])


@pytest.mark.parametrize("angle", [-60.0, 0.0, 35.0])
def test_an_elongated_gaussian_has_its_known_axis_ratio_and_angle(angle: float):
    [found] = find(draw((100, 100, 300, 8, 0.4, angle))).objects
    assert found["b"] / found["a"] == pytest.approx(0.4, abs=0.03)
    assert found["theta"] == pytest.approx(angle, abs=1)


def test_snr_is_the_flux_of_the_segment_over_its_noise():
    scene = find(draw((100, 100, 50, 5, 1, 0)))
    [found], own = scene.objects, scene.segmentation == 1
    assert found["label"] == 1
    assert found["snr"] == pytest.approx(scene.data_sub[own].sum() / (NOISE * np.sqrt(own.sum())), rel=0.1)


def test_the_segmentation_map_has_the_labels_of_the_objects():
    scene = find(draw((50, 60, 300, 4, 1, 0), (140, 130, 200, 6, 1, 0)))
    assert sorted(scene.objects["label"]) == [1, 2]
    for found in scene.objects:
        assert scene.segmentation[round(found["y"]), round(found["x"])] == found["label"]
        assert (scene.segmentation[int(found["peak_y"]), int(found["peak_x"])]) == found["label"]


def test_noise_and_constant_images_have_no_objects():
    assert len(find(np.random.default_rng(1).normal(20, 2, (600, 600)).astype(np.float32)).objects) == 0
    for value in (0, 7, np.nan):
        assert len(find(np.full((200, 200), value, np.float32)).objects) == 0


@pytest.mark.parametrize("unit", [1e-20, 1e5])
def test_units_do_not_change_radii(unit: float):
    image = draw((100, 100, 300, 5, 0.7, 20))
    [expected], [found] = find(image).objects, find((image * np.float32(unit)).astype(np.float32)).objects
    for name in ("x", "y", "a", "b", "half_light_radius", "petrosian_radius", "snr", "spikes"):
        assert found[name] == pytest.approx(expected[name], rel=1e-2)


def test_a_galaxy_larger_than_the_mesh_does_not_become_sky():
    image = draw((256, 256, 100, 60, 1, 0), side=512)
    [found] = find(image).objects
    assert found["flux"] == pytest.approx(2 * np.pi * 100 * 60**2, rel=0.15)


def test_objects_at_the_border_and_beside_pixels_without_a_value_are_flagged():
    light, _ = draw_field(stars=0)
    light[75:85, 96:110] = np.nan
    scene = find(light[:, :405])
    for x, y, expected in ((90.3, 80.6, True), (400.2, 130.9, True), (150.8, 400.1, False)):
        distance = np.hypot(scene.objects["x"] - x, scene.objects["y"] - y)
        assert distance.min() < 6 and scene.objects["border"][distance.argmin()] == expected


@pytest.mark.parametrize(("x", "y"), [(3, 100), (196, 100), (100, 3), (100, 196)])
def test_each_border_of_the_image_is_flagged(x: float, y: float):
    [found] = find(draw((x, y, 300, 5, 1, 0))).objects
    assert found["border"]


def test_touching_objects_are_blended_and_distant_ones_are_not():
    assert find(draw((92, 100, 300, 4, 1, 0), (108, 100, 300, 4, 1, 0))).objects["blended"].tolist() == [True, True]
    assert not find(draw((50, 100, 300, 4, 1, 0), (150, 100, 300, 4, 1, 0))).objects["blended"].any()


@pytest.mark.parametrize(("num", "expected"), [(2, False), (3, True)])
def test_three_pixels_at_the_highest_value_saturate_an_object(num: int, expected: bool):
    saturated = np.zeros((200, 200), bool)
    saturated[100, 100 : 100 + num] = True
    [found] = find(draw((100, 100, 300, 5, 1, 0)), saturated).objects
    assert found["saturated"] == expected


def test_a_source_is_cut_out_at_the_corner_of_its_image():
    scene = find(draw((12, 14, 300, 4, 1, 0)))
    [row] = scene.objects
    source, corner = source_of(scene.data_sub, scene.segmentation, row, 1)
    assert corner == (0, 0) and (source.x, source.y) == (row["x"], row["y"])
    np.testing.assert_array_equal(source.own, scene.segmentation[: source.own.shape[0], : source.own.shape[1]] == 1)


def starlike(arms: int, length: float = 0.0, turn: float = 0.2, bar: bool = False) -> Source:
    """Return a point source of radius 20 with arms at equal angles (of one length), or with a bar of two arms."""
    y, x = np.mgrid[:121, :121] - 60.0
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    light = 300 * np.exp(-radius / 8)
    for arm in range(arms):
        away = angle - turn - 2 * np.pi * arm / arms
        light += 60 * (np.cos(away) > 0) * np.exp(-((radius * np.sin(away)) ** 2) / 2 - radius / max(length, 1e-3))
    if bar:
        light += 200 * np.exp(-((x / 30) ** 2) - (y / 3) ** 2)
    own = radius < 20
    return Source(light.astype(np.float32), own, np.zeros_like(own), 60.0, 60.0, 8.0, 8.0, 0.0)


@pytest.mark.parametrize("arms", [4, 6])
@pytest.mark.parametrize("turn", [0.0, 0.3, 0.77])
def test_four_and_six_arms_at_equal_angles_are_spikes(arms: int, turn: float):
    assert spikes(starlike(arms, length=40, turn=turn), 60, 60, 1.0) > 2.5


@pytest.mark.parametrize(
    "source",
    [starlike(0), starlike(0, bar=True), starlike(2, length=40), starlike(3, length=40), starlike(5, length=40)],
    ids=["round", "bar", "two arms", "three arms", "five arms"],
)
def test_other_shapes_are_not_spikes(source: Source):
    assert spikes(source, 60, 60, 1.0) < 2.0


def test_spikes_have_the_contrast_of_the_faintest_arm_over_the_ring():
    """The oracle: a ring of brightness 10 with arms of 50, one of them 30."""
    y, x = np.mgrid[:121, :121] - 60.0
    light = np.full((121, 121), 10.0, np.float32)
    light[np.abs(y) < 3], light[np.abs(x) < 3] = 50, 50
    light[60 - 2 : 60 + 3, 61:] = 30
    own = np.hypot(x, y) < 20
    source = Source(light, own, np.zeros_like(own), 60.0, 60.0, 8.0, 8.0, 0.0)
    assert spikes(source, 60, 60, 1.0) == pytest.approx(3.0)
    # Faint arms are within the noise, and objects of a few pixels have no arms.
    assert spikes(source, 60, 60, 20.0) == 0
    small = Source(light, np.hypot(x, y) < 3, np.zeros_like(own), 60.0, 60.0, 8.0, 8.0, 0.0)
    assert spikes(small, 60, 60, 1.0) == 0


def test_the_pixels_of_neighbours_are_not_spikes():
    source = starlike(4, length=40)
    y, x = np.mgrid[:121, :121] - 60.0
    away = np.abs(np.arctan2(y, x) - 0.2) < 0.4
    masked = Source(source.data_sub, source.own & ~away, away, 60.0, 60.0, 8.0, 8.0, 0.0)
    assert spikes(masked, 60, 60, 1.0) == 0


def test_limits_of_sep_are_restored():
    before = detection.sep.get_extract_pixstack(), detection.sep.get_sub_object_limit()
    find(draw((100, 100, 300, 5, 1, 0)))
    assert (detection.sep.get_extract_pixstack(), detection.sep.get_sub_object_limit()) == before


@pytest.mark.parametrize("shape", [(7, 1), (7, 2), (7, 9), (7, 10), (240,)])
def test_medians_are_those_of_numpy(shape: tuple[int, ...]):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.testing.assert_array_equal(detection._medians(values), np.median(values, axis=-1))
