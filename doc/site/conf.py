"""doc/ as a site, built by Sphinx: make docs. Pages stay Markdown, which reads as well without it."""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

HOUSE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(HOUSE))

from machine.version import VERSION  # noqa: E402 (below the path)

project = "Galaxy Challenge 2014"
copyright = "the authors, BSD 3-clause"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
root_doc = "README"
exclude_patterns = ["site"]
release = version = VERSION
templates_path = ["."]
html_additional_pages = {"index": "redirect.html"}
html_theme = "furo"
html_title = f"{project} {VERSION}"
html_show_sourcelink = False
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
# Packages, those that a reader of a model needs first; "" stands for the documented modules at the top.
ROOMS = ("", "engine", "survey", "catalogue", "report", "galaxy", "machine", "tried")
API = HOUSE / "doc" / "api"
# Where doc/README.md turns from readers to developers.
SPLIT = "\n## Packages\n"


def modules(room: str) -> list[str]:
    """Return the dotted names of a room's modules."""
    if room:
        return [f"{room}.{path.stem}" for path in sorted((HOUSE / room).glob("[!_]*.py"))]
    plan = (HOUSE / "doc" / "README.md").read_text()
    row = next(line for line in plan.splitlines() if line.startswith("| documented modules |"))
    return re.findall(r"`(\w+)\.py`", row.split("|")[2])


def write_pages(app: Sphinx) -> None:
    """Write a page for each module, of the docstrings of its public functions and classes, and one that lists them.

    The second half of doc/README.md, which is for developers, becomes a page of its own.
    """
    API.mkdir(exist_ok=True)
    structure = (HOUSE / "doc" / "README.md").read_text().partition(SPLIT)[2]
    (API / "structure.md").write_text(f"# Structure of the code\n\n{SPLIT.strip()}{structure}")
    index = ["# Modules and their functions", ""]
    for room in ROOMS:
        index += [f"## {room or 'Documented modules'}", "", "```{toctree}", ":maxdepth: 1", ""]
        for name in modules(room):
            (API / f"{name}.md").write_text(f"# {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n")
            index.append(name)
        index += ["```", ""]
    (API / "index.md").write_text("\n".join(index))


def add_contents(app: Sphinx, name: str, source: list[str]) -> None:
    """Give the first page the contents of the margin: one group for each of its tables of pages."""
    if name == root_doc:
        home = source[0].partition(SPLIT)[0]
        groups = re.findall(r"^\| ([^|\n]+) \| \|\n\| --- \| --- \|\n((?:\| \[.*\n)+)", home, re.MULTILINE)
        lists = {title: re.findall(r"^\| \[(\w+)\.md\]", rows, re.MULTILINE) for title, rows in groups}
        lists["code"] = ["api/structure", "api/index"]
        for title, pages in lists.items():
            home += "\n".join(
                ["", "```{toctree}", ":hidden:", f":caption: {title.capitalize()}", "", *pages, "```", ""]
            )
        source[0] = home
    # Files beside doc/ are not pages of the site.
    source[0] = re.sub(r"\[([^\]]*)\]\(\.\./([^)]*)\)", r"\1 (`\2` in the repository)", source[0])
    source[0] = re.sub(r"\((README\.md)?#(packages|modules|words)\)", r"(/api/structure.md#\2)", source[0])


def as_restructured_text(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Turn a docstring's Markdown into what Sphinx expects: names between backticks, and indented commands."""
    module = getattr(obj, "__module__", None) or ""
    if callable(obj) and not (HOUSE / f"{module.replace('.', '/')}.py").is_file():
        lines.clear()  # a name of ours for another library's function: its docstring is written otherwise
        return
    paragraphs = re.split(r"\n\s*\n", "\n".join(lines).strip("\n"))
    for number, text in enumerate(paragraphs):
        if all(line.startswith("    ") for line in text.splitlines()):
            paragraphs[number] = f"::\n\n{text}"
        else:
            parts = re.split(r"(`[^`]+`)", text)
            paragraphs[number] = "".join(
                f"`{part}`" if part.startswith("`") else re.sub(r"([*|_\\])", r"\\\1", part) for part in parts
            )
    lines[:] = [*"\n\n".join(paragraphs).split("\n"), ""]


def setup(app: Sphinx) -> None:
    """Connect them."""
    app.connect("builder-inited", write_pages)
    app.connect("source-read", add_contents)
    app.connect("autodoc-process-docstring", as_restructured_text)
