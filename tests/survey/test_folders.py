"""Where things lie, which folders are in use, and that worker processes use the same."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from machine.files import DataError
from machine.processes import mapping
from survey import folders
from survey.folders import Folders, adopt, use_folders, worker_start


@pytest.fixture(autouse=True)
def folders_of_before() -> Iterator[None]:
    yield
    use_folders(".")


def test_folders_as_documented():
    plain = Folders()
    assert plain.labels_csv == Path("data/raw/training_solutions_rev1.csv")
    assert plain.images("train") == Path("data/raw/images_train_rev1")
    assert plain.ram_images("test") == Path("/dev/shm/images_test_rev1")
    assert replace(plain, from_ram=True).images("test") == Path("/dev/shm/images_test_rev1")
    assert plain.analysis("try_x") == Path("analysis/final/try_x.pkl")
    assert plain.checkpoints("try_x") == Path("analysis/checkpoints/try_x")
    assert plain.lock("try_x", "train") == Path("analysis/locks/try_x.train")
    assert plain.augmented("valid", "try_x") == Path("predictions/final/augmented/valid/try_x.npy.gz")
    for images in (plain.images, plain.raw_images, plain.ram_images):
        with pytest.raises(ValueError, match="'valid'"):
            images("valid")


def test_images_read_from_copies_have_a_memory_of_their_own():
    plain = Folders()
    assert plain.scan("test") == Path("analysis/images_test.json")
    assert replace(plain, from_ram=True).scan("test") != plain.scan("test") != plain.scan("train")


def test_folders_in_use(tmp_path: Path):
    assert use_folders(tmp_path) is folders.current
    assert (folders.current.data, folders.current.predictions) == (
        tmp_path / "data",
        tmp_path / "predictions" / "final",
    )
    use_folders(tmp_path, tmp_path / "elsewhere")
    assert folders.current.labels_csv == tmp_path / "elsewhere" / "raw" / "training_solutions_rev1.csv"
    assert folders.current.predictions == tmp_path / "predictions" / "final"
    use_folders(tmp_path, ram=tmp_path / "ram")
    assert folders.current.images("test") == tmp_path / "ram" / "images_test_rev1"
    chosen = Folders(tmp_path / "chosen")
    assert adopt(chosen) is folders.current is chosen


def test_a_file_is_no_folder_and_changes_nothing(tmp_path: Path):
    before = use_folders(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="--root: expected a folder, but"):
        use_folders(tmp_path / "file")
    with pytest.raises(DataError, match="--data: expected a folder, but"):
        use_folders(tmp_path, tmp_path / "file")
    assert folders.current is before


def test_folders_are_never_equal_so_that_all_is_read_anew():
    assert Folders() != Folders()
    assert len({Folders(), Folders()}) == 2


def root_and_process(number: int) -> tuple[int, Path, bool, int]:
    return number, folders.current.root, folders.current.from_ram, os.getpid()


def test_processes_know_the_folders_and_keep_the_order(tmp_path: Path):
    use_folders(tmp_path, ram=tmp_path / "ram")
    for num_workers in (1, 2):
        with mapping(num_workers, 3, worker_start()) as each:
            results = list(each(root_and_process, range(20)))
        assert [number for number, *_ in results] == list(range(20))
        assert {(root, from_ram) for _, root, from_ram, _ in results} == {(tmp_path, True)}
        assert (os.getpid() in {process for *_, process in results}) == (num_workers == 1)
