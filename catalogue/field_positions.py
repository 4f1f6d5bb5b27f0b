"""Known positions in a field, classified in place of detected objects: x, y in pixels, or ra, dec in degrees.

A position takes the size and the neighbours of the object that is detected there. Rows keep the order of the table.
"""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from catalogue.field_cutouts import FieldObject
from catalogue.field_sources import UNKNOWN, FieldRows, FieldSources, columns_of, find_sources, sky_of
from catalogue.field_tiles import tile_path, tiles_of
from catalogue.flags import NOT_JUDGED, UNREADABLE
from catalogue.inputs import Inputs
from catalogue.star_galaxy import LEAST_RADIUS
from catalogue.targets import Rejected, Target
from galaxy.image_formats import Unreadable
from machine.files import DataError, first_line, shown
from machine.table_cells import TableColumn
from machine.tables import ending_of, read_table

# A position belongs to a detected object whose centre is within this distance, pixels, or half-light radii.
NEAR, NEAR_RADII = 3.0, 1.0
_PAIRS = (("x", "y"), ("ra", "dec"))


@dataclass(frozen=True, eq=False)
class Positions:
    """Positions (n,): `first` and `second` are x, y from 0 (`on_sky` False), or ra, dec in degrees (ICRS).

    `ids` are None where the table has none; `known` has all columns of the table.
    """

    ids: list[str] | None
    first: np.ndarray
    second: np.ndarray
    on_sky: bool
    known: dict[str, TableColumn | np.ndarray]

    @property
    def digest(self) -> str:
        """Checksum of the positions."""
        content = repr((self.ids, self.first.tolist(), self.second.tolist(), self.on_sky))
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def read_positions(path: Path) -> Positions:
    """Read a table of positions; raises DataError."""
    if path.is_file() and ending_of(path) is None:
        raise DataError(f"{path}: expected a table of positions for --at, got another file; name a .csv, .fits or .vot")
    columns = {name.strip(): column for name, column in read_table(path).items()}
    names = {name.lower(): name for name in reversed(columns)}
    pair = next((pair for pair in _PAIRS if all(name in names for name in pair)), None)
    if pair is None:
        raise DataError(f"{path}: expected columns x, y or ra, dec, got {', '.join(list(columns)[:5])}; rename yours")
    if not len(columns[names[pair[0]]]):
        raise DataError(f"{path}: expected rows, got none")
    first, second = (_numbers(path, name, columns[names[name]].values) for name in pair)
    ids = None
    if "id_str" in names:
        values = columns.pop(names["id_str"]).values
        ids = ["" if value is None else str(value) for value in values.tolist()]
    return Positions(ids, first, second, pair == ("ra", "dec"), columns)


def _numbers(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        raise DataError(f"{path}: expected numbers in {name}, got {str(values[:1].tolist())[:40]}; convert to degrees")
    return np.ma.filled(np.ma.asarray(values).astype(np.float64), np.nan)


def rows_at(inputs: Inputs, positions: Positions, folder: Path, num_workers: int) -> tuple[Inputs, list[FieldRows]]:
    """Return the positions in a field as rows, with their known columns, and the field with its rows."""
    count = len(positions.first)
    ident, name = inputs.ids[0], inputs.names[0]
    ids = positions.ids or [f"{ident}_{serial:06d}" for serial in range(1, count + 1)]
    rows = np.full(count, np.nan, UNKNOWN)
    classes = np.full(count, "", object)
    sky = np.full((2, count), np.nan)
    try:
        sources = find_sources(inputs.targets[0].path, folder / "field-000000", num_workers)
        x, y = _pixels(inputs.targets[0].path, positions)
    except Exception as error:  # a damaged file can raise anything; each position is a row
        reason = str(error) if isinstance(error, Unreadable) else f"cannot be searched ({first_line(error)})"
        targets: list[Target] = [Rejected(UNREADABLE, reason)] * count
        known = columns_of(rows, classes, *sky)
        return Inputs(ids, [name] * count, targets, positions.known | known), []
    if sources.field.note:
        print(f"{shown(name)}: {sources.field.note}", file=sys.stderr)
    targets = []
    found = np.full(count, -1)
    for row in range(count):
        target, found[row] = _target(sources, float(x[row]), float(y[row]))
        targets.append(target)
    matched = found >= 0
    known = columns_of(rows, classes, *sky)
    if matched.any():
        of_objects = columns_of(sources.objects, sources.classes, *sky_of(sources))
        for column, values in of_objects.items():
            known[column][matched] = values[found[matched]]
    alone = ~matched & np.array([isinstance(target, FieldObject) for target in targets])
    known["x"][alone], known["y"][alone] = x[alone], y[alone]
    if positions.on_sky:
        known["ra"][alone], known["dec"][alone] = positions.first[alone], positions.second[alone]
    fields = [FieldRows(sources.field, slice(0, count))]
    return Inputs(ids, [name] * count, targets, positions.known | known), fields


def _pixels(path: Path, positions: Positions) -> tuple[np.ndarray, np.ndarray]:
    if not positions.on_sky:
        return positions.first, positions.second
    from catalogue.field_wcs import pixel_positions

    return pixel_positions(path, positions.first, positions.second)


def _target(sources: FieldSources, x: float, y: float) -> tuple[Target, int]:
    """Return the target at a position, and the index of the detected object there; -1 without one."""
    field = sources.field
    if not (-0.5 <= x < field.columns - 0.5 and -0.5 <= y < field.rows - 0.5):
        where = f"({x:.1f}, {y:.1f})" if np.isfinite([x, y]).all() else "of the table"
        return Rejected(NOT_JUDGED, f"the position {where} is outside the field"), -1
    objects = sources.objects
    distance = np.hypot(objects["x"] - x, objects["y"] - y)
    near = distance < np.maximum(NEAR, NEAR_RADII * np.nan_to_num(objects["half_light_radius"]))
    tiles = tiles_of(field.rows, field.columns)
    if near.any():
        index = int(np.argmin(np.where(near, distance, np.inf)))
        row, tile = objects[index], int(sources.tiles[index])
        radius = float(row["petrosian_radius"])
        if np.isfinite(radius):
            centre = float(row["x"]), float(row["y"])
            path = tile_path(sources.folder, tile)
            return FieldObject(field, tiles[tile], path, int(row["label"]), *centre, radius), index
    tile = next(
        index
        for index, each in enumerate(tiles)
        if each.own[0].start <= round(y) < each.own[0].stop and each.own[1].start <= round(x) < each.own[1].stop
    )
    return FieldObject(field, tiles[tile], tile_path(sources.folder, tile), 0, x, y, LEAST_RADIUS), -1
