"""JPEGs, decoded with suspicion: whole and in colour, or refused with a reason.

libjpeg fills the missing end of a damaged file with grey, and only warns. Here a warning is an error. A header costs
little and can promise any size, so it is compared with what is expected before pixels are allocated.

A JPEG has no checksum: changed bytes that still decode are not noticed.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import simplejpeg

from galaxy.image_formats import Unreadable, identify, read_content
from galaxy.image_geometry import IMAGE_SHAPE
from machine.files import first_line

# The largest JPEG of 424x424 pixels, noise at quality 100, takes 740 kB.
MAX_BYTES = 2**20
# A progressive JPEG has about ten scans. Each takes time, even an empty one.
MAX_SCANS = 100
SCAN = b"\xff\xda"


def decode_image(path: Path | str) -> np.ndarray:
    """Decode a JPEG file into (424, 424, 3) uint8: rows, columns, RGB.

    A grey JPEG gives three equal channels. Raises Unreadable, a ValueError, for anything else; the message is a reason,
    to be written after the file's name.
    """
    data = read_content(path, MAX_BYTES)
    format_name, description = identify(data[:16])
    if format_name != "JPEG":
        raise Unreadable(f"cannot be decoded as a JPEG (it holds {description})")
    height, width, colours, _ = _call(simplejpeg.decode_jpeg_header, data)
    if (height, width) != IMAGE_SHAPE[:2]:
        raise Unreadable(f"has the wrong size: expected 424x424 pixels, got {width}x{height}")
    if colours in ("CMYK", "YCCK"):
        raise Unreadable(f"has the wrong colours: expected RGB, got {colours}")
    # Counting single bytes is much faster, and almost always enough.
    if data.count(SCAN[1]) > MAX_SCANS and (scans := data.count(SCAN)) > MAX_SCANS:
        raise Unreadable(f"is too laborious: expected at most {MAX_SCANS} scans, got {scans}")
    return decode(data)


def decode(data: bytes, **smallest: int) -> np.ndarray:
    """Decode a JPEG of any size into (rows, columns, 3) uint8, RGB; raises Unreadable.

    With `min_height` and `min_width` libjpeg-turbo may decode at a fraction of the size, not below these.
    """
    return _call(simplejpeg.decode_jpeg, data, colorspace="RGB", fastdct=False, fastupsample=False, **smallest)


def _call(function: Callable, data: bytes, **options: object) -> tuple | np.ndarray:
    """Call simplejpeg in strict mode, in which a warning of libjpeg is an error."""
    try:
        return function(data, strict=True, **options)
    except ValueError as error:
        raise Unreadable(f"cannot be decoded as a JPEG ({first_line(error)})") from None
    except KeyError:  # libjpeg reads more kinds of subsampling than simplejpeg has names for
        raise Unreadable("cannot be decoded as a JPEG (unknown subsampling)") from None
