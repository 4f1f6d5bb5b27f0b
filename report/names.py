"""Names of what is written: a page, a figure. Nothing else is imported until there is something to show."""

from pathlib import Path

from machine.files import DataError

PAGES = (".html", ".htm")
FIGURES = (".png", ".svg", ".pdf")


def check_page_name(path: Path) -> None:
    """Raise DataError where no page can be written."""
    _check(path, "--report", PAGES)


def check_figure_name(path: Path) -> None:
    """Raise DataError where no figure can be written."""
    _check(path, "--draw", FIGURES)


def _check(path: Path, flag: str, suffixes: tuple[str, ...]) -> None:
    if path.suffix.lower() not in suffixes:
        raise DataError(f"expected a {flag} that ends with {', '.join(suffixes)}, got {path}; rename it")
    if path.is_dir():
        raise DataError(f"{flag} {path} is a folder; name a file in it")
