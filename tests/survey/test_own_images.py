"""Images of any size and format become JPEGs of 424x424 pixels, or are refused with a reason."""

import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from tiny import draw_blob, write_jpeg

from galaxy.image_files import read
from galaxy.jpeg import decode_image
from machine.files import DataError
from survey import own_images

BLOB = draw_blob(np.random.default_rng(3))


def write(path: Path, image: np.ndarray) -> Path:
    """Write an image, RGB or grey, as its name says."""
    colours = image if image.ndim == 2 else image[:, :, [2, 1, 0, 3][: image.shape[2]]]
    assert cv2.imwrite(str(path), colours)
    return path


KINDS = {
    "grey.png": (BLOB[:, :, 1], np.repeat(BLOB[:, :, 1:2], 3, axis=2)),
    "16 bits.png": (BLOB.astype(np.uint16) * 256 + 99, BLOB),
    "16 bits.tif": (BLOB.astype(np.uint16) * 256 + 99, BLOB),
    "grey of 16 bits.TIFF": (BLOB[:, :, 0].astype(np.uint16) * 256, np.repeat(BLOB[:, :, :1], 3, axis=2)),
    "colours.png": (BLOB, BLOB),
    "colours.tif": (BLOB, BLOB),
    "transparent.png": (np.dstack([BLOB, np.where(BLOB[:, :, 0] > 50, 255, 0).astype(np.uint8)]), None),
}


@pytest.mark.parametrize(("name", "image", "expected"), [(name, *each) for name, each in KINDS.items()], ids=KINDS)
def test_every_kind_of_image_is_decoded(tmp_path: Path, name: str, image: np.ndarray, expected: np.ndarray | None):
    if expected is None:
        expected = np.where(BLOB[:, :, :1] > 50, BLOB, 0)
    decoded = own_images.decode(write(tmp_path / name, image))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, expected)


def test_training_and_catalogue_see_the_same_pixels_of_a_transparent_image(tmp_path: Path):
    alpha = np.broadcast_to(np.linspace(0, 255, BLOB.shape[1]).astype(np.uint8), BLOB.shape[:2])
    seen = read(write(tmp_path / "a.png", np.dstack([BLOB, alpha]))).pixels
    np.testing.assert_array_equal(own_images.decode(tmp_path / "a.png"), seen)
    assert 0 < np.abs(seen.astype(float) - BLOB * (alpha[..., None] / 255)).max() < 1  # rounded down


@pytest.mark.parametrize("mode", ["P", "1", "LA", "L"])
def test_images_of_few_colours_are_decoded(tmp_path: Path, mode: str):
    Image.fromarray(BLOB).convert(mode).save(tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as image:
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(own_images.decode(tmp_path / "x.png"), expected)


def test_a_jpeg_of_the_right_size_is_taken_as_it_is(tmp_path: Path):
    write_jpeg(tmp_path / "x.jpg", BLOB)
    own_images.bring(tmp_path / "x.jpg", tmp_path / "7.jpg")
    assert (tmp_path / "7.jpg").read_bytes() == (tmp_path / "x.jpg").read_bytes()


@pytest.mark.parametrize("shape", [(424, 600), (30, 32), (901, 850), (424, 424), (1, 1)])
def test_the_middle_square_is_resized(tmp_path: Path, shape: tuple[int, int]):
    # Brightness falls from the middle, which stays where it is.
    rows, columns = (np.abs(np.arange(length) + 0.5 - length / 2) * 2 / min(shape) for length in shape)
    image = (250 - 170 * np.hypot(rows[:, None], columns).clip(0, 1.4)).astype(np.uint8)
    own_images.bring(write(tmp_path / "x.png", image), tmp_path / "7.jpg")
    result = decode_image(tmp_path / "7.jpg")[:, :, 1].astype(float)
    side = np.abs(np.arange(424) + 0.5 - 212) / 212
    expected = 250 - 170 * np.hypot(side[:, None], side).clip(0, 1.4)
    if min(shape) > 1:
        assert np.abs(result - expected).mean() < 2


def test_what_is_there_is_made_again_only_when_its_source_has_changed(tmp_path: Path):
    source, target = write(tmp_path / "x.png", BLOB[:, :300]), tmp_path / "7.jpg"
    own_images.bring(source, target)
    first = target.read_bytes()
    target.write_bytes(b"as it was")
    os.utime(target, ns=(source.stat().st_mtime_ns,) * 2)
    own_images.bring(source, target)
    assert target.read_bytes() == b"as it was"
    os.utime(source, ns=(1, 1))
    own_images.bring(source, target)
    assert target.read_bytes() == first


def tiff_of(columns: int, rows: int, samples: np.ndarray) -> bytes:
    """Return a TIFF that says another size than it has."""
    data = bytearray(cv2.imencode(".tif", samples)[1].tobytes())
    (start,) = struct.unpack_from("<I", data, 4)
    for place in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 12):
        (tag,) = struct.unpack_from("<H", data, place)
        if tag in (256, 257):
            struct.pack_into("<HHII", data, place, tag, 4, 1, columns if tag == 256 else rows)
    return bytes(data)


