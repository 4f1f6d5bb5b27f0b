"""What was found in fields, shown beside the catalogue: a picture with marks and a region file of each."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from catalogue.answers import FRACTIONS
from catalogue.field_picture import KINDS, kinds_of, write_picture
from catalogue.inputs import Inputs
from catalogue.regions import write_regions

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
