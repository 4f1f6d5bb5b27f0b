"""Decoded images: the pixels of the JPEGs as they are now, built once, whatever interrupts it."""

import dataclasses
import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny import draw_blob, draws_of, write_jpeg
from tiny_network import BEST

import copy_data_to_shm
import load_data
from machine.arrays import save_array
from machine.files import DataError
from survey import decoded_cache, folders, images
from survey.chunk_workers import Workers, drawn_chunks
from survey.folders import adopt


@pytest.fixture
def ram(prepared_survey, tmp_path):
    """Keep decoded images in a folder of the test's own."""
    folder = tmp_path / "ram"
    folder.mkdir()
    adopt(dataclasses.replace(folders.current, ram=folder))
    decoded_cache.forget()
    yield folder
    decoded_cache.forget()


def jpeg_of(subset: str, position: int):
    return folders.current.images(subset) / f"{images.load_ids(subset)[position]}.jpg"


@pytest.mark.parametrize("subset", ["train", "test"])
def test_holds_the_pixels_in_the_order_of_the_ids(ram, subset):
    assert decoded_cache.find(subset) is None
    decoded_cache.build(subset, num_workers=1)
    pixels = decoded_cache.find(subset)
    expected = load_data.load_images(images.load_ids(subset), subset, normalise=False)
    np.testing.assert_array_equal(pixels, expected)
    manifest = json.loads(decoded_cache.path(subset).with_suffix(".json").read_text())
    assert manifest["ids"] == images.load_ids(subset).tolist()
    assert manifest["shape"] == [len(expected), 424, 424, 3]
    assert len(list(ram.iterdir())) == 2


