"""Votes on one's own galaxies, in whatever table they are, as Kaggle's weighted fractions.

Columns are found by name: Kaggle's, those of Galaxy Zoo 2's table, or those of later projects (`galaxy.answer_names`),
as counts or as fractions. What a table says of a question is taken as the proportions of its answers, so that it makes
no difference whether it counts votes, divides them by those who were asked, or weighs them down the tree as Kaggle
does; the labels obey the tree to rounding.

Source: Willett et al. 2013 (arXiv 1308.3496), 3.2 and table 5; documentation of 2014, 2.2.2.
"""

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from galaxy import decision_tree
from galaxy.answer_names import COLUMN_OF, NAMES, PUBLISHED_NAMES, simplified
from galaxy.decision_tree import COLUMN_NAMES, NUM_ANSWERS, QUESTIONS, SLICES
from machine import tables
from machine.files import DataError

if TYPE_CHECKING:
    import pandas

# What a column's name ends with, by what it holds; the first that a table has for its answers is taken. "" is a name
# without an ending.
KINDS = {
    "fraction": ("_fraction", "_frac"),
    "count": ("_count", "_votes"),
    "plain": ("",),
    "weighted_fraction": ("_weighted_fraction",),
    "debiased": ("_debiased", "_debiased_fraction"),
}
NAME_COLUMNS = ("GalaxyID", "id_str", "id", "name", "filename", "file_name", "file_loc", "objid", "dr7objid", "iauname")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
# What passes as rounding in a column of fractions.
ROUNDING = 0.01


@dataclass(frozen=True)
class Choices:
    """What a person may say of a table: the column of names, one of KINDS, whether whole questions may be missing."""

    name_column: str | None = None
    kind: str | None = None
    fill_missing: bool = False


def read(path: Path, stems: Collection[str], choices: Choices = Choices()) -> tuple[list[str], np.ndarray]:
    """Read the galaxies' names (n,) and their labels (n, 37), which obey the tree, float64.

    A name is as an image is called, without its folder and ending; `stems` are those of the images. Says in one line
    each what was taken, and what was left out or filled in. Raises DataError for a column without a match, and for
    a cell that is no vote.
    """
    names = tables.column_names(path)
    kind, columns = find_columns(path, names, choices)
    candidates = _name_columns(path, names, choices.name_column)
    table = tables.read_cells(path, list(dict.fromkeys([*candidates, *columns.values()])))
    if len(table) == 0:
        raise DataError(f"{path}: expected one row for each galaxy, got none")
    keys = {name: [_key(path, name, cell) for cell in table[name].tolist()] for name in candidates}
    chosen = max(candidates, key=lambda name: len(set(keys[name]) & set(stems)))
    if not set(keys[chosen]) & set(stems):
        raise DataError(
            f"{path}: expected names of images in a column, but {chosen} has {keys[chosen][0]!r}, and an image is "
            f"called {min(stems)!r}; say which column with --id-column"
        )
    print(f"{path}: names from {chosen!r}, votes from {len(columns)} columns like {next(iter(columns.values()))!r}")
    values = np.full((len(table), NUM_ANSWERS), np.nan)
    for column, name in columns.items():
        values[:, column] = _numbers(path, name, table[name], keys[chosen])
    _refuse_no_votes(path, values, kind, columns, keys[chosen])
    return _labels_of(path, keys[chosen], values)


def find_columns(path: Path, names: Sequence[str], choices: Choices) -> tuple[str, dict[int, str]]:
    """Return the kind of votes that a table has, and its column of each answer (0..36).

    Where answers have no column, it says so in a line each, with the nearest name that the table has, and raises
    DataError. With `fill_missing`, questions of which no answer has a column are left out.
    """
    found: dict[str, dict[int, str]] = {each: {} for each in KINDS}
    for name in names:
        for each, endings in KINDS.items():
            simple = simplified(name)
            bases = [simple.removesuffix(ending) for ending in endings if simple.endswith(ending)]
            for column in [COLUMN_OF[base] for base in bases if base in COLUMN_OF]:
                if column in found[each]:
                    raise DataError(f"{path}: expected one column an answer, got {found[each][column]} and {name}")
                found[each][column] = name
    kind = choices.kind or max(KINDS, key=lambda each: len(found[each]))
    columns = found[kind]
    missing = [
        range(NUM_ANSWERS)[answers]
        for answers in SLICES.values()
        if not set(range(NUM_ANSWERS)[answers]) <= set(columns)
    ]
    if choices.fill_missing and columns:
        missing = [answers for answers in missing if set(answers) & set(columns)]
    wanted = [column for answers in missing for column in answers if column not in columns]
    if wanted:
        _tell_unmatched(names, columns, wanted, kind)
        raise DataError(
            f"{path}: expected a column for each of {NUM_ANSWERS} answers, but {len(wanted)} have none, "
            f"{NAMES[wanted[0]]} first; name them as listed, or take whole questions as not asked with --fill-missing"
        )
    return kind, columns


