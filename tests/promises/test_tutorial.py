"""The tutorial: its notebook is its page, and all of it runs."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "doc"))

import make_notebook

ROOT = Path(__file__).resolve().parents[2]
# The same commands on less: each must be there, and no other number is changed.
LESS = {
    "--num-train 1000 --num-test 50": "--num-train 40 --num-test 4",
    "--epochs 3 --chunk-size 900": "--epochs 1 --chunk-size 32",
}
RUN = """
import sys
import nbclient, nbformat
notebook = nbformat.read(sys.argv[1], 4)
try:
    nbclient.NotebookClient(notebook, timeout=600).execute()
finally:
    nbformat.write(notebook, sys.argv[1])
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a folder with the project's files, in which what is written stays apart."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        if not name.startswith("tests/"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def test_the_notebook_is_the_page():
    written = nbformat.read(ROOT / "doc" / "tutorial.ipynb", 4)
    page = make_notebook.make(make_notebook.PAGE.read_text())
    assert make_notebook.without_outputs(written) == page, "run doc/make_notebook.py"


def test_the_notebook_shows_short_outputs():
    written = nbformat.read(ROOT / "doc" / "tutorial.ipynb", 4)
    shown = [output.text for cell in written.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("990 objects; 300 are large enough" in text for text in shown)
    assert max(text.count("\n") for text in shown) <= make_notebook.MAX_LINES


def test_outputs_of_unchanged_cells_are_kept():
    old, new = make_notebook.make("text\n```sh\nls\n```\n"), make_notebook.make("more\n```sh\nls\n```\n")
    [*_, cell] = old.cells
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="".join(f"{n}\n" for n in range(99)))]
    cell.outputs += [nbformat.v4.new_output("stream", name="stderr", text="a warning\n")]
    make_notebook.keep_outputs(new, old)
    assert new.cells[-1].outputs[0].text == "".join(f"{n}\n" for n in range(14)) + "...\n"
    assert make_notebook.without_outputs(new) == make_notebook.make("more\n```sh\nls\n```\n")


def test_each_command_runs(clone: Path):
    page = make_notebook.PAGE.read_text()
    for usual, less in LESS.items():
        assert usual in page
        page = page.replace(usual, less)
    notebook = clone / "doc" / "small.ipynb"
    nbformat.write(make_notebook.make(page), notebook)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-c", RUN, notebook],
        cwd=clone / "doc",
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    cells = [cell for cell in nbformat.read(notebook, 4).cells if cell.cell_type == "code"]
    assert len(cells) == 1 + page.count("```sh\n") + page.count("```python\n")
    printed = "".join(output.get("text", "") for cell in cells for output in cell.outputs)
    assert "990 objects; 300 are large enough to have a visible shape" in printed
    assert "220 of these 300 are not to be trusted" in printed
    assert "cutouts: the fraction" in printed and "better: the fraction" in printed
    for name in ("hubble.parquet", "hubble.html", "cutouts.html", "tree.png", "own.onnx", "survey/report.html"):
        assert (clone / "tutorial" / name).stat().st_size > 1000
