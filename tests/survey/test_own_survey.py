"""Ids of your own galaxies, the match of images with rows, the claim of a folder; test_prepare_data.py has the rest."""

from pathlib import Path

import pytest

from machine.files import DataError
from survey import own_survey
from survey.folders import Folders
from survey.own_survey import Galaxy


@pytest.mark.parametrize(
    ("names", "known", "ids"),
    [
        (["7", "b", "a"], {}, {"7": 7, "b": 2, "a": 1}),
        (["1", "a"], {}, {"1": 1, "a": 2}),  # the smallest free number
        (["a", "b"], {"b": 9}, {"a": 1, "b": 9}),
        (["9", "b"], {"b": 9}, {"9": 9, "b": 1}),  # a new image has the id as its name
        (["007", "7"], {}, {"007": 1, "7": 7}),  # not a whole number: its zeros would be lost
        (["a", "a"], {}, {"a": 1}),
    ],
)
def test_ids_are_names_then_earlier_ids_then_the_smallest_free_numbers(names: list[str], known: dict, ids: dict):
    assert own_survey._assign_ids(names, known) == ids


def test_each_image_has_at_most_one_row(capsys):
    table, images = Path("votes.csv"), Path("cutouts")
    files = {"a": images / "a.jpg", "b": images / "b.jpg"}
    assert own_survey._match(table, images, ["x", "b", "y"], files) == {"b": 1}
    assert "left out 2 rows without an image in cutouts, 'x' first" in capsys.readouterr().out
    with pytest.raises(DataError, match="expected one row per galaxy, got several of 'b'"):
        own_survey._match(table, images, ["b", "a", "b"], files)


def test_a_claim_is_read_back_and_removes_images_that_are_not_used(tmp_path: Path):
    folders = Folders(tmp_path)
    folder = folders.raw_images("train")
    folder.mkdir(parents=True)
    old = [Galaxy(id, name, "train", Path(f"{name}.jpg")) for id, name in ((1, 'a "b", c'), (2, "=x\ny"), (3, "z"))]
    own_survey._claim(folders, [], old)
    assert own_survey._read_own_ids(folders) == old
    for galaxy in old:
        (folder / f"{galaxy.id}.jpg").touch()
    # The first galaxy stays, the second is gone, the third has another id.
    own_survey._claim(folders, old, [old[0], Galaxy(2, "z", "train", Path("z.jpg"))])
    assert [path.name for path in folder.iterdir()] == ["1.jpg"]


def test_a_table_of_somebody_is_not_taken_for_ids(tmp_path: Path):
    folders = Folders(tmp_path)
    own_survey.own_ids(folders).parent.mkdir(parents=True)
    own_survey.own_ids(folders).write_text("id,name\n1,mine\n")
    with pytest.raises(DataError, match=r"own_ids\.csv is not of this project; move it away"):
        own_survey._read_own_ids(folders)


def test_a_claim_leaves_other_data_unchanged(tmp_path: Path):
    folders = Folders(tmp_path)
    foreign = folders.raw_images("test") / "7.jpg"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"of another survey")
    with pytest.raises(DataError, match=r"already contains 7\.jpg, which is not one of these galaxies"):
        own_survey._claim(folders, [], [Galaxy(7, "7", "train", Path("7.jpg"))])
    assert foreign.exists() and not own_survey.own_ids(folders).exists()
