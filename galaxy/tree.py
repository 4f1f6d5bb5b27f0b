"""A decision tree of questions as a value: its answers, which answer leads to which question, its columns.

A volunteer starts at the first question; each answer leads to another question or ends the path. Arrays of votes have
one column per answer, in the order of the questions. Votes are weighted: the fraction of an answer among the answers to
its question, multiplied by the weight of the question. This weight is the sum of the weighted votes of the answers that
lead to the question. Conditional votes are the fractions alone.

Source: Willett et al. 2013 (arXiv 1308.3496), 3.2; documentation of 2014, 2.2.2.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

import numpy as np

from galaxy.question import MAX_TEXT, Question, question_complaint
from machine.files import DataError

# Questions and answers of a tree, at most: a card from any source holds one.
MAX_QUESTIONS, MAX_ANSWERS = 100, 500
_HINT = "correct the declaration of the tree"
# What a catalogue's columns are called: the joined names of question and answer, and the ending of concentrations.
# 'lower': lower-case letters and underscores, valid column names in all formats. Others: as published.
CONVENTIONS = {"lower": ("_", "_alpha"), "desi": ("-", "_alpha"), "euclid": ("-", "_dirichlet")}


@dataclass(frozen=True)
class Tree:
    """The questions of a survey; raises DataError, in one line, for a declaration that is no tree.

    `columns`: names of the columns of the table of labels; by default `question_answer`. `weighted`: the columns are
    weighted down the tree, as Kaggle's are; otherwise they are conditional. `project` is the ending of a question's
    name in tables of several surveys, as in `smooth-or-featured-dr5_smooth`. `convention` is the convention of a
    catalogue's columns: a key of CONVENTIONS.
    """

    name: str
    questions: tuple[Question, ...]
    columns: tuple[str, ...] = ()
    weighted: bool = False
    project: str = ""
    convention: str = "lower"

    def __post_init__(self) -> None:
        object.__setattr__(self, "questions", tuple(self.questions))
        object.__setattr__(self, "columns", tuple(self.columns) or self._names())
        if complaint := _complaint(self):
            raise DataError(f"tree {str(self.name)[:60]!r}: {complaint}; {_HINT}")

    def _names(self) -> tuple[str, ...]:
        return tuple(f"{question.name}_{answer}" for question in self.questions for answer in question.answers)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each answer with its question: `smooth-or-featured_smooth`."""
        return self._names()

    @property
    def num_answers(self) -> int:
        return len(self.names)

    @property
    def numbers(self) -> range:
        """The numbers of the questions, from 1."""
        return range(1, len(self.questions) + 1)

    @cached_property
    def slices(self) -> dict[int, slice]:
        """The columns of each question's answers."""
        ends = np.cumsum([len(question.answers) for question in self.questions]).tolist()
        return {n: slice(end - len(self.question(n).answers), end) for n, end in zip(self.numbers, ends, strict=True)}

    @cached_property
    def question_of(self) -> np.ndarray:
        """The index (from 0) of each answer's question: (answers,)."""
        return np.repeat(np.arange(len(self.questions)), [len(question.answers) for question in self.questions])

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Each answer in a path; an answer that several questions have is preceded by its question: "bar: yes"."""
        pairs = [(question, word) for question in self.questions for word in question.words]
        counts = Counter(word for _, word in pairs)
        return tuple(word if counts[word] == 1 else f"{q.name.replace('-', ' ')}: {word}" for q, word in pairs)

    @cached_property
    def leads_to(self) -> dict[int, tuple[int | None, ...]]:
        """The number of the next question of each answer, by question; None where the path ends."""
        numbers = {question.name: n for n, question in zip(self.numbers, self.questions, strict=True)}
        return {
            n: tuple(None if name is None else numbers[name] for name in self.question(n).leads_to)
            for n in self.numbers
        }

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The questions in an order such that each follows those that lead to it."""
        before = {n: {m for m in self.numbers if n in self.leads_to[m]} for n in self.numbers}
        order = [1]
        for n in order:  # it grows
            ready = (m for m in self.leads_to[n] if m is not None and before[m] <= {*order})
            order += [m for m in dict.fromkeys(ready) if m not in order]
        return tuple(order)

    @cached_property
    def scaled_by(self) -> dict[int, tuple[int, ...]]:
        """The columns whose sum is the weight of each question; empty for questions that all volunteers are asked.

        All answers to a question together have the question's own weight, so its columns replace theirs.
        """
        scaled: dict[int, tuple[int, ...]] = {}
        for n in self.order:
            leading = {
                self.slices[m].start + index
                for m in self.numbers
                for index, following in enumerate(self.leads_to[m])
                if following == n
            }
            everyone = n == self.order[0] or self.question(n).everyone
            for m in reversed(self.order[: len(scaled)]):
                own = set(range(self.num_answers)[self.slices[m]])
                if own <= leading:
                    leading = (leading - own) | set(scaled[m])
                    everyone = everyone or not scaled[m]
            scaled[n] = () if everyone else tuple(sorted(leading))
        return {n: scaled[n] for n in self.numbers}

    def question(self, number_from_1: int) -> Question:
        """Return a question; questions count from 1."""
        return self.questions[number_from_1 - 1]

    def column(self, question: int, answer: int) -> int:
        """Return the column of an answer; question and answer count from 1, as in Kaggle's `Class1.1`."""
        if not 1 <= answer <= len(self.question(question).answers):
            raise ValueError(f"question {question} has no answer {answer}")
        return self.slices[question].start + answer - 1

    def weigh(self, fractions: np.ndarray) -> np.ndarray:
        """Convert the answer fractions of each question (..., answers) to weighted fractions, with NumPy, by question.

        `custom.weigh` does the same with torch, level by level, for output layers.
        """
        weighted = np.array(fractions)
        for n in self.order:
            if scaling := self.scaled_by[n]:
                weighted[..., self.slices[n]] *= _sum_of(weighted, scaling)[..., None]
        return weighted

    def obey(self, weighted: np.ndarray) -> np.ndarray:
        """Rescale weighted fractions (..., answers) to the sums of the tree.

        The answers of a question keep their proportions. A question without votes gets equal fractions.
        """
        fractions = np.array(weighted, dtype=np.float64)
        for own in self.slices.values():
            totals = fractions[..., own].sum(axis=-1, keepdims=True)
            even = 1 / (own.stop - own.start)
            fractions[..., own] = np.where(totals > 0, fractions[..., own] / np.where(totals > 0, totals, 1), even)
        return self.weigh(fractions)

    def question_totals(self, votes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the sum of each question's answers and its weight, both (..., questions), for votes (..., answers)."""
        totals = np.stack([votes[..., own].sum(axis=-1) for own in self.slices.values()], axis=-1)
        ones = np.ones(votes.shape[:-1])
        weights = [_sum_of(votes, scaling) if scaling else ones for scaling in self.scaled_by.values()]
        return totals, np.stack(weights, axis=-1)

    def conditional(self, weighted: np.ndarray, asked_least: float = 0.0) -> np.ndarray:
        """Convert weighted votes (..., answers) to fractions among those asked; NaN where they are too few."""
        totals, asked = self.question_totals(np.asarray(weighted, dtype=np.float64))
        totals, asked = totals[..., self.question_of], asked[..., self.question_of]
        defined = (asked >= asked_least) & (totals > 0)
        return np.where(defined, weighted / np.where(defined, totals, 1), np.nan)

    def likeliest_path(self, votes: np.ndarray) -> list[tuple[int, int]]:
        """Return the likeliest answers along the tree, (question, answer) counted from 1, for votes (answers,)."""
        path: list[tuple[int, int]] = []
        question: int | None = self.order[0]
        while question is not None:
            answer = int(np.argmax(votes[self.slices[question]])) + 1
            path.append((question, answer))
            question = self.leads_to[question][answer - 1]
        return path

    @cached_property
    def checksum(self) -> str:
        """The SHA-256 of all that the tree declares."""
        return hashlib.sha256(json.dumps(self.as_plain(), sort_keys=True).encode()).hexdigest()

    def as_plain(self) -> dict[str, object]:
        """Return the tree as plain values, for JSON and TOML; `from_plain` returns the same tree."""
        return json.loads(json.dumps(asdict(self)))


def from_plain(values: object) -> Tree:
    """Return a tree from plain values: tables of `questions`, as in TOML or JSON; raises DataError, in one line."""
    try:
        given = dict(_known(Tree, values, "the tree"))
        questions = given.pop("questions")
        if not isinstance(questions, list):
            raise ValueError("expected a list of questions")
        given["questions"] = tuple(Question(**_as_question(each)) for each in questions)
        given["columns"] = tuple(given.get("columns", ()))
        return Tree(**given)
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"the tree is not as expected ({str(error)[:150]}); {_HINT}") from None


