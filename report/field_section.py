"""Fields on a page: their pictures, with a mark on each galaxy that was judged."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from catalogue.field_cutouts import Place
from catalogue.field_picture import whole_picture
from catalogue.flags import OK
from report.galaxies import MAX_FIELD_BYTES, MAX_FIELDS, Field

# Marks are circles of so many semi-major axes, the light's second moments.
AXES = 3.3
# Pixels a side of the picture at most, and how much smaller it becomes until it is small enough.
MOST, SMALLER = 2000, 0.8


def fields_of(paths: Sequence[Path | Place], parts: Iterable[pa.Table], stretch: str | None) -> list[Field]:
    """Return the fields that a catalogue's rows were found in, the first MAX_FIELDS of them; none where files were."""
    places = [each.field if isinstance(each, Place) else None for each in paths]
    fields = list({id(each): each for each in places if each is not None}.values())[:MAX_FIELDS]
    if not fields:
        return []
    names = ["status", "x", "y", "a"]
    columns = pa.concat_tables([part.select(names) for part in parts])
    judged = columns["status"].to_numpy() == OK
    x, y, a = (columns[name].to_numpy().astype(np.float64) for name in names[1:])
    found = []
    for field in fields:
        rows = np.flatnonzero(judged & np.array([each is field for each in places]))
        found.append(
            Field(
                picture=_encoded(whole_picture(field, stretch)[0], MAX_FIELD_BYTES // len(fields)),
                width=field.columns,
                height=field.rows,
                x=x[rows],
                # FITS files stand as on the sky, their first row below.
                y=field.rows - 1 - y[rows] if field.linear else y[rows],
                radius=AXES * a[rows],
                rows=rows,
                title=field.path.name,
            )
        )
    return found


def _encoded(image: np.ndarray, most: int = MAX_FIELD_BYTES) -> bytes:
    """Return pixels (rows, columns, 3) RGB as a JPEG of at most so many bytes."""
    scale = min(1.0, MOST / max(image.shape[:2]))
    while True:
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
        content = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
        if len(content) <= most:
            return content
        scale *= SMALLER
