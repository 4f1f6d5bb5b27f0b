"""Kaggle's download in every layout is brought to data/raw; existing files are kept."""

import os
import re
import shutil
import zipfile
from pathlib import Path

import pytest
from crafted import HOSTILE_ZIPS, zip_of
from tiny import files_of, is_killed_at_file

from machine.files import DataError
from survey import kaggle_download
from survey.folders import Folders
from survey.kaggle_download import SourceFile

TRAIN = {f"{id}.jpg": f"train {id}".encode() * 50 for id in (7, 100008, 100023, 587722981736120347)}
TEST = {f"{id}.jpg": f"test {id}".encode() * 50 for id in (3, 100018)}
TABLE = b"GalaxyID,Class1.1\n7,0.5\n"
EXPECTED = {
    **{f"images_train_rev1/{name}": content for name, content in TRAIN.items()},
    **{f"images_test_rev1/{name}": content for name, content in TEST.items()},
    "training_solutions_rev1.csv": TABLE,
}


def below(folder: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in files.items()}


def with_macos(files: dict[str, bytes]) -> dict[str, bytes]:
    """Add what macOS leaves in zips: a companion of every file, and the view of the folder."""
    companions = {f"__MACOSX/{re.sub('([^/]+)$', r'._1', name)}": bytes(4096) for name in files}
    return {
        **files,
        "__MACOSX/images_training_rev1/._7.jpg": bytes(4096),
        "images_training_rev1/.DS_Store": b"",
        **companions,
    }


BENCHMARKS = {
    "all_zeros_benchmark.zip": zip_of({"all_zeros_benchmark.csv": b"GalaxyID\n"}),
    "central_pixel_benchmark.zip": b"never opened",
    "data.pdf": b"no data",
}
ZIPS = {
    "images_training_rev1.zip": zip_of(with_macos(below("images_training_rev1", TRAIN)), zipfile.ZIP_DEFLATED),
    "images_test_rev1.zip": zip_of(below("images_test_rev1", TEST), zipfile.ZIP_DEFLATED),
    "training_solutions_rev1.zip": zip_of({"training_solutions_rev1.csv": TABLE}, zipfile.ZIP_DEFLATED),
}
NESTED = {"galaxy-zoo-the-galaxy-challenge.zip": zip_of(with_macos({**ZIPS, **BENCHMARKS}), zipfile.ZIP_DEFLATED)}
UNPACKED = {
    **below("images_training_rev1", TRAIN),
    **below("images_test_rev1", TEST),
    "training_solutions_rev1.csv": TABLE,
}
LAYOUTS = {
    "one zip that holds zips": NESTED,
    "three zips beside the benchmarks": {**ZIPS, **BENCHMARKS},
    "names of 2014": {
        "images_train_rev1.zip": zip_of(below("images_train_rev1", TRAIN)),
        "images_test_rev1.zip": ZIPS["images_test_rev1.zip"],
        "training_solutions_rev1.csv": TABLE,
    },
    "one zip of everything": {"galaxy-zoo-the-galaxy-challenge.zip": zip_of(below("galaxy-zoo", UNPACKED))},
    "zips without a folder in them": {
        "images_training_rev1.zip": zip_of(TRAIN),
        "images_test_rev1.zip": zip_of(TEST),
        "training_solutions_rev1.zip": ZIPS["training_solutions_rev1.zip"],
    },
    "downloaded twice": {
        **{name.replace(".zip", " (1).zip"): content for name, content in ZIPS.items()},
        **ZIPS,
    },
    "unpacked": {**UNPACKED, "images_training_rev1/._7.jpg": bytes(99), "images_training_rev1/.DS_Store": b"x"},
    "unpacked in folders of the zips' names": {
        **below("images_training_rev1/images_training_rev1", TRAIN),
        **below("images_test_rev1", TEST),
        "training_solutions_rev1/training_solutions_rev1.csv": TABLE,
        "__MACOSX/images_training_rev1/._7.jpg": b"x",
    },
    "unpacked beside its zips": {**UNPACKED, **ZIPS},
    "half of it unpacked, below another folder": {
        "galaxy-zoo-the-galaxy-challenge/images_test_rev1.zip": ZIPS["images_test_rev1.zip"],
        "galaxy-zoo-the-galaxy-challenge/training_solutions_rev1.zip": ZIPS["training_solutions_rev1.zip"],
        **below("galaxy-zoo-the-galaxy-challenge/images_train_rev1", TRAIN),
    },
    "capital letters": {name.upper(): content for name, content in ZIPS.items()},
}


