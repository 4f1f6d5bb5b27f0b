"""A page: one HTML file that contains its data, style and script, and loads nothing.

Jinja2 fills the templates and escapes all text. A content security policy contains the checksums of the page's style
and script: a browser runs no other.
"""

import base64
import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from catalogue.field_picture import COLOURS
from galaxy import tree as decision_tree
from machine import seals
from machine.files import replacing
from report import tree_layout, tree_svg
from report.galaxies import SCALE, Galaxies, address, short

TEMPLATES = Path(__file__).resolve().parent / "templates"


@dataclass(frozen=True)
class Facts:
    """Pairs of a name and a value."""

    rows: Sequence[tuple[str, object]]


@dataclass(frozen=True)
class Table:
    """A table; the first column is the heading of each row, numbers are aligned to the right."""

    caption: str
    titles: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True)
class Bars:
    """Counts as horizontal bars: (name, count)."""

    caption: str
    rows: Sequence[tuple[str, int]]


@dataclass(frozen=True)
class Figure:
    """A figure on light and on dark paper (SVG), its description for screen readers, and its caption."""

    light: bytes
    dark: bytes
    alternative: str
    caption: str


@dataclass(frozen=True, eq=False)
class Tree:
    """The tree of weighted votes (answers,); `path` has the columns of the marked answers, None: the likeliest."""

    votes: np.ndarray
    tree: decision_tree.Tree
    label: str
    caption: str
    path: Sequence[int] | None = None


@dataclass(frozen=True)
class Gallery:
    """Some of the page's galaxies side by side, by row; under each its words, or its most likely path."""

    rows: Sequence[int]
    words: Sequence[str] = ()


@dataclass(frozen=True)
class Section:
    """A section of a page: `key` is its anchor; a `folded` one is closed at first."""

    key: str
    title: str
    parts: Sequence[object]
    text: str = ""
    folded: bool = False


@dataclass(frozen=True, eq=False)
class Page:
    """The content of a page: sections, the galaxies, and sections after them. `notes` stand below the title."""

    title: str
    lead: str
    before: Sequence[Section]
    galaxies: Galaxies | None = None
    galaxies_text: str = ""
    after: Sequence[Section] = field(default_factory=tuple)
    notes: Sequence[str] = ()


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = lambda svg: f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
    environment.filters["type"] = lambda block: type(block).__name__
    environment.filters["cell"], environment.filters["short"] = cell, short
    environment.filters["address"] = address
    environment.filters["tree"] = lambda drawn: tree_svg.draw(drawn.votes, drawn.tree, drawn.label, drawn.path)
    environment.globals["COLOURS"] = {name: "#{:02x}{:02x}{:02x}".format(*rgb) for name, rgb in COLOURS.items()}
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment


def cell(value: object) -> str:
    """Format a value of a table: whole numbers with commas, others with four decimals, a dash for an unknown one."""
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if isinstance(value, (float, np.floating)):
        return f"{value:.4f}" if np.isfinite(value) else "–"
    return "–" if value is None else str(value)


def _own(*names: str) -> Markup:
    """Return the text of templates as trusted markup: the project's style or script."""
    return Markup("\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names))


def _checksum(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def render(page: Page) -> str:
    """Return a page as HTML."""
    style, script = _own("page.css"), _own("tree.js", "label_fit.js", "labels.js", "page.js")
    data = {
        "layout": None if page.galaxies is None else tree_layout.as_plain(page.galaxies.tree),
        "galaxies": None if page.galaxies is None else page.galaxies.as_plain(),
        "scale": SCALE,
    }
    policy = f"default-src 'none'; img-src data:; style-src {_checksum(style)}; script-src {_checksum(script)}"
    template = _environment().get_template("page.html")
    return template.render(page=page, data=data, style=style, script=script, policy=policy)


def write(page: Page, path: Path, source: str = seals.NO_SOURCE) -> None:
    """Write a page, whole or not at all, with a seal of its `source`."""
    text = seals.in_html(render(page), source)
    with replacing(path, sealed=True) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
