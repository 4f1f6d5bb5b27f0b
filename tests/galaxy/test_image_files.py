"""Any image file becomes an array between 0 and 1, or is refused with a reason in one line."""

import gzip
import io
import struct
import zlib
from pathlib import Path

import crafted_images as crafted
import cv2
import numpy as np
import pytest
import tifffile
from astropy.io import fits
from PIL import Image
from tiny import draw_blob

from galaxy import opencv_images, pictures
from galaxy.image_files import read
from galaxy.image_formats import Unreadable


@pytest.fixture
def blob() -> np.ndarray:
    return draw_blob(np.random.default_rng(1))[60:360, 80:340]  # (300, 260, 3)


def save_tiff(path: Path, pixels: np.ndarray, **options: object) -> Path:
    colour = pixels.ndim == 3
    tifffile.imwrite(path, pixels, photometric="rgb" if colour else "minisblack", **options)
    return path


def save_fits(path: Path, pixels: np.ndarray, **header: object) -> Path:
    hdu = fits.PrimaryHDU(pixels)
    hdu.header.update(header)
    hdu.writeto(path)
    return path


def save_pillow(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_whole_numbers_come_as_they_are(blob: np.ndarray, tmp_path: Path):
    paths = [save_pillow(tmp_path / name, Image.fromarray(blob)) for name in ("a.png", "a.tif")]
    paths.append(save_tiff(tmp_path / "b.tif", blob, compression="zlib"))
    paths.append(save_pillow(tmp_path / "c.tif", Image.fromarray(blob), compression="tiff_lzw"))
    for path in paths:
        picture = read(path)
        np.testing.assert_array_equal(picture.pixels, blob)
        assert picture.pixels.dtype == np.uint8 and picture.size == (300, 260) and picture.reduction == 1


@pytest.mark.parametrize("suffix", [".webp", ".avif"])
def test_webp_and_avif_are_read_and_half_a_file_is_refused(blob: np.ndarray, suffix: str, tmp_path: Path):
    path = save_pillow(tmp_path / f"a{suffix}", Image.fromarray(blob), quality=95)
    picture = read(path)
    assert picture.size == (300, 260) and np.abs(picture.pixels.astype(int) - blob).mean() < 2
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(Unreadable):
        read(path)


def test_an_hdu_of_another_format_is_refused(blob: np.ndarray, tmp_path: Path):
    path = save_pillow(tmp_path / "a.png", Image.fromarray(blob))
    with pytest.raises(Unreadable, match="is a PNG image: expected FITS"):
        read(Path(f"{path}[1]"))


def test_a_jpeg_is_decoded_as_the_networks_training_images_are(blob: np.ndarray, tmp_path: Path):
    path = save_pillow(tmp_path / "a.jpg", Image.fromarray(blob), quality=95)
    picture = read(path)
    assert picture.format == "JPEG"
    assert np.abs(picture.pixels.astype(int) - blob).mean() < 2


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_a_finer_scale_of_the_same_range(blob: np.ndarray, tmp_path: Path, suffix: str):
    path = tmp_path / f"a{suffix}"
    assert cv2.imwrite(str(path), blob[..., ::-1].astype(np.uint16) * 257)
    np.testing.assert_allclose(read(path).pixels, blob / 255, atol=1e-6)


def test_grey_palette_and_transparent_images_are_colour_on_black(blob: np.ndarray, tmp_path: Path):
    grey = Image.fromarray(blob).convert("L")
    for name, image in {"grey.png": grey, "grey.jpg": grey, "grey.tif": grey}.items():
        pixels = read(save_pillow(tmp_path / name, image)).pixels
        assert (pixels == pixels[..., :1]).all()
        assert np.abs(pixels[..., 0].astype(int) - np.array(grey)).mean() < 2
    palette = Image.fromarray(blob).quantize(64)
    pixels = read(save_pillow(tmp_path / "palette.png", palette)).pixels
    np.testing.assert_array_equal(pixels, np.array(palette.convert("RGB")))
    alpha = np.full((300, 260, 1), 255, np.uint8)
    alpha[:, :100] = 0
    pixels = read(save_pillow(tmp_path / "alpha.png", Image.fromarray(np.concatenate([blob, alpha], axis=2)))).pixels
    assert not pixels[:, :100].any()
    np.testing.assert_array_equal(pixels[:, 100:], blob[:, 100:])
    one_bit = save_pillow(tmp_path / "bits.png", Image.fromarray(blob).convert("1"))
    assert set(np.unique(read(one_bit).pixels)) == {0, 255}


def test_fits_images_and_cubes_are_stretched_and_keep_their_colours(blob: np.ndarray, tmp_path: Path):
    rng = np.random.default_rng(2)
    light = np.moveaxis(blob.astype(np.float32), 2, 0) + rng.normal(0, 2, (3, 300, 260)) + 100
    path = save_fits(tmp_path / "cube.fits", light.astype(np.float32))
    for stretch in (None, "asinh", "log", "linear"):
        picture = read(path, stretch)
        assert picture.pixels.shape == (300, 260, 3) and picture.pixels.dtype == np.float32
        assert picture.pixels.min() >= 0 and 0.5 < picture.pixels.max() <= 1
        sky = np.median(picture.pixels[:20])
        assert sky < 0.1
    middle = read(path).pixels[140:160, 120:140].mean(axis=(0, 1))
    true = light[:, 140:160, 120:140].mean(axis=(1, 2)) - 104
    np.testing.assert_allclose(middle / middle.max(), true / true.max(), atol=0.08)
    grey = read(save_fits(tmp_path / "grey.fits", light[1])).pixels
    assert (grey == grey[..., :1]).all()


def test_a_stretch_does_not_depend_on_units_or_on_the_level_of_the_sky(blob: np.ndarray, tmp_path: Path):
    rng = np.random.default_rng(2)
    light = blob[..., 1].astype(np.float64) + rng.normal(0, 2, (300, 260))
    one = read(save_fits(tmp_path / "a.fits", light)).pixels
    other = read(save_fits(tmp_path / "b.fits", light * 1e-9 + 3e-7)).pixels
    np.testing.assert_allclose(one, other, atol=1e-3)


def test_scaled_blank_and_packed_fits_images_are_read(tmp_path: Path):
    counts = np.arange(60 * 70, dtype=np.int16).reshape(60, 70)
    hdu = fits.ImageHDU(counts)
    hdu.header["BLANK"], hdu.header["BSCALE"] = 5, 2.0
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "blank.fits")
    assert read(tmp_path / "blank.fits", "linear").size == (60, 70)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(counts)]).writeto(tmp_path / "packed.fits.fz")
    assert read(tmp_path / "packed.fits.fz", "linear").size == (60, 70)
    (tmp_path / "a.fits.gz").write_bytes(gzip.compress((tmp_path / "blank.fits").read_bytes()))
    np.testing.assert_array_equal(read(tmp_path / "a.fits.gz").pixels, read(tmp_path / "blank.fits").pixels)


