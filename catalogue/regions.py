"""Objects of a field as a region file, which DS9 and the like open over the image.

Positions are pixels of the image as DS9 counts them, from 1 and upwards: of a FITS file as its rows are stored, of a
picture from its lowest row.
"""

from pathlib import Path

import numpy as np

from machine.files import replacing


def write_regions(path: Path, rows: dict[str, np.ndarray], labels: list[tuple[str, str]], upside_down: int = 0) -> None:
    """Write an ellipse a row, three second moments long, with its label and colour.

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
