"""Strips and tiles in every compression: the samples that were written, or a refusal of damaged ones."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from galaxy.image_formats import Unreadable
from galaxy.tiff_segments import read_samples

RNG = np.random.default_rng(0)
COLOUR = np.clip(RNG.normal(60, 9, (50, 61, 3)), 0, 255).astype(np.uint8)
SHORT = COLOUR[..., 0].astype(np.uint16) * 201


def samples_of(content: bytes) -> np.ndarray:
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        return read_samples(file.pages[0])


def by_pillow(pixels: np.ndarray, compression: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "TIFF", compression=compression, **options)
    return buffer.getvalue()


def by_tifffile(pixels: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, photometric="rgb" if 3 in (pixels.shape[0], pixels.shape[-1]) else None, **options)
    return buffer.getvalue()


def made(tags: dict[int, int], data: bytes) -> bytes:
    """Return a TIFF of one strip with these tags."""
    tags = dict(sorted({**tags, 273: 8 + 2 + 12 * (len(tags) + 2) + 4, 279: len(data)}.items()))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


PACKED = {
    "none": (by_tifffile(COLOUR), COLOUR),
    "big-endian": (by_tifffile(SHORT, byteorder=">"), SHORT),
    "planes": (by_tifffile(np.moveaxis(COLOUR, 2, 0).astype(np.uint16) * 9, planarconfig="separate"), COLOUR * 9.0),
    "tiles": (by_tifffile(COLOUR, tile=(16, 32)), COLOUR),
    "tiled planes, deflate": (
        by_tifffile(np.moveaxis(COLOUR, 2, 0), planarconfig="separate", tile=(32, 16), compression="zlib"),
        COLOUR,
    ),
    "deflate": (by_tifffile(COLOUR, compression="zlib", rowsperstrip=7), COLOUR),
    "deflate with predictor": (by_tifffile(SHORT, compression="zlib", predictor=2, byteorder=">"), SHORT),
    "LZW": (by_pillow(COLOUR, "tiff_lzw"), COLOUR),
    "LZW with predictor": (cv2.imencode(".tif", COLOUR[..., ::-1].astype(np.uint16) * 99)[1].tobytes(), COLOUR * 99.0),
    "PackBits": (by_pillow(COLOUR, "packbits"), COLOUR),
    "Zstandard": (by_pillow(SHORT, "zstd"), SHORT),
}


@pytest.mark.parametrize("case", PACKED)
def test_samples_are_those_that_were_written(case: str):
    content, expected = PACKED[case]
    samples = samples_of(content)
    assert samples.dtype.isnative
    np.testing.assert_array_equal(samples, expected.reshape(samples.shape))


@pytest.mark.parametrize("photometric", ["rgb", "ycbcr"])
def test_jpeg_strips_have_the_colours_of_the_photometric_tag(photometric: str):
    smooth = cv2.GaussianBlur(COLOUR, (0, 0), 5)
    smooth[..., 2] //= 3
    jpeg = io.BytesIO()
    Image.fromarray(smooth).save(jpeg, "JPEG", quality=95, subsampling=0, keep_rgb=photometric == "rgb")
    tags = {256: 61, 257: 50, 258: 8, 259: 7, 262: {"rgb": 2, "ycbcr": 6}[photometric], 277: 3, 278: 50}
    content = made(tags, jpeg.getvalue())
    assert np.abs(samples_of(content).astype(int) - smooth).max() <= 6


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 14])
def test_samples_of_any_number_of_bits_are_integers(bits: int):
    values = RNG.integers(0, 2**bits, (30, 33))
    binary = ((values[..., None] >> np.arange(bits)[::-1]) & 1).astype(np.uint8).reshape(30, -1)
    content = made(
        {256: 33, 257: 30, 258: bits, 259: 1, 262: 1, 277: 1, 278: 30}, np.packbits(binary, axis=1).tobytes()
    )
    np.testing.assert_array_equal(samples_of(content)[..., 0], values)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_predictor_of_floating_point_is_undone(dtype: type):
    values = RNG.normal(0, 1e3, (6, 9)).astype(dtype)
    size = values.itemsize
    ordered = values.astype(values.dtype.newbyteorder(">")).view(np.uint8).reshape(6, 9, size).swapaxes(1, 2)
    flat = ordered.reshape(6, -1)
    coded = np.diff(flat, axis=1, prepend=np.uint8(0)).astype(np.uint8).tobytes()
    tags = {256: 9, 257: 6, 258: 8 * size, 259: 8, 262: 1, 277: 1, 278: 6, 317: 3, 339: 3}
    np.testing.assert_array_equal(samples_of(made(tags, zlib.compress(coded)))[..., 0], values)


def strip_of(content: bytes) -> tuple[int, int]:
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages[0]
        return page.dataoffsets[-1], page.databytecounts[-1]


@pytest.mark.parametrize("case", ["deflate", "LZW", "LZW with predictor", "PackBits", "Zstandard"])
def test_a_strip_that_ends_in_zeros_is_refused(case: str):
    content = PACKED[case][0]
    offset, size = strip_of(content)
    damaged = content[: offset + size // 2] + bytes(size - size // 2) + content[offset + size :]
    with pytest.raises(Unreadable, match=r"cannot be decoded as a TIFF \((it is damaged|it ends early)"):
        samples_of(damaged)


@pytest.mark.parametrize("case", PACKED)
def test_a_file_that_ends_early_is_refused(case: str):
    content = PACKED[case][0]
    offset, size = strip_of(content)
    if offset + size == len(content):
        with pytest.raises(Unreadable, match=r"it ends early"):
            samples_of(content[: offset + size // 2])


def test_every_wrong_byte_of_deflate_is_refused():
    content = PACKED["deflate"][0]
    offset, size = strip_of(content)
    for position in range(offset, offset + size, 37):
        with pytest.raises(Unreadable, match="damaged"):
            samples_of(content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :])


def test_a_damaged_jpeg_strip_is_refused():
    content = by_pillow(COLOUR, "jpeg")
    offset, size = strip_of(content)
    with pytest.raises(Unreadable, match="damaged"):
        samples_of(content[: offset + size // 2] + bytes(size - size // 2) + content[offset + size :])


def test_a_strip_that_holds_more_than_it_should_is_refused():
    tags = {256: 40, 257: 40, 258: 8, 259: 8, 262: 1, 277: 1, 278: 40}
    with pytest.raises(Unreadable, match="wrong length"):
        samples_of(made(tags, zlib.compress(bytes(10_000_000))))


@pytest.mark.parametrize(
    ("tag", "value", "reason"), [(259, 4, "compressed with"), (266, 2, "reverse order"), (317, 9, "predictor 9")]
)
def test_rare_layouts_are_refused_by_name(tag: int, value: int, reason: str):
    tags = {256: 40, 257: 40, 258: 8, 259: 1, 262: 1, 277: 1, 278: 40, tag: value}
    with pytest.raises(Unreadable, match=reason):
        samples_of(made(tags, bytes(1600)))
