"""What the command lines of all scripts have in common: folders, numbers, and an end in one line."""

import argparse
import sys
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool

from machine.files import DataError


def script_parser(description: str | None) -> argparse.ArgumentParser:
    """Return the argument parser that every script starts from: `--root` and `--data`."""
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
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}, got {text}")
    return number


def run_script(main: Callable[[], None]) -> None:
    """Run a script's `main`; bad input ends it with one clear line and exit status 1, never with a stack trace."""
    try:
        main()
    except (DataError, OSError, BrokenProcessPool) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def hms(seconds: float) -> str:
    """Write a duration as HH:MM:SS."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}"
