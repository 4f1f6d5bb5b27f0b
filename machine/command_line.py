"""Command lines of all scripts: shared flags, checks of their values, and errors in one line."""

import argparse
import contextlib
import difflib
import io
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from machine import products
from machine.shared_folders import is_lost
from machine.signals import UNFINISHED, Interrupted, ending_in_order
from machine.version import VERSION
from machine.whole_files import DataError, first_line, shown
from machine.workflow_engine import end_with_engine

PAGES = (".html", ".htm")
FIGURES = (".png", ".svg", ".pdf")
# What a loader of libraries says.
_WITHOUT_MEMORY = ("failed to map segment", "cannot allocate memory")


class Parser(argparse.ArgumentParser):
    """An argument parser with titled groups, `--version` and a suggestion for a misspelt flag."""

    def __init__(self, description: str | None, examples: Sequence[str] = ()):
        """Take the text above the flags, and the commands that `--help` shows below them."""
        _print_any_name()
        epilog = "\n".join(["examples:", *(f"  {example}" for example in examples)]) if examples else None
        super().__init__(
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.add_argument(
            "--version",
            action="version",
            version=f"%(prog)s of version {VERSION}",
            help="print the version of the project and exit",
        )
        self.groups: dict[str, argparse._ArgumentGroup] = {}

    def group(self, title: str) -> argparse._ArgumentGroup:
        """Return the group of flags with a title; the first call makes it."""
        if title not in self.groups:
            self.groups[title] = self.add_argument_group(title)
        return self.groups[title]

    def error(self, message: str) -> NoReturn:
        """End with an error of one line and exit status 2."""
        self.exit(2, f"{self.prog}: error: {shown(message, limit=None)}\n")

    def parse_known_args(
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse as argparse does, after a check that all flags exist."""
        words = list(sys.argv[1:] if args is None else args)
        for word in words[: words.index("--")] if "--" in words else words:
            flag = word.partition("=")[0]
            if flag.startswith("--") and flag not in self._option_string_actions:
                near = difflib.get_close_matches(flag, self._option_string_actions, n=1)
                hint = f"did you mean {near[0]}?" if near else "see --help for all flags"
                self.error(f"unknown flag {flag}; {hint}")
        return super().parse_known_args(words, namespace)


def script_parser(description: str | None, examples: Sequence[str] = (), writes: bool = True) -> Parser:
    """Return a parser with the flags of every script that reads a data set: `--root`, `--data` and `--version`.

    With `writes` it has `--overwrite`.
    """
    parser = Parser(description, examples)
    group = parser.group("folders")
    group.add_argument(
        "--root", default=".", metavar="DIR", help="folder with data, analysis and predictions (default: here)"
    )
    group.add_argument("--data", metavar="DIR", help="another data folder (default: ROOT/data)")
    if writes:
        group.add_argument(products.FLAG, action="store_true", help=products.HELP)
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


def run_script(main: Callable[[], None], kept: str = "earlier files are unchanged, and nothing new is kept") -> None:
    """Run a script's `main`; bad input ends it with an error of one line and exit status 1.

    Any other exception ends it with one line as well; its traceback goes to a file, for a report. Signals and a lost
    file system end it with status UNFINISHED: the same command resumes. `kept` says what an interrupted run keeps.
    """
    _print_any_name()
    try:
        with ending_in_order():
            end_with_engine()
            main()
    except (DataError, OSError, BrokenExecutor) as error:
        if not is_lost(error):
            sys.exit(_line(str(error)))
        _complain(_line(f"{error}; a file system was lost: when it is back, run the same command again"))
        sys.exit(UNFINISHED)
    except Interrupted:
        _complain(f"interrupted: {kept}; the same command resumes")
        raise
    except KeyboardInterrupt:
        _complain(f"interrupted twice: {kept}; run the same command again")
        sys.exit(130)
    except Exception as error:
        sys.exit(_line(_unexpected(error)))


def _end_before_start(error_type: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Report an exception outside of `run_script` in one line: a package that is missing, a fault in a flag."""
    if isinstance(error, DataError | OSError):
        _complain(_line(str(error)))
    elif isinstance(error, Exception):
        _complain(_line(_unexpected(error)))
    elif isinstance(error, KeyboardInterrupt):
        _complain("interrupted before the start; run the same command again")
    else:
        sys.__excepthook__(error_type, error, trace)


def _is_command() -> bool:
    """Return whether this process runs a script of the project, not a program that imports it."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    return script is not None and Path(script).resolve().parent == Path(__file__).resolve().parents[1]


if _is_command():
    sys.excepthook = _end_before_start


def _print_any_name() -> None:
    """Let prints escape the bytes of file names that are not text in the terminal's encoding."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _line(message: str) -> str:
    return f"error: {shown(message, limit=None)}"


def _complain(line: str) -> None:
    with contextlib.suppress(OSError, AttributeError):  # nobody reads the error output any more
        print(line, file=sys.stderr, flush=True)


def _unexpected(error: Exception) -> str:
    """Return the message for an exception that no code expects; write its traceback to a file.

    No file is needed where memory, threads or a package are missing.
    """
    name = f"{type(error).__name__}: {first_line(error)}"
    if isinstance(error, MemoryError) or any(words in str(error) for words in _WITHOUT_MEMORY):
        return f"memory ran out ({name}); allow this command more (ulimit -v), or end other programs"
    if isinstance(error, ImportError):
        return f"{error}; install the packages of requirements.txt (pip install -r requirements.txt)"
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return f"no thread can be started ({name}); allow more processes (ulimit -u), or end other programs"
    try:
        descriptor, path = tempfile.mkstemp(prefix="galaxy-challenge-", suffix=".txt")
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{sys.argv}\npython {sys.version}\nversion {VERSION}\n\n")
            traceback.print_exception(error, file=file)
    except OSError as fault:
        return f"unexpected {name}; its traceback cannot be written to {tempfile.gettempdir()} ({fault.strerror})"
    return f"unexpected {name}; this is a fault of the project: report it with the traceback in {path}"


def hms(seconds: float) -> str:
    """Write a duration as HH:MM:SS."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}"
