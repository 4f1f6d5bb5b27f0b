"""Images and cubes in FITS files: planes, regions, averages, and files that are refused."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from galaxy import fits_hdus, fits_images, fits_layout, packed_files
from galaxy.fits_images import opened, read_bands
from galaxy.image_formats import Unreadable


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def write(path: Path, data: np.ndarray | None, header: fits.Header | None = None) -> Path:
    fits.PrimaryHDU(data, header).writeto(path)
    return path


@pytest.mark.parametrize("shape", [(40, 50), (1, 40, 50), (1, 1, 40, 50), (3, 40, 50), (3, 1, 40, 50), (1, 3, 40, 50)])
def test_axes_of_length_one_do_not_count(shape: tuple[int, ...], tmp_path: Path):
    data = pixels(*shape)
    path = write(tmp_path / "a.fits", data)
    bands, reduction, size, note = read_bands(path, lambda *_: 1)
    np.testing.assert_array_equal(bands, data.reshape(-1, 40, 50))
    assert (reduction, size, bands.dtype, note) == (1, (40, 50), np.float32, "")
    with opened(path) as image:
        assert image.shape == (len(bands), 40, 50)
        np.testing.assert_array_equal(image.read(slice(3, 20), slice(10, 11)), bands[:, 3:20, 10:11])


@pytest.mark.parametrize("strip_bytes", [1, 4000, 2**25])
@pytest.mark.parametrize("reduction", [2, 3, 7])
def test_averages_are_those_of_the_finite_pixels_of_each_square(
    reduction: int, strip_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fits_images, "_STRIP_BYTES", strip_bytes)
    data = pixels(3, 45, 64)
    data[1, :9, :20] = np.nan
    data[2, 5, 5], data[0, 12, 30] = np.inf, np.nan
    bands, _, size, _ = read_bands(write(tmp_path / "a.fits", data), lambda rows, columns: reduction)
    assert bands.shape == (3, 45 // reduction, 64 // reduction) and size == (45, 64)
    for band in range(3):
        for row in range(bands.shape[1]):
            for column in range(bands.shape[2]):
                square = data[band, row * reduction :, column * reduction :][:reduction, :reduction]
                finite = square[np.isfinite(square)]
                expected = finite.mean() if len(finite) else np.nan
                np.testing.assert_allclose(bands[band, row, column], expected, rtol=1e-5, atol=1e-6)


def test_scaled_whole_numbers_have_their_physical_values(tmp_path: Path):
    data = np.arange(1200, dtype=np.uint16).reshape(30, 40) + 40_000  # stored as signed numbers with BZERO
    bands, _, _, _ = read_bands(write(tmp_path / "a.fits", data), lambda *_: 1)
    np.testing.assert_array_equal(bands[0], data)


def test_the_first_image_of_a_file_is_read_also_from_gzip_and_compressed_tiles(tmp_path: Path):
    data = np.rint(100 * pixels(40, 50)).astype(np.int16)
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1, 2])])
    image = fits.CompImageHDU(data, compression_type="RICE_1")
    fits.HDUList([fits.PrimaryHDU(), table, image, fits.ImageHDU(data + 1)]).writeto(tmp_path / "a.fits")
    (tmp_path / "a.fits.gz").write_bytes(gzip.compress((tmp_path / "a.fits").read_bytes()))
    for name in ("a.fits", "a.fits.gz"):
        np.testing.assert_array_equal(read_bands(tmp_path / name, lambda *_: 1)[0][0], data)


def truncated(path: Path) -> None:
    path.write_bytes(write(path, pixels(300, 300)).read_bytes()[:9000])


def endless_header(path: Path) -> None:
    path.write_bytes(b"SIMPLE  =                    T".ljust(2880) + b" " * 2880 * 401)


def many_hdus(path: Path) -> None:
    empty = [fits.ImageHDU() for _ in range(fits_hdus.MAX_HDUS + 1)]
    fits.HDUList([fits.PrimaryHDU(), *empty]).writeto(path)


BAD = {
    "is a cube of 4 planes: expected 1, or 3": lambda path: write(path, pixels(4, 30, 30)),
    "is a cube of 9 planes": lambda path: write(path, pixels(3, 3, 30, 30)),
    "has no image in it": lambda path: write(path, None),
    "has no image in it ": many_hdus,
    "it does not start with SIMPLE": lambda path: path.write_bytes(b"no FITS"),
    "its header does not end": endless_header,
    "it ends early": truncated,
    "cannot be unpacked": lambda path: path.write_bytes(gzip.compress(bytes(9000))[:20]),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_file_without_a_readable_image_is_refused_in_one_line(reason: str, tmp_path: Path):
    path = tmp_path / "a.fits"
    BAD[reason](path)
    with pytest.raises(Unreadable) as refused:
        read_bands(path, lambda *_: 1)
    assert reason.strip() in str(refused.value) and "\n" not in str(refused.value)


def test_a_gzip_file_that_unpacks_to_too_many_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(packed_files, "MAX_UNPACKED", 1000)
    (tmp_path / "a.fits.gz").write_bytes(gzip.compress(bytes(1001)))
    with pytest.raises(Unreadable, match="unpacks to more than 1000 bytes"):
        read_bands(tmp_path / "a.fits.gz", lambda *_: 1)


def test_compressed_tiles_of_too_many_pixels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fits_layout, "MAX_TILE_PIXELS", 999)
    image = fits.CompImageHDU(np.zeros((100, 100), np.int16), tile_shape=(10, 100))
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(tmp_path / "a.fits")
    with pytest.raises(Unreadable, match="is compressed in tiles"):
        read_bands(tmp_path / "a.fits", lambda *_: 1)


def test_the_callers_reason_for_refusal_is_kept(tmp_path: Path):
    def refuse(rows: int, columns: int) -> int:
        raise Unreadable(f"has {rows} rows")

    with pytest.raises(Unreadable, match=r"^has 40 rows$"):
        read_bands(write(tmp_path / "a.fits", pixels(40, 50)), refuse)
