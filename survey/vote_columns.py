"""The columns of votes in a table, found by name: fractions or counts of each answer, counts of each question.

Names are those of the tree's own columns, of Galaxy Zoo 2's published table, or of later projects
(`galaxy.answer_names`).

Source: Willett et al. 2013 (arXiv 1308.3496), table 5.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from galaxy.answer_names import NO_COUNTERPART, PUBLISHED_NAMES, columns_of, later_columns_of, simplified
from galaxy.decision_tree import GALAXY_ZOO_2
from galaxy.tree import Tree
from machine.files import DataError

# Endings of column names by the type of votes. Of the types with the most answers, the first is used.
VOTE_ENDINGS = {
    "fraction": ("_fraction", "_frac"),
    "count": ("_count", "_votes"),
    "plain": ("",),
    "weighted_fraction": ("_weighted_fraction",),
    "debiased": ("_debiased", "_debiased_fraction"),
}
# Endings of the columns with the count of votes on a question.
TOTAL_ENDINGS = ("_total", "_total_votes", "_total_count")


@dataclass(frozen=True)
class Choices:
    """Choices for a table: the column of names, the type of votes, and whether whole questions may be missing."""

    name_column: str | None = None
    vote_type: str | None = None  # a key of VOTE_ENDINGS
    fill_missing: bool = False


@dataclass(frozen=True)
class VoteColumns:
    """The columns of a table: the type of votes, those of each answer, and those whose sum is a question's count."""

    vote_type: str
    answers: dict[int, tuple[str, ...]]
    counts: dict[int, tuple[str, ...]]

    @property
    def all(self) -> list[str]:
        """The names of all columns, each once."""
        return list(dict.fromkeys(name for same in (*self.answers.values(), *self.counts.values()) for name in same))


def find_columns(path: Path, names: Sequence[str], tree: Tree, choices: Choices) -> VoteColumns:
    """Return the columns of votes, by the column of the tree, and those of counts, by the index of the question.

    An answer has one column, or several of later projects that are added. Raises DataError for answers without a
    column, after one printed line per answer. With `fill_missing`, questions without any column are accepted.
    """
    known, later = columns_of(tree), later_columns_of(tree)
    by_type: dict[str, dict[int, tuple[str, ...]]] = {vote_type: {} for vote_type in VOTE_ENDINGS}
    for name in names:
        simple = simplified(name)
        for vote_type, endings in VOTE_ENDINGS.items():
            for base in [simple.removesuffix(ending) for ending in endings if simple.endswith(ending)]:
                column = known.get(base, later.get(base))
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
    for question, answers in tree.slices.items():
        absent = [column for column in range(tree.num_answers)[answers] if column not in columns]
        whole_question = len(absent) == answers.stop - answers.start
        if not (choices.fill_missing and whole_question and columns):
            missing += absent
            questions += [question] if absent and whole_question else []
    if missing:
        _print_missing(names, columns, missing, vote_type, tree)
        whole = f"; nothing about questions {', '.join(map(str, questions))}" if questions and columns else ""
        raise DataError(
            f"{path}: expected a column for each of {tree.num_answers} answers, but {len(missing)} have none, "
            f"{tree.names[missing[0]]} first{whole}; name them as listed, or accept missing questions with "
            "--fill-missing"
        )
    return VoteColumns(vote_type, columns, _count_columns(names, tree, by_type))


def _count_columns(
    names: Sequence[str], tree: Tree, by_type: dict[str, dict[int, tuple[str, ...]]]
) -> dict[int, tuple[str, ...]]:
    """Return the columns whose sum is the count of votes on each question, by its index; empty without counts.

    They are totals, or the counts of all answers that the table has.
    """
    simple = {simplified(name): name for name in names}
    totals: dict[int, tuple[str, ...]] = {}
    for index, question in enumerate(tree.questions):
        stems = [question.name, *([f"{question.name}-{tree.project}"] if tree.project else [])]
        candidates = [simplified(stem) + ending for stem in stems for ending in TOTAL_ENDINGS]
        if name := next((simple[each] for each in candidates if each in simple), None):
            totals[index] = (name,)
    if totals:
        return totals
    counts = next((by_type[vote_type] for vote_type in ("count", "plain") if by_type[vote_type]), {})
    grouped: dict[int, tuple[str, ...]] = {}
    for column, same in counts.items():
        index = int(tree.question_of[column])
        grouped[index] = (*grouped.get(index, ()), *same)
    return grouped


def _base(name: str, vote_type: str) -> str:
    """Return the simplified name of a column without its ending."""
    simple = simplified(name)
    return next((simple.removesuffix(end) for end in VOTE_ENDINGS[vote_type] if simple.endswith(end)), simple)


def _is_added(name: str, vote_type: str) -> bool:
    """Return whether an answer of a later project is added to others for one answer of Galaxy Zoo 2."""
    return bool(re.search(r"^bar_.*(strong|weak)$|^bulge_size_.*(moderate|large)$", _base(name, vote_type)))


def print_later(path: Path, names: Sequence[str], columns: dict[int, tuple[str, ...]], tree: Tree) -> None:
    """Print a line about answers of later projects: what is added, and what has no counterpart."""
    added = [f"{tree.names[column]} = {' + '.join(same)}" for column, same in columns.items() if len(same) > 1]
    unused = sorted({name.partition("_")[0] for name in names if simplified(name).startswith(NO_COUNTERPART)})
    if added:
        without = f"; without a counterpart: {', '.join(unused)}" if unused else ""
        print(f"{path}: answers of a later Galaxy Zoo: {', '.join(added)}{without}; --tree keeps them as they are")


def _print_missing(
    names: Sequence[str], columns: dict[int, tuple[str, ...]], missing: list[int], vote_type: str, tree: Tree
) -> None:
    """Print one line per answer without a column, with the name in the table that is nearest in spelling.

    Only a name that differs within one word is near: `bar_weak` is not `bar_yes`.
    """
    used = {name for same in columns.values() for name in same}
    free = {simplified(name): name for name in names if name not in used}
    for column in missing:
        ending = VOTE_ENDINGS[vote_type][0]
        name, others = tree.names[column] + ending, [tree.columns[column]]
        if tree == GALAXY_ZOO_2:
            others.insert(0, PUBLISHED_NAMES[column] + ending)
        near = difflib.get_close_matches(simplified(name), free, n=1, cutoff=0.7)
        near = [each for each in near if _same_words(each, simplified(name))]
        hint = f"; the nearest name is {free[near[0]]!r}" if near else ""
        listed = " or ".join([", ".join(map(repr, (name, *others[:-1]))), *map(repr, others[-1:])])
        print(f"no column {listed if others != [tree.names[column]] else repr(name)}{hint}")


def _same_words(name: str, wanted: str) -> bool:
    """Return whether two simplified names have the same words, but for misspellings of one or two letters."""
    words, expected = name.split("_"), wanted.split("_")
    return len(words) == len(expected) and all(
        word == other or (min(len(word), len(other)) > 3 and difflib.SequenceMatcher(None, word, other).ratio() >= 0.75)
        for word, other in zip(words, expected, strict=True)
    )
