"""Make the tutorial's notebook from its page: text as text, commands and Python as cells.

python doc/make_notebook.py          # keeps the outputs of cells that did not change
python doc/make_notebook.py --run    # runs all cells in the current folder, a clone; keeps short outputs
"""

import argparse
import re
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

PAGE = Path(__file__).with_name("tutorial.md")
NOTEBOOK = PAGE.with_suffix(".ipynb")
# Where Jupyter starts a notebook is its folder; the commands are meant for the project's. A second run changes nothing.
GO_UP = """import os
from pathlib import Path

if Path.cwd().name == "doc":
    os.chdir("..")"""
MAX_LINES = 15


def cells_of(page: str) -> list[nbformat.NotebookNode]:
    """Return the cells of a page: its text, and each block of `sh` or `python` as one that runs."""
    cells = []
    for index, block in enumerate(re.split(r"^```(sh|python)\n(.*?)^```\n", page, flags=re.DOTALL | re.MULTILINE)):
        match index % 3:
            case 0 if block.strip():
                cells.append(new_markdown_cell(block.strip()))
            case 1:
                language = block
            case 2:
                cells.append(new_code_cell(("%%sh\n" if language == "sh" else "") + block.rstrip("\n")))
    return cells


def make(page: str) -> nbformat.NotebookNode:
    """Return the notebook of a page; cells are named by their number, so that the same page gives the same bytes."""
    cells = cells_of(page)
    cells.insert(1, new_code_cell(GO_UP))
    for index, cell in enumerate(cells):
        cell["id"] = f"cell-{index}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def keep_outputs(notebook: nbformat.NotebookNode, run: nbformat.NotebookNode) -> None:
    """Give the cells of a notebook the first lines of what the same cells of another one printed."""
    outputs = {cell.source: cell.outputs for cell in run.cells if cell.cell_type == "code"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            printed = "".join(output.text for output in outputs.get(cell.source, []) if output.get("name") == "stdout")
            lines = printed.splitlines()
            if len(lines) > MAX_LINES:
                lines = [*lines[: MAX_LINES - 1], "..."]
            cell.outputs = [new_output("stream", name="stdout", text="\n".join([*lines, ""]))] if lines else []


def without_outputs(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return a copy of a notebook without outputs."""
    copy = nbformat.from_dict(notebook)
    for cell in copy.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    return copy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="store_true", help="run all cells; takes some minutes")
    arguments = parser.parse_args()
    notebook = make(PAGE.read_text())
    if arguments.run:
        import nbclient  # only here: a notebook without a run needs no kernel

        run = nbformat.from_dict(notebook)
        nbclient.NotebookClient(run, timeout=None).execute()
        keep_outputs(notebook, run)
    elif NOTEBOOK.exists():
        keep_outputs(notebook, nbformat.read(NOTEBOOK, 4))
    nbformat.validate(notebook)
    nbformat.write(notebook, NOTEBOOK)
    print(f"wrote {NOTEBOOK}")


if __name__ == "__main__":
    main()
