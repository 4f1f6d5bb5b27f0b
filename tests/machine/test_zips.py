"""Zips are checked as a whole before a file is unpacked, and a damaged file leaves nothing behind."""

import io
import zipfile
from pathlib import Path

import pytest
from crafted import HOSTILE_ZIPS, zip_of
from tiny import files_of

from machine import zips
from machine.files import DataError

GOOD = {"a/": b"", "a/1.jpg": b"one" * 500, "a/2.jpg": b"", "b.csv": b"x,y\n" * 999}


def write(folder: Path, content: bytes) -> Path:
    path = folder / "x.zip"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_files_are_unpacked_under_the_chosen_names(tmp_path: Path, method: int):
    with zips.opened(write(tmp_path, zip_of(GOOD, method))) as archive:
        for number, member in enumerate(archive.files):
            archive.unpack(member, tmp_path / "out" / str(number))
        assert [member.filename for member in archive.files] == ["a/1.jpg", "a/2.jpg", "b.csv"]
    assert files_of(tmp_path / "out") == {"0": GOOD["a/1.jpg"], "1": b"", "2": GOOD["b.csv"]}


@pytest.mark.parametrize(("content", "reason"), HOSTILE_ZIPS.values(), ids=HOSTILE_ZIPS)
def test_a_hostile_zip_is_refused_as_a_whole(tmp_path: Path, content: bytes, reason: str):
    path = write(tmp_path, content)
    with pytest.raises(DataError, match=rf"x\.zip.*{reason}.*; download it again") as raised, zips.opened(path):
        pytest.fail("it was opened")
    assert str(raised.value).isprintable() and len(str(raised.value)) < 500
    assert set(files_of(tmp_path)) == {"x.zip"}


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ("MAX_FILES", "expected at most 3 files, it holds 4"),
        ("MAX_BYTES", "expected at most 3 bytes when unpacked, it holds 5496"),
        ("MAX_CONTENTS_BYTES", "its table of contents takes [0-9]+ bytes"),
    ],
)
def test_the_contents_of_a_zip_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, reason: str):
    path = write(tmp_path, zip_of(GOOD))
    monkeypatch.setattr(zips, limit, 3)
    with pytest.raises(DataError, match=reason), zips.opened(path):
        pytest.fail("it was opened")


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path):
    for path, reason in ((tmp_path, "expected a regular file"), (tmp_path / "none.zip", "is missing")):
        with pytest.raises(DataError, match=reason), zips.opened(path):
            pytest.fail("it was opened")


def damaged() -> dict[str, bytes]:
    """Return zips with a valid table of contents and one damaged file."""
    content = zip_of({"1.jpg": bytes(range(256)) * 40}, zipfile.ZIP_STORED)
    deflated = zip_of({"1.jpg": bytes(range(256)) * 40}, zipfile.ZIP_DEFLATED)
    start = content.index(bytes(range(256)))
    return {
        "checksum": content[: start + 9] + b"?" + content[start + 10 :],
        "deflated data": deflated[:60] + bytes(20) + deflated[80:],
        "another name within": content.replace(b"1.jpg", b"../7x", 1),
        "no header": b"XXXX" + content[4:],
    }


@pytest.mark.parametrize("content", damaged().values(), ids=damaged())
def test_a_damaged_file_leaves_nothing_behind(tmp_path: Path, content: bytes):
    with zips.opened(write(tmp_path, content)) as archive:
        [member] = archive.files
        with pytest.raises(DataError, match=r"x\.zip: '1\.jpg' cannot be unpacked \(.*\); download it again"):
            archive.unpack(member, tmp_path / "out" / "1.jpg")
    assert set(files_of(tmp_path)) == {"x.zip"}


def test_no_more_bytes_are_unpacked_than_the_table_of_contents_says(tmp_path: Path):
    content = zip_of({"1.jpg": b"a" * 5000}, zipfile.ZIP_DEFLATED)
    place = content.rindex((5000).to_bytes(4, "little"))
    path = write(tmp_path, content[:place] + (9).to_bytes(4, "little") + content[place + 4 :])
    with zips.opened(path) as archive, pytest.raises(DataError, match="Bad CRC-32"):
        archive.unpack(archive.files[0], tmp_path / "1.jpg")
    assert set(files_of(tmp_path)) == {"x.zip"}


def test_a_large_text_with_the_ratio_of_text_is_unpacked(tmp_path: Path):
    text = "".join(f"{number}," for number in range(400_000)).encode()
    with zips.opened(write(tmp_path, zip_of({"1.csv": text}, zipfile.ZIP_DEFLATED))) as archive:
        archive.unpack(archive.files[0], tmp_path / "1.csv")
    assert (tmp_path / "1.csv").read_bytes() == text


def test_names_in_messages_are_short_and_printable(tmp_path: Path):
    path = write(tmp_path, zip_of({"../" + "\x1b[31m\n" * 90: b""}))
    with pytest.raises(DataError) as raised, zips.opened(path):
        pytest.fail("it was opened")
    line = str(raised.value)
    assert line.isprintable() and len(line) < 600


def test_a_zip_at_the_end_of_another_file_is_read(tmp_path: Path):
    # As in a program that unpacks itself: positions count from where the zip begins.
    with zips.opened(write(tmp_path, b"#!/bin/sh\n" + zip_of(GOOD))) as archive:
        archive.unpack(archive.files[0], tmp_path / "1")
    assert (tmp_path / "1").read_bytes() == GOOD["a/1.jpg"]


def test_zipfile_reads_the_zips_of_these_tests():
    assert zipfile.ZipFile(io.BytesIO(zip_of(GOOD))).testzip() is None