def test_pixels_that_are_no_numbers_are_sky(blob: np.ndarray, tmp_path: Path):
    light = np.moveaxis(blob.astype(np.float32), 2, 0).copy()
    light[0] = np.nan
    light[1, :40] = np.inf
    pixels = read(save_fits(tmp_path / "a.fits", light)).pixels
    assert np.isfinite(pixels).all() and not pixels[..., 0].any() and not pixels[:40, :, 1].any()
    assert pixels[..., 2].max() > 0.5
    dark = read(save_fits(tmp_path / "zeros.fits", np.zeros((3, 50, 50), np.float32))).pixels
    assert not dark.any()
    with pytest.raises(Unreadable, match="no finite pixel"):
        read(save_fits(tmp_path / "nan.fits", np.full((50, 50), np.nan, np.float32)))


def test_large_images_are_averaged_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 10_000)
    rng = np.random.default_rng(3)
    pixels = cv2.resize(rng.integers(0, 255, (30, 40, 3), np.uint8), (400, 300), interpolation=cv2.INTER_CUBIC)
    expected = cv2.resize(pixels, (100, 75), interpolation=cv2.INTER_AREA).astype(float)
    for name in ("a.png", "a.tif", "a.jpg"):
        picture = read(save_pillow(tmp_path / name, Image.fromarray(pixels)))
        assert picture.reduction == 4 and picture.size == (300, 400)
        assert np.abs(picture.pixels - expected).mean() < 3
    monkeypatch.setattr(pictures, "LARGE_BYTES", 1000)
    np.testing.assert_allclose(read(tmp_path / "a.tif").pixels, expected, atol=1)
    save_tiff(tmp_path / "planes.tif", np.moveaxis(pixels, 2, 0), planarconfig="separate")
    np.testing.assert_allclose(read(tmp_path / "planes.tif").pixels, expected, atol=1)
    monkeypatch.setattr(opencv_images, "HUGE_BYTES", 1000)
    picture = read(tmp_path / "a.png")
    assert picture.pixels.shape == (75, 100, 3) and np.abs(picture.pixels - expected).mean() < 8
    bands = np.moveaxis(pixels, 2, 0).astype(np.float32)
    bands[0, :4, :4] = np.nan
    picture = read(save_fits(tmp_path / "a.fits", bands), "linear")
    assert picture.pixels.shape == (75, 100, 3) and picture.reduction == 4


