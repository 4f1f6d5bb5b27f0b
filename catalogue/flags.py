"""Status and flags of a row in a catalogue.

A row's `flag` is a sum of bits; `decode_flags` returns their names.
"""

from dataclasses import dataclass

OK, UNREADABLE, NOT_JUDGED = "ok", "unreadable", "not judged"

# Training galaxies were not enlarged; a stronger enlargement shows less detail than the network expects.
MAX_ENLARGEMENT = 2.0
# Another object within the Petrosian radius counts if it has this fraction of the galaxy's flux.
COMPANION = 0.25
# A galaxy is saturated if this fraction of its pixels is.
SATURATED_FRACTION = 0.002

SMALL, NO_OBJECT, SEVERAL, BORDER, SATURATED, FAR = 1, 2, 4, 8, 16, 32
# Flags of objects detected in a field.
STAR, TINY, BLENDED = 64, 128, 256


@dataclass(frozen=True)
class FlagDefinition:
    """A bit of `flag`, its name, and its meaning. `field` bits are set only for objects detected in a field."""

    bit: int
    name: str
    description: str
    field: bool = False


DEFINITIONS = (
    FlagDefinition(SMALL, "small", f"the galaxy is enlarged by more than {MAX_ENLARGEMENT:g}"),
    FlagDefinition(NO_OBJECT, "no object", "no object is detected above the sky; the whole image is used"),
    FlagDefinition(
        SEVERAL, "several", f"another object within its radius has more than {COMPANION:.0%} of the galaxy's flux"
    ),
    FlagDefinition(BORDER, "border", "the galaxy touches the border of the image"),
    FlagDefinition(
        SATURATED,
        "saturated",
        f"more than {SATURATED_FRACTION:.1%} of the galaxy's pixels have the file's highest value",
    ),
    FlagDefinition(
        FAR, "far", "farther from the training images than almost all validation galaxies, or no object is detected"
    ),
    FlagDefinition(
        STAR, "star", "as narrow as the field's point sources, or with diffraction spikes; not judged", True
    ),
    FlagDefinition(TINY, "tiny", "too few pixels for a visible shape; not judged", True),
    FlagDefinition(BLENDED, "blended", "separated from an object that it touches", True),
)
# "name: description" by bit.
FLAGS = {each.bit: f"{each.name}: {each.description}" for each in DEFINITIONS if not each.field}
FIELD_FLAGS = {each.bit: f"{each.name}: {each.description}" for each in DEFINITIONS if each.field}


def decode_flags(value: int) -> list[str]:
    """Return the names of the flags in a row's `flag`, in the order of their bits; raises ValueError for other bits.

    >>> decode_flags(9)
    ['small', 'border']
    """
    known = sum(each.bit for each in DEFINITIONS)
    if value < 0 or int(value) & ~known:
        raise ValueError(f"expected a sum of bits up to {known}, got {value}; pass a value of the column `flag`")
    return [each.name for each in DEFINITIONS if int(value) & each.bit]
