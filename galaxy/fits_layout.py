"""What the planes of a FITS image are: one band, or red, green and blue, in whatever order the file holds them.

A header that names the bands gives their order. Light, error and mask in one cube are told apart by content. A layout
holds numbers only, so that a file which is read region by region is analysed once.
"""

from dataclasses import dataclass

import numpy as np
from astropy.io import fits

from galaxy.bands import chosen_bands, filter_of, names_of_planes, red_first, spectral_order
from galaxy.fits_hdus import Choice, Image, choices_of, choose, images_of, label, no_data_bits, sampled_rows
from galaxy.image_formats import Unreadable
from galaxy.image_names import ImageName

# Pixels of a tile in a compressed image.
MAX_TILE_PIXELS = 2**24
# A shorter axis of a cube can be that of its planes.
MAX_PLANES = 5
# A longer cube is refused before its planes are listed.
MAX_CUBE_PLANES = 10_000
# A mask that flags more of an image than this is not one.
_MOST_FLAGGED = 0.9


@dataclass(frozen=True)
class Plane:
    """A plane of a cube, or an image: its HDU, its indices along the first axes, or along the last one."""

    hdu: int
    leading: tuple[int, ...] = ()
    last: int | None = None

    def region(self, rows: slice, columns: slice) -> tuple[int | slice, ...]:
        """Return the index of a region in the HDU's array."""
        return (*self.leading, rows, columns) if self.last is None else (rows, columns, self.last)


@dataclass(frozen=True)
class Layout:
    """An image: its planes (1 or 3, red first), its shape, the HDUs and bits that mark pixels without data, a note."""

    planes: tuple[Plane, ...]
    rows: int
    columns: int
    mask: int | None
    bits: int
    weight: int | None
    note: str


def layout_of(hdus: fits.HDUList, name: ImageName) -> Layout:
    """Return the layout of the image that a name chooses; raises Unreadable."""
    choices = [choose(hdus, name.hdu)] if name.hdu else choices_of(hdus)
    choice = choices[0]
    for index in choice.light:
        _check_tiles(hdus[index])
    planes, notes = _planes(hdus, choice, name.bands)
    rows, columns = _sides(hdus[planes[0].hdu], planes[0])
    bits = no_data_bits(hdus[choice.light[0]].header)
    if choice.mask is not None:
        bits = no_data_bits(hdus[choice.mask].header + hdus[0].header)
    layout = Layout(planes, rows, columns, choice.mask, bits, choice.weight, "")
    if _flagged(hdus, layout) > _MOST_FLAGGED:
        layout = Layout(planes, rows, columns, None, 0, None, "")
    if not name.hdu:
        notes.insert(0, _unread(hdus, choices, layout))
    note = "; ".join(filter(None, notes))
    return Layout(layout.planes, rows, columns, layout.mask, layout.bits, layout.weight, note)


def _unread(hdus: fits.HDUList, choices: list[Choice], layout: Layout) -> str:
    """Return a note on the images of a file that were not read."""
    read = [label(hdus, index) for index in choices[0].light]
    if len(choices) > 1:
        return f"image {read[0]} of {len(choices)} was read"
    used = {*choices[0].light, layout.mask, layout.weight}
    others = [label(hdus, index) for index in images_of(hdus) if index not in used]
    read, others = ([f"HDU {name}" if name.isdigit() else name for name in names] for names in (read, others))
    more = ", ..." if len(others) > 4 else ""
    return f"{', '.join(read)} was read, not {', '.join(others[:4])}{more}" if others else ""


def _planes(hdus: fits.HDUList, choice: Choice, wanted: tuple[str, ...]) -> tuple[tuple[Plane, ...], list[str]]:
    """Return the planes of an image, red first, and notes."""
    header = hdus[choice.light[0]].header
    if len(choice.light) > 1:
        names = [filter_of(hdus[index].header) or label(hdus, index) for index in choice.light]
        every = tuple(Plane(index, _singles(hdus[index])) for index in choice.light)
        planes, notes = _ordered(every, names, red_first(names, hdus[0].header), wanted)
        return planes, notes or [
            f"images {', '.join(names[every.index(plane)] for plane in planes)} were read as bands"
        ]
    every = _planes_of(hdus[choice.light[0]], choice.light[0])
    names = names_of_planes(header + hdus[0].header, len(every)) if len(every) > 1 else ()
    if len(every) == 1:
        return every, []
    if wanted or names:
        return _ordered(every, names, red_first(names, header) if names else None, wanted)
    if len(every) != 3:
        raise Unreadable(
            f"is a cube of {len(every)} planes: expected 1, or 3 (red, green, blue); choose with --bands, by number"
        )
    if _is_light_error_mask(hdus[every[0].hdu], every):
        return every[:1], ["plane 1 of 3 was read: the others are not light"]
    return tuple(every[index] for index in spectral_order(header, 3) or (0, 1, 2)), []


