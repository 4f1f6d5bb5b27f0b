"""A field on a page: its picture, with a mark on each galaxy that was judged."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from catalogue.cutouts import Place
from catalogue.field_picture import whole_picture
from catalogue.predicting import OK
from report.galaxies import MAX_FIELD_BYTES, Field

# Marks are circles of so many semi-major axes, the light's second moments.
AXES = 3.3
# Pixels a side of the picture at most, and how much smaller it becomes until it is small enough.
MOST, SMALLER = 2000, 0.8


def field_of(paths: Sequence[Path | Place], parts: Iterable[pa.Table], stretch: str | None) -> Field | None:
    """Return the field that a catalogue's rows were found in; None where they are of several fields, or of none."""
    fields = {id(each.field): each.field for each in paths if isinstance(each, Place) and each.field is not None}
    if len(fields) != 1:
        return None
    [field] = fields.values()
    names = ["status", "x", "y", "a"]
    columns = pa.concat_tables([part.select(names) for part in parts])
    rows = np.flatnonzero(columns["status"].to_numpy() == OK)
    x, y, a = (columns[name].to_numpy().astype(np.float64)[rows] for name in names[1:])
    return Field(
        picture=_encoded(whole_picture(field, stretch)[0]),
        width=field.columns,
        height=field.rows,
        x=x,
        # FITS files stand as on the sky, their first row below.
        y=field.rows - 1 - y if field.linear else y,
        radius=AXES * a,
        rows=rows,
        title=field.path.name,
    )


def _encoded(image: np.ndarray) -> bytes:
    """Return pixels (rows, columns, 3) RGB as a JPEG that a page can hold."""
    scale = min(1.0, MOST / max(image.shape[:2]))
    while True:
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
        content = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
        if len(content) <= MAX_FIELD_BYTES:
            return content
        scale *= SMALLER
