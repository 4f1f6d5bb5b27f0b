"""Known positions in a field: rows in the order of the table, each an object, an empty place, or a reason."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from fields import GALAXIES, draw_field, sky_header

from catalogue.field_cutouts import FieldObject
from catalogue.field_positions import read_positions, rows_at
from catalogue.field_wcs import sky_positions
from catalogue.flags import NOT_JUDGED, UNREADABLE
from catalogue.framing import Frame
from catalogue.inputs import Inputs
from catalogue.targets import FileTarget, Recipe, Rejected
from machine.files import DataError

X, Y = GALAXIES[0][0], GALAXIES[0][1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    fits.PrimaryHDU(draw_field(stars=0)[0].astype(np.float32), sky_header("CD")).writeto(tmp_path / "field.fits")
    return tmp_path / "field.fits"


def at(path: Path, tmp_path: Path, text: str) -> Inputs:
    (tmp_path / "at.csv").write_text(text)
    inputs = Inputs(["field"], [str(path)], [FileTarget(path)])
    return rows_at(inputs, read_positions(tmp_path / "at.csv"), tmp_path / "parts", 0)[0]


def test_rows_keep_their_order_and_a_position_outside_has_a_reason(path: Path, tmp_path: Path):
    found = at(path, tmp_path, f"id_str,X,y,z\n7,-9,5,0.1\nb,{X + 1},{Y - 1},0.2\nc,3,3,\n")
    assert found.ids == ["7", "b", "c"] and list(found.known["z"].values)[:2] == [0.1, 0.2]
    assert found.targets[0] == Rejected(NOT_JUDGED, "the position (-9.0, 5.0) is outside the field")
    assert np.hypot(found.known["x"][1] - X, found.known["y"][1] - Y) < 0.5 and found.known["object"][1] == "galaxy"
    assert (found.known["x"][2], found.known["y"][2], found.targets[2].label) == (3, 3, 0)
    for target in found.targets[1:]:
        assert isinstance(target, FieldObject) and isinstance(target.frame(Recipe(None, "auto", 50.0)), Frame)


def test_sky_positions_are_the_pixels_of_the_header(path: Path, tmp_path: Path):
    [ra], [dec] = sky_positions(path, np.array([X]), np.array([Y]))
    found = at(path, tmp_path, f"RA,DEC\n{ra},{dec}\n,\n10,10\n")
    assert found.ids == ["field_000001", "field_000002", "field_000003"]
    assert np.hypot(found.known["x"][0] - X, found.known["y"][0] - Y) < 0.5
    assert (
        found.targets[1] == found.targets[2] == Rejected(NOT_JUDGED, "the position of the table is outside the field")
    )


def test_a_field_that_cannot_be_read_is_the_reason_of_all_rows(tmp_path: Path):
    (tmp_path / "field.fits").write_bytes(b"SIMPLE  = nothing")
    found = at(tmp_path / "field.fits", tmp_path, "x,y\n1,2\n3,4\n")
    assert len(found) == 2 and {target.status for target in found.targets} == {UNREADABLE}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,2\n", "expected columns x, y or ra, dec, got a, b; rename yours"),
        ("x,y\n", "expected rows, got none"),
        ("ra,dec\n10:20:30,-5:00:00\n", r"expected numbers in ra, got .*convert to degrees"),
    ],
)
def test_a_table_without_positions_is_refused(text: str, says: str, tmp_path: Path):
    (tmp_path / "at.csv").write_text(text)
    with pytest.raises(DataError, match=says):
        read_positions(tmp_path / "at.csv")


def test_an_image_in_place_of_a_table_is_named(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match="expected a table of positions for --at, got another file"):
        read_positions(tmp_path / "a.jpg")
