"""A galaxy's JPEG, decoded with suspicion: whole, of the right size and in colour, or refused with the reason.

libjpeg fills what a damaged file lacks with grey and only warns; here a warning is a refusal. A header costs little
and promises anything, so that it is compared with what is expected before room is made for pixels.

A JPEG has no checksum: bytes that changed and still decode are pixels like any other.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import simplejpeg

from galaxy.affine import IMAGE_SHAPE

# The largest JPEG of this size, noise at quality 100, takes 740 kB.
MAX_BYTES = 2**20
# A progressive JPEG has about ten scans, and each takes time, whatever it holds.
MAX_SCANS = 100
_START, _SCAN = b"\xff\xd8\xff", b"\xff\xda"
# What else is found under the name of a JPEG.
_SIGNATURES = {
    b"\x89PNG": "a PNG image",
    b"GIF8": "a GIF image",
    b"BM": "a BMP image",
    b"RIFF": "a WebP image",
    b"II*\0": "a TIFF image",
    b"MM\0*": "a TIFF image",
    b"SIMPLE": "a FITS image",
    b"<": "a web page",
    b"\0\0\0\0": "zeros",
}


class Unreadable(ValueError):
    """A file that cannot be read; the message goes after the file's name."""


def decode_image(path: Path | str) -> np.ndarray:
    """Decode a JPEG file into (424, 424, 3) uint8: rows, columns, RGB.

    A grey JPEG gives three equal channels. Raises ValueError for anything else, with a reason that goes after the
    image's name.
    """
    data = _read(path)
    if not data.startswith(_START):
        kind = next((kind for start, kind in _SIGNATURES.items() if data.startswith(start)), "something else")
        raise ValueError(f"can not be decoded as a JPEG (it holds {kind if data else 'nothing'})")
    height, width, colours, _ = _decoder(simplejpeg.decode_jpeg_header, data)
    if (height, width) != IMAGE_SHAPE[:2]:
        raise ValueError(f"has the wrong size: expected 424x424 pixels, got {width}x{height}")
    if colours in ("CMYK", "YCCK"):
        raise ValueError(f"has the wrong colours: expected RGB, got {colours}")
    # To count single bytes is far quicker, and nearly always enough.
    if data.count(_SCAN[1]) > MAX_SCANS and (scans := data.count(_SCAN)) > MAX_SCANS:
        raise ValueError(f"is too laborious: expected at most {MAX_SCANS} scans, got {scans}")
    return _decoder(simplejpeg.decode_jpeg, data, colorspace="RGB", fastdct=False, fastupsample=False)


def _decoder(function: Callable, data: bytes, **options: object) -> tuple | np.ndarray:
    """Call the decoder, for which a warning of libjpeg is an error, too."""
    try:
        return function(data, strict=True, **options)
    except ValueError as error:
        raise ValueError(f"can not be decoded as a JPEG ({error})") from None
    except KeyError:  # simplejpeg has no name for every kind of subsampling that libjpeg reads
        raise ValueError("can not be decoded as a JPEG (unknown subsampling)") from None


def _read(path: Path | str) -> bytes:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for ever
            raise ValueError("is no file")
        if status.st_size > MAX_BYTES:
            raise ValueError(f"is too large: expected at most {MAX_BYTES} bytes, got {status.st_size}")
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except FileNotFoundError:
        raise ValueError("is missing") from None
    except OSError as error:
        raise ValueError(f"can not be read ({error.strerror})") from None
