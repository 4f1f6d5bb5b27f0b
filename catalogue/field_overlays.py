"""What was found in fields, shown beside the catalogue: a picture with marks and a region file of each."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from catalogue.answer_columns import FRACTIONS
from catalogue.field_picture import KINDS, kinds_of, write_picture
from catalogue.inputs import Inputs
from machine.files import replacing

_PLACE = ("x", "y", "a", "b", "theta")


def regions_of(output: Path) -> list[Path]:
    """Return the region files beside a catalogue that `show_fields` writes; each field's picture comes after its."""
    return [path for path in output.parent.glob("*.reg") if path.name.startswith(f"{output.stem}.")]


def show_fields(output: Path, objects: Inputs, parts: Iterable[pa.Table], stretch: str | None) -> None:
    """Write NAME.FIELD.jpg and NAME.FIELD.reg for each field that was read, beside the catalogue NAME."""
    fields = {id(place.field): place.field for place in objects.paths if place.field is not None}
    if not fields:
        return
    of_row = np.array([id(place.field) for place in objects.paths])
    names = [*_PLACE, "object", *FRACTIONS]
    columns = pa.concat_tables([part.select(names) for part in parts])
    rows = {name: columns[name].to_numpy() for name in names}
    taken: set[str] = set()
    for key, field in fields.items():
        own = {name: values[of_row == key] for name, values in rows.items()}
        kinds = kinds_of(own)
        stem = _unique(f"{output.stem}.{field.path.name.split('.')[0]}", taken)
        labels = [(kind, "#{:02x}{:02x}{:02x}".format(*KINDS[kind])) for kind in kinds]
        upside_down = 0 if field.linear else field.rows
        write_regions(output.with_name(f"{stem}.reg"), own, labels, upside_down)
        write_picture(output.with_name(f"{stem}.jpg"), field, own, kinds, stretch)


def _unique(stem: str, taken: set[str]) -> str:
    number, unique = 1, stem
    while unique in taken:
        number += 1
        unique = f"{stem}_{number}"
    taken.add(unique)
    return unique


def write_regions(path: Path, rows: dict[str, np.ndarray], labels: list[tuple[str, str]], upside_down: int = 0) -> None:
    """Write a DS9 region file: one ellipse per row, three second moments long, with its label and colour.

    Positions are pixels as DS9 counts them, from 1 upwards: of a FITS file from the first row that it stores, of a
    picture from its lowest row.

    `rows` has x, y, a, b, theta; `labels` pairs of a text and a colour (#rrggbb). `upside_down` is the height of an
    image whose first row is the highest.
    """
    lines = ["# Region file format: DS9 version 4.1", "global width=1", "image"]
    for number, (text, colour) in enumerate(labels):
        x, y, a, b, theta = (float(rows[name][number]) for name in ("x", "y", "a", "b", "theta"))
        y, theta = (upside_down - 1 - y, -theta) if upside_down else (y, theta)
        lines.append(
            f"ellipse({x + 1:.3f},{y + 1:.3f},{3 * a:.3f},{3 * b:.3f},{theta:.2f}) "
            f"# color={colour} text={{{text}}} tag={{{text}}}"
        )
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")
