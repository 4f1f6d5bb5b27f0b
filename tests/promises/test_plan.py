"""The plan on doc/README.md is that of the code: its rooms, what each may import, the order of their floors."""

import ast
import re
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch

import pytest
from tiny import ROOT

PAGE = (ROOT / "doc" / "README.md").read_text()


def section(heading: str) -> str:
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


ROWS = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section("Rooms").splitlines() if line[:1] == "|"]
# The names of a room's modules, and the rooms that they may import.
PLACES = {room: re.findall(r"`([^`]+)`", what) for room, what, *_ in ROWS[2:]}
ALLOWED = {room: {room, *allowed.split(", ")} for room, *_, allowed in ROWS[2:]}
FLOORS = re.findall(r"`([\w/]+\.py)`(?=[^:]*:)", section("Floors"))
# Of the top level, and of all folders that one can import.
FOLDERS = [ROOT, *(path.parent for path in ROOT.glob("*/__init__.py"))]
MODULES = sorted(str(path.relative_to(ROOT)) for folder in FOLDERS for path in folder.glob("*.py"))


def room_of(module: str) -> str:
    """Return the room of a module; "commands" are all scripts that no other room names."""
    named = {room: names for room, names in PLACES.items() if room != "commands"}
    for room, names in named.items():
        if any(fnmatch(module, name) or (name.endswith("/") and module.startswith(name)) for name in names):
            return room
    return "commands"


def imports(module: str) -> Iterator[str]:
    """Yield the modules of ours that one imports, wherever in its text."""
    for node in ast.walk(ast.parse((ROOT / module).read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        yield from {f"{name.replace('.', '/')}.py" for name in names} & set(MODULES)


def test_the_table_says_what_modules_import():
    wrong = [f"{a} imports {b}" for a in MODULES for b in imports(a) if room_of(b) not in ALLOWED[room_of(a)]]
    assert not wrong


def test_floors_are_all_modules_but_scripts_each_above_what_it_imports():
    scripts = ("models", "commands")
    expected = [name for name in MODULES if room_of(name) not in scripts and not name.endswith("__init__.py")]
    assert sorted(FLOORS) == expected
    for place, module in enumerate(FLOORS):
        below = [other for other in imports(module) if room_of(other) == room_of(module)]
        assert set(below) <= set(FLOORS[:place]), f"{module} imports what stands after it"


def test_every_page_is_in_the_index():
    index = re.findall(r"^\| \[(\w+\.md)\]", PAGE, flags=re.MULTILINE)
    assert set(index) == {path.name for path in (ROOT / "doc").glob("*.md")} - {"README.md"}


# Documentation of 2014, 3.1 and 5.2.
WORKING_FOLDERS = (
    "data/raw", "analysis/final", "predictions/final/augmented/valid", "predictions/final/augmented/test",
    "predictions/final/blended",
)  # fmt: skip


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no clone")
def test_a_clone_has_the_folders_of_2014_and_git_keeps_nothing_else_there():
    def ignored(*names: str) -> list[str]:
        command = ["git", "-C", str(ROOT), "check-ignore", "--no-index", *names]
        return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()

    kept = [f"{folder}/.gitkeep" for folder in WORKING_FOLDERS]
    assert all((ROOT / name).is_file() for name in kept)
    assert ignored(*kept) == []
    products = [f"{folder}/product" for folder in WORKING_FOLDERS]
    products += ["data/train_ids.npy", "data/raw/images_train_rev1/1.jpg", "analysis/checkpoints/a/1.pt"]
    products += ["predictions/final/a.csv.gz"]
    assert ignored(*products) == products
