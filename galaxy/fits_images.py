"""Images and cubes in FITS files, read in strips of rows: a large image is downsampled strip by strip.

Rows are in the order of the file: the lowest row of the sky first. Pixels that a mask or weight of the same file flags
as having no data are NaN.

Sources: Pence et al. 2010 (FITS 3.0); astropy.io.fits; Waters et al. 2020, 3.8 (asinh of Pan-STARRS's images).
"""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from astropy.io import fits

from galaxy import fits_checksums
from galaxy.fits_hdus import choices_of, header_of, label
from galaxy.fits_layout import Layout, layout_of, missing
from galaxy.image_formats import Unreadable
from galaxy.image_names import ImageName, chosen, parse
from galaxy.packed_files import is_packed, unpack
from machine.files import first_line
from machine.shared_folders import is_of_system

# Bytes of a header block, and blocks of a header; real headers have a few.
_BLOCK, MAX_HEADER_BLOCKS = 2880, 400
# Bytes of a strip over all planes.
_STRIP_BYTES = 2**25
# Layouts of files that were opened, by name, size and time.
_layouts: dict[tuple[str, int, int], Layout] = {}


@dataclass(frozen=True, eq=False)
class FitsImage:
    """An open image of one band or three: its files (one, or one per band), and the layout of each."""

    files: tuple[fits.HDUList, ...]
    layouts: tuple[Layout, ...]

    @property
    def hdus(self) -> fits.HDUList:
        """The file, the first of three."""
        return self.files[0]

    @cached_property
    def header(self) -> fits.Header:
        """The header of the first plane, with what it inherits from the primary one."""
        return header_of(self.hdus, self.layouts[0].planes[0].hdu)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Planes (1 or 3), rows and columns."""
        first = self.layouts[0]
        return sum(len(layout.planes) for layout in self.layouts), first.rows, first.columns

    @property
    def note(self) -> str:
        """What of the file was not read."""
        return self.layouts[0].note

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Read a region of all planes: (planes, rows, columns), linear, NaN where there is no data.

        Double precision stays double; everything else becomes single.
        """
        bands = []
        for hdus, layout in zip(self.files, self.layouts, strict=True):
            without = missing(hdus, layout, rows, columns)
            for plane in layout.planes:
                band = np.asarray(hdus[plane.hdu].section[plane.region(rows, columns)])
                band = _linear(band, hdus[plane.hdu].header)
                if without is not None:
                    band[without] = np.nan
                bands.append(band)
        return np.stack(bands)


def _linear(band: np.ndarray, header: fits.Header) -> np.ndarray:
    """Return linear light; Pan-STARRS stores 2.5 lg(e) asinh((light - BOFFSET) / (2 BSOFTEN))."""
    softening = header.get("BSOFTEN")
    if isinstance(softening, (int, float)) and softening > 0:
        offset = header.get("BOFFSET", 0)
        band = (offset + 2 * softening * np.sinh(band.astype(np.float64) * (np.log(10) / 2.5))).astype(np.float32)
    # Light in physical units can leave the range of single precision.
    return band.astype(np.float64 if header["BITPIX"] == -64 else np.float32)


def read_bands(path: Path, choose_reduction: Callable[[int, int], int]) -> tuple[np.ndarray, int, tuple[int, int], str]:
    """Read an image: bands (1 or 3, rows, columns), red first, reduction, (rows, columns) in the file, a note.

    `choose_reduction(rows, columns)` returns the side of the squares of pixels that are averaged; it may raise
    Unreadable. Raises Unreadable for a file without a readable image; the reason follows the file's name in a message.
    """
    with opened(path, verify=True) as image:
        _, rows, columns = image.shape
        reduction = choose_reduction(rows, columns)
        return _averaged(image, reduction), reduction, (rows, columns), image.note


def images_in(path: Path) -> list[str]:
    """Return the names of all images of a FITS file, such as `a.fits[SCI,2]`; the name itself where there is one."""
    name = parse(path)
    if name.hdu or len(name.paths) > 1:
        return [str(path)]
    with _hdus_of(name.path) as hdus:
        choices = choices_of(hdus)
        if len(choices) == 1:
            return [str(path)]
        return [chosen(name.path, label(hdus, choice.light[0]), name.bands) for choice in choices]