def put(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def raw_of(root: Path) -> dict[str, bytes]:
    return files_of(root / "data" / "raw")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.mark.parametrize("files", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_is_found(tmp_path: Path, root: Path, files: dict[str, bytes]):
    place = put(tmp_path / "downloads", files)
    before = files_of(place)
    assert kaggle_download.bring([place], Folders(root)) == len(EXPECTED)
    assert raw_of(root) == EXPECTED
    assert kaggle_download.bring([place], Folders(root)) == 0
    assert raw_of(root) == EXPECTED
    assert files_of(place) == before


@pytest.mark.parametrize("files", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_is_found_in_the_data_folder_itself(root: Path, files: dict[str, bytes]):
    place = put(root / "data" / "raw", files)
    kaggle_download.bring([place], Folders(root))
    folders = Folders(root)
    for subset, images in (("train", TRAIN), ("test", TEST)):
        there = files_of(folders.raw_images(subset))
        assert {name: there[name] for name in images} == images
    assert folders.labels_csv.read_bytes() == TABLE
    assert {name: content for name, content in raw_of(root).items() if name in files} == files


def test_zips_are_named_one_by_one(tmp_path: Path, root: Path):
    place = put(tmp_path / "downloads", {**ZIPS, "x.zip": ZIPS["images_test_rev1.zip"]})
    kaggle_download.bring([place / "images_training_rev1.zip", place / "x.zip"], Folders(root))
    assert raw_of(root) == {name: content for name, content in EXPECTED.items() if name.startswith("images")}
    kaggle_download.bring([place / "training_solutions_rev1.zip"], Folders(root))
    assert raw_of(root) == EXPECTED


def test_a_folder_of_images_is_named_itself(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch):
    place = put(tmp_path / "images_training_rev1", TRAIN)
    monkeypatch.chdir(place)
    kaggle_download.bring([Path(".")], Folders(root))
    assert raw_of(root) == {name: content for name, content in EXPECTED.items() if "train_" in name}


def test_unpacked_images_take_no_room_again(tmp_path: Path, root: Path):
    place = put(tmp_path / "downloads", UNPACKED)
    kaggle_download.bring([place], Folders(root))
    assert (root / "data/raw/images_train_rev1/7.jpg").samefile(place / "images_training_rev1" / "7.jpg")


def test_images_are_copied_if_the_disk_has_no_links(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch):
    def link(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", link)
    kaggle_download.bring([put(tmp_path / "downloads", UNPACKED)], Folders(root))
    assert raw_of(root) == EXPECTED


def test_folders_that_link_to_their_parents_are_searched_once(tmp_path: Path, root: Path):
    place = put(tmp_path / "downloads", UNPACKED)
    (place / "images_training_rev1" / "again").symlink_to(place)
    (place / "nowhere.jpg").symlink_to(tmp_path / "none")
    (place / "images_test_rev1" / "9.jpg").symlink_to(tmp_path / "none")
    os.mkfifo(place / "images_test_rev1" / "8.jpg")
    kaggle_download.bring([place], Folders(root))
    assert raw_of(root) == EXPECTED


def test_images_without_an_id_are_left_and_counted(tmp_path: Path, root: Path, capsys):
    files = {"7 (1).jpg": b"a copy", "007.jpg": b"bond", "galaxy.JPG": b"x", **TRAIN}
    place = put(tmp_path, {"images_training_rev1.zip": zip_of(files)})
    kaggle_download.bring([place / "images_training_rev1.zip"], Folders(root))
    assert set(raw_of(root)) == {f"images_train_rev1/{name}" for name in TRAIN}
    assert "left out 3 images that are not named by an id" in capsys.readouterr().out


def test_files_of_the_competition_s_first_weeks_are_not_a_download(tmp_path: Path, root: Path):
    place = put(tmp_path / "downloads", {"training_solutions.csv": b"wrong", "images_training/7.jpg": b"wrong"})
    with pytest.raises(DataError, match=r"expected Kaggle's zips .* found none; download them from Kaggle"):
        kaggle_download.bring([place], Folders(root))


@pytest.mark.parametrize(("content", "reason"), HOSTILE_ZIPS.values(), ids=HOSTILE_ZIPS)
@pytest.mark.parametrize("nested", [False, True], ids=["itself", "in a zip"])
def test_a_hostile_zip_is_refused_before_anything_is_written(
    tmp_path: Path, root: Path, content: bytes, reason: str, nested: bool
):
    files = {"images_training_rev1.zip": content, "images_test_rev1.zip": ZIPS["images_test_rev1.zip"]}
    if nested:
        files = {"galaxy-zoo.zip": zip_of(files)}
    place = put(tmp_path / "downloads", files)
    before = files_of(tmp_path)
    with pytest.raises(DataError, match=rf"images_training_rev1\.zip.*{reason}"):
        kaggle_download.bring([place], Folders(root))
    assert files_of(tmp_path) == before


def test_zips_in_zips_in_zips_are_refused(tmp_path: Path, root: Path):
    content = ZIPS["images_test_rev1.zip"]
    for _ in range(3):
        content = zip_of({"images_test_rev1.zip": content})
    place = put(tmp_path / "downloads", {"images_test_rev1.zip": content})
    with pytest.raises(DataError, match="is refused: it is a zip in a zip and contains zips"):
        kaggle_download.bring([place], Folders(root))
    assert raw_of(root) == {}


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"images_training_rev1.zip": zip_of({"7.jpg": b"a", "7.jpeg": b"a"})}, "expected one file per id, got 7.jpg"),
        ({"images_training_rev1.zip": zip_of({"7.jpg": bytes(2**20 + 1)})}, "at most 1048576 bytes, 7.jpg has 1048577"),
        ({"images_train_rev1/7.jpg": b"another", **ZIPS}, "both contain 7.jpg, of 7 and 350 bytes"),
        ({"images_train_rev1/7.jpg": b"a", "images_train_rev1/7.JPG": b"a"}, "one file per id, got 7.JPG and 7.jpg"),
    ],
)
def test_different_files_of_one_id_are_refused(tmp_path: Path, root: Path, files: dict[str, bytes], reason: str):
    with pytest.raises(DataError, match=reason):
        kaggle_download.bring([put(tmp_path / "downloads", files)], Folders(root))
    assert raw_of(root) == {}


