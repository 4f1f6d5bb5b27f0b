"""Progress of long work: tqdm's bar at a terminal, one line a minute in the log of a batch system."""

import sys
from collections.abc import Iterable, Sized

from tqdm import tqdm

INTERVAL = 60.0  # seconds between two lines
_LINE = "{desc}: {n_fmt}/{total_fmt}, {elapsed} passed, {remaining} left"
_LINE_WITHOUT_TOTAL = "{desc}: {n_fmt}, {elapsed} passed"


class Lines(tqdm):
    """A tqdm that prints whole lines, for logs; work of less than INTERVAL prints nothing."""

    monitor_interval = 0  # tqdm's thread redraws bars that stand still; a line needs none

    def __init__(self, things: Iterable | None, total: int | None, initial: int, name: str):
        line = _LINE if total else _LINE_WITHOUT_TOTAL
        super().__init__(
            things, total=total, initial=initial, desc=name, bar_format=line, disable=sys.stderr is None, leave=False,
            mininterval=INTERVAL, delay=INTERVAL, miniters=1,
            smoothing=0,  # the time left follows from the mean rate
        )  # fmt: skip

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Print the line where tqdm would redraw its bar, and nothing where it would clear it."""
        if msg is None:
            print(self, file=self.fp, flush=True)
        return False


Bar = tqdm


def showing(
    things: Iterable | None = None,
    total: int | None = None,
    initial: int = 0,
    desc: str | None = None,
    unit: str = "image",
    leave: bool = True,
) -> Bar:
    """Return a tqdm over `things`, or one that counts with `update` up to `total`."""
    if total is None and isinstance(things, Sized):
        total = len(things)
    if sys.stderr is None or not sys.stderr.isatty():
        return Lines(things, total, initial, desc or unit)
    return tqdm(things, total=total, initial=initial, desc=desc, unit=unit, leave=leave)
