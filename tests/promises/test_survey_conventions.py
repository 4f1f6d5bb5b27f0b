"""Small files with the header cards and HDUs of real surveys: their light, bands, sky and units are read.

Each function names the documentation that its file follows; doc/own_images.md lists them.
"""

import bz2
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from galaxy.bands import filter_of
from galaxy.fits_images import images_in, opened, read_bands

RNG = np.random.default_rng(0)
SIDE = 64
RA, DEC = 150.1, 2.2


def light(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    return (200 * np.exp(-np.hypot(x, 1.6 * y) / 6) * (1 + seed) + rng.normal(0, 1, (SIDE, SIDE))).astype(np.float32)


def sky(scale: float = 0.2, projection: str = "TAN", **cards: object) -> fits.Header:
    """Return world coordinates with the middle of the image at RA, DEC, north up; scale in arcseconds per pixel."""
    step, middle = scale / 3600, (SIDE + 1) / 2
    return fits.Header(
        {
            "CTYPE1": f"RA---{projection}", "CTYPE2": f"DEC--{projection}", "CRVAL1": RA, "CRVAL2": DEC,
            "CRPIX1": middle, "CRPIX2": middle, "CD1_1": -step, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": step, **cards,
        }
    )  # fmt: skip


def image(data: np.ndarray, name: str, version: int = 1, header: fits.Header | None = None) -> fits.ImageHDU:
    return fits.ImageHDU(data, header, name=name, ver=version)


def save(
    path: Path, *hdus: fits.ImageHDU | fits.BinTableHDU | fits.CompImageHDU, checksum: bool = False, **primary: object
):
    fits.HDUList([fits.PrimaryHDU(header=fits.Header(primary)), *hdus]).writeto(path, checksum=checksum)
    return path


def table(name: str) -> fits.BinTableHDU:
    return fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1, 2])], name=name)


def hst_flc(path: Path) -> Path:
    """SCI, ERR, DQ of each chip, tables of distortions, filters in the primary header.

    ACS Data Handbook, 2.2 (hst-docs.stsci.edu/acsdhb). Bits of DQ: 2 filled, 4 bad pixel, 8 masked, 256 saturated, 4096
    cosmic ray (stginga, "ACS" table of flags).
    """
    hdus = []
    for chip in (1, 2):
        flags = np.zeros((SIDE, SIDE), np.int16)
        flags[:4, :], flags[10, 10], flags[20, 20] = 8, 4096, 256  # outside the aperture; cosmic ray; saturated
        hdus += [
            image(light(chip), "SCI", chip, sky(0.05, BUNIT="ELECTRONS")),
            image(np.ones((SIDE, SIDE), np.float32), "ERR", chip),
            image(flags, "DQ", chip),
        ]
    hdus += [image(np.zeros((1, 64), np.float32), "D2IMARR", 1), image(np.zeros((32, 64), np.float32), "WCSDVARR", 1)]
    cards = {"TELESCOP": "HST", "INSTRUME": "ACS", "FILTER1": "CLEAR1L", "FILTER2": "F814W"}
    return save(path, *hdus, table("WCSCORR"), **cards)


def hst_drz(path: Path) -> Path:
    """DrizzlePac Handbook, 4.2: SCI, WHT, CTX, HDRTAB; the weight is 0 outside the footprint, where SCI is 0."""
    weight = np.full((SIDE, SIDE), 900, np.float32)
    weight[:, :5] = 0
    data = np.where(weight > 0, light(1), 0).astype(np.float32)
    hdus = [image(data, "SCI", 1, sky(0.04, BUNIT="ELECTRONS/S")), image(weight, "WHT", 1)]
    hdus += [image((weight > 0).astype(np.int32), "CTX", 1), table("HDRTAB")]
    return save(path, *hdus, TELESCOP="HST", INSTRUME="WFC3", FILTER="F160W")


def jwst_i2d(path: Path) -> Path:
    """SCI, ERR, CON (planes of bits), WHT, variances, HDRTAB; SCI is the first extension.

    jwst-pipeline.readthedocs.io, data products, "Science products".
    """
    weight = np.full((SIDE, SIDE), 900, np.float32)
    weight[:, :5] = 0
    ones = np.ones((SIDE, SIDE), np.float32)
    hdus = [
        image(light(1), "SCI", 1, sky(0.03, BUNIT="MJy/sr")),
        image(ones, "ERR"),
        image(np.ones((2, SIDE, SIDE), np.int32), "CON"),
    ]
    hdus += [
        image(weight, "WHT"),
        *(image(ones, f"VAR_{kind}") for kind in ("POISSON", "RNOISE", "FLAT")),
        table("HDRTAB"),
    ]
    return save(path, *hdus, TELESCOP="JWST", INSTRUME="NIRCAM", FILTER="F200W", PUPIL="CLEAR")