def test_large_images_are_decoded_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blob: np.ndarray):
    taken = []

    class Lock:
        def __enter__(self) -> None:
            taken.append(True)

        def __exit__(self, *error: object) -> None:
            taken.append(False)

    path = save_pillow(tmp_path / "a.png", Image.fromarray(blob))
    read(path, lock=Lock)
    assert taken == []
    monkeypatch.setattr(pictures, "LARGE_BYTES", 1000)
    read(path, lock=Lock)
    assert taken == [True, False]


def test_saturated_pixels_are_marked(blob: np.ndarray, tmp_path: Path):
    blob[140:150, 120:130, 0] = 255
    saturated = read(save_pillow(tmp_path / "a.png", Image.fromarray(blob))).saturated
    assert saturated[140:150, 120:130].all()
    light = blob[..., 1].astype(np.float32)
    light[light > 100] = 100
    assert read(save_fits(tmp_path / "a.fits", light)).saturated.sum() == (light == 100).sum()
    assert not read(
        save_fits(tmp_path / "b.fits", blob[..., 2] + np.random.default_rng(0).random((300, 260)))
    ).saturated.any()


@pytest.mark.parametrize("case", crafted.BAD, ids=str)
def test_a_file_that_cannot_be_read_gives_a_reason_in_one_line(case: str, tmp_path: Path):
    path = crafted.write_bad(case, tmp_path)
    with pytest.raises(Unreadable) as refused:
        read(path)
    reason = str(refused.value)
    assert "\n" not in reason and crafted.BAD[case] in reason


def test_bombs_are_refused_by_their_headers(tmp_path: Path):
    huge = struct.pack(">IIBBBBB", 19_999, 19_999, 16, 2, 0, 0, 0)
    chunk = b"IHDR" + huge
    content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    content += struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(Unreadable, match="its pixels take 2,399"):
        read(tmp_path / "a.png")
    buffer = io.BytesIO()
    with gzip.open(buffer, "wb") as file:
        file.write(crafted.fits_header(NAXIS=2, NAXIS1=100, NAXIS2=100, BITPIX=8))
        for _ in range(600):
            file.write(bytes(2**20))
    (tmp_path / "a.fits.gz").write_bytes(buffer.getvalue())
    with pytest.raises(Unreadable, match="unpacks to more than"):
        read(tmp_path / "a.fits.gz")