def _as_question(values: object) -> dict[str, object]:
    """Return the fields of a question; an empty text in `leads_to` ends the path, as TOML has no None."""
    given = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in _known(Question, values, "a question").items()
    }
    if "leads_to" in given:
        given["leads_to"] = tuple(name or None for name in given["leads_to"])
    return given


def _known(declared: type, values: object, what: str) -> Mapping:
    if not isinstance(values, Mapping):
        raise ValueError(f"expected {what} as a table")
    names = [field.name for field in fields(declared)]
    if unknown := [key for key in values if key not in names]:
        raise ValueError(f"{what} has no {unknown[0]!r}, expected {', '.join(names)}")
    return values


def _sum_of(votes: np.ndarray, columns: Sequence[int]) -> np.ndarray:
    """Return the sum of columns; that of one column is exact in any order of the sum."""
    return votes[..., columns[0]] if len(columns) == 1 else votes[..., list(columns)].sum(axis=-1)


def _complaint(tree: Tree) -> str | None:
    """Return what is wrong with a declaration, None if nothing is."""
    if not isinstance(tree.name, str) or not 0 < len(tree.name) <= MAX_TEXT:
        return "expected a name"
    if not tree.questions or not all(isinstance(question, Question) for question in tree.questions):
        return "expected at least one question"
    if len(tree.questions) > MAX_QUESTIONS or sum(len(each.answers) for each in tree.questions) > MAX_ANSWERS:
        return f"expected at most {MAX_QUESTIONS} questions with {MAX_ANSWERS} answers"
    if tree.convention not in CONVENTIONS:
        return f"expected a convention of {', '.join(CONVENTIONS)}, got {tree.convention!r}"
    names = [question.name for question in tree.questions]
    for question in tree.questions:
        if complaint := question_complaint(question, names):
            return complaint
    for what, values in (("question", names), ("column", tree.columns)):
        if repeated := [value for value, count in Counter(values).items() if count > 1]:
            return f"expected each {what} once, got {repeated[0]!r} twice"
    if len(tree.columns) != sum(len(question.answers) for question in tree.questions):
        return f"expected one column name per answer, got {len(tree.columns)}"
    return _path_complaint(tree)


def _path_complaint(tree: Tree) -> str | None:
    """Return which questions form a cycle, or which one no path reaches."""
    following = {question.name: {name for name in question.leads_to if name} for question in tree.questions}
    try:
        TopologicalSorter(following).prepare()
    except CycleError as error:
        return f"its questions form a cycle: {' to '.join(reversed(error.args[1]))}"
    reached, first = set(), tree.questions[0].name
    waiting = [first]
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting += following[name] - reached
    if unreached := [name for name in following if name not in reached]:
        return f"no answer leads to {unreached[0]!r}; expected all questions to be reached from {first!r}"
    return None