def legacy_cutout(path: Path) -> Path:
    """legacysurvey/imagine, view fits-cutout: a cube in the primary HDU, BANDS, BANDn, blue first, nanomaggies."""
    header = sky(0.262, SURVEY="LegacySurvey", VERSION="DR9", BANDS="grz", BAND0="g", BAND1="r", BAND2="z")
    fits.PrimaryHDU(np.stack([light(1), light(2), light(3)]), header).writeto(path)
    return path


def legacy_brick(path: Path) -> Path:
    """legacysurvey.org, DR9 files, image stacks: a compressed image after an empty HDU, with checksums, nanomaggies."""
    header = sky(0.262, BRICKNAM="1501p022", FILTER="r", BUNIT="nanomaggy", IMTYPE="image")
    return save(path, fits.CompImageHDU(light(1), header, name="COMPRESSED_IMAGE"), checksum=True)


def sdss_frame(path: Path) -> Path:
    """Image in nanomaggies, flat field of one row, tables of sky and astrometry; bzip2.

    dr16.sdss.org/datamodel/files/BOSS_PHOTOOBJ/frames/RERUN/RUN/CAMCOL/frame.html
    """
    primary = fits.PrimaryHDU(light(1), sky(0.396, TELESCOP="2.5m", FILTER="r", BUNIT="nanomaggy", NMGY=0.005))
    plain = path.with_suffix("")
    fits.HDUList([primary, fits.ImageHDU(np.ones(SIDE, np.float32)), table(""), table("")]).writeto(plain)
    path.write_bytes(bz2.compress(plain.read_bytes()))
    return path


def pan_starrs_skycell(path: Path) -> Path:
    """Asinh with BSOFTEN and BOFFSET (stacks only), a compressed image, PC001001 and CDELT.

    outerspace.stsci.edu, "PS1 Stack images"; Waters et al. 2020 (ApJS 251, 4).
    """
    softening, offset = 7.5, 30.0
    stored = 2.5 / np.log(10) * np.arcsinh((light(1).astype(float) - offset) / (2 * softening))
    header = sky(0.25)
    for row in (1, 2):
        for column in (1, 2):
            del header[f"CD{row}_{column}"]
            header[f"PC{row:03d}{column:03d}"] = float(row == column)
    header.update({"CDELT1": -0.25 / 3600, "CDELT2": 0.25 / 3600, "BSOFTEN": softening, "BOFFSET": offset})
    header["HIERARCH FPA.FILTERID"] = "r.00000"
    return save(path, fits.CompImageHDU(stored.astype(np.float32), header))


def decam_instcal(path: Path) -> Path:
    """A compressed image per CCD, named S29 and so on, TPV, the filter in the primary header.

    decaps.skymaps.info/release/datamodel/files/EXPOSURES/ooi.html; Valdes 2021 (NOIRLab, PL206).
    """
    hdus = [fits.CompImageHDU(light(chip), sky(0.263, "TPV", CCDNUM=chip), name=f"S{chip}") for chip in (29, 30, 31)]
    return save(path, *hdus, INSTRUME="DECam", FILTER="r DECam SDSS c0002 6415.0 1480.0", PROCTYPE="InstCal")


def hsc_calexp(path: Path) -> Path:
    """HSC-SSP data products, coadds: IMAGE, MASK with its planes MP_ in the header, VARIANCE, tables."""
    mask = np.zeros((SIDE, SIDE), np.int32)
    mask[:, :5], mask[30, 30] = 1 << 8, 1 << 5  # NO_DATA; DETECTED
    planes = fits.Header()
    planes["HIERARCH MP_NO_DATA"], planes["HIERARCH MP_DETECTED"], planes["MP_BAD"] = 8, 5, 0
    variance = np.ones((SIDE, SIDE), np.float32)
    hdus = [image(light(1), "IMAGE", 1, sky(0.168)), image(mask, "MASK", 1, planes), image(variance, "VARIANCE")]
    return save(path, *hdus, table("ARCHIVE_INDEX"), FILTER="HSC-R2", TELESCOP="Subaru")


