"""Any image file as a picture: JPEG, PNG, TIFF, WebP, AVIF, FITS, read with suspicion.

The size in the header is compared with the limits before pixels are allocated. Large images are averaged down as early
as the format allows. A file that cannot be read raises Unreadable.
"""

import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path

from galaxy import jpeg, pictures
from galaxy.image_formats import Unreadable, format_of, read_content
from galaxy.image_headers import jpeg_frame, png_header
from galaxy.image_names import parse
from galaxy.pictures import Lock, Picture, Request, check_decoded_bytes, picture_of_bands, picture_of_pixels
from machine.files import first_line
from machine.shared_folders import is_of_system

# Bytes of a file that is read as a whole.
MAX_FILE_BYTES = 2**30


def read(
    path: Path,
    stretch: str | None = None,
    lock: Lock = contextlib.nullcontext,
    choose_reduction: Callable[[int, int], int] = pictures.choose_reduction,
) -> Picture:
    """Read an image; large ones inside the block `lock()`; raises Unreadable.

    `stretch` maps linear light to 0..1; None: asinh for FITS and floating point, no stretch for integers of other
    formats, whose range becomes 0..1. `choose_reduction(rows, columns)` returns the side of the squares of pixels that
    are averaged to one; it may raise Unreadable. The name may choose an HDU and bands (`galaxy.image_names`).
    """
    name = parse(path)
    format_name, size = format_of(name.path)
    if format_name != "FITS" and (name.path != path or name.bands):
        raise Unreadable(f"is a {format_name} image: expected FITS, where a name in brackets chooses an HDU or bands")
    try:
        return _READERS[format_name](path, size, Request(stretch, lock, choose_reduction))
    except Unreadable:
        raise
    except Exception as error:  # a damaged file can raise anything
        if is_of_system(error):
            raise
        raise Unreadable(f"cannot be read ({first_line(error)})") from None


def _read_jpeg(path: Path, _: int, request: Request) -> Picture:
    data = read_content(path, MAX_FILE_BYTES)
    rows, columns, components, progressive = jpeg_frame(data)
    reduction = request.choose_reduction(rows, columns)
    if components not in (1, 3):
        raise Unreadable("has the wrong colours: expected RGB or grey, got CMYK")
    num_pixels = rows * columns
    scans = data.count(jpeg.SCAN)
    if scans > max(20, min(jpeg.MAX_SCANS, jpeg.MAX_SCANS * pictures.MAX_PIXELS // num_pixels)):
        raise Unreadable(f"is too laborious: it has {scans} scans")
    # All coefficients of a progressive image are in memory, two bytes each; of others only the pixels that are kept.
    coefficient_bytes = 2 * components * num_pixels if progressive else 0
    check_decoded_bytes(coefficient_bytes)
    with request.lock_for(coefficient_bytes if progressive else 12 * num_pixels // reduction**2):
        smallest = {"min_height": rows // reduction, "min_width": columns // reduction} if reduction > 1 else {}
        pixels = jpeg.decode(data, **smallest)
        return picture_of_pixels(pixels, "JPEG", (rows, columns), reduction, request.stretch)


def _read_png(path: Path, _: int, request: Request) -> Picture:
    from galaxy.opencv_images import read_encoded

    data = read_content(path, MAX_FILE_BYTES)
    rows, columns, bytes_per_pixel = png_header(data)
    request.choose_reduction(rows, columns)
    num_bytes = rows * columns * bytes_per_pixel
    check_decoded_bytes(num_bytes)
    return read_encoded(data, "PNG", (rows, columns), num_bytes, request)


def _read_webp_or_avif(path: Path, _: int, request: Request) -> Picture:
    from PIL import Image

    from galaxy.opencv_images import read_encoded

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of many pixels; `choose_reduction` decides
        with Image.open(path) as image:
            (columns, rows), format_name = image.size, image.format
            channels = len(image.getbands())
    format_name = "WebP" if format_name == "WEBP" else format_name
    request.choose_reduction(rows, columns)
    num_bytes = rows * columns * channels * (1 if format_name == "WebP" else 2)  # AVIF has up to 12 bits
    check_decoded_bytes(num_bytes)
    return read_encoded(read_content(path, MAX_FILE_BYTES), format_name, (rows, columns), num_bytes, request)


def _read_tiff(path: Path, _: int, request: Request) -> Picture:
    from galaxy.tiff_images import read_tiff

    return read_tiff(path, request)


def _read_fits(path: Path, size: int, request: Request) -> Picture:
    from galaxy.fits_images import read_bands
    from galaxy.packed_files import is_packed

    with request.lock() if is_packed(parse(path).path) else request.lock_for(size):
        bands, reduction, shape, note = read_bands(path, request.choose_reduction)
        return picture_of_bands(bands, request.stretch, shape, reduction, note=note)


_READERS: dict[str, Callable[[Path, int, Request], Picture]] = {
    "JPEG": _read_jpeg,
    "PNG": _read_png,
    "TIFF": _read_tiff,
    "WebP": _read_webp_or_avif,
    "AVIF": _read_webp_or_avif,
    "FITS": _read_fits,
}
