"""Bands: their names in headers, their order by wavelength, and the three that become red, green and blue.

Sources: Legacy Surveys' fits-cutout (BANDS, BANDn); FITS 4.0, 8.4 (CTYPE3); SVO Filter Profile Service (wavelengths).
"""

import re
from collections.abc import Mapping, Sequence

# Nanometres of the middle of a band, by the first word of its name without the instrument.
_WAVELENGTHS = {
    "fuv": 154, "nuv": 232, "u": 355, "b": 445, "g": 477, "v": 551, "r": 623, "i": 763, "z": 905, "y": 980,
    "j": 1250, "h": 1650, "k": 2160, "ks": 2150, "vis": 715, "w1": 3368, "w2": 4618, "w3": 12082, "w4": 22194,
    "w": 612, "red": 640, "green": 530, "blue": 460, "lum": 550, "ha": 656,
}  # fmt: skip
_HST_OR_JWST = re.compile(r"f(\d{3,4})(?:w2?|m|n|lp|x)$")
# Of four or five bands, the three that SDSS's and the Legacy Surveys' colour images use, red first.
_PREFERRED = (("i", "r", "g"), ("z", "r", "g"))
_CLEAR = ("clear", "n/a", "none", "open", "empty")


def simple_name(name: str) -> str:
    """Return the short name of a filter in lower case: 'g' of 'g DECam SDSS c0001 4720.0', 'HSC-G', 'g.00000'."""
    words = re.split(r"[\s._:]+", name.strip().lower())
    parts = [word for word in re.split(r"-", words[0]) if word not in ("hsc", "nir", "decam", "sdss", "mega", "wise")]
    word = parts[-1] if parts else ""
    if words[0] == "nir" and len(words) > 1:  # Euclid's NIR_Y
        word = words[1]
    return word if word in _WAVELENGTHS else word[:1] if re.fullmatch(r"[ugrizyjhk][2p']", word) else word


def wavelength(name: str, header: Mapping[str, object] | None = None) -> float | None:
    """Return the wavelength of a filter in nanometres, None for an unknown one; its order of magnitude is enough."""
    name = simple_name(name)
    if match := _HST_OR_JWST.match(name):
        number = int(match[1])
        # HST's numbers are nanometres, in the infrared (below 200) tens of them, as all of JWST's.
        is_jwst = header is not None and str(header.get("TELESCOP", "")).strip().upper() == "JWST"
        return float(number * 10 if is_jwst or number < 200 or len(match[1]) == 4 else number)
    return _WAVELENGTHS.get(name)


def filter_of(header: Mapping[str, object]) -> str:
    """Return the name of the filter of an image; empty where the header has none."""
    for key in ("FILTER", "FILTER1", "FILTER2", "FILTER01", "FILTNAM1", "FPA.FILTERID", "BAND", "FILT"):
        value = str(header.get(key, "")).strip()
        if value and not value.lower().startswith(_CLEAR):
            return value
    return ""


def names_of_planes(header: Mapping[str, object], count: int) -> tuple[str, ...]:
    """Return the filters of the planes of a cube, from BANDS, BANDn or FILTERn; empty where the header has none."""
    text = str(header.get("BANDS", "")).strip()
    words = list(text) if len(text) == count else re.split(r"[\s,;/]+", text)
    names = tuple(word for word in words if word)
    if len(names) == count:
        return names
    for key in ("BAND", "FILTER"):
        for first in (0, 1):
            names = tuple(str(header.get(f"{key}{index}", "")).strip() for index in range(first, first + count))
            if all(names):
                return names
    return ()


def red_first(names: Sequence[str], header: Mapping[str, object]) -> tuple[int, ...] | None:
    """Return the indices of the bands that become red, green and blue; None where a name is unknown."""
    wavelengths = [wavelength(name, header) for name in names]
    if None in wavelengths or len(set(wavelengths)) < len(names):
        return None
    if len(names) > 3:
        simple = [simple_name(name) for name in names]
        for preferred in _PREFERRED:
            if set(preferred) <= set(simple):
                return tuple(simple.index(band) for band in preferred)
    order = sorted(range(len(names)), key=lambda index: -wavelengths[index])
    return tuple(order) if len(order) <= 3 else (order[0], order[len(order) // 2], order[-1])


def spectral_order(header: Mapping[str, object], count: int) -> tuple[int, ...] | None:
    """Return the indices of planes along a spectral axis (CTYPE3), red first; None for another axis."""
    kind = str(header.get("CTYPE3", "")).strip().upper()[:4]
    step = header.get("CDELT3", header.get("CD3_3", 0))
    if kind not in ("WAVE", "AWAV", "FREQ", "ENER", "WAVN") or not isinstance(step, (int, float)) or not step:
        return None
    to_red = (step > 0) == (kind in ("WAVE", "AWAV"))
    return tuple(range(count))[::-1] if to_red else tuple(range(count))


def chosen_bands(names: Sequence[str], wanted: Sequence[str]) -> tuple[int, ...] | None:
    """Return the indices of bands that the user named, red first, by name or by number from 1; None for a wrong one."""
    simple = [simple_name(name) for name in names]
    indices = []
    for band in wanted:
        if simple_name(band) in simple:
            indices.append(simple.index(simple_name(band)))
        elif band.isdigit() and int(band) >= 1:
            indices.append(int(band) - 1)
        else:
            return None
    return tuple(indices)
