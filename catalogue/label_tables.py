"""Labels that a person gave to galaxies, as the page of a catalogue saves them: id_str, file_loc, label, time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from machine.files import DataError, shown
from machine.table_cells import is_missing, text_of
from machine.tables import read_columns

COLUMNS = ("id_str", "file_loc", "label", "time")
MAX_LABELS, MAX_NAMES, MAX_NAME = 1_000_000, 100, 200
# Labels with these words name what is not looked for.
_REFUSALS = {"0", "common", "else", "false", "negative", "no", "none", "normal", "not", "nothing", "other", "rest"}
_REFUSALS |= {"others", "random", "uninteresting"}


@dataclass(frozen=True)
class Labels:
    """Labelled galaxies in the order of the file: identifiers, files (empty if unknown) and labels, each once."""

    ids: Sequence[str]
    files: Sequence[str]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def choices(self) -> list[str]:
        """The different labels, in their first order."""
        return list(dict.fromkeys(self.names))

    def wanted(self, name: str | None = None) -> str:
        """Return the label that is looked for: `name`, or the first one that is no refusal such as "other"."""
        if name is not None:
            if name not in self.choices:
                raise DataError(f"no galaxy has the label {shown(name)}; expected one of {_listed(self.choices)}")
            return name
        return next((each for each in self.choices if not is_refusal(each)), self.choices[0])


def is_refusal(name: str) -> bool:
    """Return whether a label says that a galaxy is not of the wanted sort: "other", "not a ring"."""
    words = name.lower().split()
    return bool(words) and (name.lower().strip() in _REFUSALS or words[0] in ("no", "not"))


def read_labels(path: Path) -> Labels:
    """Read a table of labels; raises DataError where it has no labels, or two for one galaxy."""
    columns = {name.lower(): values for name, values in read_columns(path).items()}
    missing = [name for name in ("id_str", "label") if name not in columns]
    if missing:
        raise DataError(
            f"{path} has no column {missing[0]}; expected a table of labels with {', '.join(COLUMNS)}, "
            "as the page of a catalogue saves it"
        )
    texts = {name: _texts(columns[name]) for name in ("id_str", "file_loc", "label") if name in columns}
    num_rows = len(texts["id_str"])
    if num_rows > MAX_LABELS:
        raise DataError(f"{path}: expected at most {MAX_LABELS:,} labels, got {num_rows:,}; split the table")
    files = texts.get("file_loc", [""] * num_rows)
    labels: dict[tuple[str, str], str] = {}
    for row, key in enumerate(zip(texts["id_str"], files, strict=True)):
        name = texts["label"][row].strip()
        if not key[0] or not name:
            raise DataError(f"{path}: row {row + 1} has no {'label' if key[0] else 'id_str'}; complete or delete it")
        if len(name) > MAX_NAME:
            raise DataError(f"{path}: row {row + 1} has a label of {len(name):,} characters, expected {MAX_NAME}")
        if labels.setdefault(key, name) != name:
            raise DataError(
                f"{path}: {shown(key[0])} has the labels {shown(labels[key])} and {shown(name)}; delete one of them"
            )
    if not labels:
        raise DataError(f"{path} has no label; label galaxies in the page of a catalogue, or write id_str,label")
    found = list(dict.fromkeys(labels.values()))
    if len(found) > MAX_NAMES:
        raise DataError(f"{path}: expected at most {MAX_NAMES} different labels, got {len(found):,}")
    return Labels([key[0] for key in labels], [key[1] for key in labels], list(labels.values()))


def _texts(cells: np.ndarray) -> list[str]:
    return ["" if is_missing(cell) else text_of(cell) for cell in cells.tolist()]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(shown(name) for name in names[:10]) + (", ..." if len(names) > 10 else "")
