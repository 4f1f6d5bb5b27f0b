"""Ids, labels, the split, and which files are a galaxy's image, under each of the names that they come with."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny import Survey, draw_blob, files_of, refused, write_jpeg

import copy_data_to_shm
import create_test_ids_file
import create_train_ids_file
import load_data
from galaxy.decision_tree import GALAXY_ZOO_2
from machine.arrays import save_array
from machine.files import DataError
from survey import bad_images, decoded_cache, folders, images
from survey.folders import Folders, adopt, use_folders


def test_labels(prepared_survey: Survey):
    labels = images.load_labels()
    assert labels.dtype == np.float32
    np.testing.assert_array_equal(labels, prepared_survey.labels.astype(np.float32))


@pytest.mark.parametrize(("num_train", "num_valid"), [(10, 1), (19, 1), (30, 3), (61578, 6157)])
def test_split_keeps_the_last_tenth_for_validation(num_train: int, num_valid: int):
    train, valid = images.split(num_train)
    assert len(valid) == num_valid
    np.testing.assert_array_equal(np.concatenate([train, valid]), np.arange(num_train))


def test_split_of_too_few():
    with pytest.raises(DataError, match=r"at least 10 training galaxies.*got 9"):
        images.split(9)


def test_labels_csv(survey: Survey):
    ids, labels = images.read_labels_csv()
    assert (ids.dtype, labels.dtype) == (np.int64, np.float64)
    np.testing.assert_array_equal(ids, survey.train_ids)
    np.testing.assert_array_equal(labels, survey.labels)


def test_columns_of_the_table_are_the_trees(survey: Survey):
    header = survey.csv.read_text().splitlines()[0]
    assert header == ",".join(("GalaxyID", *GALAXY_ZOO_2.columns))


@pytest.mark.parametrize("subset", ["train", "test"])
def test_ids_are_read_once_for_the_folders_in_use(prepared_survey: Survey, subset: str):
    ids = images.ids_of(subset)
    np.testing.assert_array_equal(ids, images.load_ids(subset))
    save_array(prepared_survey.root / "data" / f"{subset}_ids.npy", ids[:3])
    assert images.ids_of(subset) is ids
    assert len(images.load_ids(subset)) == 3
    use_folders(prepared_survey.root)
    assert len(images.ids_of(subset)) == 3


@pytest.mark.parametrize("name", ["images_train_rev1", "images_training_rev1"])
def test_both_of_kaggle_s_folder_names_are_the_training_images(survey: Survey, run_main, tmp_path: Path, name: str):
    (survey.raw / "images_train_rev1").rename(survey.raw / name)
    run_main(create_train_ids_file, "--root", survey.root)
    run_main(create_test_ids_file, "--root", survey.root)
    use_folders(survey.root)
    assert folders.current.images("train") == survey.raw / name
    np.testing.assert_array_equal(images.list_ids("train"), survey.train_ids)
    assert bad_images.find_bad("train") == {}
    assert load_data.load_image(survey.train_ids[0]).shape == (424, 424, 3)
    # The copies have one name, whichever the originals have.
    ram = tmp_path / "ram"
    ram.mkdir()
    run_main(copy_data_to_shm, "--root", survey.root, "--ram", ram)
    adopt(Folders(survey.root, ram=ram, from_ram=True))
    np.testing.assert_array_equal(images.list_ids("train"), survey.train_ids)
    run_main(copy_data_to_shm, "--root", survey.root, "--ram", ram, "--remove")
    assert list(ram.iterdir()) == []
    assert len(list((survey.raw / name).iterdir())) == 30


def test_what_is_no_galaxy_is_counted_in_one_line(survey: Survey, capsys):
    folder = survey.raw / "images_test_rev1"
    (folder / "._100008.jpg").write_bytes(b"\0\5\26\7of a Mac")
    assert images.list_ids("test").tolist() == survey.test_ids.tolist()
    assert capsys.readouterr().out == f"{folder}: left out 1 other files, '._100008.jpg' for one\n"
    (folder / "._7.jpeg").touch()
    (folder / ".DS_Store").touch()
    (folder / "README.txt").touch()
    assert images.list_ids("test").tolist() == survey.test_ids.tolist()
    assert capsys.readouterr().out == f"{folder}: left out 4 other files, '.DS_Store' for one\n"


def test_a_folder_of_nothing_but_galaxies_needs_no_line(survey: Survey, capsys):
    assert images.list_ids("test").tolist() == survey.test_ids.tolist()
    assert capsys.readouterr().out == ""


@pytest.fixture
def renamed(survey: Survey) -> Survey:
    """Give three of the test galaxies the suffixes that other programs write."""
    for id, suffix in ((31, ".JPG"), (205, ".jpeg"), (900080, ".JPEG")):
        path = survey.raw / "images_test_rev1" / f"{id}.jpg"
        path.rename(path.with_suffix(suffix))
    return survey


def test_images_of_every_suffix_are_galaxies(renamed: Survey, run_main, capsys):
    pixels = load_data.load_images(renamed.test_ids, "test", normalise=False)
    run_main(create_test_ids_file, "--root", renamed.root)
    assert "left out" not in capsys.readouterr().out
    np.testing.assert_array_equal(np.load(renamed.root / "data" / "test_ids.npy"), renamed.test_ids)
    use_folders(renamed.root)
    assert bad_images.scan_images("test", renamed.test_ids) == {}
    for index in range(8):
        np.testing.assert_array_equal(decoded_cache.load_pixels(index, "test"), pixels[index])


def test_bad_images_of_every_suffix_are_found(renamed: Survey):
    for id, suffix in ((31, ".JPG"), (205, ".jpeg")):
        (renamed.raw / "images_test_rev1" / f"{id}{suffix}").write_bytes(b"GIF89a")
    bad = bad_images.scan_images("test", renamed.test_ids)
    assert list(bad) == [1, 3]
    assert "it holds a GIF image" in bad[1]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_images_of_every_suffix_are_decoded_into_the_map(renamed: Survey, tmp_path: Path, num_workers: int):
    expected = load_data.load_images(renamed.test_ids, "test", normalise=False)
    save_array(renamed.root / "data" / "test_ids.npy", renamed.test_ids)
    adopt(Folders(renamed.root, ram=tmp_path))
    decoded_cache.build("test", num_workers)
    np.testing.assert_array_equal(decoded_cache.find("test"), expected)
    # What changes is noticed under such a name, too.
    write_jpeg(renamed.raw / "images_test_rev1" / "31.JPG", draw_blob(np.random.default_rng(0)))
    decoded_cache.forget()
    assert decoded_cache.find("test") is None


def test_images_of_every_suffix_are_copied_and_removed(renamed: Survey, run_main, tmp_path: Path, capsys):
    ram = tmp_path / "ram"
    ram.mkdir()
    (renamed.raw / "images_test_rev1" / "._31.JPG").touch()
    run_main(copy_data_to_shm, "--root", renamed.root, "--ram", ram)
    assert "wrote 8 images" in capsys.readouterr().out
    adopt(Folders(renamed.root, ram=ram, from_ram=True))
    assert load_data.load_images(renamed.test_ids, "test").shape == (8, 424, 424, 3)
    run_main(copy_data_to_shm, "--root", renamed.root, "--ram", ram, "--remove")
    assert list(ram.iterdir()) == []


@pytest.mark.parametrize("second", ["31.JPG", "31.jpeg"])
def test_two_files_of_one_id_are_an_error(survey: Survey, run_main, second: str):
    folder = survey.raw / "images_test_rev1"
    shutil.copy(folder / "31.jpg", folder / second)
    line = refused(run_main, survey.root, create_test_ids_file)
    assert line == f"error: {folder}: expected one image per id, got several of 31; remove all but one"
    id = survey.train_ids[4]
    folder = survey.raw / "images_train_rev1"
    shutil.copy(folder / f"{id}.jpg", folder / f"{id}{Path(second).suffix}")
    assert f"several of {id}" in refused(run_main, survey.root, create_train_ids_file)


def test_a_listing_is_the_same_while_no_image_changes(survey: Survey):
    folder, ids = survey.raw / "images_test_rev1", survey.test_ids.tolist()
    before = images.listing(folder, ids)
    (folder / "README.txt").touch()
    (folder / "._7.jpg").touch()
    assert images.listing(folder, ids) == before
    assert images.listing(folder, ids[::-1]) != before
    path = folder / "7.jpg"
    content = path.read_bytes()
    path.write_bytes(content + b"\0")
    assert images.listing(folder, ids) != before
    path.unlink()
    missing = images.listing(folder, ids)
    assert missing != before
    path.symlink_to("nowhere")
    assert images.listing(folder, ids) == missing
    shutil.rmtree(folder)
    assert images.listing(folder, ids) not in (before, missing)
    assert files_of(survey.raw)
