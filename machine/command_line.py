"""Command lines of all scripts: shared flags, checks of their values, and errors in one line."""

import argparse
import re
import sys
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from machine.files import DataError
from machine.shared_folders import is_lost
from machine.signals import UNFINISHED, ending_in_order
from machine.workflow_engine import end_with_engine

PAGES = (".html", ".htm")
FIGURES = (".png", ".svg", ".pdf")


def script_parser(description: str | None) -> argparse.ArgumentParser:
    """Return the argument parser with the flags of every script: `--root` and `--data`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--root", default=".", metavar="DIR", help="holds data, analysis, predictions (default: here)")
    parser.add_argument("--data", metavar="DIR", help="another data folder (default: ROOT/data)")
    return parser


def positive_int(text: str) -> int:
    """Read a whole number of at least 1 from a command line."""
    return _int_from(1, text)


def natural_int(text: str) -> int:
    """Read a whole number of at least 0 from a command line."""
    return _int_from(0, text)


def _int_from(least: int, text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if not least <= value < 2**63:
        bound = f"of at least {least}" if value < least else "below 2**63"
        raise argparse.ArgumentTypeError(f"expected a whole number {bound}, got {text}")
    return value


def shard_of(text: str) -> tuple[int, int]:
    """Read a shard and the number of shards from a command line: "2/8"."""
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"expected I/N, such as 2/8, got {text}")
    return int(match[1]), int(match[2])


def check_page_name(path: Path) -> None:
    """Raise DataError unless a path has the suffix of a page and is not a folder."""
    _check_name(path, "--report", PAGES)


def check_figure_name(path: Path) -> None:
    """Raise DataError unless a path has the suffix of a figure and is not a folder."""
    _check_name(path, "--draw", FIGURES)


def _check_name(path: Path, flag: str, suffixes: tuple[str, ...]) -> None:
    if path.suffix.lower() not in suffixes:
        raise DataError(f"expected a {flag} that ends with {', '.join(suffixes)}, got {path}; rename it")
    if path.is_dir():
        raise DataError(f"{flag} {path} is a folder; name a file in it")


def run_script(main: Callable[[], None]) -> None:
    """Run a script's `main`; bad input ends it with an error of one line and exit status 1.

    Signals and a lost file system end it with status UNFINISHED: the same command resumes.
    """
    try:
        with ending_in_order():
            end_with_engine()
            main()
    except (DataError, OSError, BrokenProcessPool) as error:
        if not is_lost(error):
            sys.exit(f"error: {error}")
        print(f"error: {error}; a file system was lost: when it is back, run the same command again", file=sys.stderr)
        sys.exit(UNFINISHED)
    except KeyboardInterrupt:
        sys.exit(130)


def hms(seconds: float) -> str:
    """Write a duration as HH:MM:SS."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}"
