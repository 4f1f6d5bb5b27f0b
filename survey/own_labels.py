"""Labels of your own galaxies: a table of votes, converted to Kaggle's weighted fractions.

Columns are found by name: those of Kaggle, of Galaxy Zoo 2's table, or of later projects (`galaxy.answer_names`). They
contain counts or fractions. Only the proportions of a question's answers are read, so that counts, fractions of the
volunteers who were asked, and Kaggle's weighted fractions give the same labels. The labels obey the decision tree to
rounding.

Source: Willett et al. 2013 (arXiv 1308.3496), 3.2 and table 5; documentation of 2014, 2.2.2.
"""

import difflib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from galaxy import decision_tree
from galaxy.answer_names import COLUMN_OF, LATER_COLUMN_OF, NAMES, NO_COUNTERPART, PUBLISHED_NAMES, simplified
from galaxy.decision_tree import COLUMN_NAMES, NUM_ANSWERS, QUESTIONS, SLICES
from machine import tables
from machine.files import DataError

if TYPE_CHECKING:
    import pandas

# Endings of column names by the type of votes. Of the types with the most answers, the first is used.
VOTE_ENDINGS = {
    "fraction": ("_fraction", "_frac"),
    "count": ("_count", "_votes"),
    "plain": ("",),
    "weighted_fraction": ("_weighted_fraction",),
    "debiased": ("_debiased", "_debiased_fraction"),
}
NAME_COLUMNS = ("GalaxyID", "id_str", "id", "name", "filename", "file_name", "file_loc", "objid", "dr7objid", "iauname")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".avif")
# The largest rounding error of a fraction.
ROUNDING = 0.01


@dataclass(frozen=True)
class Choices:
    """Choices for a table: the column of names, the type of votes, and whether whole questions may be missing."""

    name_column: str | None = None
    vote_type: str | None = None  # a key of VOTE_ENDINGS
    fill_missing: bool = False


def read(path: Path, stems: Collection[str], choices: Choices = Choices()) -> tuple[list[str], np.ndarray]:
    """Read the galaxies' names (n,) and their labels (n, 37) float64, which obey the tree.

    A name is that of an image file without folder and ending; `stems` are the images' names. Prints one line about the
    columns, and one about each group of rows that is left out or filled in. Raises DataError for a missing column, and
    for a cell that is not a vote.
    """
    names = tables.column_names(path)
    vote_type, columns = find_columns(path, names, choices)
    candidates = _name_columns(path, names, choices.name_column)
    table = tables.read_cells(
        path, list(dict.fromkeys([*candidates, *(name for same in columns.values() for name in same)]))
    )
    if len(table) == 0:
        raise DataError(f"{path}: expected one row per galaxy, got none; name another table with --labels")
    keys = {name: [_key(path, name, cell) for cell in table[name].tolist()] for name in candidates}
    chosen = max(candidates, key=lambda name: len(set(keys[name]) & set(stems)))
    if not set(keys[chosen]) & set(stems):
        raise DataError(
            f"{path}: expected names of images in a column, but {chosen} contains {keys[chosen][0]!r}, and an image is "
            f"called {min(stems)!r}; name the column with --id-column"
        )
    first = next(iter(columns.values()))[0]
    print(f"{path}: names from {chosen!r}, votes from {sum(map(len, columns.values()))} columns like {first!r}")
    _print_later(path, names, columns)
    values = np.full((len(table), NUM_ANSWERS), np.nan)
    for column, same in columns.items():
        votes = np.array([_numbers(path, name, table[name], keys[chosen]) for name in same])
        # Answers that are counted for one: a cell is empty where all of them are.
        values[:, column] = np.where(np.isnan(votes).all(axis=0), np.nan, np.nansum(votes, axis=0))
    _refuse_counts(path, values, vote_type, columns, keys[chosen])
    return _labels_of(path, keys[chosen], values)


