"""Fields are opened and read by regions, their objects are detected by tiles, and galaxies are cut out of them."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from fields import GALAXIES, SPIKED, TINY, draw_field
from PIL import Image

from catalogue import field_cutouts, field_sources, field_tiles
from catalogue.field_tiles import open_field, tiles_of
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


def test_the_intensity_of_a_field_is_the_mean_of_its_bands_with_saturated_pixels(tmp_path: Path):
    bands = np.random.default_rng(0).uniform(0, 50, (3, 60, 80)).astype(np.float32)
    bands[1, 10, 20:26], bands[2, 30, 30] = 1000, 2000  # six pixels share the first value, the second is alone
    fits.PrimaryHDU(bands).writeto(tmp_path / "a.fits")
    field = open_field(tmp_path / "a.fits")
    intensity, saturated = field.intensity(slice(5, 50), slice(10, 70))
    np.testing.assert_allclose(intensity, bands[:, 5:50, 10:70].mean(axis=0), rtol=1e-6)
    assert np.argwhere(saturated).tolist() == [[5, column] for column in range(10, 16)]
    assert not field.counts_steps


def test_white_pixels_of_a_picture_are_saturated(field: Path):
    pixels = np.asarray(Image.open(field))
    opened = open_field(field)
    intensity, saturated = opened.intensity(slice(0, 520), slice(0, 640))
    np.testing.assert_allclose(intensity, pixels.mean(axis=2), rtol=1e-6)
    np.testing.assert_array_equal(saturated, pixels.max(axis=2) == 255)
    assert opened.counts_steps and saturated.any()


def test_a_tile_keeps_the_objects_with_their_peaks_in_it_and_the_segmentation_map_of_all(
    field: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    small_tiles(monkeypatch)
    opened, tiles = open_field(field), tiles_of(520, 640)
    for index in (0, 4):
        path = field_tiles.tile_path(tmp_path, index)
        field_tiles.find_in_tile(opened, tiles[index], path)
        (objects, _, _), segmentation = field_tiles.objects_of(tmp_path, index), field_tiles.segments_of(path)
        own, seen = tiles[index].own, tiles[index].seen
        assert segmentation.shape == tuple(pixels.stop - pixels.start for pixels in seen)
        assert len(objects) < segmentation.max()
        for row in objects:
            assert own[0].start <= row["peak_y"] < own[0].stop and own[1].start <= row["peak_x"] < own[1].stop
            peak = int(row["peak_y"]) - seen[0].start, int(row["peak_x"]) - seen[1].start
            assert segmentation[peak] == row["label"]


@pytest.mark.parametrize(("limit", "value"), [("MAX_FIELD_SIDE", 99), ("MIN_SIDE", 101)])
def test_fields_of_other_sizes_are_refused(limit: str, value: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fits.PrimaryHDU(np.zeros((100, 100), np.float32)).writeto(tmp_path / "a.fits")
    monkeypatch.setattr(field_tiles, limit, value)
    with pytest.raises(Unreadable, match=r"has 100x100 pixels: expected \d+ to [\d,]+ a side"):
        open_field(tmp_path / "a.fits")


def test_a_field_that_is_decoded_as_a_whole_has_a_limit(field: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(field_tiles, "MAX_DECODED_PIXELS", 640 * 520 - 1)
    with pytest.raises(Unreadable, match=r"has 640x520 pixels.*save a larger field as uncompressed FITS"):
        open_field(field)
