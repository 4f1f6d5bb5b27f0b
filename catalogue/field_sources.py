"""The objects of fields: detected in tiles, separated into galaxies, stars and tiny ones, placed on the sky."""

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from catalogue import star_galaxy
from catalogue.field_cutouts import FieldObject
from catalogue.field_tiles import (
    Field,
    Tile,
    find_in_tile,
    is_saved,
    objects_of,
    open_field,
    save_failure,
    tile_path,
    tiles_of,
)
from catalogue.flags import BLENDED, BORDER, FAINT, LEAST_SIGNAL, STAR, TINY, UNREADABLE
from catalogue.inputs import Inputs
from catalogue.targets import Rejected, Target
from galaxy.detection import OBJECT
from galaxy.image_formats import Unreadable
from machine.files import first_line, remove_leftovers, shown
from machine.processes import Start, pool
from machine.progress import showing

# A worker holds a tile and its intermediate arrays, about 300 MB.
MAX_WORKERS = 4
# Why an object of a class is not judged.
REASONS = {"star": "a star", "tiny": "too small to have a visible shape", "galaxy": ""}
# Columns of the catalogue, and the fields of `detection.OBJECT` that they copy.
_COPIED = {name: name for name in ("a", "b", "theta", "flux", "half_light_radius", "petrosian_radius", "x", "y")}
_COPIED["signal"] = "snr"
UNKNOWN = np.dtype([(name, np.float64) for name in _COPIED.values()])


@dataclass(frozen=True, eq=False)
class FieldSources:
    """The objects of a field: `objects` (n,) of `detection.OBJECT`, their `tiles` (n,) and `classes` (n,).

    Classes are the keys of REASONS; `folder` has the segmentation maps of the tiles. `reasons` (n,) say why an object
    is not judged, empty where it is; `failures` say why a tile, by index, could not be searched.
    """

    field: Field
    objects: np.ndarray
    tiles: np.ndarray
    classes: np.ndarray
    folder: Path
    reasons: list[str]
    failures: dict[int, str]


@dataclass(frozen=True, eq=False)
class FieldRows:
    """A field, the rows of a catalogue that its objects are, and its index among the fields that were asked for."""

    field: Field
    rows: slice
    index: int = 0


def _find(field: Field, tile: Tile, path: Path) -> str:
    try:
        find_in_tile(field, tile, path)
    except Unreadable as reason:
        return str(reason)
    except Exception as error:  # sep and damaged files can raise anything; the other tiles must not be lost
        save_failure(tile, path, first_line(error))
    return ""


