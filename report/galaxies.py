"""The galaxies of a page, one row each, and the pictures of fields with marks, as plain values for its script."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from catalogue.calibration import NO_FEATURES
from catalogue.likely_path import answers_of
from galaxy.thumbnails import MAX_PICTURES, most_shown
from galaxy.tree import Tree
from machine import seals

# Rows of a page, at most; the table has all.
MAX_ROWS = MAX_PICTURES
# Bytes of a text in the page, bytes of all texts, and the user's own columns, at most.
MAX_TEXT, TOTAL_TEXT, MAX_COLUMNS = 1_200, 1_200_000, 12
# Bytes of identifiers and of files, which labels need in full.
MAX_NAMES = 3_000_000
# Fractions and spreads are stored as whole numbers, in units of 1 / SCALE and 1 / SPREAD_SCALE.
SCALE, SPREAD_SCALE = 10_000, 1_000
# Bytes of all pictures of fields, and their count, at most.
MAX_FIELD_BYTES, MAX_FIELDS = 1_200_000, 12
# The least semi-axis of a mark is the larger side of the field over this.
MARKS_PER_SIDE = 160


@dataclass(frozen=True, eq=False)
class Column:
    """A column beside the answers: numbers (NaN is unknown) or texts.

    A `listed` column is in the table, any other only in a galaxy's dialog. Numbers are shown with `digits` decimals.
    `help` describes the column.
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
        """Return the column as plain values: unknown numbers are None, texts have at most `most` bytes."""
        values, numeric = np.asarray(self.values), self.numeric
        plain = numbers(values, self.digits) if numeric else [short(str(value), most) for value in values]
        return {
            "title": short(self.title), "values": plain, "numeric": numeric, "digits": self.digits,
            "listed": self.listed, "help": short(self.help),
        }  # fmt: skip


class Mark(NamedTuple):
    """The ellipse of a galaxy on the picture of a field, in pixels of the file from its upper left corner."""

    row: int
    look: str
    x: float
    y: float
    a: float
    b: float
    theta: float


