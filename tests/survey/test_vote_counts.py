"""Counts of votes: from a table to an array in the order of the training ids."""

from pathlib import Path

import numpy as np
import pytest

from galaxy.decision_tree import CLASSES
from machine.arrays import save_array
from machine.files import DataError
from survey import vote_counts
from survey.folders import use_folders
from survey.survey_tree import write_tree

TREE = CLASSES(["a", "b"])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return the table of counts of four galaxies, of which three are training galaxies."""
    folders = use_folders(tmp_path)
    (folders.data / "raw").mkdir(parents=True)
    write_tree(folders, TREE)
    save_array(folders.data / "train_ids.npy", np.array([4, 1, 3]))
    vote_counts.write_counts_csv(vote_counts.counts_csv(), [1, 2, 3, 4], np.array([[10], [20], [30], [40]]), TREE)
    return vote_counts.counts_csv()


def test_counts_are_in_the_order_of_the_ids(table: Path, capsys: pytest.CaptureFixture):
    assert table.read_text().splitlines()[:2] == ["GalaxyID,class_total", "1,10"]
    vote_counts.write_counts()
    np.testing.assert_array_equal(vote_counts.load_counts(), [[40], [10], [30]])
    assert "counts of votes of 3 galaxies" in capsys.readouterr().out


def test_without_a_table_there_are_no_counts(table: Path):
    vote_counts.write_counts()
    table.unlink()
    vote_counts.write_counts()
    assert vote_counts.load_counts() is None and not vote_counts.counts_npy().exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GalaxyID\n1\n",
        "GalaxyID,class_total\n1\n",
        "GalaxyID,class_total\n1,-2\n",
        f"GalaxyID,class_total\n{10**30},2\n",
        f"GalaxyID,class_total\n1,{'9' * 200_000}\n",
    ],
)
def test_a_damaged_table_gives_one_line(table: Path, text: str):
    table.write_text(text)
    with pytest.raises(DataError, match=r"training_counts\.csv: expected GalaxyID, class_total"):
        vote_counts.write_counts()
