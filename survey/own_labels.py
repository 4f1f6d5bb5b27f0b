"""Labels of your own galaxies: a table of votes, converted to fractions that are weighted down the tree.

Columns are found by name: those of Kaggle, of Galaxy Zoo 2's table, or of later projects (`galaxy.answer_names`). They
contain counts or fractions. Only the proportions of a question's answers are read, so that counts, fractions of the
volunteers who were asked, and Kaggle's weighted fractions give the same labels. The labels obey the decision tree to
rounding.

Source: Willett et al. 2013 (arXiv 1308.3496), 3.2 and table 5; documentation of 2014, 2.2.2.
"""

import difflib
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from galaxy.answer_names import simplified
from galaxy.decision_tree import CLASSES
from galaxy.tree import Tree
from machine import tables
from machine.files import DataError
from survey.vote_columns import Choices, find_columns, print_later

if TYPE_CHECKING:
    import pandas

NAME_COLUMNS = ("GalaxyID", "id_str", "id", "name", "filename", "file_name", "file_loc", "objid", "dr7objid", "iauname")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".avif")
# The largest rounding error of a fraction.
ROUNDING = 0.01
NO_CHOICES = Choices()


# The column of classes, the columns of a table of classes, and the number of classes at most.
LABEL, CLASS_TABLE, MAX_CLASSES = "label", ("id_str", "file_loc", "label", "time", "weight"), 32


class OwnLabels(NamedTuple):
    """Labels of your own galaxies: names (n,), weighted labels (n, answers) float64, counts of votes (n, questions).

    `counts` is None for a table without them.
    """

    names: list[str]
    labels: np.ndarray
    counts: np.ndarray | None


def read(path: Path, stems: Collection[str], tree: Tree, choices: Choices = NO_CHOICES) -> OwnLabels:
    """Read the galaxies' names, their labels, which obey the tree, and the counts of votes if the table has them.

    A name is that of an image file without folder and ending; `stems` are the images' names. Prints one line about the
    columns, and one about each group of rows that is left out or filled in. Raises DataError for a missing column, and
    for a cell that is not a vote.
    """
    names = tables.column_names(path)
    columns = find_columns(path, names, tree, choices)
    candidates = _name_columns(path, names, choices.name_column)
    table = tables.read_cells(path, list(dict.fromkeys([*candidates, *columns.all])))
    if len(table) == 0:
        raise DataError(f"{path}: expected one row per galaxy, got none; name another table with --labels")
    keys = {name: [_key(path, name, cell) for cell in table[name].tolist()] for name in candidates}
    chosen = max(candidates, key=lambda name: len(set(keys[name]) & set(stems)))
    if not set(keys[chosen]) & set(stems):
        raise DataError(
            f"{path}: expected names of images in a column, but {chosen} contains {keys[chosen][0]!r}, and an image is "
            f"called {min(stems)!r}; name the column with --id-column"
        )
    first = next(iter(columns.answers.values()))[0]
    print(f"{path}: names from {chosen!r}, votes from {sum(map(len, columns.answers.values()))} columns like {first!r}")
    print_later(path, names, columns.answers, tree)

    def summed(wanted: dict[int, tuple[str, ...]], num_columns: int) -> np.ndarray:
        """Return the sums of columns (n, num_columns); a cell is empty where all of them are."""
        values = np.full((len(table), num_columns), np.nan)
        for column, same in wanted.items():
            votes = np.array([_numbers(path, name, table[name], keys[chosen]) for name in same])
            values[:, column] = np.where(np.isnan(votes).all(axis=0), np.nan, np.nansum(votes, axis=0))
        return values

    values = summed(columns.answers, tree.num_answers)
    _refuse_counts(path, values, columns.vote_type, columns.answers, keys[chosen])
    counts = np.nan_to_num(summed(columns.counts, len(tree.questions))) if columns.counts else None
    # Columns without an ending contain counts or fractions.
    if counts is not None and counts.max(initial=0) <= 1 + ROUNDING:
        counts = None
    kept, labels = _labels_of(path, keys[chosen], values, tree)
    known = [row for row, is_kept in enumerate(kept) if is_kept]
    return OwnLabels([keys[chosen][row] for row in known], labels, None if counts is None else counts[known])


