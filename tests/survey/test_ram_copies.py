"""Copies in memory belong to one survey, and are refused where they are not those of the images."""

from pathlib import Path

import pytest

from machine.files import DataError
from survey import ram_copies


def test_copies_belong_to_the_survey_that_claims_them_first(tmp_path: Path):
    copies, ours, others = tmp_path / "ram", tmp_path / "ours", tmp_path / "others"
    for folder in (copies, ours, others):
        folder.mkdir()
    with pytest.raises(DataError, match=r"holds 1 images that copy_data_to_shm.py did not copy"):
        ram_copies.check_owner(copies, ours, ["1.jpg"])
    ram_copies.check_owner(copies, ours, [])
    ram_copies.claim(copies, ours)
    ram_copies.check_owner(copies, ours, ["1.jpg"])
    with pytest.raises(DataError, match=r"holds the images of .*ours; run copy_data_to_shm.py --remove there"):
        ram_copies.check_owner(copies, others, [])
    with pytest.raises(DataError, match=r"holds the images of .*ours, not of .*others"):
        ram_copies.check_current(copies, others, "listing", "listing")
    ram_copies.check_current(copies, ours, "listing", "listing")
    with pytest.raises(DataError, match=r"differs from .*ours; run copy_data_to_shm.py again"):
        ram_copies.check_current(copies, ours, "listing", "another")
    ram_copies.disown(copies)
    ram_copies.check_owner(copies, others, [])


def test_one_process_copies_at_a_time(tmp_path: Path):
    with ram_copies.alone(tmp_path):
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