def euclid_vis(path: Path) -> Path:
    """SCI, RMS, FLG of each quadrant, such as 1-1.E.SCI, in any order, in ADU.

    euclid.esac.esa.int/dr/q1/dpdd, DpdVisCalibratedQuadFrame.
    """
    hdus = []
    for quadrant in "EF":
        flags = np.zeros((SIDE, SIDE), np.int32)
        flags[:4, :], flags[9, 9] = 1, 1 << 20  # INVALID; another flag
        hdus += [image(light(ord(quadrant) - ord("E") + 1), f"1-1.{quadrant}.SCI", 1, sky(0.1, BUNIT="adu"))]
        hdus += [image(np.ones((SIDE, SIDE), np.float32), f"1-1.{quadrant}.RMS"), image(flags, f"1-1.{quadrant}.FLG")]
    return save(path, *hdus, TELESCOP="Euclid", INSTRUME="VIS", FILTER="VIS")


def euclid_mer(path: Path) -> Path:
    """Euclid data product description, MER mosaics: an image in the primary HDU, FILTER, MAGZERO."""
    fits.PrimaryHDU(light(1), sky(0.1, FILTER="VIS", MAGZERO=24.57, TELESCOP="Euclid")).writeto(path)
    return path


ALL = slice(None)
# The writer, the name, the seeds of its images or bands (red first), the region without data, the unit, the filter.
SURVEYS: dict[str, tuple[Callable[[Path], Path], str, tuple[int, ...], tuple | None, str, str]] = {
    "HST flc": (hst_flc, "a_flc.fits", (1, 2), (slice(0, 4), ALL), "ELECTRONS", "F814W"),
    "HST drz": (hst_drz, "a_drz.fits", (1,), (ALL, slice(0, 5)), "ELECTRONS/S", "F160W"),
    "JWST i2d": (jwst_i2d, "a_i2d.fits", (1,), (ALL, slice(0, 5)), "MJy/sr", "F200W"),
    "Legacy Surveys cutout": (legacy_cutout, "a.fits", (3, 2, 1), None, "", ""),
    "Legacy Surveys brick": (legacy_brick, "a.fits.fz", (1,), None, "nanomaggy", "r"),
    "SDSS frame": (sdss_frame, "frame-r-000094-1-0131.fits.bz2", (1,), None, "nanomaggy", "r"),
    "Pan-STARRS skycell": (pan_starrs_skycell, "a.unconv.fits", (1,), None, "", "r.00000"),
    "DECam instcal": (decam_instcal, "a_ooi_r.fits.fz", (29, 30, 31), None, "", "r DECam SDSS c0002 6415.0 1480.0"),
    "HSC": (hsc_calexp, "calexp.fits", (1,), (ALL, slice(0, 5)), "", "HSC-R2"),
    "Euclid VIS": (euclid_vis, "a.fits", (1, 2), (slice(0, 4), ALL), "adu", "VIS"),
    "Euclid MER": (euclid_mer, "a.fits", (1,), None, "", "VIS"),
}
# One image of three bands; elsewhere several seeds are several images.
CUBES = {"Legacy Surveys cutout"}


@pytest.mark.parametrize("survey", SURVEYS)
def test_a_survey_s_file_is_read_as_its_documentation_says(survey: str, tmp_path: Path):
    make, file_name, seeds, without, unit, filter_name = SURVEYS[survey]
    path = make(tmp_path / file_name)
    names = images_in(path)
    expected = [seeds] if survey in CUBES else [(seed,) for seed in seeds]
    assert len(names) == len(expected)
    missing = np.zeros((SIDE, SIDE), bool)
    if without is not None:
        missing[without] = True
    for name, bands_expected in zip(names, expected, strict=True):
        bands, _, size, _ = read_bands(Path(name), lambda *_: 1)
        assert bands.shape == (len(bands_expected), SIDE, SIDE) and size == (SIDE, SIDE)
        for band, seed in zip(bands, bands_expected, strict=True):
            np.testing.assert_array_equal(np.isnan(band), missing)
            # Compressed floating point is rounded to a fraction of the noise.
            np.testing.assert_allclose(band[~missing], light(seed)[~missing], atol=0.2, rtol=2e-3)
        with opened(Path(name)) as opened_image:
            header = opened_image.header
        assert str(header.get("BUNIT", "")) == unit and filter_of(header) == filter_name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            middle = WCS(header, naxis=2).pixel_to_world_values((SIDE - 1) / 2, (SIDE - 1) / 2)
        np.testing.assert_allclose(middle, (RA, DEC), atol=1e-9)


def test_the_page_lists_these_surveys():
    page = (Path(__file__).resolve().parents[2] / "doc" / "own_images.md").read_text()
    section = page.partition("## Files of surveys")[2].partition("\n## ")[0]
    assert {line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| ")} - {
        "survey",
        "---",
    } == set(SURVEYS)
