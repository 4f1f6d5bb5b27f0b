"""What is documented of load_data: ids and their numbers, read on first use, and images as arrays."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import ROOT, Survey

import load_data
from machine import arrays, buffering
from machine.arrays import save_array
from machine.files import DataError
from survey.folders import Folders, adopt, use_folders


def test_documented_attributes(prepared_survey: Survey):
    np.testing.assert_array_equal(load_data.train_ids, prepared_survey.train_ids)
    np.testing.assert_array_equal(load_data.test_ids, prepared_survey.test_ids)
    assert (load_data.num_train, load_data.num_test) == (30, 8)
    with pytest.raises(AttributeError, match="valid_ids"):
        load_data.valid_ids  # noqa: B018


def test_attributes_are_read_once_and_forgotten_with_the_folders(prepared_survey: Survey, tmp_path: Path):
    assert load_data.num_test == 8
    assert load_data.test_ids is load_data.test_ids
    path = prepared_survey.root / "data" / "test_ids.npy"
    save_array(path, prepared_survey.test_ids[:3])
    assert load_data.num_test == 8
    use_folders(prepared_survey.root)
    assert load_data.num_test == 3
    use_folders(tmp_path)
    with pytest.raises(DataError, match=r"there is no data in .* prepare_data\.py"):
        load_data.num_test  # noqa: B018


def test_what_2014_documents_is_here():
    for name in ("load_gz", "save_gz"):
        assert getattr(load_data, name) is getattr(arrays, name)
    for name in ("buffered_gen_mp", "threaded_gen"):
        assert getattr(load_data, name) is getattr(buffering, name)


def test_image_normalised(survey: Survey):
    raw = load_data.load_image(100, "test", normalise=False)
    image = load_data.load_image(100, "test")
    assert image.dtype == np.float32
    assert 0 <= image.min() <= image.max() <= 1
    np.testing.assert_array_equal(image, raw.astype(np.float32) / np.float32(255))


def test_images_stacked(survey: Survey):
    images = load_data.load_images(survey.test_ids[:3], "test")
    assert images.shape == (3, 424, 424, 3)
    np.testing.assert_array_equal(images[1], load_data.load_image(survey.test_ids[1], "test"))


def test_image_from_ram(survey: Survey, tmp_path: Path):
    ram = tmp_path / "ram"
    shutil.copytree(survey.raw / "images_test_rev1", ram / "images_test_rev1")
    shutil.copy(ram / "images_test_rev1" / "7.jpg", ram / "images_test_rev1" / "31.jpg")
    adopt(Folders(root=survey.root, ram=ram))
    np.testing.assert_array_equal(
        load_data.load_image(31, "test", from_ram=True), load_data.load_image(7, "test", from_ram=False)
    )
    with pytest.raises(DataError, match=r"missing; run copy_data_to_shm\.py again$"):
        load_data.load_image(survey.train_ids[0], from_ram=True)
    with pytest.raises(DataError, match=r"missing; download it again$"):
        load_data.load_image(1)
    adopt(Folders(root=survey.root, ram=ram, from_ram=True))
    np.testing.assert_array_equal(load_data.load_image(31, "test"), load_data.load_image(7, "test"))


def test_importing_reads_nothing(tmp_path: Path):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import load_data; print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")