def png_of(columns: int, rows: int) -> bytes:
    data = bytearray(cv2.imencode(".png", BLOB)[1].tobytes())
    data[16:24] = struct.pack(">II", columns, rows)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


with io.BytesIO() as file:
    tifffile.imwrite(file, BLOB, photometric="rgb", compression="zlib")
    DEFLATE = file.getvalue()
FLOATS = cv2.imencode(".tif", BLOB.astype(np.float32))[1].tobytes()
PNG, JPEG = (cv2.imencode(kind, BLOB[:300])[1].tobytes() for kind in (".png", ".jpg"))
BAD = {
    "empty.png": (b"", "is empty"),
    "web page.jpg": (b"<html>", "expected JPEG, PNG, TIFF, WebP, AVIF or FITS, got a web page"),
    "cut off.png": (PNG[:-100], "it ends early"),
    "changed.png": (PNG[:900] + bytes(9) + PNG[909:], "a checksum is wrong"),
    "header.png": (PNG[:20], "cannot be decoded as a PNG"),
    "cut off.jpg": (JPEG[:-100], "Premature end of JPEG file"),
    "bomb.png": (png_of(60_000, 60_000), "expected at most 67108864 pixels, got 60000x60000"),
    "nothing.png": (png_of(0, 9), "expected at most 67108864 pixels, got 0x9"),
    "bomb.tif": (tiff_of(60_000, 60_000, BLOB), "expected at most 67108864 pixels, got 60000x60000"),
    "circle.tif": (b"II*\0" + struct.pack("<I", 4) * 9, "cannot be decoded as a TIFF"),
    "damaged.tif": (DEFLATE[: len(DEFLATE) // 2] + bytes(9) + DEFLATE[len(DEFLATE) // 2 + 9 :], "it is damaged"),
    "floats.tif": (FLOATS, "holds linear light in floating point: expected 8 or 16 bits"),
}


@pytest.mark.parametrize(("name", "content", "reason"), [(name, *each) for name, each in BAD.items()], ids=BAD)
def test_an_image_that_cannot_be_used_is_refused_with_a_reason(tmp_path: Path, name: str, content: bytes, reason: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=reason) as raised:
        own_images.bring(tmp_path / name, tmp_path / "out" / "7.jpg")
    assert str(raised.value).isprintable()
    assert not (tmp_path / "out").exists()


def test_images_are_found_below_a_folder(tmp_path: Path, capsys):
    inside = ["a.jpg", "sub/b.PNG", "sub/deep/J1.5+2.tif", "é ü.jpeg", "data/raw/images_train_rev1/9.jpg"]
    for name in [*inside, ".hidden.jpg", ".git/c.jpg", "notes.txt", "sub/x.fits"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "sub" / "circle").symlink_to(tmp_path)
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "nowhere.jpg").symlink_to(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe.jpg")
    found = own_images.find_images(tmp_path, tmp_path / "data")
    assert set(found) == {"a", "b", "J1.5+2", "é ü"}
    assert "left out 2 other files" in capsys.readouterr().out


def test_two_images_of_a_name_are_refused(tmp_path: Path):
    for name in ("a.jpg", "a.png"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=r"expected one image of each name, got '.*a\.jpg' and '.*a\.png'; rename one"):
        own_images.find_images(tmp_path, tmp_path / "data")


def test_a_folder_without_images_is_told(tmp_path: Path):
    with pytest.raises(DataError, match=r"expected images that end with \.jpg, .*, found none"):
        own_images.find_images(tmp_path, tmp_path / "data")
    with pytest.raises(DataError, match=r"expected a folder of images, but .* is missing"):
        own_images.find_images(tmp_path / "none", tmp_path / "data")


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_jpeg(tmp_path / "cutouts" / "a.jpg", draw_blob(np.random.default_rng(1)))
    (tmp_path / "cutouts" / "closed").mkdir()
    scandir = os.scandir

    def refuse(folder: str) -> object:
        if str(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"closed cannot be read \(Permission denied\); allow reading"):
        own_images.find_images(tmp_path / "cutouts", tmp_path / "data")
