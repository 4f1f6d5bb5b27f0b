from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from fields import GALAXIES, SPIKED, TINY, draw_field, sky_header
from PIL import Image

from catalogue import field_cutouts, field_sources, field_tiles, star_galaxy
from catalogue.field_tiles import open_field, tiles_of
from catalogue.field_wcs import sky_positions
from galaxy.detection import find_objects
from galaxy.image_formats import Unreadable


@pytest.fixture
def field(tmp_path: Path) -> Path:
    light, _ = draw_field()
    pixels = np.repeat(np.clip(np.rint(light), 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    Image.fromarray(pixels).save(tmp_path / "field.png")
    return tmp_path / "field.png"


def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(field_tiles, "CORE", 256)
    monkeypatch.setattr(field_tiles, "OVERLAP", 128)


def nearest(found: field_sources.FieldSources, x: float, y: float) -> tuple[int, float]:
    distance = np.hypot(found.objects["x"] - x, found.objects["y"] - y)
    return int(distance.argmin()), float(distance.min())


def test_galaxies_are_found_where_they_are_and_stars_are_not_galaxies(field: Path, tmp_path: Path):
    found = field_sources.find_sources(field, tmp_path / "parts", 0)
    _, places = draw_field()
    for x, y, *_ in GALAXIES:
        index, distance = nearest(found, x, y)
        assert distance < 0.5 and found.classes[index] == "galaxy"
    for x, y in (*places, SPIKED):
        index, distance = nearest(found, x, y)
        assert distance < 0.5 and found.classes[index] == "star"
    index, distance = nearest(found, *TINY)
    assert distance < 0.5 and found.classes[index] in ("tiny", "star")
    assert len(found.objects) == len(GALAXIES) + len(places) + 2


def test_tiles_find_the_same_objects_once(field: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = field_sources.find_sources(field, tmp_path / "whole", 0).objects
    small_tiles(monkeypatch)
    assert len(tiles_of(520, 640)) == 9
    tiled = field_sources.find_sources(field, tmp_path / "tiled", 0)
    assert len(tiled.objects) == len(whole)
    for row in whole:
        index, distance = nearest(tiled, row["x"], row["y"])
        assert distance < 0.05
        assert tiled.objects["petrosian_radius"][index] == pytest.approx(row["petrosian_radius"], rel=0.1)


@pytest.mark.parametrize(("rows", "columns"), [(30, 40), (1536, 1537), (4000, 1000)])
def test_tiles_cover_a_field_once(rows: int, columns: int):
    count = np.zeros((rows, columns), np.int32)
    for tile in tiles_of(rows, columns):
        count[tile.own] += 1
        assert all(
            seen.start <= own.start and own.stop <= seen.stop for seen, own in zip(tile.seen, tile.own, strict=True)
        )
    assert (count == 1).all()


def test_what_was_found_in_a_tile_is_not_sought_again(field: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = field_sources.find_sources(field, tmp_path / "parts", 0).objects
    monkeypatch.setattr(field_sources, "find_in_tile", None)
    np.testing.assert_array_equal(field_sources.find_sources(field, tmp_path / "parts", 0).objects, first)


def test_noise_holds_no_objects_and_neither_does_a_field_of_one_colour():
    noise = np.random.default_rng(1).normal(20, 2, (600, 600)).astype(np.float32)
    empty = np.zeros(noise.shape, bool)
    assert len(find_objects(noise, empty, True).objects) == 0
    for value in (0, 7, np.nan):
        assert len(find_objects(np.full((200, 200), value, np.float32), empty[:200, :200], False).objects) == 0


def test_pixels_without_a_value_and_the_border_are_told():
    light, _ = draw_field(stars=0)
    light[75:85, 96:110] = np.nan
    cut = light[:, :405]
    scene = find_objects(cut, np.zeros(cut.shape, bool), False)
    for x, y, expected in ((90.3, 80.6, True), (400.2, 130.9, True), (150.8, 400.1, False)):
        distance = np.hypot(scene.objects["x"] - x, scene.objects["y"] - y)
        assert distance.min() < 6 and scene.objects["border"][distance.argmin()] == expected


def test_without_a_crowd_of_one_radius_nothing_is_a_point():
    light, _ = draw_field(stars=0)
    objects = find_objects(light, np.zeros(light.shape, bool), True).objects
    assert np.isnan(star_galaxy.point_radius(objects))
    assert star_galaxy.are_stars(objects, np.nan).sum() == 1  # the one with spikes


def test_neighbours_widen_no_frame(tmp_path: Path):
    light, _ = draw_field(stars=0)
    y, x = np.mgrid[:520, :640]
    for left, top in ((175, 400), (150, 428)):
        light += 160 * np.exp(-np.hypot(x - left, y - top) / 4).astype(np.float32)
    radii = {}
    for name, image in (("alone", draw_field(stars=0)[0]), ("crowd", light)):
        Image.fromarray(np.clip(np.rint(image), 0, 255).astype(np.uint8)).save(tmp_path / f"{name}.png")
        found = field_sources.find_sources(tmp_path / f"{name}.png", tmp_path / name, 0)
        index, distance = nearest(found, 150.8, 400.1)
        assert distance < 1
        radii[name] = field_cutouts.frame_object(field_sources.field_objects(found)[index], None, 160.0).radius
    assert radii["crowd"] == pytest.approx(radii["alone"], rel=0.15)


def test_a_cutout_at_the_corner_is_framed_with_sky(tmp_path: Path):
    light, _ = draw_field(stars=0)
    fits.PrimaryHDU(light[70:400, 85:500]).writeto(tmp_path / "field.fits")
    found = field_sources.find_sources(tmp_path / "field.fits", tmp_path / "parts", 0)
    index, _ = nearest(found, 5.3, 10.6)
    frame = field_cutouts.frame_object(field_sources.field_objects(found)[index], None, 160.0)
    assert found.objects["border"][index] and np.isfinite(frame.pixels).all() and frame.pixels.shape[2] == 3


def test_a_row_s_cutout_can_be_shown(tmp_path: Path):
    field = tmp_path / "field.png"
    Image.fromarray(np.clip(draw_field(stars=0)[0], 0, 255).astype(np.uint8)).save(field)
    shown = field_cutouts.show(field, 255.5, 255.5, 4.0)
    assert shown.shape == (424, 424, 3) and shown.dtype == np.uint8
    rows, columns = np.nonzero(shown[..., 0] > 0.9 * shown.max())
    assert np.hypot(rows.mean() - 211.5, columns.mean() - 211.5) < 8
    assert field_cutouts.show(field, 639, 0, 1.0).shape == (424, 424, 3)


@pytest.mark.parametrize("kind", ["CD", "PC", "SIP"])
def test_sky_positions_are_astropy_s(kind: str, tmp_path: Path):
    header = sky_header(kind)
    fits.PrimaryHDU(np.zeros((500, 600), np.float32), header).writeto(tmp_path / "a.fits")
    x, y = np.array([0, 299, 580.25]), np.array([10, 249, 480.75])
    ra, dec = sky_positions(tmp_path / "a.fits", x, y)
    expected_ra, expected_dec = WCS(header).all_pix2world(x, y, 0)
    # The frame is ICRS where the header names none.
    np.testing.assert_allclose(ra, expected_ra, rtol=0, atol=1e-3 / 3600)
    np.testing.assert_allclose(dec, expected_dec, rtol=0, atol=1e-3 / 3600)


def test_without_sky_coordinates_positions_are_unknown_and_broken_ones_are_told(tmp_path: Path):
    for kind in ("none", "broken"):
        fits.PrimaryHDU(np.zeros((500, 600), np.float32), sky_header(kind)).writeto(tmp_path / f"{kind}.fits")
    ra, dec = sky_positions(tmp_path / "none.fits", np.zeros(2), np.zeros(2))
    assert np.isnan(ra).all() and np.isnan(dec).all()
    with pytest.raises(Unreadable, match="has no usable sky coordinates") as told:
        sky_positions(tmp_path / "broken.fits", np.zeros(2), np.zeros(2))
    assert "\n" not in str(told.value)


def test_all_formats_are_one_field(field: Path, tmp_path: Path):
    pixels = np.asarray(Image.open(field))
    fits.PrimaryHDU(np.moveaxis(pixels, 2, 0)).writeto(tmp_path / "a.fits")
    fits.PrimaryHDU(np.moveaxis(pixels, 2, 0)).writeto(tmp_path / "a.fits.gz")
    part = slice(100, 140), slice(200, 260)
    expected = np.moveaxis(pixels[part], 2, 0)
    for name in ("field.png", "a.fits", "a.fits.gz"):
        for folder in (tmp_path, None):
            opened = open_field(tmp_path / name, folder)
            assert (opened.planes, opened.rows, opened.columns) == (3, 520, 640)
            np.testing.assert_array_equal(opened.bands(*part), expected)
