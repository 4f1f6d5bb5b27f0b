"""The status and the flags of a row of a catalogue, with their meaning."""

OK, UNREADABLE, NOT_JUDGED = "ok", "unreadable", "not judged"

# A galaxy that is enlarged by more shows less than those of the training did.
MAX_ENLARGEMENT = 2.0
# Another object within the Petrosian radius counts from this part of the galaxy's light on.
COMPANION = 0.25
# A galaxy is saturated from this part of its pixels on.
SATURATED_PART = 0.002

SMALL, NO_OBJECT, SEVERAL, BORDER, SATURATED, FAR = 1, 2, 4, 8, 16, 32
# Of objects that were found in a field.
STAR, TINY, BLENDED = 64, 128, 256
FLAGS = {
    SMALL: f"small: the galaxy had to be enlarged by more than {MAX_ENLARGEMENT:g}",
    NO_OBJECT: "no object: nothing was found above the sky, the whole image was taken",
    SEVERAL: f"several: another object has more than {COMPANION:.0%} of the galaxy's light, within its radius",
    BORDER: "border: the galaxy touches the border of the image",
    SATURATED: f"saturated: more than {SATURATED_PART:.1%} of the galaxy's pixels are as bright as the file can tell",
    FAR: "far: farther from the training images than almost all galaxies, or no object was found",
}
FIELD_FLAGS = {
    STAR: "star: as narrow as the field's points of light, or with a telescope's spikes; it is not judged",
    TINY: "tiny: too few pixels to have a visible shape; it is not judged",
    BLENDED: "blended: it was parted from an object that it touches",
}
