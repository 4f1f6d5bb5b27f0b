"""Make the tutorial's notebook from its page: text as text, commands and Python as cells.

python doc/make_notebook.py
"""

import re
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

PAGE = Path(__file__).with_name("tutorial.md")
# Where Jupyter starts a notebook is its folder; the commands are meant for the project's.
GO_UP = "%cd ..\n"


def cells_of(page: str) -> list[nbformat.NotebookNode]:
    """Return the cells of a page: its text, and each block of `sh` or `python` as one that runs."""
    cells = []
    for number, part in enumerate(re.split(r"^```(sh|python)\n(.*?)^```\n", page, flags=re.DOTALL | re.MULTILINE)):
        match number % 3:
            case 0 if part.strip():
                cells.append(new_markdown_cell(part.strip()))
            case 1:
                language = part
            case 2:
                cells.append(new_code_cell(("%%sh\n" if language == "sh" else "") + part.rstrip("\n")))
    return cells


def make(page: str) -> nbformat.NotebookNode:
    """Return the notebook of a page; cells are named by their number, so that the same page gives the same bytes."""
    cells = cells_of(page)
    cells.insert(1, new_code_cell(GO_UP.strip()))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def main() -> None:
    notebook = make(PAGE.read_text())
    nbformat.validate(notebook)
    path = PAGE.with_suffix(".ipynb")
    nbformat.write(notebook, path)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
