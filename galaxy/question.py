"""A question of a decision tree, and the check of its declaration."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

# Characters of a text, at most: a card from any source holds questions.
MAX_TEXT = 300
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")


@dataclass(frozen=True)
class Question:
    """A question, its answers in the order of the columns, and the next question of each answer (None: the path ends).

    `name` and `answers` are names of columns: letters, digits and hyphens. `words` are the answers in a path,
    "features or disk"; `labels` are the answers in figures, and `title` is the question in figures. Without
    `leads_to`, every answer ends the path. `default` is the answer of a question without votes; a path in words omits
    it. `everyone`: the question counts for all volunteers, whatever leads to it.
    """

    name: str
    text: str
    answers: tuple[str, ...]
    leads_to: tuple[str | None, ...] = ()
    words: tuple[str, ...] = ()
    title: str = ""
    labels: tuple[str, ...] = ()
    default: str | None = None
    everyone: bool = False

    def __post_init__(self) -> None:
        for field, value in (
            ("leads_to", self.leads_to or (None,) * len(self.answers)),
            ("words", self.words or tuple(answer.replace("-", " ") for answer in self.answers)),
            ("title", self.title or self.name.replace("-", " ").capitalize()),
        ):
            object.__setattr__(self, field, tuple(value) if isinstance(value, list) else value)
        object.__setattr__(self, "answers", tuple(self.answers))
        object.__setattr__(self, "labels", tuple(self.labels or self.words))


def question_complaint(question: Question, names: Sequence[str]) -> str | None:
    """Return what is wrong with a question of a tree, whose questions have these names; None if nothing is."""
    texts = (question.name, question.text, question.title, *question.answers, *question.words, *question.labels)
    if not all(isinstance(text, str) and 0 < len(text) <= MAX_TEXT and text.isprintable() for text in texts):
        return f"expected printable texts in question {str(question.name)[:60]!r}"
    if wrong := [name for name in (question.name, *question.answers) if not _NAME.fullmatch(name)]:
        return f"expected names of letters, digits and hyphens, got {wrong[0]!r}"
    if len(question.answers) < 2:
        return f"expected at least two answers to {question.name!r}"
    for what, values in (("answer", question.answers), ("word", question.words)):
        if repeated := [value for value, count in Counter(values).items() if count > 1]:
            return f"expected each {what} of {question.name!r} once, got {repeated[0]!r} twice"
    for what in ("leads_to", "words", "labels"):
        if len(getattr(question, what)) != len(question.answers):
            return f"expected {len(question.answers)} {what} of {question.name!r}, one per answer"
    if wrong := [word for word in question.words if "," in word]:
        return f"expected words without a comma, got {wrong[0]!r}"
    if question.default is not None and question.default not in question.answers:
        return f"the default {question.default!r} is no answer to {question.name!r}"
    if strange := [name for name in question.leads_to if name is not None and name not in names]:
        return f"an answer to {question.name!r} leads to {strange[0]!r}, which is no question"
    return None