@dataclass(frozen=True, eq=False)
class Field:
    """The picture of a field, and an ellipse per galaxy.

    `picture` is a JPEG, PNG or WebP of any size that shows `width` x `height` pixels of the file. `x`, `y` (n,) are
    positions in pixels of the file, from 0 at the centre of the upper left pixel; `a`, `b` (n,) are the semi-axes of
    the marks, pixels; `theta` (n,) degrees from x towards y, downwards; `rows` (n,) the galaxies' rows; `looks` (n,)
    their appearances, names of `field_picture.COLOURS`.
    """

    picture: bytes
    width: int
    height: int
    x: np.ndarray
    y: np.ndarray
    a: np.ndarray
    b: np.ndarray
    theta: np.ndarray
    rows: np.ndarray
    looks: np.ndarray
    title: str = "The field"

    def among(self, shown: np.ndarray) -> "Field":
        """Return the field with the marks of rows `shown` (m,), ascending; its rows are indices into `shown`."""
        index = np.minimum(np.searchsorted(shown, self.rows), max(0, len(shown) - 1))
        kept = shown[index] == self.rows if len(shown) else np.zeros(len(self.rows), bool)
        values = {name: getattr(self, name)[kept] for name in ("x", "y", "a", "b", "theta", "looks")}
        return replace(self, **values, rows=index[kept])

    def marks(self, num_rows: int) -> list[Mark]:
        """Return the marks, tiny ones enlarged so that they stay visible; raises ValueError without position or row."""
        values = np.stack([self.x + 0.5, self.y + 0.5, self.a, self.b, self.theta], axis=1).astype(np.float64)
        if not np.isfinite(values).all():
            raise ValueError("expected finite positions and ellipses")
        if not ((self.rows >= 0) & (self.rows < num_rows)).all():
            raise ValueError(f"expected rows below {num_rows}, the count of galaxies on the page")
        values[:, 2:4] = np.maximum(values[:, 2:4], max(self.width, self.height) / MARKS_PER_SIDE)
        return [Mark(int(row), str(look), *own) for row, look, own in
                zip(self.rows, self.looks, values.round(1).tolist(), strict=True)]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Galaxies:
    """The galaxies of a page, at most `most`.

    `votes` (n, answers of the tree) are weighted down the tree, NaN in a row without answers; `others`, of the same
    shape, are votes of volunteers. The list shows weighted fractions if `weighted`, else conditional ones. `spreads`,
    of the same shape and type, are by name: transforms, models, low68, high68. `flags` (n,) are sums of the bits of
    `flag_words`; a row with a bit of `untrusted` is not trusted. `pictures` are WebP. `paths` are most likely paths in
    words, their fractions are in the column with the title `path_column`. Answers to other questions than `known`
    (None: all) are marked as `average`. `interval` says what intervals contain.
    """

    tree: Tree
    names: Sequence[str]
    votes: np.ndarray
    pictures: Sequence[bytes | None]
    paths: Sequence[str]
    path_title: str = "Most likely path"
    path_column: str = ""
    known: Sequence[int] | None = None
    average: str = "average"
    interval: str = ""
    columns: Sequence[Column] = ()
    others: np.ndarray | None = None
    weighted: bool = False
    spreads: dict[str, np.ndarray] = field(default_factory=dict)
    flags: np.ndarray | None = None
    flag_words: dict[int, str] = field(default_factory=dict)
    untrusted: int = 0
    # What a row is, in the plural; the initial order: a column's title, and whether it is descending.
    noun: str = "galaxies"
    order: tuple[str, bool] | None = None
    fields: Sequence[Field] = ()
    # Whole features (n, k), int8, in units of 1 / `feature_scale`; a page with them ranks galaxies and takes labels.
    features: np.ndarray | None = None
    feature_scale: int = 1
    files: Sequence[str] = ()
    # What to do where the page has a sample only.
    rest: str = ""

    def __post_init__(self) -> None:
        if len(self) > self.most:
            raise ValueError(f"expected at most {self.most} galaxies, got {len(self)}")
        if self.votes.shape != (len(self), self.tree.num_answers) or not len(self.pictures) == len(self.paths) == len(
            self
        ):
            raise ValueError(f"expected votes, pictures and paths of {len(self)} galaxies, one per name")
        if (size := sum(len(each.picture) for each in self.fields)) > MAX_FIELD_BYTES:
            raise ValueError(f"expected pictures of fields of at most {MAX_FIELD_BYTES:,} bytes, got {size:,}")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def most(self) -> int:
        """Rows of the page, at most."""
        return most_shown(self.features is not None)

    def _rare(self) -> dict[str, object] | None:
        """Return what labels need: features, full identifiers and files; `key` names this list of galaxies."""
        if self.features is None:
            return None
        ids, files = ([text.encode("utf-8", "backslashreplace").decode() for text in texts]
                      for texts in (self.names, self.files))  # fmt: skip
        if sum(map(len, files)) > MAX_NAMES:
            files = [""] * len(ids)
        return {
            "features": base64.b64encode(np.ascontiguousarray(self.features, np.int8).tobytes()).decode(),
            "size": self.features.shape[1],
            "scale": self.feature_scale,
            "known": (self.features[:, 0] != NO_FEATURES).tolist(),
            "ids": ids,
            "files": files,
            "key": seals.source_of(*ids, *files),
        }

    @property
    def trusted(self) -> np.ndarray:
        """Which rows are trusted: (n,) bool."""
        return np.ones(len(self), bool) if self.flags is None else np.asarray(self.flags) & self.untrusted == 0

    def as_plain(self) -> dict[str, object]:
        """Return the galaxies as plain values for a page's script."""
        num_texts = len(self) * (1 + sum(not column.numeric for column in self.columns))
        most = min(MAX_TEXT, TOTAL_TEXT * self.most // MAX_ROWS // max(1, num_texts))
        return {
            "rare": self._rare(),
            "names": [short(name, most) for name in self.names],
            "votes": parts(self.votes),
            "others": None if self.others is None else parts(self.others),
            "weighted": self.weighted,
            "spreads": {name: parts(values, SPREAD_SCALE) for name, values in self.spreads.items()},
            "flags": None if self.flags is None else np.asarray(self.flags).tolist(),
            "flagWords": {str(bit): words for bit, words in self.flag_words.items()},
            "columns": [column.as_plain(most) for column in self.columns],
            "pictures": ["" if each is None else base64.b64encode(each).decode() for each in self.pictures],
            "noun": self.noun,
            "order": self.order,
            "spreadScale": SPREAD_SCALE,
            "paths": [answers_of(path, self.tree) for path in self.paths],
            "pathTitle": self.path_title,
            "pathColumn": self.path_column,
            "known": list(self.tree.numbers if self.known is None else self.known),
            "average": self.average,
            "interval": self.interval,
            "untrusted": self.untrusted,
        }


def spread_evenly(num_rows: int, most: int = MAX_ROWS) -> np.ndarray:
    """Return at most `most` of the rows 0 ... num_rows - 1, evenly spread, ascending."""
    return np.linspace(0, max(0, num_rows - 1), min(num_rows, most)).round().astype(int)


def short(text: str, most: int = MAX_TEXT) -> str:
    """Return a text cut to at most `most` bytes of the page's JSON; lone surrogates are escaped."""
    text = text.encode("utf-8", "backslashreplace").decode()
    # A character has at most 12 bytes in JSON.
    if 12 * len(text) <= most or len(json.dumps(text)) + 5 * sum(map(text.count, "<>&'")) <= most:
        return text
    return f"{text[: max(1, most // 12 - 1)]}…"


def parts(values: np.ndarray, scale: int = SCALE) -> list[int]:
    """Return fractions (n, answers) as whole numbers in units of 1 / scale, flat; -1 for NaN."""
    known = np.isfinite(values)
    whole = np.where(known, np.round(np.clip(np.where(known, values, 0), 0, 1) * scale), -1)
    return whole.astype(int).ravel().tolist()


def numbers(values: np.ndarray, digits: int) -> list[float | int | None]:
    """Return numbers rounded to `digits` decimals; None for NaN and infinity."""
    if values.dtype.kind in "iu":
        return values.tolist()
    return [round(value, digits) if np.isfinite(value) else None for value in values.astype(np.float64).tolist()]


def address(picture: bytes) -> str:
    """Return a picture as a data address; raises ValueError for other formats than JPEG, PNG and WebP."""
    formats = {b"\xff\xd8\xff": "jpeg", b"\x89PN": "png", b"RIF": "webp"}
    if picture[:3] not in formats:
        raise ValueError("expected a JPEG, PNG or WebP")
    return f"data:image/{formats[picture[:3]]};base64,{base64.b64encode(picture).decode()}"
