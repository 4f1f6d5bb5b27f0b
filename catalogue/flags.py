"""Status and flags of a row in a catalogue, and which flags make its answers untrusted.

A row's `flag` is a sum of bits; `decode_flags` returns their names.
"""

from dataclasses import dataclass

import numpy as np

OK, UNREADABLE, NOT_JUDGED = "ok", "unreadable", "not judged"

# Training galaxies were not enlarged; a stronger enlargement shows less detail than the network expects.
MAX_ENLARGEMENT = 2.0
# Another object within the Petrosian radius counts if it has this fraction of the galaxy's flux.
COMPANION = 0.25
# A galaxy is saturated if this fraction of its pixels is.
SATURATED_FRACTION = 0.002

# Axis ratios b/a that an answer allows, measured as in `framing`. Of 2,400 galaxies (SDSS) with the answers, 1.0 % of
# the edge-on, 1.7 % of the cigar-shaped and 1.2 % of the completely round ones are outside (doc/own_images.md).
AXIS_RATIOS = {"edge-on": (0.0, 0.6), "cigar-shaped": (0.0, 0.65), "completely round": (0.65, 1.0)}

SMALL, NO_OBJECT, SEVERAL, BORDER, SATURATED, FAR, STAR, SHAPE = 1, 2, 4, 8, 16, 32, 64, 512
# Flags of objects detected in a field.
TINY, BLENDED, FAINT = 128, 256, 1024

# Signal to noise that a shape needs; below it, noise decides about the size of the frame and the axis ratio.
LEAST_SIGNAL = 50.0


@dataclass(frozen=True)
class FlagDefinition:
    """A bit of `flag`, its name, and its meaning.

    `field` bits are set only for objects detected in a field. A bit with a text `untrusted` makes the answers of its
    row unreliable: "3 galaxies " and the text is a sentence's part.
    """

    bit: int
    name: str
    description: str
    field: bool = False
    untrusted: str = ""


DEFINITIONS = (
    FlagDefinition(SMALL, "small", f"the galaxy is enlarged by more than {MAX_ENLARGEMENT:g}"),
    FlagDefinition(NO_OBJECT, "no object", "no object is detected above the sky; the whole image is used"),
    FlagDefinition(
        SEVERAL, "several", f"another object within its radius has more than {COMPANION:.0%} of the galaxy's flux"
    ),
    FlagDefinition(BORDER, "border", "the galaxy touches the border of the image", untrusted="cut by the border"),
    FlagDefinition(
        SATURATED,
        "saturated",
        f"more than {SATURATED_FRACTION:.1%} of the galaxy's pixels have the file's highest value",
    ),
    FlagDefinition(
        FAR,
        "far",
        "farther from the training images than almost all validation galaxies, or no object is detected",
        untrusted="unlike the training images",
    ),
    FlagDefinition(
        STAR,
        "star",
        "it has diffraction spikes; in a field also: it is as narrow as a point source, and not judged",
        untrusted="with spikes, like stars",
    ),
    FlagDefinition(TINY, "tiny", "too few pixels for a visible shape; not judged", True),
    FlagDefinition(BLENDED, "blended", "separated from an object that it touches", True),
    FlagDefinition(
        SHAPE,
        "shape",
        "the measured axis ratio contradicts the answer: edge-on above 0.6, cigar-shaped above 0.65, or completely "
        "round below 0.65; in a field also the axis ratio at the detection",
        untrusted="with an axis ratio that contradicts the answer",
    ),
    FlagDefinition(
        FAINT, "faint", f"a signal below {LEAST_SIGNAL:g}: noise decides about its shape", True, "too faint for a shape"
    ),
)
UNTRUSTED = sum(each.bit for each in DEFINITIONS if each.untrusted)
# "name: description" by bit.
FLAGS = {each.bit: f"{each.name}: {each.description}" for each in DEFINITIONS if not each.field}
FIELD_FLAGS = {each.bit: f"{each.name}: {each.description}" for each in DEFINITIONS if each.field}


def contradicts(path: str, axis_ratio: float) -> bool:
    """Return whether a measured axis ratio (NaN: unknown) contradicts an answer of a most likely path."""
    limits = [AXIS_RATIOS[answer] for answer in path.split(", ") if answer in AXIS_RATIOS]
    return any(axis_ratio < low or axis_ratio > high for low, high in limits)


def are_trusted(flags: np.ndarray) -> np.ndarray:
    """Return which sums of flags (n,) have no untrusted bit."""
    return np.asarray(flags) & UNTRUSTED == 0


def decode_flags(value: int) -> list[str]:
    """Return the names of the flags in a row's `flag`, in the order of their bits; raises ValueError for other bits.

    >>> decode_flags(9)
    ['small', 'border']
    """
    known = sum(each.bit for each in DEFINITIONS)
    if value < 0 or int(value) & ~known:
        raise ValueError(f"expected a sum of bits up to {known}, got {value}; pass a value of the column `flag`")
    return [each.name for each in DEFINITIONS if int(value) & each.bit]