def _tell_unmatched(names: Sequence[str], columns: dict[int, str], wanted: list[int], kind: str) -> None:
    """Print a line for each answer without a column, with the nearest name that the table has."""
    used = set(columns.values())
    free = {simplified(name): name for name in names if name not in used}
    for column in wanted:
        name = NAMES[column] + KINDS[kind][0]
        near = difflib.get_close_matches(simplified(name), free, n=1, cutoff=0.7)
        hint = f"; the nearest name is {free[near[0]]!r}" if near else ""
        print(f"no column {name!r}, {PUBLISHED_NAMES[column] + KINDS[kind][0]!r} or {COLUMN_NAMES[column]!r}{hint}")


def _name_columns(path: Path, names: Sequence[str], chosen: str | None) -> list[str]:
    """Return the columns that may hold the galaxies' names."""
    if chosen is not None:
        if chosen not in names:
            near = difflib.get_close_matches(chosen, names, n=1, cutoff=0)
            raise DataError(f"{path} has no column {chosen!r}; the nearest name is {near[0]!r}")
        return [chosen]
    simple = {simplified(name): name for name in reversed(names)}
    if found := [simple[each] for each in map(simplified, NAME_COLUMNS) if each in simple]:
        return found
    raise DataError(
        f"{path}: expected the galaxies' names in a column like {', '.join(NAME_COLUMNS[:3])}, found none among "
        f"{', '.join(map(repr, names[:5]))}, ...; say which column with --id-column"
    )


def _key(path: Path, column: str, cell: object) -> str:
    """Return a galaxy's name as an image is called: without folder and ending; "" for none."""
    if isinstance(cell, float):
        if np.isnan(cell):
            return ""
        if cell != int(cell) or abs(cell) > 2**53:
            raise DataError(f"{path}: expected whole numbers or text in {column}, got {cell!r}, which lost digits")
        cell = int(cell)
    name = PurePosixPath(str(cell).strip().replace("\\", "/")).name
    return PurePosixPath(name).stem if name.lower().endswith(IMAGE_SUFFIXES) else name


def _numbers(path: Path, column: str, cells: "pandas.Series", keys: list[str]) -> np.ndarray:
    """Return a column's numbers (n,) float64, NaN where a cell is empty; raises DataError for any other cell."""
    import pandas

    numbers = pandas.to_numeric(cells, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    bad = (np.isnan(numbers) & cells.notna().to_numpy()) | np.isinf(numbers) | (numbers < -ROUNDING)
    if bad.any():
        row = np.flatnonzero(bad)[0]
        raise DataError(
            f"{path}: expected votes of at least 0, got {cells.iloc[row]!r} for {keys[row]!r} in {column} "
            f"({bad.sum()} such cells)"
        )
    return numbers.clip(min=0)


def _refuse_no_votes(path: Path, values: np.ndarray, kind: str, columns: dict[int, str], keys: list[str]) -> None:
    """Raise DataError for fractions (n, 37) above 1; votes without an ending may be counts."""
    above = np.argwhere(values > 1 + ROUNDING)
    if len(above) and kind not in ("count", "plain"):
        row, column = above[0]
        raise DataError(
            f"{path}: expected fractions within [0, 1], got {values[row, column]:g} for {keys[row]!r} in "
            f"{columns[column]} ({len(above)} such cells); for counts, see --votes"
        )


def _labels_of(path: Path, keys: list[str], values: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return names and labels of the galaxies on which there are votes: values (n, 37) with NaN for those not given.

    Where nobody was asked a question, its answers get nothing, as in Kaggle's table. Where somebody was, and no vote
    is given, they are even; of question 6, which everybody is asked, the answer is that nothing is odd.
    """
    votes = np.nan_to_num(values)
    given = np.stack([votes[:, answers].sum(axis=1) > 0 for answers in SLICES.values()], axis=1)
    known = given[:, 0]
    if not known.all():
        print(f"{path}: left out {(~known).sum()} rows without a vote on question 1, {keys[np.argmin(known)]!r} first")
    votes, given = votes[known], given[known]
    numbers = list(QUESTIONS)
    votes[~given[:, numbers.index(6)], SLICES[6]] = 0, 1
    given[:, numbers.index(6)] = True
    labels = decision_tree.obey(votes)
    _tell_sums(path, votes)
    _, weights = decision_tree.question_totals(labels)
    filled = ~given & (weights > ROUNDING)
    if filled.any():
        most = numbers[int(filled.sum(axis=0).argmax())]
        print(
            f"{path}: {filled.any(axis=1).sum()} galaxies have no votes on a question that they lead to, most often "
            f"question {most}; its answers are taken as even"
        )
    return [key for key, is_known in zip(keys, known, strict=True) if is_known], labels


def _tell_sums(path: Path, votes: np.ndarray) -> None:
    """Say in one line how many galaxies have fractions (n, 37) that sum neither to 1 nor to what the tree asks."""
    if votes.max(initial=0) > 1 + ROUNDING:  # counts
        return
    totals, weights = decision_tree.question_totals(votes)
    off = ((totals > 0) & (abs(totals - 1) > ROUNDING) & (abs(totals - weights) > ROUNDING)).any(axis=1)
    if off.any():
        print(f"{path}: the fractions of {off.sum()} galaxies do not sum to 1 within {ROUNDING:g}; they are made to")
