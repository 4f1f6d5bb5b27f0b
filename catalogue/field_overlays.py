"""A picture and a DS9 region file of each field, beside the catalogue: every object marked by its appearance."""

import glob
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from catalogue.field_picture import COLOURS, appearances, write_picture
from catalogue.field_sources import FieldRows
from catalogue.flags import are_trusted
from machine import seals
from machine.files import DataError, first_line, replacing, shown
from machine.products import Product, is_own

# The columns of a catalogue that the overlays show.
COLUMNS = ("x", "y", "a", "b", "theta", "object", "most_likely_path", "flag")


def overlays_beside(output: Path) -> list[Path]:
    """Return the region files and pictures in the folder of a catalogue that `write_overlays` wrote."""
    names = (f"{glob.escape(output.stem)}.*{suffix}" for suffix in (".reg", ".jpg"))
    return [path for name in names for path in output.parent.glob(name) if is_own(Product(path))]


def overlay_paths(output: Path, paths: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Return the region file and the picture of each field: NAME.FIELD.reg and NAME.FIELD.jpg beside a catalogue NAME.

    The names depend on all fields that are asked for, not on those that can be read.
    """
    stems: dict[str, None] = {}
    for path in paths:
        stem = f"{output.stem}.{path.name.split('.')[0]}"
        candidates = itertools.chain([stem], (f"{stem}_{count}" for count in itertools.count(2)))
        stems[next(candidate for candidate in candidates if candidate not in stems)] = None
    return [(output.with_name(f"{stem}.reg"), output.with_name(f"{stem}.jpg")) for stem in stems]


def write_overlays(
    overlays: Sequence[tuple[Path, Path]],
    fields: Sequence[FieldRows],
    objects: pa.Table,
    stretch: str | None,
    north_up: bool = False,
    source: str = seals.NO_SOURCE,
) -> None:
    """Write the region file and the picture of each field, under its pair of names in `overlays`.

    `objects` has the COLUMNS of all rows. `north_up` turns the pictures of fields with sky coordinates.
    """
    for (regions, picture), field, rows in ((overlays[each.index], each.field, each.rows) for each in fields):
        columns = {name: objects[name].to_numpy()[rows] for name in COLUMNS}
        looks = appearances(columns)
        labels = [(look, "#{:02x}{:02x}{:02x}".format(*COLOURS[look])) for look in looks]
        try:
            write_regions(regions, columns, labels, 0 if field.linear else field.rows, source)
            write_picture(picture, field, columns, looks, stretch, north_up, source)
        except (OSError, DataError):  # a full disk ends the run
            raise
        except Exception as error:  # the table is complete without its picture
            print(f"{shown(field.path)} cannot be drawn ({type(error).__name__}: {first_line(error)})", file=sys.stderr)


def write_regions(
    path: Path,
    rows: dict[str, np.ndarray],
    labels: Sequence[tuple[str, str]],
    height: int = 0,
    source: str = seals.NO_SOURCE,
) -> None:
    """Write a DS9 region file: an ellipse per row, of three semi-axes, with its label and colour.

    An object that is not trusted is dashed and has the tag "not trusted". `rows` has x, y, a, b (pixels from 0), theta
    (degrees) and flag; `labels` has a text and a colour (#rrggbb) per row. DS9
    counts pixels from 1 upwards: in FITS from the first stored row, in other images from the lowest row. `height` is
    the number of rows of an image whose first row is the highest; 0 for FITS.
    """
    trusted = are_trusted(rows["flag"])
    lines = ["# Region file format: DS9 version 4.1", "global width=1", "image"]
    for index, (text, colour) in enumerate(labels):
        x, y, a, b, theta = shape = [float(rows[name][index]) for name in ("x", "y", "a", "b", "theta")]
        if not np.isfinite(shape).all():
            continue
        y, theta = (height - 1 - y, -theta) if height else (y, theta)
        lines.append(
            f"ellipse({x + 1:.3f},{y + 1:.3f},{3 * a:.3f},{3 * b:.3f},{theta:.2f}) "
            f"# color={colour} text={{{text}}} tag={{{text}}}{'' if trusted[index] else ' dash=1 tag={not trusted}'}"
        )
    with replacing(path, sealed=True) as temporary:
        temporary.write_text("\n".join([*lines, f"# {seals.blank(source)}"]) + "\n")
