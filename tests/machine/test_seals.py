"""A seal says who wrote a file, from what, and whether a byte changed since."""

import io
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from machine import seals


@pytest.mark.parametrize("position", [0, -1, 1_500_000])
def test_a_changed_byte_breaks_the_seal(position: int, tmp_path: Path):
    path, source = tmp_path / "a", seals.source_of("images", b"options")
    path.write_bytes(bytes(2_000_000) + f"<!-- {seals.blank(source)} -->\n".encode())
    assert seals.read(path) == seals.Seal(source, False)
    seals.press(path)
    assert seals.read(path) == seals.Seal(source, True)
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    assert seals.read(path) == seals.Seal(source, False)


def test_a_file_without_a_seal_has_none(tmp_path: Path):
    (tmp_path / "a").write_text("text")
    assert seals.read(tmp_path / "a") is None and seals.read(tmp_path / "none") is None and seals.read(tmp_path) is None
    with pytest.raises(ValueError, match="has no seal"):
        seals.press(tmp_path / "a")


def test_a_sealed_picture_is_read_without_complaint(tmp_path: Path):
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", seals.blank())
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    jpeg = io.BytesIO()
    Image.new("RGB", (8, 8)).save(jpeg, "JPEG")
    (tmp_path / "a.jpg").write_bytes(seals.in_jpeg(jpeg.getvalue()))
    for name in ("a.png", "a.jpg"):
        seals.press(tmp_path / name)
        assert seals.read(tmp_path / name) == seals.Seal(seals.NO_SOURCE)
        with Image.open(tmp_path / name) as image:
            image.load()
