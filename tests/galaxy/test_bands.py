"""Names of filters as surveys write them, and the order of bands."""

import pytest

from galaxy.bands import chosen_bands, filter_of, names_of_planes, red_first, simple_name, spectral_order, wavelength


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("g DECam SDSS c0001 4720.0 1520.0", "g"), ("HSC-I2", "i"), ("r.00000", "r"), ("i.MP9702", "i"), ("VIS", "vis"),
        ("NIR_Y", "y"), ("F814W", "f814w"), (" Ks ", "ks"), ("u'", "u"), ("R", "r"), ("", ""),
    ],
)  # fmt: skip
def test_a_filter_has_one_short_name(name: str, expected: str):
    assert simple_name(name) == expected


def test_numbers_of_space_telescopes_are_wavelengths():
    assert wavelength("F814W") == 814 and wavelength("F160W") == 1600 and wavelength("F850LP") == 850
    assert wavelength("F200W", {"TELESCOP": "JWST"}) == 2000 and wavelength("F1000W", {"TELESCOP": "JWST"}) == 10000
    assert wavelength("detection") is None


@pytest.mark.parametrize(
    ("bands", "expected"),
    [
        ("grz", "zrg"), ("zrg", "zrg"), ("griz", "irg"), ("ugriz", "irg"), ("grizy", "irg"), ("rgb", "rgb"),
        ("bgr", "rgb"), ("jhk", "khj"), ("rzyjh"[::-1], "hyr"),
    ],
)  # fmt: skip
def test_the_reddest_band_is_red(bands: str, expected: str):
    order = red_first(tuple(bands), {})
    assert "".join(bands[index] for index in order) == expected


def test_an_unknown_or_repeated_filter_has_no_order():
    assert red_first(("g", "r", "x99"), {}) is None and red_first(("g", "r", "r"), {}) is None


@pytest.mark.parametrize(
    "header",
    [
        {"BANDS": "grz"}, {"BANDS": "g,r,z"}, {"BANDS": "g r z"}, {"BAND0": "g", "BAND1": "r", "BAND2": "z"},
        {"BAND1": "g", "BAND2": "r", "BAND3": "z"}, {"FILTER1": "g", "FILTER2": "r", "FILTER3": "z"},
    ],
)  # fmt: skip
def test_headers_name_the_planes_of_a_cube(header: dict[str, str]):
    assert names_of_planes(header, 3) == ("g", "r", "z")


def test_a_header_that_names_other_planes_names_none():
    assert names_of_planes({"BANDS": "griz", "FILTER1": "F814W", "FILTER2": "CLEAR2L"}, 3) == ()


@pytest.mark.parametrize(
    ("kind", "step", "expected"),
    [("WAVE", 1.0, (2, 1, 0)), ("WAVE-LOG", -1.0, (0, 1, 2)), ("FREQ", 1e9, (0, 1, 2)), ("FREQ", -1e9, (2, 1, 0))],
)
def test_a_spectral_axis_orders_planes(kind: str, step: float, expected: tuple[int, ...]):
    assert spectral_order({"CTYPE3": kind, "CDELT3": step}, 3) == expected
    assert spectral_order({"CTYPE3": "RGB", "CDELT3": 1.0}, 3) is None and spectral_order({"CTYPE3": kind}, 3) is None


def test_the_filter_of_an_image_is_not_a_clear_glass():
    assert filter_of({"FILTER1": "CLEAR1L", "FILTER2": "F814W"}) == "F814W" and filter_of({}) == ""


def test_users_name_bands_by_name_or_number():
    assert chosen_bands(("g", "HSC-R2", "z"), ("z", "r", "1")) == (2, 1, 0)
    assert chosen_bands((), ("3", "2", "1")) == (2, 1, 0) and chosen_bands(("g", "r", "z"), ("y",)) is None
