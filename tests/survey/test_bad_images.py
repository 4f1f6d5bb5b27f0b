"""Bad images: each row of doc/bad_data.md that is about one, the scan that finds them, and the lists of ids."""

import io
import os
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import Survey, cases_of, draw_blob, refused, write_jpeg
from PIL import Image

import extract_pysex_params_gen2
import image_check
import jpeg
import load_data


def encoded(image: np.ndarray, kind: str, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    picture = Image.fromarray(image)
    (picture.convert(mode) if mode else picture).save(buffer, kind)
    return buffer.getvalue()


def with_header(data: bytes, offset: int, value: bytes) -> bytes:
    """Change the frame header of a JPEG: at 4 are the bits a sample, at 5 rows and columns, at 11 subsampling."""
    place = data.index(b"\xff\xc0") + offset
    return data[:place] + value + data[place + len(value) :]


def progressive(image: np.ndarray, num_scans: int) -> bytes:
    """Encode a progressive JPEG and repeat its last scan."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * num_scans + b"\xff\xd9"


def sparse(path: Path, num_bytes: int) -> None:
    with path.open("wb") as file:
        file.truncate(num_bytes)


BLOB = draw_blob(np.random.default_rng(7))
UNDECODABLE = "can not be decoded as a JPEG"
# What becomes of an image's file, and what is said of it.
IMAGES = {
    "missing image": [(Path.unlink, "is missing")],
    "truncated JPEG": [
        (lambda path, kept=kept: path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)]), UNDECODABLE)
        for kept in (0.0, 0.01, 0.5, 0.98)
    ]
    + [(lambda path: path.write_bytes(path.read_bytes()[:-1]), UNDECODABLE)]
    + [(lambda path: path.write_bytes(path.read_bytes()[:-900] + bytes(900)), UNDECODABLE)],
    "corrupt JPEG": [
        (lambda path: path.write_bytes(b"<html>404 Not Found</html>"), "it holds a web page"),
        (lambda path: path.write_bytes(bytes(5000)), "it holds zeros"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"\xff\xc4", b"\xff\xd9")), UNDECODABLE),
        (lambda path: path.write_bytes(with_header(path.read_bytes(), 11, b"\x14")), "unknown subsampling"),
        (lambda path: path.write_bytes(path.read_bytes()[:800] + b"\xff\xd9"), UNDECODABLE),
    ],
    "wrong size": [
        (lambda path: write_jpeg(path, BLOB[:, 1:]), "wrong size: expected 424x424 pixels, got 423x424"),
        (lambda path: write_jpeg(path, BLOB[:212]), "got 424x212"),
        (lambda path: write_jpeg(path, np.repeat(BLOB, 2, axis=0)), "got 424x848"),
    ],
    "header of 60,000 x 60,000 pixels": [
        (lambda path: path.write_bytes(with_header(path.read_bytes(), 5, b"\xea\x60\xea\x60")), "got 60000x60000")
    ],
    "CMYK JPEG": [
        (lambda path: path.write_bytes(encoded(BLOB, "JPEG", "CMYK")), "wrong colours: expected RGB, got CMYK")
    ],
    "16 or 12 bits a sample": [
        (lambda path: path.write_bytes(encoded(BLOB[:, :, 0].astype(np.uint16), "PNG")), "it holds a PNG image"),
        (lambda path: path.write_bytes(with_header(path.read_bytes(), 4, b"\x0c")), r"precision 12"),
    ],
    "PNG named .jpg": [(lambda path: path.write_bytes(encoded(BLOB, "PNG")), "it holds a PNG image")],
    "too large a file, or too many scans": [
        (lambda path: sparse(path, jpeg.MAX_BYTES + 1), "too large: expected at most 1048576 bytes, got 1048577"),
        (lambda path: path.write_bytes(progressive(BLOB, 200)), "expected at most 100 scans, got 210"),
    ],
    "folder or pipe named .jpg": [
        (lambda path: (path.unlink(), path.mkdir()), "is no file"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "is no file"),
    ],
}


@pytest.mark.parametrize(("spoil", "complaint"), cases_of(IMAGES))
def test_bad_image(prepared_survey: Survey, run_main, spoil, complaint: str):
    img_id = prepared_survey.train_ids[0]
    path = prepared_survey.raw / "images_train_rev1" / f"{img_id}.jpg"
    spoil(path)
    line = refused(run_main, prepared_survey.root, extract_pysex_params_gen2, "--num-workers", 1)
    assert line.startswith(f"error: image {path} ") and line.endswith("; download it again")
    assert re.search(complaint, line)
    load_data.use_folders(prepared_survey.root)
    (bad,) = image_check.scan_images("train", prepared_survey.train_ids[:2]).items()
    assert bad[0] == 0 and bad[1] in line


def test_greyscale_jpeg(survey: Survey):
    (survey.raw / "images_test_rev1" / "5.jpg").write_bytes(encoded(BLOB, "JPEG", "L"))
    image = load_data.load_image(5, "test")
    assert image.shape == (424, 424, 3)
    np.testing.assert_array_equal(image[:, :, 0], image[:, :, 2])


@pytest.mark.parametrize("num_workers", [1, 2])
def test_scan_finds_all_bad_images(prepared_survey: Survey, monkeypatch: pytest.MonkeyPatch, num_workers: int):
    monkeypatch.setattr(image_check, "FEW_IMAGES", 0)
    folder = prepared_survey.raw / "images_train_rev1"
    ids = prepared_survey.train_ids
    assert image_check.scan_images("train", ids, num_workers=num_workers) == {}
    (folder / f"{ids[3]}.jpg").unlink()
    (folder / f"{ids[29]}.jpg").write_bytes(b"")
    write_jpeg(folder / f"{ids[12]}.jpg", BLOB[:10])
    bad = image_check.scan_images("train", ids, num_workers=num_workers)
    assert list(bad) == [3, 12, 29]
    assert bad[3] == "is missing"
    assert "got 424x10" in bad[12] and "it holds nothing" in bad[29]


def test_scan_of_the_copies(prepared_survey: Survey, tmp_path: Path):
    load_data.adopt(load_data.Folders(root=prepared_survey.root, ram=tmp_path / "ram"))
    write_jpeg(tmp_path / "ram" / "images_test_rev1" / "31.jpg", BLOB)
    assert image_check.scan_images("test", [31, 7], from_ram=True) == {1: "is missing"}
    assert image_check.scan_images("test", [31, 7]) == {}


def test_fail_names_ten_bad_images_and_counts_the_rest(prepared_survey: Survey):
    folder, ids = prepared_survey.raw / "images_train_rev1", prepared_survey.train_ids
    for img_id in ids[4:16]:
        (folder / f"{img_id}.jpg").write_bytes(b"GIF89a")
    with pytest.raises(load_data.DataError) as raised:
        image_check.check_images("train")
    line = str(raised.value)
    assert line.startswith(f"{folder}: 12 of 30 train images are bad: {ids[4]}.jpg can not be decoded")
    assert re.findall(r"[0-9]+(?=\.jpg)", line) == [str(img_id) for img_id in ids[4:14]]
    assert line.count("it holds a GIF image") == 10
    assert line.endswith("and 2 more; download them again, or run with --on-bad-image skip")
    assert "\n" not in line


def test_skip_says_what_is_left_out(prepared_survey: Survey, capsys):
    assert image_check.check_images("test", "skip") == {}
    assert capsys.readouterr().out == ""
    (prepared_survey.raw / "images_test_rev1" / "100.jpg").unlink()
    assert image_check.check_images("test", "skip") == {2: "is missing"}
    out = capsys.readouterr().out
    assert out.startswith("left out: ") and "1 of 8 test images are bad: 100.jpg is missing" in out


def test_nothing_left_is_an_error_all_the_same(prepared_survey: Survey):
    for img_id in prepared_survey.test_ids:
        (prepared_survey.raw / "images_test_rev1" / f"{img_id}.jpg").unlink()
    with pytest.raises(load_data.DataError, match="8 of 8 test images are bad"):
        image_check.check_images("test", "skip")
    (prepared_survey.raw / "images_test_rev1").rmdir()
    with pytest.raises(load_data.DataError, match=r"images_test_rev1 is missing; download it"):
        image_check.check_images("test", "skip")
    with pytest.raises(load_data.DataError, match=r"images_test_rev1 is missing; run copy_data_to_shm\.py"):
        image_check.check_images("test", "skip", from_ram=True)


def test_another_word_than_fail_and_skip():
    with pytest.raises(ValueError, match="'ignore'"):
        image_check.check_images("test", "ignore")