def find_columns(path: Path, names: Sequence[str], choices: Choices) -> tuple[str, dict[int, tuple[str, ...]]]:
    """Return the type of votes, and the names of the columns of each answer (0..36).

    An answer has one column, or several of later projects that are added. Raises DataError for answers without a
    column, after one printed line per answer. With `fill_missing`, questions without any column are accepted.
    """
    by_type: dict[str, dict[int, tuple[str, ...]]] = {vote_type: {} for vote_type in VOTE_ENDINGS}
    for name in names:
        simple = simplified(name)
        for vote_type, endings in VOTE_ENDINGS.items():
            for base in [simple.removesuffix(ending) for ending in endings if simple.endswith(ending)]:
                column = COLUMN_OF.get(base, LATER_COLUMN_OF.get(base))
                if column is None:
                    continue
                same = by_type[vote_type].get(column, ())
                if same and not all(_is_added(each, vote_type) for each in (*same, name)):
                    raise DataError(f"{path}: expected one column per answer, got {same[0]} and {name}; remove one")
                by_type[vote_type][column] = (*same, name)
    vote_type = choices.vote_type or max(VOTE_ENDINGS, key=lambda candidate: len(by_type[candidate]))
    columns = by_type[vote_type]
    missing: list[int] = []
    questions: list[int] = []
    for question, answers in SLICES.items():
        absent = [column for column in range(NUM_ANSWERS)[answers] if column not in columns]
        whole_question = len(absent) == answers.stop - answers.start
        if not (choices.fill_missing and whole_question and columns):
            missing += absent
            questions += [question] if absent and whole_question else []
    if missing:
        _print_missing(names, columns, missing, vote_type)
        whole = f"; nothing about questions {', '.join(map(str, questions))}" if questions and columns else ""
        raise DataError(
            f"{path}: expected a column for each of {NUM_ANSWERS} answers, but {len(missing)} have none, "
            f"{NAMES[missing[0]]} first{whole}; name them as listed, or accept missing questions with --fill-missing"
        )
    return vote_type, columns


def _base(name: str, vote_type: str) -> str:
    """Return the simplified name of a column without its ending."""
    simple = simplified(name)
    return next((simple.removesuffix(end) for end in VOTE_ENDINGS[vote_type] if simple.endswith(end)), simple)


def _is_added(name: str, vote_type: str) -> bool:
    """Return whether an answer of a later project is added to others for one answer of Galaxy Zoo 2."""
    return bool(re.search(r"^bar_.*(strong|weak)$|^bulge_size_.*(moderate|large)$", _base(name, vote_type)))


def _print_later(path: Path, names: Sequence[str], columns: dict[int, tuple[str, ...]]) -> None:
    """Print a line about answers of later projects: what is added, and what has no counterpart."""
    added = [f"{NAMES[column]} = {' + '.join(same)}" for column, same in columns.items() if len(same) > 1]
    unused = sorted({name.partition("_")[0] for name in names if simplified(name).startswith(NO_COUNTERPART)})
    if added:
        without = f"; without a counterpart: {', '.join(unused)}" if unused else ""
        print(f"{path}: answers of a later Galaxy Zoo: {', '.join(added)}{without}")


def _print_missing(
    names: Sequence[str], columns: dict[int, tuple[str, ...]], missing: list[int], vote_type: str
) -> None:
    """Print one line per answer without a column, with the name in the table that is nearest in spelling.

    Only a name that differs within one word is near: `bar_weak` is not `bar_yes`.
    """
    used = {name for same in columns.values() for name in same}
    free = {simplified(name): name for name in names if name not in used}
    for column in missing:
        ending = VOTE_ENDINGS[vote_type][0]
        name, published = NAMES[column] + ending, PUBLISHED_NAMES[column] + ending
        near = difflib.get_close_matches(simplified(name), free, n=1, cutoff=0.7)
        near = [each for each in near if _same_words(each, simplified(name))]
        hint = f"; the nearest name is {free[near[0]]!r}" if near else ""
        print(f"no column {name!r}, {published!r} or {COLUMN_NAMES[column]!r}{hint}")


def _same_words(name: str, wanted: str) -> bool:
    """Return whether two simplified names have the same words, but for misspellings of one or two letters."""
    words, expected = name.split("_"), wanted.split("_")
    return len(words) == len(expected) and all(
        word == other or (min(len(word), len(other)) > 3 and difflib.SequenceMatcher(None, word, other).ratio() >= 0.75)
        for word, other in zip(words, expected, strict=True)
    )


