"""Signals that end a run in order: its work saved, its workers ended, exit status 128 + the signal's number."""

import contextlib
import signal
import sys
from collections.abc import Iterator


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
    """Notes SIGINT, SIGTERM and SIGHUP, so that a run stops between two steps; a second Ctrl-C stops it at once."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __enter__(self) -> "StopRequest":
        self._handling = _handling(self._note, "SIGINT", "SIGTERM", "SIGHUP")
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
    """Have SIGTERM and SIGHUP leave the block as Ctrl-C does, through whatever saves work on the way out."""
    left = False

    def leave(number: int, frame: object) -> None:
        nonlocal left
        if not left:  # a second one is not to interrupt the saving
            left = True
            sys.exit(128 + number)

    return _handling(leave, "SIGTERM", "SIGHUP")
