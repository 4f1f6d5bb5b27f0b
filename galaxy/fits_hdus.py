"""HDUs of a FITS file: which ones are light, which belong together, which mark pixels without data.

EXTNAME decides first: SCI before others, never an error, weight, mask, context or preview. Without names, size and
content decide. Several images of light are the bands of one colour image if their filters differ and their shapes are
equal; otherwise they are images of their own, such as the chips of a camera.

Sources: HST and JWST data handbooks (SCI, ERR, DQ, WHT, CTX, CON); data models of the Legacy Surveys, HSC, Euclid; DES
(SCI, MSK, WGT); MUSE (DATA, STAT, DQ); ESO, Science Data Products Standard (HDUCLAS2); LSST's afw (EXTTYPE).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy.io import fits

from galaxy.bands import filter_of, red_first
from galaxy.image_formats import Unreadable

Image = fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU
MAX_HDUS = 500
# Words of an EXTNAME, without digits at its end.
_SCIENCE = {"SCI", "SCIENCE", "CUTOUT"}
_MASKS = {"DQ", "MASK", "MSK", "OBJMASK", "FLAG", "FLAGS", "FLG", "BPM", "BADPIX", "QUAL", "QUALITY", "DQI"}
_WEIGHTS = {"WHT", "WGT", "WEIGHT", "WEIGHTS", "WT", "IVAR", "INVVAR", "INVVARIANCE"}
_OTHERS = {
    "ERR", "ERROR", "ERRORS", "SIGMA", "STD", "STDDEV", "UNC", "UNCERT", "UNCERTAINTY", "RMS", "NOISE", "VAR",
    "VARIANCE", "STAT", "CTX", "CON", "CONTEXT", "EXP", "EXPMAP", "EXPOSURE", "TIME", "NUM", "NEXP", "NIMAGES",
    "COVERAGE", "COV", "HITS", "SAMP", "AREA", "THUMB", "THUMBNAIL", "PREVIEW", "BKG", "BKGD", "BACKGROUND", "SKY",
    "PSF", "SEG", "SEGM", "SEGMAP", "SEGMENTATION", "CHI", "WAVELENGTH", "RESIDUAL",
}  # fmt: skip
# Lookup tables of distortions, which are stored as images.
_DISTORTIONS = {"WCSDVARR", "D2IMARR"}
# An image of less than this fraction of the largest one's pixels is a preview.
_PREVIEW_FRACTION = 1 / 16
# Bits of a data quality array that mean "no data": DO_NOT_USE of JWST, INVALID of Euclid; of HST also 2 (filled), 4
# (bad detector pixel), 8 (masked by the aperture).
_NO_DATA, _HST_NO_DATA = 1, 1 | 2 | 4 | 8
# Keywords of world coordinates: they are taken from one header as a whole.
_WCS = re.compile(
    r"(CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CROTA)\d|(CD|PC|PV|PS)\d+_\d+$|PC\d{6}$|[AB]P?_(\d+_\d+|ORDER|DMAX)$"
    r"|(WCSAXES|LONPOLE|LATPOLE|RADE(SYS|CSYS)|EQUINOX|WCSDIM|WAT\d_\d+|CPDIS\d|CPERR\d|D2IM.*|DP\d.*|DQ\d.*)$"
)
_STRUCTURE = re.compile(r"(SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|BSCALE|BZERO|BLANK|CHECKSUM|DATASUM)$")


@dataclass(frozen=True)
class Choice:
    """The HDUs of one image: `light` (one, or one per band), a `mask` and a `weight` (None without), by index."""

    light: tuple[int, ...]
    mask: int | None = None
    weight: int | None = None


def images_of(hdus: fits.HDUList) -> list[int]:
    """Return the indices of all images of two or more axes, in order; raises Unreadable where there are none.

    Lookup tables of distortions are not images.
    """
    indices = []
    for index in range(MAX_HDUS):
        try:
            hdu = hdus[index]
        except IndexError:
            break
        is_filled = hdu.is_image and hdu.header.get("NAXIS", 0) >= 2 and hdu.shape and min(hdu.shape) > 0
        if is_filled and not _words(hdu) & _DISTORTIONS:
            indices.append(index)
    if not indices:
        raise Unreadable("has no image in it")
    return indices


def choices_of(hdus: fits.HDUList) -> list[Choice]:
    """Return the images of light of a file, the first one first; raises Unreadable."""
    images = images_of(hdus)
    named = [index for index in images if not _words(hdus[index]) & (_MASKS | _WEIGHTS | _OTHERS)]
    light = [index for index in named if _words(hdus[index]) & _SCIENCE] or named or images
    light = _without_previews(hdus, light)
    if len(light) > 1:
        filters = [filter_of(hdus[index].header) or _extname(hdus[index]) for index in light]
        is_colour = len({hdus[index].shape for index in light}) == 1 and len(set(filters)) == len(light)
        if is_colour and 3 <= len(light) <= 5 and red_first(filters, hdus[0].header) is not None:
            return [Choice(tuple(light), *_companions(hdus, images, light[0]))]
    return [Choice((index,), *_companions(hdus, images, index)) for index in light]


def choose(hdus: fits.HDUList, wanted: str) -> Choice:
    """Return the image that the user chose, `4`, `SCI` or `SCI,2`; raises Unreadable where there is none."""
    images = images_of(hdus)
    name, _, version = (word.strip().upper() for word in wanted.partition(","))
    for index in images:
        hdu = hdus[index]
        by_number = wanted.strip() == str(index)
        by_name = name == _extname(hdu) and (not version or version == str(hdu.ver))
        if by_number or (by_name and not name.isdigit()) or (not index and name == "PRIMARY"):
            return Choice((index,), *_companions(hdus, images, index))
    names = ", ".join(label(hdus, index) for index in images[:20])
    raise Unreadable(f"has no image {wanted!r}: expected one of {names}")


def label(hdus: fits.HDUList, index: int) -> str:
    """Return the name by which `choose` finds an HDU: EXTNAME, with EXTVER where others share it, or the number."""
    name = _extname(hdus[index])
    if not name or "," in name or "[" in name or "]" in name:
        return str(index)
    same = [other for other in range(len(hdus)) if _extname(hdus[other]) == name]
    if len(same) == 1:
        return name
    versions = [hdus[other].ver for other in same]
    return f"{name},{hdus[index].ver}" if len(set(versions)) == len(same) else str(index)


def header_of(hdus: fits.HDUList, index: int) -> fits.Header:
    """Return the header of an HDU with the keywords that it inherits from the primary one, which has no image.

    World coordinates are inherited where the HDU has none of its own.
    """
    header = hdus[index].header.copy()
    primary = hdus[0].header
    if index == 0 or (primary.get("NAXIS", 0) and hdus[0].shape != hdus[index].shape):
        return header
    has_wcs = any(key in header for key in ("CTYPE1", "CRVAL1"))
    for card in primary.cards:
        key = card.keyword
        if not key or key in header or _STRUCTURE.match(key) or key in ("EXTNAME", "EXTVER", "COMMENT", "HISTORY"):
            continue
        if not (has_wcs and _WCS.match(key)):
            header.append(card, end=True)
    return header


def no_data_bits(header: fits.Header) -> int:
    """Return the bits of a mask that mean "no data"."""
    if "MP_NO_DATA" in header:  # the planes of LSST's and HSC's masks
        return 1 << int(header["MP_NO_DATA"])
    return _HST_NO_DATA if str(header.get("TELESCOP", "")).strip().upper() == "HST" else _NO_DATA


def _extname(hdu: Image) -> str:
    return str(hdu.header.get("EXTNAME", "")).strip().upper()


def _words(hdu: Image) -> set[str]:
    """Return the words of an EXTNAME: {'VAR', 'POISSON'} of 'VAR_POISSON', {'SCI'} of 'SCI1'.

    EXTTYPE (LSST) and HDUCLAS2 (ESO) tell the content, too.
    """
    names = (str(hdu.header.get(key, "")).upper() for key in ("EXTNAME", "EXTTYPE", "HDUCLAS2"))
    words = re.split(r"[^A-Z0-9]+", " ".join(names))
    return {re.sub(r"\d+$", "", word) for word in words} - {""}


def _without_previews(hdus: fits.HDUList, light: Sequence[int]) -> list[int]:
    """Return images without those that are far smaller than the largest, and without masks that have no name."""
    sizes = {index: int(np.prod(hdus[index].shape[-2:])) for index in light}
    large = [index for index in light if sizes[index] >= _PREVIEW_FRACTION * max(sizes.values())]
    deeper = [index for index in large if abs(hdus[index].header["BITPIX"]) > 8]
    if len(large) > 1 and deeper and len(deeper) < len(large):
        large = deeper
    if 1 < len(large) <= 8 and not any(_extname(hdus[index]) for index in large):
        varied = [index for index in large if not _is_flat(hdus[index])]
        large = varied or large
    return large


def _is_flat(hdu: Image) -> bool:
    """Return whether some rows of an image have at most two values, as those of masks have."""
    rows, columns = hdu.shape[-2:]
    leading = (0,) * (len(hdu.shape) - 2)
    values = [np.asarray(hdu.section[(*leading, slice(row, row + 1), slice(0, columns))]) for row in sampled_rows(rows)]
    finite = np.concatenate(values, axis=None)
    finite = finite[np.isfinite(finite)]
    return bool(len(finite)) and len(np.unique(finite)) <= 2


def sampled_rows(rows: int) -> list[int]:
    """Return seven rows of an image, from which its content is judged."""
    return sorted({rows * step // 8 for step in range(1, 8)})


def _companions(hdus: fits.HDUList, images: Sequence[int], light: int) -> tuple[int | None, int | None]:
    """Return the indices of the mask and of the weight that belong to an image: those of its EXTVER and shape."""
    shape, version = hdus[light].shape[-2:], hdus[light].ver
    prefix = _extname(hdus[light]).rpartition(".")[0]  # Euclid: 'CCD.Q.SCI', 'CCD.Q.FLG'

    def find(kinds: set[str]) -> int | None:
        for index in images:
            hdu = hdus[index]
            belongs = hdu.ver == version and _extname(hdu).rpartition(".")[0] == prefix
            if index != light and hdu.shape == shape and belongs and _words(hdu) & kinds:
                return index
        return None

    return find(_MASKS), find(_WEIGHTS)
