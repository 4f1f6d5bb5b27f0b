"""How far a long work is: a bar where a person waits at a terminal, a line a minute in the log of a batch system."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized

from tqdm import tqdm

from machine.command_line import hms


class Lines:
    """Stands for a bar where there is no terminal: a line a minute on the error output, none of a short work."""

    INTERVAL = 60.0

    def __init__(self, things: Iterable | None, total: int | None, initial: int, name: str):
        self.things, self.total, self.initial, self.done, self.name = things, total, initial, initial, name
        self.start = self.told = time.monotonic()

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __iter__(self) -> Iterator:
        for thing in self.things:
            yield thing
            self.update()

    def update(self, number: int = 1) -> None:
        """Note that so many more are done."""
        self.done += number
        now = time.monotonic()
        if now - self.told >= self.INTERVAL:
            self.told = now
            print(self._line(now - self.start), file=sys.stderr, flush=True)

    def _line(self, seconds: float) -> str:
        line = f"{self.name}: {self.done}"
        if self.total is None:
            return f"{line}, {hms(seconds)} passed"
        each = seconds / max(1, self.done - self.initial)
        return f"{line}/{self.total}, {hms(seconds)} passed, {hms(each * (self.total - self.done))} left"


Bar = tqdm | Lines


def showing(
    things: Iterable | None = None,
    total: int | None = None,
    initial: int = 0,
    desc: str | None = None,
    unit: str = "image",
    leave: bool = True,
) -> Bar:
    """Return what shows how far a loop over things is, or how far `update` says that a work of `total` is."""
    if total is None and isinstance(things, Sized):
        total = len(things)
    if sys.stderr is None or not sys.stderr.isatty():
        return Lines(things, total, initial, desc or unit)
    return tqdm(things, total=total, initial=initial, desc=desc, unit=unit, leave=leave)
