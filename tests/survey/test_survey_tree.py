"""The tree of a data folder: written and read."""

from pathlib import Path

import pytest

from galaxy.decision_tree import CLASSES, GALAXY_ZOO_2, GALAXY_ZOO_EUCLID
from machine.files import DataError
from survey.folders import Folders
from survey.survey_tree import read_tree, write_tree


def test_a_folder_without_a_tree_has_that_of_galaxy_zoo_2(tmp_path: Path):
    folders = Folders(tmp_path)
    assert read_tree(folders) == GALAXY_ZOO_2
    folders.data.mkdir()
    for tree in (GALAXY_ZOO_EUCLID, CLASSES(["a", "b"]), GALAXY_ZOO_2):
        write_tree(folders, tree)
        assert read_tree(folders) == tree
    assert not list(folders.data.iterdir())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "a", "questions": []}'])
def test_a_damaged_tree_gives_one_line_with_its_file(tmp_path: Path, text: str):
    folders = Folders(tmp_path)
    folders.data.mkdir()
    (folders.data / "tree.json").write_text(text)
    with pytest.raises(DataError, match=r"tree\.json") as caught:
        read_tree(folders)
    assert "\n" not in str(caught.value)
