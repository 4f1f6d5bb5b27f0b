"""Checksums of FITS: DATASUM of the pixels of an HDU, CHECKSUM of its header and pixels.

An HDU with the right DATASUM and a wrong CHECKSUM has a header that was edited: its pixels are good. Many programs keep
the old sums in the header of pixels that they changed; no sum tells such a file from a damaged one.

Source: FITS 4.0, 4.4.2.7 and appendix J.
"""

from typing import BinaryIO

import numpy as np
from astropy.io import fits

from galaxy.image_formats import Unreadable

_BYTES = 2**24  # whole words
_CHECKSUM_LENGTH = 16  # other values say that the sum is unknown
_WAY_OUT = "if you edited it, write new sums: fitscheck --write --force"


def verify(file: BinaryIO, hdu: fits.hdu.base._BaseHDU, name: str) -> None:
    """Raise Unreadable where an HDU's sums are not those of its header."""
    header, start, data, size = _header(file, hdu)
    datasum = header.get("DATASUM")
    if str(datasum).strip().isdigit():
        if _sum(file, data, size) != int(datasum) % 0xFFFFFFFF:
            raise Unreadable(f"is damaged: the pixels of {name} do not have the DATASUM of its header; {_WAY_OUT}")
    elif len(str(header.get("CHECKSUM", "")).strip()) == _CHECKSUM_LENGTH and _sum(file, start, data - start + size):
        raise Unreadable(f"is damaged: {name} does not have the CHECKSUM of its header; {_WAY_OUT}")


def _header(file: BinaryIO, hdu: fits.hdu.base._BaseHDU) -> tuple[fits.Header, int, int, int]:
    """Return the header as it is in the file (that of the table of a compressed image), and where it and data are."""
    info = hdu.fileinfo()
    start, data, size = info["hdrLoc"], info["datLoc"], info["datSpan"]
    file.seek(start)
    return fits.Header.fromstring(file.read(data - start).decode("latin-1")), start, data, size


def _sum(file: BinaryIO, start: int, size: int) -> int:
    """Return the ones' complement sum of the 32-bit words of a region, modulo 2^32 - 1."""
    file.seek(start)
    total = 0
    for offset in range(0, size, _BYTES):
        block = file.read(min(_BYTES, size - offset))
        block += bytes(-len(block) % 4)
        total += int(np.frombuffer(block, ">u4").sum(dtype=np.uint64))
    return total % 0xFFFFFFFF
