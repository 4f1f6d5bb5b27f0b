"""Signals that end a run in order: its work saved, its workers ended, exit status 75, "unfinished, run again".

SIGINT and SIGTERM ask for an end; SIGUSR1 is what batch systems send some time before a limit.
"""

import contextlib
import signal
import sys
from collections.abc import Iterator

# What `sysexits.h` calls EX_TEMPFAIL: the same command, run again, goes on where this one stopped.
UNFINISHED = 75
_ENDING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")


class Stopped(Exception):
    """A run was asked to stop, and did between two steps."""


def _signals(*names: str) -> list[signal.Signals]:
    """Return those of these signals that the system has, and that nobody had ignored (as nohup does)."""
    found = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return [number for number in found if signal.getsignal(number) is not signal.SIG_IGN]


@contextlib.contextmanager
def _handling(handler: object, *names: str) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in _signals(*names)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


class StopRequest:
    """Notes signals that end a run, so that it stops between two steps; a second Ctrl-C stops it at once."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __enter__(self) -> "StopRequest":
        self._handling = _handling(self._note, *_ENDING)
        self._handling.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._handling.__exit__(*error)

    def _note(self, number: int, frame: object) -> None:
        # Only of Ctrl-C is a second one meant: `timeout` and batch systems may send SIGTERM to a process twice.
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = self.signal or number


def ending_in_order() -> contextlib.AbstractContextManager[None]:
    """Have signals leave the block with status UNFINISHED, through whatever saves work on the way out."""
    left = False

    def leave(number: int, frame: object) -> None:
        nonlocal left
        if not left:
            left = True
            sys.exit(UNFINISHED)
        if number == signal.SIGINT:  # a second one of the others is not to interrupt the saving
            raise KeyboardInterrupt

    return _handling(leave, *_ENDING)
