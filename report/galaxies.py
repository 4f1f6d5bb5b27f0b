"""The galaxies that a page shows, a row each, and fields' pictures with marks, as plain values for its script."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from galaxy.decision_tree import NUM_ANSWERS
from galaxy.thumbnails import MAX_PICTURES

# A page shows at most this many rows; the table has all.
MAX_ROWS = MAX_PICTURES
# Of a text, of all texts of a page, and of columns of one's own: what a page shows. Bytes as the page has them.
MAX_TEXT, TOTAL_TEXT, MAX_COLUMNS = 1_200, 1_200_000, 12
# Fractions and spreads are whole numbers of so many parts.
SCALE, SPREAD_SCALE = 10_000, 1_000
# What pictures of fields take at most, all together, bytes; and of how many there is one.
MAX_FIELD_BYTES, MAX_FIELDS = 1_200_000, 12


@dataclass(frozen=True, eq=False)
class Column:
    """A column beside the answers: numbers with NaN, or texts; `listed` in the table, or only in a galaxy's details.

    Numbers are shown with so many `digits` behind the point; `help` says what the column is.
    """

    title: str
    values: np.ndarray | Sequence[str]
    digits: int = 2
    listed: bool = False
    help: str = ""

    @property
    def numeric(self) -> bool:
        """Whether it holds numbers."""
        return np.asarray(self.values).dtype.kind in "fiu"

    def as_plain(self, most: int = MAX_TEXT) -> dict[str, object]:
        """Return it as plain values, texts of at most so many bytes; what is unknown is None."""
        values, numeric = np.asarray(self.values), self.numeric
        plain = numbers(values, self.digits) if numeric else [short(str(value), most) for value in values]
        return {
            "title": short(self.title), "values": plain, "numeric": numeric, "digits": self.digits,
            "listed": self.listed, "help": short(self.help),
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Field:
    """A picture of a field and the galaxies in it, each a mark that leads to its row.

    `picture` is a JPEG, PNG or WebP that shows `width` x `height` pixels of the file,
    whatever its own size. `x`, `y` (n,) are positions in pixels of the file, counted from 0 at the centre of the
    pixel in the picture's upper left; `radius` (n,) pixels; `rows` (n,) the galaxies' rows.
    """

    picture: bytes
    width: int
    height: int
    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    rows: np.ndarray
    title: str = "The field"

    def among(self, shown: np.ndarray) -> "Field":
        """Return it with marks of the rows that are shown only, numbered as they stand in `shown` (m,), ascending."""
        place = np.minimum(np.searchsorted(shown, self.rows), max(0, len(shown) - 1))
        kept = shown[place] == self.rows if len(shown) else np.zeros(len(self.rows), bool)
        values = {name: getattr(self, name)[kept] for name in ("x", "y", "radius")}
        return replace(self, **values, rows=place[kept])

    def as_plain(self, num_rows: int) -> dict[str, object]:
        """Return it as plain values; raises ValueError where it can not be shown."""
        marks = np.stack([self.x, self.y, self.radius], axis=1).astype(np.float64)
        if not np.isfinite(marks).all():
            raise ValueError("expected finite positions and radii")
        if not ((self.rows >= 0) & (self.rows < num_rows)).all():
            raise ValueError(f"expected rows of the {num_rows} galaxies that are shown")
        return {
            "picture": address(self.picture), "width": self.width, "height": self.height, "title": short(self.title),
            "marks": marks.round(1).tolist(), "rows": self.rows.tolist(),
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Galaxies:
    """What a page shows of galaxies, at most MAX_ROWS.

    `votes` (n, 37) are weighted down the tree, NaN in a row without any; `others` (n, 37) what volunteers answered.
    `kind` says which fractions are listed: 'conditional' or 'weighted'; `spreads` holds (n, 37) of the same kind, by
    name: transforms, models, low68, high68. `flags` (n,) are sums of the bits of `flag_words`.
    `pictures` are WebP, or None.
    """

    names: Sequence[str]
    votes: np.ndarray
    pictures: Sequence[bytes | None]
    columns: Sequence[Column] = ()
    others: np.ndarray | None = None
    kind: str = "conditional"
    spreads: dict[str, np.ndarray] = field(default_factory=dict)
    flags: np.ndarray | None = None
    flag_words: dict[int, str] = field(default_factory=dict)
    # What the rows are, in the plural, and the order in which they are listed at first: a column's title, and whether
    # the greatest comes first.
    noun: str = "galaxies"
    order: tuple[str, bool] | None = None
    fields: Sequence[Field] = ()

    def __post_init__(self) -> None:
        if len(self) > MAX_ROWS:
            raise ValueError(f"expected at most {MAX_ROWS} galaxies, got {len(self)}")
        if self.votes.shape != (len(self), NUM_ANSWERS) or len(self.pictures) != len(self):
            raise ValueError("expected as many votes and pictures as names")
        if (size := sum(len(each.picture) for each in self.fields)) > MAX_FIELD_BYTES:
            raise ValueError(f"expected pictures of fields of at most {MAX_FIELD_BYTES:,} bytes, got {size:,}")

    def __len__(self) -> int:
        return len(self.names)

    def as_plain(self) -> dict[str, object]:
        """Return all of it as plain values for a page's script."""
        num_texts = len(self) * (1 + sum(not column.numeric for column in self.columns))
        most = min(MAX_TEXT, TOTAL_TEXT // max(1, num_texts))
        return {
            "names": [short(name, most) for name in self.names],
            "votes": parts(self.votes),
            "others": None if self.others is None else parts(self.others),
            "kind": self.kind,
            "spreads": {name: parts(values, SPREAD_SCALE) for name, values in self.spreads.items()},
            "flags": None if self.flags is None else np.asarray(self.flags).tolist(),
            "flagWords": {str(bit): words for bit, words in self.flag_words.items()},
            "columns": [column.as_plain(most) for column in self.columns],
            "pictures": ["" if each is None else base64.b64encode(each).decode() for each in self.pictures],
            "noun": self.noun,
            "order": self.order,
            "spreadScale": SPREAD_SCALE,
            "fields": [each.as_plain(len(self)) for each in self.fields],
        }


def spread_evenly(num_rows: int, most: int = MAX_ROWS) -> np.ndarray:
    """Return at most so many of rows 0, 1, ..., evenly spread, in order."""
    return np.linspace(0, max(0, num_rows - 1), min(num_rows, most)).round().astype(int)


def short(text: str, most: int = MAX_TEXT) -> str:
    """Return a text that takes at most so many bytes in a page, without halves of characters, which none can hold."""
    text = text.encode("utf-8", "backslashreplace").decode()
    # As the page's JSON writes them, a character takes at most twelve.
    if 12 * len(text) <= most or len(json.dumps(text)) + 5 * sum(map(text.count, "<>&'")) <= most:
        return text
    return f"{text[: max(1, most // 12 - 1)]}…"


def parts(values: np.ndarray, scale: int = SCALE) -> list[int]:
    """Return fractions (n, 37) as whole numbers of 1 / scale, one after another; -1 where nothing is known."""
    known = np.isfinite(values)
    whole = np.where(known, np.round(np.clip(np.where(known, values, 0), 0, 1) * scale), -1)
    return whole.astype(int).ravel().tolist()


def numbers(values: np.ndarray, digits: int) -> list[float | int | None]:
    """Return numbers with so many digits behind the point; None where nothing is known."""
    if values.dtype.kind in "iu":
        return values.tolist()
    return [round(value, digits) if np.isfinite(value) else None for value in values.astype(np.float64).tolist()]


def address(picture: bytes) -> str:
    """Return a picture as the address that holds it."""
    kinds = {b"\xff\xd8\xff": "jpeg", b"\x89PN": "png", b"RIF": "webp"}
    if picture[:3] not in kinds:
        raise ValueError("expected a JPEG, PNG or WebP")
    return f"data:image/{kinds[picture[:3]]};base64,{base64.b64encode(picture).decode()}"
