"""A failure while one object, tile or field is searched, framed, predicted or drawn stays in its row."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from fields import draw_field

from catalogue import field_overlays, field_sources, field_tiles, targets
from catalogue.flags import NOT_JUDGED, UNREADABLE
from catalogue.inputs import Inputs
from catalogue.targets import FileTarget, Recipe, Rejected
from galaxy import detection


@pytest.fixture
def path(tmp_path: Path) -> Path:
    fits.PrimaryHDU(draw_field(stars=0)[0].astype(np.float32)).writeto(tmp_path / "field.fits")
    return tmp_path / "field.fits"


def rows_of(path: Path, tmp_path: Path) -> tuple[Inputs, list]:
    return field_sources.rows_of_fields(Inputs(["a"], [str(path)], [FileTarget(path)]), tmp_path / "parts", 0)


def test_an_object_that_cannot_be_measured_is_a_row_with_the_reason(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    expected, _ = rows_of(path, tmp_path / "good")
    measure = detection.kron_radius

    def failing(source):
        if source.own.sum() == largest:
            raise Exception("invalid aperture parameters")
        return measure(source)

    sizes: list[int] = []
    monkeypatch.setattr(detection, "kron_radius", lambda source: sizes.append(source.own.sum()) or measure(source))
    rows_of(path, tmp_path / "sizes")
    largest = max(sizes)
    monkeypatch.setattr(detection, "kron_radius", failing)
    inputs, fields = rows_of(path, tmp_path)
    assert inputs.ids == expected.ids and len(fields) == 1
    failed = np.flatnonzero(np.isnan(inputs.known["flux"]))
    assert len(failed) == 1
    rejected = inputs.targets[failed[0]].frame(Recipe(None, "auto", 50.0))
    assert rejected == Rejected(NOT_JUDGED, "cannot be measured (invalid aperture parameters)")
    assert np.isfinite(inputs.known["x"]).all() and np.isfinite(inputs.known["a"]).all()
    others = np.delete(np.arange(len(inputs)), failed)
    np.testing.assert_array_equal(inputs.known["flux"][others], expected.known["flux"][others])


def test_an_object_without_axes_is_measured_in_a_circle(path: Path, monkeypatch: pytest.MonkeyPatch):
    image = draw_field(stars=0)[0].astype(np.float32)
    extract = detection._extract

    def without_axes(*arguments):
        rows, segmentation = extract(*arguments)
        rows["b"][:1] = np.nan
        return rows, segmentation

    monkeypatch.setattr(detection, "_extract", without_axes)
    scene = detection.find_objects(image, np.zeros(image.shape, bool), False)
    first = scene.objects[0]
    assert first["a"] == first["b"] > 0.5 and np.isfinite(first["petrosian_radius"]) and not scene.failures


def test_a_tile_that_cannot_be_searched_is_a_row_beside_the_objects_of_the_others(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(field_tiles, "CORE", 256)
    monkeypatch.setattr(field_tiles, "OVERLAP", 128)
    find, calls = field_tiles.find_objects, []

    def failing(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError("no memory for the tile")
        return find(*arguments)

    monkeypatch.setattr(field_tiles, "find_objects", failing)
    inputs, fields = rows_of(path, tmp_path)
    assert inputs.ids[-1] == "a_tile_000002" and fields[0].rows.stop == len(inputs) - 1 > 0
    assert inputs.targets[-1] == Rejected(
        UNREADABLE, "columns 256 to 511, rows 0 to 255 cannot be searched (no memory for the tile)"
    )


def test_a_field_of_which_no_tile_can_be_searched_is_one_row(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(field_tiles, "find_objects", lambda *_: 1 / 0)
    inputs, fields = rows_of(path, tmp_path)
    assert inputs.targets == [Rejected(UNREADABLE, "cannot be searched (division by zero)")] and not fields


def test_a_field_without_objects_is_named(tmp_path: Path, capsys: pytest.CaptureFixture):
    fits.PrimaryHDU(np.random.default_rng(0).normal(0, 1, (100, 100))).writeto(tmp_path / "noise.fits")
    inputs, fields = rows_of(tmp_path / "noise.fits", tmp_path)
    assert len(inputs) == 0 and not fields
    assert "noise.fits: no object is above the noise" in capsys.readouterr().err


def test_any_exception_while_a_galaxy_is_framed_is_its_reason(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(targets, "read", lambda *_: (_ for _ in ()).throw(RuntimeError("internal\nerror")))
    rejected = FileTarget(Path("a.png")).frame(Recipe(None, "auto", 50.0))
    assert rejected == Rejected(UNREADABLE, "cannot be measured (RuntimeError: internal)")


def test_a_field_that_cannot_be_drawn_is_named(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setattr(field_overlays, "write_picture", lambda *_: 1 / 0)
    field = field_tiles.open_field(path)
    columns = {name: np.full(3, np.nan) for name in field_overlays.COLUMNS}
    table = pa.table(columns | {"object": ["galaxy"] * 3, "most_likely_path": ["smooth"] * 3, "flag": [0] * 3})
    rows = field_sources.FieldRows(field, slice(0, 3))
    overlays = field_overlays.overlay_paths(tmp_path / "out.csv", [Path("field.fits")])
    field_overlays.write_overlays(overlays, [rows], table, None)
    assert (tmp_path / "out.field.reg").is_file()
    assert "field.fits cannot be drawn (ZeroDivisionError: division by zero)" in capsys.readouterr().err
