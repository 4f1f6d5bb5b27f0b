"""Fields in, their objects out: found in tiles, told from stars, placed on the sky, a row each."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from catalogue import star_galaxy
from catalogue.field_cutouts import Place
from catalogue.field_tiles import Field, Tile, find_in_tile, objects_of, open_field, tile_path, tiles_of
from catalogue.flags import BLENDED, BORDER, STAR, TINY
from catalogue.inputs import Inputs
from galaxy.detection import OBJECT
from galaxy.image_formats import Unreadable
from machine.processes import Start, pool
from machine.progress import showing

# A worker holds a tile and what is made of it, some 300 MB.
MOST_WORKERS = 4
REASONS = {"star": "a star", "tiny": "too small to have a visible shape", "galaxy": ""}
# Columns of the table, and the fields of `detection.OBJECT` that they copy.
_COPIED = {name: name for name in ("a", "b", "theta", "flux", "half_light_radius", "petrosian_radius", "x", "y")}
_COPIED["signal"] = "snr"
_UNKNOWN = np.dtype([(name, np.float64) for name in _COPIED.values()])


@dataclass(frozen=True, eq=False)
class Surveyed:
    """A field and its objects: `objects` (n,) of `detection.OBJECT`, the tile of each (n,), what each is (n,)."""

    field: Field
    objects: np.ndarray
    tile: np.ndarray
    kinds: np.ndarray
    folder: Path


def _find(field: Field, tile: Tile, path: Path) -> str:
    try:
        find_in_tile(field, tile, path)
    except Unreadable as reason:
        return str(reason)
    return ""


def survey_field(path: Path, folder: Path, num_workers: int) -> Surveyed:
    """Find the objects of a field; what was found before lies in the folder. Raises Unreadable."""
    folder.mkdir(parents=True, exist_ok=True)
    field = open_field(path, folder)
    tiles = tiles_of(field.rows, field.columns)
    missing = [number for number in range(len(tiles)) if not tile_path(folder, number).is_file()]
    work = [(field, tiles[number], tile_path(folder, number)) for number in missing]
    with showing(total=len(tiles), initial=len(tiles) - len(work), unit="tile") as bar:
        for reason in _results(work, min(num_workers, MOST_WORKERS, len(work))):
            if reason:
                raise Unreadable(reason)
            bar.update()
    found = [objects_of(folder, number) for number in range(len(tiles))]
    objects = np.concatenate(found) if found else np.empty(0, OBJECT)
    of_point = star_galaxy.point_radius(objects)
    kinds = np.full(len(objects), "galaxy", object)
    kinds[star_galaxy.are_tiny(objects, of_point)] = "tiny"
    kinds[star_galaxy.are_stars(objects, of_point)] = "star"
    tile = np.repeat(np.arange(len(tiles)), [len(each) for each in found])
    return Surveyed(field, objects, tile, kinds, folder)


def _results(work: Sequence[tuple[Field, Tile, Path]], num_workers: int) -> Iterator[str]:
    """Find the objects of tiles; yield for each why it can not be read, nothing where it can."""
    if num_workers < 2:
        yield from (_find(*each) for each in work)
        return
    with pool(num_workers, Start(), "spawn") as executor:
        yield from executor.map(_find, *zip(*work, strict=True))


def _sky(surveyed: Surveyed) -> tuple[np.ndarray, np.ndarray]:
    """Return positions on the sky, NaN where the file has none; what is broken is told in a line."""
    unknown = np.full(len(surveyed.objects), np.nan)
    if not surveyed.field.linear:
        return unknown, unknown
    from catalogue.field_wcs import sky_positions

    try:
        return sky_positions(surveyed.field.path, surveyed.objects["x"], surveyed.objects["y"])
    except Unreadable as reason:
        print(f"{surveyed.field.path} {reason}", file=sys.stderr)
        return unknown, unknown


def rows_of(inputs: Inputs, folder: Path, num_workers: int) -> Inputs:
    """Return the objects of fields as what is to be catalogued, with columns that are known of them."""
    ids: list[str] = []
    names: list[str] = []
    places: list[Place] = []
    none = np.empty(0)
    columns = [_columns(np.empty(0, OBJECT), np.empty(0, object), none, none)]
    for number, (ident, name, path) in enumerate(zip(inputs.ids, inputs.names, inputs.paths, strict=True)):
        try:
            surveyed = survey_field(path, folder / f"field-{number:06d}", num_workers)
        except Unreadable as reason:
            ids.append(ident)
            names.append(name)
            places.append(Place(None, None, None, 0, np.nan, np.nan, np.nan, str(reason)))
            columns.append(_columns(np.full(1, np.nan, _UNKNOWN), np.array([""], object), *np.full((2, 1), np.nan)))
            continue
        count = len(surveyed.objects)
        ids += [f"{ident}_{each:06d}" for each in range(1, count + 1)]
        names += [name] * count
        places += places_of(surveyed)
        columns.append(_columns(surveyed.objects, surveyed.kinds, *_sky(surveyed)))
    joined = {key: np.concatenate([each[key] for each in columns]) for key in columns[0]}
    return Inputs(ids, names, places, joined)


def _columns(objects: np.ndarray, kinds: np.ndarray, ra: np.ndarray, dec: np.ndarray) -> dict[str, np.ndarray]:
    flag = np.zeros(len(objects), np.int32)
    if "border" in objects.dtype.names:
        for bit, name in ((BORDER, "border"), (BLENDED, "blended")):
            flag |= bit * objects[name].astype(np.int32)
        flag |= STAR * (kinds == "star") | TINY * (kinds == "tiny")
    copied = {column: objects[name].astype(np.float64) for column, name in _COPIED.items()}
    return {"ra": ra, "dec": dec, "object": kinds, **copied, "flag": flag}


def places_of(surveyed: Surveyed) -> list[Place]:
    """Return where the objects of a field lie."""
    tiles = tiles_of(surveyed.field.rows, surveyed.field.columns)
    return [
        Place(
            surveyed.field,
            tiles[tile],
            tile_path(surveyed.folder, tile),
            int(row["label"]),
            float(row["x"]),
            float(row["y"]),
            float(row["petrosian_radius"]),
            REASONS[kind],
        )
        for row, tile, kind in zip(surveyed.objects, surveyed.tile, surveyed.kinds, strict=True)
    ]
