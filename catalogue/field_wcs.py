"""Sky positions of a field's pixels, from the world coordinates (WCS) of its header.

Distortions such as SIP are applied. Positions of any frame (FK5, galactic, ...) are converted to ICRS.

Source: Greisen & Calabretta 2002, Calabretta & Greisen 2002 (WCS); Shupe et al. 2005 (SIP); astropy.wcs.
"""

import warnings
from pathlib import Path

import numpy as np

from galaxy.fits_images import opened
from galaxy.image_formats import Unreadable
from machine.files import first_line


def sky_positions(path: Path, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return right ascensions and declinations (n,), degrees, ICRS, of pixels (n,), counted from 0, of a FITS file.

    NaN if the header has no world coordinates; raises Unreadable if they are broken.
    """
    unknown = np.full(len(x), np.nan)
    with opened(path) as hdu:
        header = hdu.header.copy()
    if not any(name in header for name in ("CTYPE1", "CRVAL1", "CD1_1", "PC1_1")):
        return unknown, unknown
    from astropy.wcs import WCS
    from astropy.wcs.utils import pixel_to_skycoord

    try:
        with warnings.catch_warnings():
            # Many real headers violate the standard; astropy repairs them and warns about each repair.
            warnings.simplefilter("ignore")
            wcs = WCS(header)
            if not wcs.has_celestial:
                raise ValueError("no celestial axes")
            positions = pixel_to_skycoord(x, y, wcs.celestial, origin=0, mode="all").icrs
    except Exception as error:  # astropy and wcslib raise many types
        raise Unreadable(f"has no usable sky coordinates ({_reason(error)}); its positions are pixels") from None
    ra, dec = np.asarray(positions.ra.deg, np.float64), np.asarray(positions.dec.deg, np.float64)
    if len(x) and not (np.isfinite(ra) & np.isfinite(dec)).any():
        raise Unreadable("has no usable sky coordinates (no object is on the sky); its positions are pixels")
    return ra, dec


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return first_line(ValueError(lines[-1])) if lines else type(error).__name__