@pytest.mark.parametrize("name", ["images_test_rev1/3.jpg", "training_solutions_rev1.csv"])
def test_existing_files_are_never_overwritten(tmp_path: Path, root: Path, name: str):
    place = put(tmp_path / "downloads", ZIPS)
    put(root / "data" / "raw", {name: b"of another survey"})
    with pytest.raises(DataError, match=rf"{name} already exists, and differs from the one of .*; move it away"):
        kaggle_download.bring([place], Folders(root))
    assert raw_of(root) == {name: b"of another survey"}


def test_empty_files_of_a_power_cut_are_written_again(tmp_path: Path, root: Path):
    place = put(tmp_path / "downloads", ZIPS)
    put(root / "data" / "raw", dict.fromkeys(EXPECTED, b""))
    assert kaggle_download.bring([place], Folders(root)) == len(EXPECTED)
    assert raw_of(root) == EXPECTED


@pytest.mark.parametrize("files", [ZIPS, NESTED], ids=["zips", "zips in a zip"])
def test_a_full_disk_is_an_error_before_the_first_write(tmp_path: Path, root: Path, monkeypatch, files):
    place = put(tmp_path / "downloads", files)
    usage = type(shutil.disk_usage("/"))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(9, 9, 900))
    with pytest.raises(DataError, match=r"expected 0\.0 MB free in .*, got 0\.0 MB; make room, or name another"):
        kaggle_download.bring([place], Folders(root))
    assert raw_of(root) == {}


@pytest.mark.parametrize("files", [ZIPS, NESTED], ids=["zips", "zips in a zip"])
def test_killed_and_run_again_it_ends_with_the_same_files(tmp_path: Path, root: Path, files: dict[str, bytes]):
    place = put(tmp_path / "downloads", files)
    counts = []
    for count in (2, 4, 3):
        killed = is_killed_at_file(count, lambda: kaggle_download.bring([place], Folders(root)))
        there = {name: content for name, content in raw_of(root).items() if not name.rpartition("/")[2].startswith(".")}
        assert there.items() <= EXPECTED.items()
        counts.append(len(there))
        if not killed:
            break
    assert counts == sorted(counts)
    kaggle_download.bring([place], Folders(root))
    assert raw_of(root) == EXPECTED


def test_a_link_to_nothing_and_a_pipe_are_not_replaced(tmp_path: Path):
    file = SourceFile("download", "7.jpg", 6, Path.touch, 6)
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (("link", "a link to nothing"), ("pipe", "a folder, pipe or device")):
        with pytest.raises(DataError, match=reason):
            kaggle_download._is_missing(tmp_path / name, file)
    assert kaggle_download._is_missing(tmp_path / "new", file)
