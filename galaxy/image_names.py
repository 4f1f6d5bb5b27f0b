"""Names of images as users give them: `FILE`, `FILE[4]`, `FILE[SCI,2]`, `FILE[bands=z,r,g]`, `FILE_{i,r,g}.fits`.

Brackets choose an HDU of a FITS file, by number or by EXTNAME and EXTVER, and the bands that become red, green, blue.
Braces name three files, one per band, red first. A file whose own name has brackets or braces is read as it is.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

_BRACKETS = re.compile(r"\[([^\[\]]*)\]$")
_BRACES = re.compile(r"\{([^{},]+),([^{},]+),([^{},]+)\}")


@dataclass(frozen=True)
class ImageName:
    """A file, or three of one band each; the HDU that was chosen (None: by content), and the bands, red first."""

    paths: tuple[Path, ...]
    hdu: str | None = None
    bands: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The file, the first of three."""
        return self.paths[0]


def parse(name: Path | str) -> ImageName:
    """Return what a name says."""
    text, hdu, bands = str(name), None, ()
    if "[" not in text and "{" not in text:  # most names
        return ImageName((Path(name),))
    while (match := _BRACKETS.search(text)) and not os.path.exists(text):
        text = text[: match.start()]
        if match[1].startswith("bands="):
            bands = tuple(band.strip() for band in match[1].removeprefix("bands=").split(",") if band.strip())
        else:
            hdu = match[1].strip() or None
    if (match := _BRACES.search(text)) and not os.path.exists(text):
        paths = (Path(text[: match.start()] + band.strip() + text[match.end() :]) for band in match.groups())
        return ImageName(tuple(paths), hdu, match.groups())
    return ImageName((Path(text),), hdu, bands)


def chosen(name: Path | str, hdu: str | None = None, bands: tuple[str, ...] = ()) -> str:
    """Return a name with an HDU and bands; `{band}` in it becomes braces."""
    text = str(name)
    if bands and "{band}" in text:
        text, bands = text.replace("{band}", "{" + ",".join(bands) + "}"), ()
    return text + (f"[{hdu}]" if hdu else "") + (f"[bands={','.join(bands)}]" if bands else "")
