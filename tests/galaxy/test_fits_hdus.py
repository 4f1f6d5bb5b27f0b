"""Which images of a file are light, by name, size and content; and what a header inherits."""

import io

import numpy as np
import pytest
from astropy.io import fits

from galaxy.fits_hdus import Choice, choices_of, choose, header_of, label, no_data_bits
from galaxy.image_formats import Unreadable

LIGHT = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
FLAGS = (np.arange(2000).reshape(40, 50) % 7 == 0).astype(np.int16)


def file_of(*hdus: fits.ImageHDU, primary: fits.PrimaryHDU | None = None) -> fits.HDUList:
    buffer = io.BytesIO()
    fits.HDUList([primary or fits.PrimaryHDU(), *hdus]).writeto(buffer)
    return fits.open(io.BytesIO(buffer.getvalue()))


def named(name: str, version: int = 1, data: np.ndarray = LIGHT, **cards: object) -> fits.ImageHDU:
    return fits.ImageHDU(data, fits.Header(cards), name=name, ver=version)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["MASK", "SCI"], [2]), (["WHT", "SCI"], [2]), (["ERR", "DQ", "SCI"], [3]), (["VARIANCE", "IMAGE"], [2]),
        (["IMAGE", "MASK", "VARIANCE"], [1]), (["SCI", "SCI"], [1, 2]), (["N4", "S29", "S31"], [1, 2, 3]),
        (["1-1.E.SCI", "1-1.E.RMS", "1-1.E.FLG", "1-1.F.SCI"], [1, 4]), (["WHT"], [1]), (["SCI_DQ", "DATA"], [2]),
        (["SCI1", "ERR1", "SCI2"], [1, 3]), (["SCI", "MSK", "WGT"], [1]), (["DATA", "STAT", "DQ"], [1]),
        (["VAR_POISSON", "CUTOUT"], [2]),
    ],
)  # fmt: skip
def test_names_tell_light_from_the_rest(names: list[str], expected: list[int]):
    hdus = file_of(*(named(name, index + 1) for index, name in enumerate(names)))
    assert [index for choice in choices_of(hdus) for index in choice.light] == expected


@pytest.mark.parametrize(
    ("key", "values"),
    [("EXTTYPE", ["MASK", "VARIANCE", "IMAGE"]), ("HDUCLAS2", ["QUALITY", "ERROR", "DATA"])],
    ids=["LSST", "ESO"],
)
def test_keywords_of_content_count_without_names(key: str, values: list[str]):
    hdus = file_of(*(fits.ImageHDU(LIGHT, fits.Header({key: value})) for value in values))
    assert choices_of(hdus) == [Choice((3,), mask=1)]


def test_tables_of_distortions_are_not_images():
    with pytest.raises(Unreadable, match="has no image in it"):
        choices_of(file_of(named("D2IMARR"), named("WCSDVARR")))


def test_previews_and_masks_without_names_are_left_out():
    preview = file_of(fits.ImageHDU(LIGHT), primary=fits.PrimaryHDU(np.ones((9, 9), np.uint8)))
    assert choices_of(preview)[0].light == (1,)
    eight_bits = file_of(fits.ImageHDU(LIGHT.astype(np.uint8)), fits.ImageHDU(LIGHT))
    assert [choice.light for choice in choices_of(eight_bits)] == [(2,)]
    mask = file_of(fits.ImageHDU(FLAGS), fits.ImageHDU(LIGHT))
    assert [choice.light for choice in choices_of(mask)] == [(2,)]


def test_one_image_per_filter_is_a_colour_image():
    hdus = file_of(*(named("CUTOUT", index + 1, FILTER=name) for index, name in enumerate("grz")))
    assert choices_of(hdus) == [Choice((1, 2, 3))]
    same = file_of(*(named("CUTOUT", index + 1, FILTER="r") for index in range(3)))
    assert len(choices_of(same)) == 3
    assert choices_of(file_of(*map(named, "grz"))) == [Choice((1, 2, 3))]


def test_masks_and_weights_belong_to_the_image_of_their_version():
    hdus = file_of(*(named(name, version) for version in (1, 2) for name in ("SCI", "DQ", "WHT")))
    assert choices_of(hdus) == [Choice((1,), 2, 3), Choice((4,), 5, 6)]
    small = file_of(named("SCI"), named("DQ", data=FLAGS[:9]))
    assert choices_of(small) == [Choice((1,))]


def test_users_choose_by_number_name_and_version():
    hdus = file_of(named("SCI", 1), named("ERR", 1), named("SCI", 2), named("ERR", 2))
    chosen = {"3": 3, "SCI": 1, "sci,2": 3, "ERR,2": 4, " 2 ": 2}
    assert {text: choose(hdus, text).light[0] for text in chosen} == chosen
    assert [label(hdus, index) for index in range(1, 5)] == ["SCI,1", "ERR,1", "SCI,2", "ERR,2"]
    for text in ("9", "DQ", "SCI,3", "0"):
        with pytest.raises(Unreadable, match=r"has no image .*expected one of SCI,1, ERR,1, SCI,2, ERR,2"):
            choose(hdus, text)


def test_a_label_finds_its_image_also_where_names_are_not_unique():
    hdus = file_of(named("A", 1), named("A", 1), named("", 1), named("B", 1))
    for index in range(1, 5):
        assert choose(hdus, label(hdus, index)).light == (index,)


def test_keywords_are_inherited_and_world_coordinates_only_as_a_whole():
    hdus = file_of(named("A", BUNIT="Jy"), named("B", CTYPE1="RA---TPV"))
    hdus[0].header.update({"TELESCOP": "HST", "BUNIT": "counts", "CTYPE1": "RA---TAN", "CD1_1": 1e-4, "A_ORDER": 2})
    first, second = header_of(hdus, 1), header_of(hdus, 2)
    assert (first["TELESCOP"], first["BUNIT"], first["CTYPE1"], first["CD1_1"]) == ("HST", "Jy", "RA---TAN", 1e-4)
    assert (second["TELESCOP"], second["BUNIT"], second["CTYPE1"]) == ("HST", "counts", "RA---TPV")
    assert "CD1_1" not in second and "A_ORDER" not in second and second["EXTNAME"] == "B"


def test_bits_without_data_are_those_of_the_instrument():
    assert no_data_bits(fits.Header({"TELESCOP": "JWST"})) == 1
    assert no_data_bits(fits.Header({"TELESCOP": "HST"})) == 15
    assert no_data_bits(fits.Header({"HIERARCH MP_NO_DATA": 8})) == 256