def test_chunks_are_the_same_from_it(ram):
    views = dataclasses.replace(BEST.views, colour_std=0.5)

    def chunk() -> list[np.ndarray]:
        return next(drawn_chunks(views, draws_of(views, 1, 30), 30, Workers(2)))[0]

    from_jpegs = chunk()
    decoded_cache.build("train", num_workers=2)
    jpeg = jpeg_of("train", 0)
    stat, content = jpeg.stat(), jpeg.read_bytes()
    jpeg.write_bytes(bytes(len(content)))  # nobody decodes it any more
    os.utime(jpeg, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    for ours, theirs in zip(chunk(), from_jpegs, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("change", ["image", "ids", "map", "manifest", "nested manifest"])
def test_what_does_not_match_is_not_used(ram, change):
    target = decoded_cache.build("train", num_workers=1)
    if change == "image":
        write_jpeg(jpeg_of("train", 3), draw_blob(np.random.default_rng(0)))
    elif change == "ids":
        save_array(folders.current.data / "train_ids.npy", images.load_ids("train")[::-1])
    elif change == "map":
        np.save(target, np.zeros((30, 4, 4, 3), np.uint8))
    elif change == "manifest":
        target.with_suffix(".json").write_text("{")
    else:
        target.with_suffix(".json").write_text("[" * 100_000)
    decoded_cache.forget()
    assert decoded_cache.find("train") is None


def test_building_goes_on_where_it_stopped(ram, monkeypatch):
    monkeypatch.setattr(decoded_cache, "_BLOCK", 4)
    bad = jpeg_of("train", 29)
    content, stat = bad.read_bytes(), bad.stat()
    bad.write_bytes(bytes(len(content)))
    os.utime(bad, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(DataError, match=bad.name):
        decoded_cache.build("train", num_workers=1)
    assert decoded_cache.find("train") is None
    bad.write_bytes(content)
    os.utime(bad, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    # What was decoded before is not looked at again.
    journal = decoded_cache.path("train").with_suffix(".blocks")
    assert len(journal.read_text().splitlines()) > 1
    done = int(journal.read_text().splitlines()[1].split()[0])
    expected = load_data.load_images(load_data.train_ids, normalise=False)
    first = jpeg_of("train", done)
    good, stat = first.read_bytes(), first.stat()
    first.write_bytes(bytes(len(good)))
    os.utime(first, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    decoded_cache.build("train", num_workers=1)
    np.testing.assert_array_equal(decoded_cache.find("train"), expected)


@pytest.mark.parametrize("subset", ["train", "test"])
def test_pixels_come_from_it_where_it_is(ram, subset):
    from_jpeg = decoded_cache.load_pixels(3, subset)
    decoded_cache.build(subset, num_workers=1)
    np.testing.assert_array_equal(decoded_cache.load_pixels(3, subset), from_jpeg)
    pixels = np.load(decoded_cache.path(subset), mmap_mode="r+")
    pixels[3] = 7
    assert (decoded_cache.load_pixels(3, subset) == 7).all()


def test_the_script_builds_and_removes(ram, run_main, prepared_survey, capsys):
    run_main(copy_data_to_shm, "--root", prepared_survey.root, "--ram", ram, "--decoded", "--num-workers", 1)
    assert "wrote the decoded test images" in capsys.readouterr().out
    assert {path.suffix for path in ram.iterdir()} == {".npy", ".json"}
    run_main(copy_data_to_shm, "--root", prepared_survey.root, "--ram", ram, "--remove")
    assert "removed the decoded train images" in capsys.readouterr().out
    assert not list(ram.iterdir())


def test_want_of_room_is_told_before_anything_is_written(ram, monkeypatch):
    free = type("usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: free)
    with pytest.raises(DataError, match=r"expected 16.2 MB free in .*, got 0.0 MB; .*--ram"):
        decoded_cache.build("train")
    assert not list(ram.iterdir())


@pytest.mark.parametrize("change", ["a bit", "no checksums"])
def test_a_changed_map_is_named_before_it_is_used(ram, change):
    target = decoded_cache.build("train", num_workers=1)
    decoded_cache.verify("train", 1)
    if change == "a bit":
        with target.open("r+b") as file:
            file.seek(-5, os.SEEK_END)
            file.write(b"\x00\xff\x00\xff\x00")
    else:
        beside = target.with_suffix(".json")
        beside.write_text(json.dumps({**json.loads(beside.read_text()), "checksums": {}}))
    with pytest.raises(DataError, match=r"images_train_rev1_decoded\.npy is damaged: .* --remove"):
        decoded_cache.verify("train", 1)


def test_the_map_of_another_survey_and_the_file_of_a_user_stay(ram):
    target = decoded_cache.build("train", num_workers=1)
    beside = target.with_suffix(".json")
    beside.write_text(json.dumps({**json.loads(beside.read_text()), "survey": "/data/other"}))
    decoded_cache.forget()
    with pytest.raises(DataError, match=r"holds the decoded images of /data/other; "):
        decoded_cache.build("train", num_workers=1)
    assert not decoded_cache.remove("train") and target.exists()
    beside.unlink()
    with pytest.raises(DataError, match="exists and is not of this project"):
        decoded_cache.build("train", num_workers=1)
    assert target.exists()


def test_a_build_or_a_removal_that_is_killed_at_any_file_goes_on(ram, monkeypatch):
    class Killed(BaseException):
        pass

    def killing(name: str, count: int, function: Callable[[], object]) -> bool:
        """Run a function; return whether it was ended before the n-th call of a method of paths."""
        original, calls = getattr(Path, name), itertools.count(1)

        def method(path: Path, *arguments: object, **options: object) -> object:
            if next(calls) == count:
                raise Killed
            return original(path, *arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(Path, name, method)
            try:
                function()
            except Killed:
                return True
        return False

    for name, count in itertools.product(("replace", "unlink"), range(1, 6)):
        killing(name, count, lambda: decoded_cache.build("test", 1))
        decoded_cache.build("test", 1)
        decoded_cache.verify("test")
        killing(name, count, lambda: decoded_cache.remove("test"))
        decoded_cache.remove("test")
        assert not list(decoded_cache.path("test").parent.iterdir())
