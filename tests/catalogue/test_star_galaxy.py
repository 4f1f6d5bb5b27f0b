"""Star-galaxy separation, with tables of made-up objects and with drawn fields."""

import numpy as np
import pytest
from fields import GALAXIES, SPIKED, draw_field

from catalogue.star_galaxy import are_stars, are_tiny, point_radius
from galaxy.detection import OBJECT, find_objects


def table(num: int, **columns: object) -> np.ndarray:
    """Return objects (n,) that are round, bright, isolated and resolved, with columns replaced."""
    objects = np.zeros(num, OBJECT)
    plain = {"a": 3.0, "b": 3.0, "snr": 100.0, "half_light_radius": 6.0, "petrosian_radius": 30.0, "profile_width": 4.0}
    for name, values in (plain | columns).items():
        objects[name] = values
    return objects


def crowd(radius: float, num: int = 40, scatter: float = 0.02, seed: int = 0) -> np.ndarray:
    """Return stars (n,) with half-light radii about one radius, and as many galaxies with widely spread radii."""
    rng = np.random.default_rng(seed)
    stars = table(num, half_light_radius=radius * np.exp(scatter * rng.normal(size=num)))
    galaxies = table(num, half_light_radius=radius * np.exp(rng.uniform(0.5, 3, num)))
    return np.concatenate([stars, galaxies])


@pytest.mark.parametrize("radius", [1.3, 2.0, 4.5])
@pytest.mark.parametrize("seed", range(3))
def test_the_radius_of_a_crowd_is_that_of_point_sources(radius: float, seed: int):
    assert point_radius(crowd(radius, seed=seed)) == pytest.approx(radius, rel=0.02)


def test_widely_spread_radii_have_no_point_sources():
    galaxies = table(200, half_light_radius=np.exp(np.random.default_rng(0).uniform(0.5, 3, 200)))
    assert np.isnan(point_radius(galaxies))


@pytest.mark.parametrize(("num", "seen"), [(9, False), (10, True)])
def test_a_crowd_has_at_least_ten_objects(num: int, seen: bool):
    assert np.isfinite(point_radius(table(num, half_light_radius=2.0))) == seen


@pytest.mark.parametrize(
    "spoilt",
    [{"a": 4.0}, {"snr": 19.0}, {"border": True}, {"blended": True}, {"saturated": True}],
    ids=lambda columns: next(iter(columns)),
)
def test_elongated_faint_cut_blended_and_saturated_objects_show_no_width(spoilt: dict[str, object]):
    assert np.isnan(point_radius(table(50, half_light_radius=2.0, **spoilt)))


def test_of_two_crowds_the_narrower_is_that_of_point_sources():
    narrow, wide = table(20, half_light_radius=1.5), table(30, half_light_radius=6.0)
    assert point_radius(np.concatenate([wide, narrow])) == pytest.approx(1.5)
    # A few narrow artefacts beside a much richer crowd are not the crowd.
    assert point_radius(np.concatenate([narrow[:10], np.repeat(wide, 3)])) == pytest.approx(6.0)


# Columns of an object beside point sources of radius 2, and whether it is a star.
DECISIONS = {
    "as narrow as a point source": ({"half_light_radius": 2.0}, True),
    "just below the limit": ({"half_light_radius": 2.49}, True),
    "just above the limit": ({"half_light_radius": 2.51}, False),
    "spikes": ({"spikes": 2.6}, True),
    "arms of a galaxy": ({"spikes": 2.1}, False),
    "weak spikes, saturated": ({"spikes": 2.1, "saturated": True}, True),
    "saturated with a sharp profile": ({"saturated": True, "profile_width": 1.3}, True),
    "saturated with a wide profile": ({"saturated": True, "profile_width": 1.5}, False),
    "saturated, sharp and elongated": ({"saturated": True, "profile_width": 1.3, "a": 4.0}, False),
    "sharp, not saturated": ({"profile_width": 1.3}, False),
}


@pytest.mark.parametrize("name", DECISIONS)
def test_limits_of_stars(name: str):
    columns, expected = DECISIONS[name]
    assert are_stars(table(1, **columns), 2.0).tolist() == [expected]


@pytest.mark.parametrize("name", DECISIONS)
def test_with_an_unknown_width_only_spikes_make_a_star(name: str):
    columns, expected = DECISIONS[name]
    assert are_stars(table(1, **columns), np.nan).tolist() == [expected and "spikes" in columns]


@pytest.mark.parametrize(
    ("columns", "psf_radius", "expected"),
    [
        ({"petrosian_radius": 13.9}, np.nan, True),
        ({"petrosian_radius": 14.0}, np.nan, False),
        ({"petrosian_radius": 13.9}, 2.0, True),
        ({"half_light_radius": 3.19}, 2.0, True),
        ({"half_light_radius": 3.21}, 2.0, False),
        ({"half_light_radius": 3.19}, np.nan, False),
    ],
)
def test_limits_of_tiny_objects(columns: dict[str, object], psf_radius: float, expected: bool):
    assert are_tiny(table(1, **columns), psf_radius).tolist() == [expected]


def test_stars_of_a_drawn_field_are_separated_from_its_galaxies():
    light, positions = draw_field()
    objects = find_objects(light, np.zeros(light.shape, bool), True).objects
    # Half of the flux of (1 + r^2 / 9)^-3 is within 3 sqrt(sqrt(2) - 1) pixels.
    radius = point_radius(objects)
    assert radius == pytest.approx(3 * np.sqrt(np.sqrt(2) - 1), rel=0.1)
    stars = are_stars(objects, radius)

    def nearest(x: float, y: float) -> int:
        return int(np.hypot(objects["x"] - x, objects["y"] - y).argmin())

    assert all(stars[nearest(x, y)] for x, y in (*positions, SPIKED))
    assert not any(stars[nearest(x, y)] for x, y, *_ in GALAXIES)


def test_without_stars_the_width_of_a_drawn_field_is_unknown_and_only_spikes_count():
    light, _ = draw_field(stars=0)
    objects = find_objects(light, np.zeros(light.shape, bool), True).objects
    assert np.isnan(point_radius(objects))
    [star] = np.flatnonzero(are_stars(objects, np.nan))
    assert np.hypot(objects["x"][star] - SPIKED[0], objects["y"][star] - SPIKED[1]) < 1