def find_sources(path: Path, folder: Path, num_workers: int) -> FieldSources:
    """Find the objects of a field; resumes from the tiles in the folder. Raises Unreadable."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder / "*")
    field = open_field(path, folder)
    tiles = tiles_of(field.rows, field.columns)
    missing = [index for index in range(len(tiles)) if not is_saved(folder, index)]
    work = [(field, tiles[index], tile_path(folder, index)) for index in missing]
    with showing(total=len(tiles), initial=len(tiles) - len(work), unit="tile") as bar:
        for reason in _find_all(work, min(num_workers, MAX_WORKERS, len(work))):
            if reason:
                raise Unreadable(reason)
            bar.update()
    loaded = [objects_of(folder, index) for index in range(len(tiles))]
    of_tiles = [objects for objects, _, _ in loaded]
    failures = {index: failure for index, (_, _, failure) in enumerate(loaded) if failure}
    if len(failures) == len(tiles):
        raise Unreadable(f"cannot be searched ({failures[0]})")
    objects = np.concatenate(of_tiles) if of_tiles else np.empty(0, OBJECT)
    point_radius = star_galaxy.point_radius(objects)
    classes = np.full(len(objects), "galaxy", object)
    classes[star_galaxy.are_tiny(objects, point_radius)] = "tiny"
    classes[star_galaxy.are_stars(objects, point_radius)] = "star"
    unmeasured = [reason for _, reasons, _ in loaded for reason in reasons]
    reasons = [
        f"cannot be measured ({reason})" if reason else REASONS[name]
        for reason, name in zip(unmeasured, classes, strict=True)
    ]
    tiles_of_objects = np.repeat(np.arange(len(tiles)), list(map(len, of_tiles)))
    return FieldSources(field, objects, tiles_of_objects, classes, folder, reasons, failures)


def _find_all(work: Sequence[tuple[Field, Tile, Path]], num_workers: int) -> Iterator[str]:
    """Find the objects of tiles; yield why a tile cannot be read, or an empty text."""
    if num_workers < 2:
        yield from (_find(*arguments) for arguments in work)
        return
    try:
        with pool(num_workers, Start(), "spawn") as executor:
            yield from executor.map(_find, *zip(*work, strict=True))
    except BrokenProcessPool:
        yield "ended the process that searched it"


def sky_of(sources: FieldSources) -> tuple[np.ndarray, np.ndarray]:
    """Return right ascensions and declinations (n,), NaN without world coordinates; broken ones print a line."""
    unknown = np.full(len(sources.objects), np.nan)
    if not sources.field.linear:
        return unknown, unknown
    from catalogue.field_wcs import sky_positions

    try:
        return sky_positions(sources.field.path, sources.objects["x"], sources.objects["y"])
    except Unreadable as reason:
        print(f"{shown(sources.field.path)} {reason}", file=sys.stderr)
        return unknown, unknown


def rows_of_fields(inputs: Inputs, folder: Path, num_workers: int) -> tuple[Inputs, list[FieldRows]]:
    """Return the objects of fields as rows, with their known columns, and which rows each field has.

    A field that cannot be read is one rejected row, and so is a tile that cannot be searched.
    """
    ids: list[str] = []
    names: list[str] = []
    targets: list[Target] = []
    fields: list[FieldRows] = []
    columns = [columns_of(np.empty(0, OBJECT), np.empty(0, object), np.empty(0), np.empty(0))]
    for index, (ident, name, target) in enumerate(zip(inputs.ids, inputs.names, inputs.targets, strict=True)):
        rejected: list[tuple[str, str]] = []
        try:
            sources = find_sources(target.path, folder / f"field-{index:06d}", num_workers)
        except Unreadable as reason:
            rejected.append((ident, str(reason)))
        except Exception as error:  # a damaged file can raise anything; the other fields must not be lost
            rejected.append((ident, f"cannot be searched ({type(error).__name__}: {first_line(error)})"))
        else:
            if sources.field.note:
                print(f"{shown(name)}: {sources.field.note}", file=sys.stderr)
            count = len(sources.objects)
            if count:
                fields.append(FieldRows(sources.field, slice(len(ids), len(ids) + count), index))
            elif not sources.failures:
                print(f"{shown(name)}: no object is above the noise; it has no rows", file=sys.stderr)
            ids += [f"{ident}_{serial:06d}" for serial in range(1, count + 1)]
            names += [name] * count
            targets += field_objects(sources)
            columns.append(columns_of(sources.objects, sources.classes, *sky_of(sources)))
            rejected += _failed_tiles(ident, sources)
        for rejected_id, reason in rejected:
            ids.append(rejected_id)
            names.append(name)
            targets.append(Rejected(UNREADABLE, reason))
            columns.append(columns_of(np.full(1, np.nan, UNKNOWN), np.array([""], object), *np.full((2, 1), np.nan)))
    known = {key: np.concatenate([each[key] for each in columns]) for key in columns[0]}
    return Inputs(ids, names, targets, known), fields


def _failed_tiles(ident: str, sources: FieldSources) -> list[tuple[str, str]]:
    """Return the id and the reason of a row for each tile that could not be searched."""
    tiles = tiles_of(sources.field.rows, sources.field.columns)
    rows = []
    for index, failure in sources.failures.items():
        y, x = ((pixels.start, pixels.stop - 1) for pixels in tiles[index].own)
        reason = f"columns {x[0]} to {x[1]}, rows {y[0]} to {y[1]} cannot be searched ({failure})"
        rows.append((f"{ident}_tile_{index + 1:06d}", reason))
    return rows


def columns_of(objects: np.ndarray, classes: np.ndarray, ra: np.ndarray, dec: np.ndarray) -> dict[str, np.ndarray]:
    """Return the known columns of objects (n,) of `detection.OBJECT`, or of rows of UNKNOWN, by name."""
    flag = np.zeros(len(objects), np.int32)
    if "border" in objects.dtype.names:
        for bit, name in ((BORDER, "border"), (BLENDED, "blended")):
            flag |= bit * objects[name].astype(np.int32)
        flag |= STAR * (classes == "star") | TINY * (classes == "tiny")
        flag |= FAINT * ((classes == "galaxy") & (objects["snr"] < LEAST_SIGNAL))
    copied = {column: objects[name].astype(np.float64) for column, name in _COPIED.items()}
    return {"ra": ra, "dec": dec, "object": classes, **copied, "flag": flag}


def field_objects(sources: FieldSources) -> list[FieldObject]:
    """Return the objects of a field as targets."""
    tiles = tiles_of(sources.field.rows, sources.field.columns)
    return [
        FieldObject(
            field=sources.field,
            tile=tiles[tile],
            segmentation=tile_path(sources.folder, tile),
            label=int(row["label"]),
            x=float(row["x"]),
            y=float(row["y"]),
            radius=float(row["petrosian_radius"]),
            reason=reason,
        )
        for row, tile, reason in zip(sources.objects, sources.tiles, sources.reasons, strict=True)
    ]
