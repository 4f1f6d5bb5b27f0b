"""Names choose files, an HDU and bands."""

from pathlib import Path

import pytest

from galaxy.image_names import ImageName, chosen, parse


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.fits", ImageName((Path("a.fits"),))),
        ("a.fits[4]", ImageName((Path("a.fits"),), "4")),
        ("d[1]/a.fits[SCI,2]", ImageName((Path("d[1]/a.fits"),), "SCI,2")),
        ("a.fits[SCI][bands=z, r,g]", ImageName((Path("a.fits"),), "SCI", ("z", "r", "g"))),
        ("a.fits[]", ImageName((Path("a.fits"),))),
        ("a_{i,r,g}.fits", ImageName((Path("a_i.fits"), Path("a_r.fits"), Path("a_g.fits")), None, ("i", "r", "g"))),
        ("a_{i,r}.fits", ImageName((Path("a_{i,r}.fits"),))),
    ],
)
def test_brackets_and_braces_are_parsed(name: str, expected: ImageName):
    assert parse(Path(name)) == expected


def test_a_file_whose_name_has_brackets_is_that_file(tmp_path: Path):
    for name in ("a[4]", "a_{i,r,g}"):
        (tmp_path / name).write_bytes(b"")
        assert parse(tmp_path / name) == ImageName((tmp_path / name,))


def test_flags_become_parts_of_names():
    assert chosen("a.fits", "SCI,2") == "a.fits[SCI,2]"
    assert parse(chosen("a.fits", "4", ("z", "r", "g"))) == ImageName((Path("a.fits"),), "4", ("z", "r", "g"))
    assert chosen("a_{band}.fits", bands=("i", "r", "g")) == "a_{i,r,g}.fits"
