"""Measurements of galaxies: analytic ones, slow oracles, and SExtractor's own, of 2014 and of today."""

from pathlib import Path

import numpy as np
import pandas
import pytest
from tiny import ROOT

from benchmarks import bench_source_extraction as bench
from galaxy import photometry
from galaxy.photometry import Source
from survey import pysex_params
from survey.centering import EXTRA_PARAMS, GEN2_PARAMS, PysexParams

REAL = ROOT.parent / "shared" / "galaxyzoo"
NOISE = 2.0


def elliptical_radius(x: float, y: float, ratio: float, theta: float) -> np.ndarray:
    """Return the radius (424, 424) along the major axis about (x, y), which count from 0; theta in degrees."""
    dx, dy = np.arange(424) - x, (np.arange(424) - y)[:, None]
    angle = np.radians(theta)
    return np.hypot(np.cos(angle) * dx + np.sin(angle) * dy, (np.cos(angle) * dy - np.sin(angle) * dx) / ratio)


def gaussian(x: float, y: float, sigma: float, ratio: float = 1.0, theta: float = 0.0, peak: float = 180) -> np.ndarray:
    return peak * np.exp(-0.5 * (elliptical_radius(x, y, ratio, theta) / sigma) ** 2)


def sky(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(10, NOISE, size=(424, 424))


def measure(image: np.ndarray, catalogue: PysexParams = EXTRA_PARAMS) -> dict[str, float]:
    return dict(zip(catalogue.columns, pysex_params.measure(image, catalogue), strict=True))


def truncated_sigma(sigma: float, peak: float, threshold: float) -> float:
    """Return the root mean square along an axis of a Gaussian's part above `threshold`."""
    u = np.log(peak / threshold)
    return sigma * np.sqrt(1 - u * np.exp(-u) / (1 - np.exp(-u)))


@pytest.mark.parametrize("catalogue", [EXTRA_PARAMS, GEN2_PARAMS], ids=["threshold 10", "threshold 2"])
@pytest.mark.parametrize("theta", [0.0, 35.0, 90.0, 140.0])
def test_a_gaussian_s_position_and_ellipse(catalogue: PysexParams, theta: float):
    measured = measure(gaussian(200.25, 221.5, 14, ratio=0.5, theta=theta) + sky(), catalogue)
    # Positions count from 1.
    assert measured["x"] == pytest.approx(201.25, abs=0.1)
    assert measured["y"] == pytest.approx(222.5, abs=0.1)
    # The filter of detection, (1 2 1)/4 along each axis, widens by half a pixel squared.
    for axis, sigma in (("a", 14), ("b", 7)):
        wider = np.hypot(sigma, 0.5**0.5)
        assert measured[axis] == pytest.approx(truncated_sigma(wider, 180, catalogue.threshold * NOISE), rel=0.03)
    assert abs((measured["theta"] - theta + 90) % 180 - 90) < 1
    assert 0 <= measured["theta"] <= 180


def test_a_round_gaussian_s_radii():
    measured = measure(gaussian(211, 212, 16) + sky())
    assert measured["fwhm"] == pytest.approx(2 * np.sqrt(2 * np.log(2)) * 16, rel=0.02)
    assert measured["flux_radius"] == pytest.approx(np.sqrt(2 * np.log(2)) * 16, rel=0.03)


def test_an_exponential_disc_s_radii():
    scale = 11.0
    measured = measure(180 * np.exp(-elliptical_radius(211, 212, 1, 0) / scale) + sky(), EXTRA_PARAMS)
    # The mean radius of its light is twice its scale length, less what lies beyond 6 a; the galaxy's own outskirts
    # are taken for sky, which makes it a little less again.
    end = 6 * measured["a"] / scale
    mean = (2 - (end**2 + 2 * end + 2) * np.exp(-end)) / (1 - (1 + end) * np.exp(-end))
    assert measured["kron_radius"] * measured["a"] == pytest.approx(2.5 * mean * scale, rel=0.06)
    # At x = 3.63 scale lengths the brightness is a fifth of its mean: x^2 e^-x / 2 = 0.2 (1 - (1 + x) e^-x).
    step = 0.66 * measured["a"]
    assert abs(measured["petro_radius"] * measured["a"] - 2 * 3.63 * scale) < step


def test_the_width_of_a_thin_galaxy_is_limited():
    measured = measure(gaussian(211, 211, 50, ratio=0.12, theta=20) + sky())
    widest = np.sqrt(8 * np.log(2) * 6.5 * measured["a"] * measured["b"])
    assert measured["fwhm"] == pytest.approx(widest, abs=1e-9)


def test_the_central_object_is_chosen_before_a_larger_one_at_the_border():
    galaxy, star = gaussian(214, 209, 9), gaussian(50, 380, 15)
    measured = measure(galaxy + star + sky())
    assert (measured["x"], measured["y"]) == pytest.approx((215, 210), abs=0.2)


def test_the_larger_object_is_chosen_before_a_more_central_star():
    galaxy, star = gaussian(250, 200, 20, ratio=0.6), gaussian(212, 212, 2)
    measured = measure(galaxy + star + sky())
    assert (measured["x"], measured["y"]) == pytest.approx((251, 201), abs=1)


@pytest.mark.parametrize("catalogue", [EXTRA_PARAMS, GEN2_PARAMS], ids=["gen1", "gen2"])
@pytest.mark.parametrize("value", [0, 7, 255])
def test_no_object_gives_the_centre_and_nan(catalogue: PysexParams, value: int):
    measured = pysex_params.measure(np.full((424, 424), value, np.uint8), catalogue)
    assert measured.dtype == np.float64
    np.testing.assert_array_equal(measured[:2], [211.5, 211.5])
    assert len(measured) == len(catalogue.columns)
    assert np.isnan(measured[2:]).all()


@pytest.mark.parametrize("size", [1, 2, 424])
def test_odd_objects_are_measured_without_a_warning(size: int):
    image = np.zeros((424, 424), np.uint8)
    image[200 : 200 + size, 210] = 250
    assert np.isfinite(pysex_params.measure(image, EXTRA_PARAMS)).all()


def test_an_object_with_more_parts_than_sep_tells_apart_is_left_whole():
    limit = photometry.sep.get_sub_object_limit()
    photometry.sep.set_sub_object_limit(2)
    try:
        knots = sum(gaussian(150 + 40 * i, 150 + 40 * j, 6) for i in range(4) for j in range(4))
        measured = measure(knots + gaussian(211, 211, 45, peak=60) + sky())
    finally:
        photometry.sep.set_sub_object_limit(limit)
    assert measured["a"] > 30


def random_source(seed: int) -> Source:
    """Return a source in a small image with a neighbour that overlaps its ellipse."""
    rng = np.random.default_rng(seed)
    x, y, theta = rng.uniform(25, 35), rng.uniform(25, 45), rng.uniform(-1.5, 1.5)
    a, b = rng.uniform(4, 7), rng.uniform(2, 4)
    rows, columns = np.mgrid[:70, :60]
    light = rng.normal(0, 1, size=(70, 60)) + 100 * np.exp(-np.hypot(rows - y, columns - x) / rng.uniform(3, 8))
    neighbours = np.hypot(rows - y - 8, columns - x + 9) < rng.uniform(3, 9)
    light[neighbours] += 80
    own = (np.hypot(rows - y, columns - x) < 9) & ~neighbours
    return Source(light.astype(np.float32), own, neighbours, x, y, a, b, theta)


def petrosian_radius_by_loops(source: Source) -> float:
    """Return the Petrosian radius of the definition: one annulus after the other, one pixel after the other."""
    for step in range(1, 17):
        inner = step * 6 / 20
        annulus, disc = [], []
        for row in range(source.data_sub.shape[0]):
            for column in range(source.data_sub.shape[1]):
                if source.neighbours[row, column]:
                    continue
                dx, dy = column - source.x, row - source.y
                along = (np.cos(source.theta) * dx + np.sin(source.theta) * dy) / source.a
                across = (np.cos(source.theta) * dy - np.sin(source.theta) * dx) / source.b
                radius = np.hypot(along, across)
                if inner < radius <= 1.2 * inner:
                    annulus.append(source.data_sub[row, column])
                if radius <= 1.1 * inner:
                    disc.append(source.data_sub[row, column])
        if annulus and disc and np.mean(annulus, dtype=float) < 0.2 * np.mean(disc, dtype=float):
            break
    return max(3.5, 2 * 1.1 * inner)


@pytest.mark.parametrize("seed", range(4))
def test_the_petrosian_radius_is_what_plain_loops_find(seed: int):
    source = random_source(seed)
    assert photometry.petrosian_radius(source) == pytest.approx(petrosian_radius_by_loops(source))


def test_a_petrosian_radius_that_is_not_reached_is_the_last_of_the_scan():
    flat = np.ones((60, 60), np.float32)
    nobody = np.zeros((60, 60), bool)
    assert photometry.petrosian_radius(Source(flat, ~nobody, nobody, 30, 30, 4, 4, 0.0)) == pytest.approx(10.56)


@pytest.mark.parametrize("seed", range(3))
def test_neighbours_give_way_to_the_pixels_opposite(seed: int):
    source = random_source(seed)
    light = photometry.without_neighbours(source)
    height, width = source.data_sub.shape
    for row in range(height):
        for column in range(width):
            expected = source.data_sub[row, column]
            if source.neighbours[row, column]:
                y, x = int(np.floor(2 * source.y - row + 0.5)), int(np.floor(2 * source.x - column + 0.5))
                there = 0 <= y < height and 0 <= x < width and not source.neighbours[y, x]
                expected = source.data_sub[y, x] if there else 0
            assert light[row, column] == expected


@pytest.mark.skipif(not REAL.exists(), reason="no real images beside the project")
@pytest.mark.parametrize("prefix", bench.CATALOGUES)
def test_real_galaxies_are_measured_as_in_2014(prefix: str):
    catalogue = bench.CATALOGUES[prefix]
    table = pandas.read_csv(REAL / "sextractor_2014.csv")
    table = table.iloc[np.linspace(0, len(table) - 1, 40).astype(int)]
    raw = REAL / "data" / "raw"
    paths = [raw / f"images_{row.subset}_rev1" / f"{row.GalaxyID}.jpg" for row in table.itertuples()]
    measured = np.array([bench.measure_file(catalogue, path) for path in paths])
    expected = table[[f"{prefix}_{name}" for name in catalogue.columns]].to_numpy()
    agreement = bench.compare(measured, expected, catalogue.columns)
    for name in ("x", "y", "a", "b"):
        assert agreement[name]["median"] < 0.01
    assert agreement["theta"]["median"] < 0.1
    assert agreement["petro_radius"]["identical"] > 0.94
    assert agreement["petro_radius"]["within a step"] == 1
    if prefix == "gen1":
        assert agreement["kron_radius"]["largest"] < 0.05
        assert agreement["flux_radius"]["median"] < 0.02
        assert agreement["fwhm"]["median"] < 0.02


@pytest.mark.skipif(bench.PROGRAM is None, reason="source-extractor is not installed")
@pytest.mark.parametrize("prefix", bench.CATALOGUES)
def test_the_real_program_measures_the_same(prefix: str, tmp_path: Path):
    catalogue = bench.CATALOGUES[prefix]
    for seed, theta in enumerate((20.0, 75.0, 130.0)):
        image = 180 * np.exp(-elliptical_radius(209 + seed, 213, 0.6, theta) / 12)
        image += gaussian(300, 150 + 20 * seed, 3) + sky(seed)
        # 2014 handed images over with rows for columns: x and y, and with them theta, are those of the mirrored image.
        objects = bench.run_program(image.T, catalogue, tmp_path)
        theirs = dict(zip(catalogue.columns, objects[np.argmax(objects[:, 2] * objects[:, 3])], strict=True))
        theirs |= {"x": theirs["y"], "y": theirs["x"], "theta": (90 - theirs["theta"]) % 180}
        ours = measure(image, catalogue)
        for name in ("x", "y", "a", "b"):
            assert ours[name] == pytest.approx(theirs[name], abs=0.02)
        assert abs((ours["theta"] - theirs["theta"] + 90) % 180 - 90) < 0.5
        assert ours["petro_radius"] == pytest.approx(theirs["petro_radius"], abs=0.01)
        if prefix == "gen1":
            assert ours["kron_radius"] == pytest.approx(theirs["kron_radius"], abs=0.05)
            assert ours["flux_radius"] == pytest.approx(theirs["flux_radius"], rel=0.005)
            assert ours["fwhm"] == pytest.approx(theirs["fwhm"], rel=0.005)
