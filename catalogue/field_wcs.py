"""Sky positions of a field's pixels, from the world coordinates (WCS) of its file.

The whole file counts: distortions (SIP, TPV, lookup tables), coordinates in tables (-TAB), and keywords in the primary
header. Positions of any frame (FK5, galactic, ...) are converted to ICRS.

Source: Greisen & Calabretta 2002, Calabretta & Greisen 2002 (WCS); Shupe et al. 2005 (SIP); astropy.wcs.
"""

import contextlib
import logging
import numbers
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits

from galaxy.fits_images import opened
from galaxy.image_formats import Unreadable
from machine.files import first_line

if TYPE_CHECKING:
    from astropy.wcs import WCS

# Degrees per pixel of telescopes, from interferometers to all-sky cameras.
MIN_SCALE, MAX_SCALE = 0.001 / 3600, 1.0
# Projections of IRAF that wcslib does not know.
_OF_IRAF = ("TNX", "ZPX")
# Types of celestial axes (Calabretta & Greisen 2002, 2).
_CELESTIAL = re.compile(r"RA--|DEC-|.LON|.LAT|..LN|..LT")


def sky_positions(path: Path, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return right ascensions and declinations (n,), degrees, ICRS, of pixels (n,), counted from 0, of a FITS file.

    NaN if the file has no world coordinates; raises Unreadable if they are broken or make no sense.
    """
    with _world_of(path) as wcs:
        if wcs is None:
            return np.full(len(x), np.nan), np.full(len(x), np.nan)
        from astropy.wcs.utils import pixel_to_skycoord

        positions = pixel_to_skycoord(x, y, wcs, origin=0, mode="all").icrs
    ra, dec = np.asarray(positions.ra.deg, np.float64), np.asarray(positions.dec.deg, np.float64)
    if len(x) and not (np.isfinite(ra) & np.isfinite(dec)).any():
        raise Unreadable("has no usable sky coordinates (no object is on the sky); its positions are pixels")
    return ra, dec


def pixel_positions(path: Path, ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels x, y (n,), counted from 0, of right ascensions and declinations (n,), degrees, ICRS.

    NaN for positions that the projection does not hold. Raises Unreadable without usable world coordinates.
    """
    with _world_of(path) as wcs:
        if wcs is None:
            raise Unreadable("has no sky coordinates; give x and y")
        from astropy.coordinates import SkyCoord
        from astropy.wcs.utils import pixel_to_skycoord, skycoord_to_pixel

        known = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90)
        x, y = np.full((2, len(ra)), np.nan)
        positions = SkyCoord(ra[known], dec[known], unit="deg")
        try:
            x[known], y[known] = skycoord_to_pixel(positions, wcs, origin=0, mode="all")
        except Exception:  # the inverse of a distortion diverges far outside the image
            x[known], y[known] = skycoord_to_pixel(positions, wcs, origin=0, mode="wcs")
        # A projection also maps the opposite side of the sky; the way back tells.
        away = pixel_to_skycoord(x[known], y[known], wcs, origin=0, mode="all").separation(positions).deg
        wrong = np.flatnonzero(known)[~(away < 0.1)]
        x[wrong] = y[wrong] = np.nan
    return x, y


def north(path: Path, x: float, y: float) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Return the directions of north and east at a pixel, unit vectors (x, y), and degrees per pixel.

    None without usable world coordinates.
    """
    step = 10.0
    with contextlib.suppress(Unreadable):
        ra, dec = sky_positions(path, np.array([x, x + step, x]), np.array([y, y, y + step]))
        if not np.isfinite([ra, dec]).all():
            return None
        east_per_degree = np.cos(np.radians(dec[0]))
        # Rows: change of (east, north) in degrees per pixel along x and y.
        turns = (ra[1:] - ra[0] + 180) % 360 - 180
        change = np.array([turns * east_per_degree, dec[1:] - dec[0]]) / step
        scale = float(np.sqrt(abs(np.linalg.det(change))))
        if not scale > 0:
            return None
        to_pixels = np.linalg.inv(change)
        east, up = (to_pixels[:, index] / np.linalg.norm(to_pixels[:, index]) for index in (0, 1))
        return up, east, scale
    return None


@contextlib.contextmanager
def _world_of(path: Path) -> Iterator["WCS | None"]:
    """Open the celestial world coordinates of a file, None without any; errors within become Unreadable."""
    with opened(path) as image, warnings.catch_warnings(), _quiet():
        # Many real headers violate the standard; astropy repairs them and warns about each repair.
        warnings.simplefilter("ignore")
        header = image.header.copy()
        if not any(name in header for name in ("CTYPE1", "CRVAL1", "CD1_1", "PC1_1")):
            if "AMDX1" in header:
                raise Unreadable(
                    "has only the plate solution of the DSS (AMDX1), which is not standard; solve the image again"
                )
            yield None
            return
        try:
            yield _celestial(header, image.hdus)
        except Exception as error:  # astropy and wcslib raise many types
            raise Unreadable(f"has no usable sky coordinates ({_reason(error)}); its positions are pixels") from None


def _celestial(header: fits.Header, hdus: fits.HDUList) -> "WCS":
    """Return the checked WCS of the two celestial axes; raises ValueError."""
    from astropy.wcs import WCS, WCSSUB_CELESTIAL
    from astropy.wcs.utils import proj_plane_pixel_scales

    types = [str(header.get(f"CTYPE{axis}", "")) for axis in (1, 2, 3)]
    for name in _OF_IRAF:
        if any(name in ctype for ctype in types):
            raise ValueError(
                f"{name}, a projection of IRAF, is not in the standard; solve the image again, as TPV or SIP"
            )
    if not any(_CELESTIAL.match(ctype) for ctype in types):
        raise ValueError("no celestial axes")
    for axis in (1, 2):
        value = header.get(f"CRVAL{axis}", 0.0)
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise ValueError(f"expected a number as CRVAL{axis}, got {value!r}")
    has_scale = any(key.startswith(("CDELT", "CD1_", "CD2_")) for key in header)
    if not has_scale and not any("-TAB" in ctype for ctype in types):
        raise ValueError("expected a scale, CDELT or CD, got none")
    wcs = WCS(header, hdus, naxis=[WCSSUB_CELESTIAL])
    if not wcs.has_celestial:
        raise ValueError("no celestial axes")
    if not any("-TAB" in ctype for ctype in types):
        scales = proj_plane_pixel_scales(wcs)
        if not all(MIN_SCALE <= scale <= MAX_SCALE for scale in scales):
            got = " and ".join(f"{3600 * scale:.3g}" for scale in scales)
            raise ValueError(f"expected a scale from 0.001 to 3600 arcsec per pixel, got {got}")
    return wcs


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep astropy's paragraphs from the screen; a reason is one line."""
    logger = logging.getLogger("astropy")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return first_line(ValueError(lines[-1])) if lines else type(error).__name__