def _ordered(
    every: tuple[Plane, ...], names: tuple[str, ...] | list[str], order: tuple[int, ...] | None, wanted: tuple[str, ...]
) -> tuple[tuple[Plane, ...], list[str]]:
    """Return the planes of the bands that are wanted, or those of `order`, or three as they come; and notes."""
    if wanted:
        order = chosen_bands(names, wanted)
        if order is None or len(order) not in (1, 3) or max(order) >= len(every):
            have = ", ".join(names) if names else f"1 to {len(every)}"
            raise Unreadable(f"has no bands {', '.join(wanted)}: expected one or three of {have}")
    elif len(every) not in (3, 4, 5) or (order is None and len(every) != 3):
        raise Unreadable(
            f"is a cube of {len(every)} planes ({', '.join(names)}): expected 1, or 3 (red, green, blue); "
            "choose three with --bands"
        )
    order = order or (0, 1, 2)
    bands = [names[index] if names else str(index + 1) for index in order]
    notes = [f"bands {', '.join(bands)} of {', '.join(names)} were read"] if len(every) > len(order) and names else []
    return tuple(every[index] for index in order), notes


def _planes_of(hdu: Image, index: int) -> tuple[Plane, ...]:
    """Return all planes of an HDU; axes of length 1 do not count."""
    shape = hdu.shape
    if len(shape) == 3 and 1 < shape[-1] <= MAX_PLANES < min(shape[:2]):
        return tuple(Plane(index, (), plane) for plane in range(shape[-1]))
    leading = shape[:-2]
    count = int(np.prod(leading, dtype=object)) if leading else 1
    if count > 1 and max(leading) != count:
        raise Unreadable(f"is a cube of {count} planes: expected 1, or 3 (red, green, blue); write three to a file")
    if count > MAX_CUBE_PLANES:
        raise Unreadable(f"is a cube of {count} planes: expected 1, or 3 (red, green, blue); write three to a file")
    return tuple(Plane(index, tuple(plane if length > 1 else 0 for length in leading)) for plane in range(count))


def _singles(hdu: Image) -> tuple[int, ...]:
    if int(np.prod(hdu.shape[:-2], dtype=object)) != 1:
        raise Unreadable("has a cube for each band: expected an image; write three planes to a file")
    return (0,) * (len(hdu.shape) - 2)


def _sides(hdu: Image, plane: Plane) -> tuple[int, int]:
    return hdu.shape[:2] if plane.last is not None else hdu.shape[-2:]


def _is_light_error_mask(hdu: Image, planes: tuple[Plane, ...]) -> bool:
    """Return whether three planes are light, its error and a mask: the last one is flat or mostly zero integers."""
    first, last = _sample(hdu, planes[0]), _sample(hdu, planes[2])
    if not len(first) or not len(last) or len(np.unique(first)) <= 2:
        return False
    integers = (last == np.rint(last)).all()
    return len(np.unique(last)) <= 2 or bool(
        integers and (last == 0).mean() > 0.5 and not (first == np.rint(first)).all()
    )


def _sample(hdu: Image, plane: Plane) -> np.ndarray:
    """Return the finite pixels of some rows of a plane."""
    rows, columns = _sides(hdu, plane)
    values = [
        np.asarray(hdu.section[plane.region(slice(row, row + 1), slice(0, columns))], np.float64).ravel()
        for row in sampled_rows(rows)
    ]
    values = np.concatenate(values)
    return values[np.isfinite(values)]


def missing(hdus: fits.HDUList, layout: Layout, rows: slice, columns: slice) -> np.ndarray | None:
    """Return where (rows, columns) a mask or a weight says that there is no data; None without them."""
    result = None
    if layout.mask is not None:
        flags = np.nan_to_num(np.asarray(hdus[layout.mask].section[rows, columns])).astype(np.int64)
        result = flags & layout.bits != 0
    if layout.weight is not None:
        weights = np.asarray(hdus[layout.weight].section[rows, columns])
        without = ~(np.isfinite(weights) & (weights > 0))
        result = without if result is None else result | without
    return result


def _flagged(hdus: fits.HDUList, layout: Layout) -> float:
    """Return the fraction of pixels without data in some rows."""
    rows = sampled_rows(layout.rows)
    flags = [missing(hdus, layout, slice(row, row + 1), slice(0, layout.columns)) for row in rows]
    return 0.0 if flags[0] is None else float(np.mean(flags))


def _check_tiles(hdu: Image) -> None:
    tile = getattr(hdu, "tile_shape", None)
    if tile is not None and int(np.prod(tile, dtype=object)) > MAX_TILE_PIXELS:
        raise Unreadable(f"is compressed in tiles of {tile} pixels: expected at most {MAX_TILE_PIXELS} pixels a tile")
