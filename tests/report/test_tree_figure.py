"""The figure of the tree: three formats, reproducible, any galaxy name."""

from pathlib import Path

import numpy as np
import pytest
from made_pages import HOSTILE
from PIL import Image
from tiny import draw_blob, draw_labels

from galaxy.decision_tree import GALAXY_ZOO_2
from machine import command_line
from machine.files import DataError
from report import tree_figure

VOTES = draw_labels(1, np.random.default_rng(5))[0]


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_same_galaxy_gives_the_same_file(tmp_path: Path, suffix: str):
    contents = []
    for number in range(2):
        path = tmp_path / f"{number}{suffix}"
        tree_figure.save(tree_figure.draw(VOTES, GALAXY_ZOO_2, draw_blob(np.random.default_rng(6)), "a galaxy"), path)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]
    assert contents[0].startswith({".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix])


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def colour(name: str, paper: str) -> np.ndarray:
    return np.array([int(tree_figure.COLOURS[paper][name][place : place + 2], 16) for place in (1, 3, 5)])


@pytest.mark.parametrize("paper", tree_figure.COLOURS)
def test_a_path_with_more_votes_covers_more_pixels(tmp_path: Path, paper: str):
    seen = []
    for certain in (0.4, 0.9):
        votes = np.zeros(37)
        votes[GALAXY_ZOO_2.column(1, 1)], votes[GALAXY_ZOO_2.column(1, 2)], votes[GALAXY_ZOO_2.column(1, 3)] = (
            certain,
            (1 - certain) * 0.9,
            (1 - certain) * 0.1,
        )
        votes[GALAXY_ZOO_2.column(7, 2)], votes[GALAXY_ZOO_2.column(6, 2)] = certain, 1
        path = tmp_path / f"{certain}.png"
        tree_figure.save(tree_figure.draw(votes, GALAXY_ZOO_2, paper=paper), path)
        image = pixels_of(path)
        assert (image[0, 0] == colour("paper", paper)).all()
        seen.append((image == colour("strong", paper)).all(axis=2).sum())
    assert seen[1] > 1.2 * seen[0] > 0


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(tmp_path: Path, name: str):
    path = tmp_path / "tree.svg"
    tree_figure.save(tree_figure.draw(VOTES, GALAXY_ZOO_2, None, name), path)
    assert b"<script" not in path.read_bytes() and b"alert(1)</" not in path.read_bytes()


def test_names_of_pages_and_figures_are_checked(tmp_path: Path):
    for check, good, flag in (
        (command_line.check_page_name, "a.html", "--report"),
        (command_line.check_figure_name, "a.PDF", "--draw"),
    ):
        check(tmp_path / good)
        with pytest.raises(DataError, match=f"expected a {flag} that ends with"):
            check(tmp_path / "a.txt")
        (tmp_path / good).mkdir()
        with pytest.raises(DataError, match=f"{flag} .* is a folder; name a file in it"):
            check(tmp_path / good)