@contextlib.contextmanager
def opened(path: Path, verify: bool = False) -> Iterator[FitsImage]:
    """Open the image that a name says without reading its pixels; errors within the block become Unreadable.

    `verify` compares the checksums in its headers with the file.
    """
    name = parse(path)
    with _reasons(), contextlib.ExitStack() as stack:
        files = tuple(stack.enter_context(_hdus_of(each)) for each in name.paths)
        layouts = tuple(_layout(hdus, each, name) for hdus, each in zip(files, name.paths, strict=True))
        shapes = {(len(layout.planes), layout.rows, layout.columns) for layout in layouts}
        if len(layouts) > 1 and (len(shapes) > 1 or len(layouts[0].planes) > 1):
            raise Unreadable("has bands of different shapes: expected three files of one plane and one size")
        if verify:
            for hdus, layout in zip(files, layouts, strict=True):
                _verify(hdus, layout)
        yield FitsImage(files, layouts)


def _layout(hdus: fits.HDUList, path: Path, name: ImageName) -> Layout:
    status = path.stat()
    key = f"{path}[{name.hdu}][{name.bands}]", status.st_size, status.st_mtime_ns
    if key not in _layouts:
        bands = () if len(name.paths) > 1 else name.bands
        _layouts[key] = layout_of(hdus, ImageName((path,), name.hdu, bands))
        if len(_layouts) > 64:
            del _layouts[next(iter(_layouts))]
    return _layouts[key]


def _verify(hdus: fits.HDUList, layout: Layout) -> None:
    for index in dict.fromkeys(plane.hdu for plane in layout.planes):
        info = hdus[index].fileinfo()
        file = info["file"] if info else None
        if file is not None:
            fits_checksums.verify(file, hdus[index], label(hdus, index))


@contextlib.contextmanager
def _reasons() -> Iterator[None]:
    try:
        yield
    except Unreadable:
        raise
    except Exception as error:  # a damaged file can raise anything
        if is_of_system(error):
            raise
        raise Unreadable(f"cannot be decoded as FITS ({_words(error)})") from None


@contextlib.contextmanager
def _hdus_of(path: Path) -> Iterator[fits.HDUList]:
    with _reasons():
        source = unpack(path) if is_packed(path) else path
        _check_header(source)
        with warnings.catch_warnings():
            # Many real headers violate the standard; astropy warns about each violation.
            warnings.simplefilter("ignore")
            with fits.open(source, memmap=None if isinstance(source, Path) else False, lazy_load_hdus=True) as hdus:
                yield hdus


def _words(error: Exception) -> str:
    text = first_line(error)
    return "it ends early" if "buffer is too small" in text else text


def _check_header(source: Path | io.BytesIO) -> None:
    """Raise Unreadable if the first header does not end within MAX_HEADER_BLOCKS, before astropy parses it."""
    with source.open("rb") if isinstance(source, Path) else io.BytesIO(source.getbuffer()) as file:
        if file.read(6) != b"SIMPLE":
            raise Unreadable("cannot be decoded as FITS (it does not start with SIMPLE)")
        file.seek(0)
        for block in iter(lambda: file.read(_BLOCK), b""):
            if any(block[start : start + 8] == b"END     " for start in range(0, _BLOCK, 80)):
                return
            if file.tell() > MAX_HEADER_BLOCKS * _BLOCK:
                break
    raise Unreadable("cannot be decoded as FITS (its header does not end)")


def _averaged(image: FitsImage, reduction: int) -> np.ndarray:
    """Read all planes (planes, rows, columns), averaged over squares of pixels; NaN if none is finite."""
    planes, rows, columns = image.shape
    # Single or double precision, of all planes.
    strip = max(1, _STRIP_BYTES // (columns * 8 * planes) // reduction) * reduction
    dtype = image.read(slice(0, 1), slice(0, 1)).dtype
    out = np.empty((planes, rows // reduction, columns // reduction), dtype)
    for start in range(0, out.shape[1] * reduction, strip):
        stop = min(start + strip, out.shape[1] * reduction)
        bands = image.read(slice(start, stop), slice(0, columns))
        for band, averaged in zip(bands, out, strict=True):
            averaged[start // reduction : stop // reduction] = _block_means(band, reduction)
    return out


def _block_means(pixels: np.ndarray, reduction: int) -> np.ndarray:
    """Average the finite pixels of an array (rows, columns) over squares."""
    if reduction == 1:
        return pixels
    rows, columns = pixels.shape[0] // reduction, pixels.shape[1] // reduction
    blocks = pixels[: rows * reduction, : columns * reduction].reshape(rows, reduction, columns, reduction)
    finite = np.isfinite(blocks)
    totals = np.where(finite, blocks, 0).sum(axis=(1, 3))
    counts = finite.sum(axis=(1, 3))
    return np.where(counts > 0, totals / np.maximum(counts, 1), np.nan).astype(pixels.dtype)