def _name_columns(path: Path, names: Sequence[str], chosen: str | None) -> list[str]:
    """Return the columns that may contain the galaxies' names."""
    if chosen is not None:
        if chosen not in names:
            near = difflib.get_close_matches(chosen, names, n=1, cutoff=0)
            raise DataError(f"{path}: expected a column {chosen!r}, got none; the nearest name is {near[0]!r}")
        return [chosen]
    simple = {simplified(name): name for name in reversed(names)}
    if candidates := [simple[name] for name in map(simplified, NAME_COLUMNS) if name in simple]:
        return candidates
    raise DataError(
        f"{path}: expected the galaxies' names in a column like {', '.join(NAME_COLUMNS[:3])}, got "
        f"{', '.join(map(repr, names[:5]))}, ...; name the column with --id-column"
    )


def _key(path: Path, column: str, cell: object) -> str:
    """Return a galaxy's name as that of an image file, without folder and ending; "" for an empty cell."""
    if isinstance(cell, float):
        if np.isnan(cell):
            return ""
        if cell != int(cell) or abs(cell) > 2**53:
            raise DataError(
                f"{path}: expected whole numbers or text in {column}, got {cell!r}, which lost digits; "
                "store the ids as text"
            )
        cell = int(cell)
    name = PurePosixPath(str(cell).strip().replace("\\", "/")).name
    return PurePosixPath(name).stem if name.lower().endswith(IMAGE_SUFFIXES) else name


def _numbers(path: Path, column: str, cells: "pandas.Series", keys: list[str]) -> np.ndarray:
    """Return a column's numbers (n,) float64, NaN for empty cells; raises DataError for other cells."""
    import pandas

    numbers = pandas.to_numeric(cells, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    bad = (np.isnan(numbers) & cells.notna().to_numpy()) | np.isinf(numbers) | (numbers < -ROUNDING)
    if bad.any():
        row = np.flatnonzero(bad)[0]
        raise DataError(
            f"{path}: expected votes of at least 0, got {cells.iloc[row]!r} for {keys[row]!r} in {column} "
            f"({bad.sum()} such cells); correct them, or leave them empty"
        )
    return numbers.clip(min=0)


def _refuse_counts(
    path: Path, values: np.ndarray, vote_type: str, columns: dict[int, tuple[str, ...]], keys: list[str]
) -> None:
    """Raise DataError for fractions (n, 37) above 1; columns without an ending may contain counts."""
    above = np.argwhere(values > 1 + ROUNDING)
    if len(above) and vote_type not in ("count", "plain"):
        row, column = above[0]
        raise DataError(
            f"{path}: expected fractions within [0, 1], got {values[row, column]:g} for {keys[row]!r} in "
            f"{' + '.join(columns[column])} ({len(above)} such cells); for counts, see --votes"
        )


def _labels_of(path: Path, keys: list[str], values: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return the names and labels of the galaxies with votes, from values (n, 37) with NaN for empty cells.

    The answers of a question that no volunteer was asked get 0, as in Kaggle's table. A question with missing votes
    gets equal fractions, except question 6, which all volunteers are asked: its answer becomes "nothing odd".
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
    _print_sums(path, votes)
    _, weights = decision_tree.question_totals(labels)
    filled = ~given & (weights > ROUNDING)
    if filled.any():
        most = numbers[int(filled.sum(axis=0).argmax())]
        print(
            f"{path}: {filled.any(axis=1).sum()} galaxies lack the votes on a question that was asked, most often "
            f"question {most}; its answers get equal fractions"
        )
    return [key for key, is_known in zip(keys, known, strict=True) if is_known], labels


def _print_sums(path: Path, votes: np.ndarray) -> None:
    """Print the number of galaxies with fractions (n, 37) that sum neither to 1 nor to the weight in the tree."""
    if votes.max(initial=0) > 1 + ROUNDING:  # counts
        return
    totals, weights = decision_tree.question_totals(votes)
    off = ((totals > 0) & (abs(totals - 1) > ROUNDING) & (abs(totals - weights) > ROUNDING)).any(axis=1)
    if off.any():
        print(f"{path}: the fractions of {off.sum()} galaxies do not sum to 1 within {ROUNDING:g}; they are normalised")


def keys_by_column(path: Path, choices: Choices) -> dict[str, list[str]]:
    """Return the galaxies' names in each column of a table that may contain them."""
    candidates = _name_columns(path, tables.column_names(path), choices.name_column)
    table = tables.read_cells(path, candidates)
    return {name: [_key(path, name, cell) for cell in table[name].tolist()] for name in candidates}