def read_classes(path: Path, stems: Collection[str], choices: Choices = NO_CHOICES) -> tuple[Tree, OwnLabels] | None:
    """Read a table with a name of a class per galaxy, as the page of a catalogue saves it; None for a table of votes.

    The tree has one question; its answers are the classes in the order of their names. Rows whose galaxy is no image of
    `stems` stay, as with votes. Raises DataError for fewer than two classes, and for two classes of one galaxy.
    """
    names = tables.column_names(path)
    if LABEL not in names or not set(names) <= {*CLASS_TABLE, choices.name_column}:
        return None
    candidates = _name_columns(path, names, choices.name_column)
    table = tables.read_cells(path, list(dict.fromkeys([*candidates, LABEL])))
    keys = {name: [_key(path, name, cell) for cell in table[name].tolist()] for name in candidates}
    chosen = max(candidates, key=lambda name: len(set(keys[name]) & set(stems)))
    classes: dict[str, str] = {}
    for key, cell in zip(keys[chosen], table[LABEL].tolist(), strict=True):
        if not isinstance(cell, str) or not cell.strip():
            raise DataError(f"{path}: {key} has no {LABEL}; complete or delete its row")
        if classes.setdefault(key, cell.strip()) != cell.strip():
            raise DataError(f"{path}: {key} has the labels {classes[key]!r} and {cell.strip()!r}; delete one of them")
    if not set(classes) & set(stems):
        raise DataError(f"{path}: expected names of images in {chosen!r}; name their column with --id-column")
    answers = sorted(set(classes.values()))
    if not 2 <= len(answers) <= MAX_CLASSES:
        raise DataError(
            f"{path}: expected 2 to {MAX_CLASSES} different labels, got {len(answers)}; label more galaxies"
        )
    labels = np.array([[name == answer for answer in answers] for name in classes.values()], dtype=np.float64)
    print(f"{path}: one question, with the answers {', '.join(answers)}")
    return CLASSES(answers), OwnLabels(list(classes), labels, None)


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
    """Raise DataError for fractions (n, answers) above 1; columns without an ending may contain counts."""
    above = np.argwhere(values > 1 + ROUNDING)
    if len(above) and vote_type not in ("count", "plain"):
        row, column = above[0]
        raise DataError(
            f"{path}: expected fractions within [0, 1], got {values[row, column]:g} for {keys[row]!r} in "
            f"{' + '.join(columns[column])} ({len(above)} such cells); for counts, see --votes"
        )


def _labels_of(path: Path, keys: list[str], values: np.ndarray, tree: Tree) -> tuple[np.ndarray, np.ndarray]:
    """Return which galaxies have votes (n,), and their labels, from values (n, answers) with NaN for empty cells.

    The answers of a question that no volunteer was asked get 0, as in Kaggle's table. A question with missing votes
    gets equal fractions, or its default answer: Galaxy Zoo 2's question 6 gets "nothing odd".
    """
    votes = np.nan_to_num(values)
    given = np.stack([votes[:, answers].sum(axis=1) > 0 for answers in tree.slices.values()], axis=1)
    known = given[:, 0]
    if not known.all():
        print(f"{path}: left out {(~known).sum()} rows without a vote on question 1, {keys[np.argmin(known)]!r} first")
    votes, given = votes[known], given[known]
    for index, question in enumerate(tree.questions):
        if question.default is not None:
            votes[~given[:, index], tree.slices[index + 1].start + question.answers.index(question.default)] = 1
            given[:, index] = True
    labels = tree.obey(votes)
    _print_sums(path, votes, tree)
    _, weights = tree.question_totals(labels)
    filled = ~given & (weights > ROUNDING)
    if filled.any():
        most = tree.numbers[int(filled.sum(axis=0).argmax())]
        print(
            f"{path}: {filled.any(axis=1).sum()} galaxies lack the votes on a question that was asked, most often "
            f"question {most}; its answers get equal fractions"
        )
    return known, labels


def _print_sums(path: Path, votes: np.ndarray, tree: Tree) -> None:
    """Print the galaxies with fractions (n, answers) that sum neither to 1 nor to the weight in the tree."""
    if votes.max(initial=0) > 1 + ROUNDING:  # counts
        return
    totals, weights = tree.question_totals(votes)
    off = ((totals > 0) & (abs(totals - 1) > ROUNDING) & (abs(totals - weights) > ROUNDING)).any(axis=1)
    if off.any():
        print(f"{path}: the fractions of {off.sum()} galaxies do not sum to 1 within {ROUNDING:g}; they are normalised")


def keys_by_column(path: Path, choices: Choices) -> dict[str, list[str]]:
    """Return the galaxies' names in each column of a table that may contain them."""
    candidates = _name_columns(path, tables.column_names(path), choices.name_column)
    table = tables.read_cells(path, candidates)
    return {name: [_key(path, name, cell) for cell in table[name].tolist()] for name in candidates}
