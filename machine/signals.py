"""Signals that end a run in order: work is saved, workers end, and exit status 75 says "unfinished, run again".

SIGINT, SIGTERM and SIGHUP request an end; batch systems send SIGUSR1 some time before a limit.
"""

import contextlib
import signal
from collections.abc import Iterator

# EX_TEMPFAIL of `sysexits.h`: the same command resumes the work.
UNFINISHED = 75
_ENDING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")


class Interrupted(SystemExit):
    """A signal ends the run, with status UNFINISHED."""


class Stopped(Exception):
    """A run stopped between two steps, on request."""


def _signals(*names: str) -> list[signal.Signals]:
    """Return the signals that the system has and that the parent process did not ignore, as nohup does SIGHUP."""
    signals = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]


@contextlib.contextmanager
def _handling(handler: object, *names: str) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in _signals(*names)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


class StopRequest:
    """Records a signal, so that the run can stop between two steps; a second Ctrl-C stops it at once."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __enter__(self) -> "StopRequest":
        self._handling = _handling(self._note, *_ENDING)
        self._handling.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._handling.__exit__(*error)

    def _note(self, signum: int, frame: object) -> None:
        # A second SIGTERM does not count: `timeout` and batch systems may send it to a process twice.
        if self.signal is not None and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = self.signal or signum


def ending_in_order() -> contextlib.AbstractContextManager[None]:
    """Turn signals into an exit with status UNFINISHED; `finally` blocks still save their work."""
    left = False

    def leave(signum: int, frame: object) -> None:
        nonlocal left
        if not left:
            left = True
            raise Interrupted(UNFINISHED)
        if signum == signal.SIGINT:  # other signals do not interrupt the saving
            raise KeyboardInterrupt

    return _handling(leave, *_ENDING)
