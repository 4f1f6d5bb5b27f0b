"""Fields on a page: their pictures, with a mark on each judged galaxy."""

from collections.abc import Sequence

import cv2
import numpy as np
import pyarrow as pa

from catalogue.field_picture import appearances, whole_picture
from catalogue.field_sources import FieldRows
from catalogue.flags import OK
from report.galaxies import MAX_FIELD_BYTES, MAX_FIELDS, Field

# Semi-axes of a mark, in those of the second moments.
AXES = 3.3
# The largest side of the picture, pixels; it shrinks by this factor until its bytes are few enough.
MAX_SIDE, SHRINK = 2000, 0.8


def field_pictures(fields: Sequence[FieldRows], objects: pa.Table, stretch: str | None) -> list[Field]:
    """Return the first MAX_FIELDS fields for a page; `objects` has status and `field_overlays.COLUMNS` of all rows."""
    fields = fields[:MAX_FIELDS]
    x, y, a, b, theta = (objects[name].to_numpy().astype(np.float64) for name in ("x", "y", "a", "b", "theta"))
    # A known position where nothing was detected has no axes.
    judged = (objects["status"].to_numpy() == OK) & np.isfinite(a) & np.isfinite(b) & np.isfinite(theta)
    looks = np.array(appearances({name: objects[name].to_numpy() for name in ("object", "most_likely_path")}))
    pictures = []
    for field, own in ((each.field, each.rows) for each in fields):
        rows = own.start + np.flatnonzero(judged[own])
        pictures.append(
            Field(
                picture=_encoded(whole_picture(field, stretch)[0], MAX_FIELD_BYTES // len(fields)),
                width=field.columns,
                height=field.rows,
                x=x[rows],
                # Pictures of FITS files show their first row at the bottom.
                y=field.rows - 1 - y[rows] if field.linear else y[rows],
                a=AXES * a[rows],
                b=AXES * b[rows],
                theta=-theta[rows] if field.linear else theta[rows],
                rows=rows,
                looks=looks[rows],
                title=field.path.name,
            )
        )
    return pictures


def _encoded(image: np.ndarray, max_bytes: int = MAX_FIELD_BYTES) -> bytes:
    """Return pixels (rows, columns, 3) RGB as a JPEG of at most `max_bytes`."""
    scale = min(1.0, MAX_SIDE / max(image.shape[:2]))
    while True:
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
        content = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
        if len(content) <= max_bytes:
            return content
        scale *= SHRINK
