"""doc/README.md agrees with the code: packages, what each imports, the order of modules."""

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


_LINES = [line for line in section("Packages").splitlines() if line[:1] == "|"]
ROWS = [[cell.strip() for cell in line.split("|")[1:-1]] for line in _LINES]
# The modules of each package, and the packages that they may import.
NAMES = {package: re.findall(r"`([^`]+)`", files) for package, files, *_ in ROWS[2:]}
ALLOWED = {package: {package, *allowed.split(", ")} for package, *_, allowed in ROWS[2:]}
ORDER = re.findall(r"`([\w/]+\.py)`(?=[^:]*:)", section("Modules"))
# Of the top level, and of all folders that one can import.
FOLDERS = [ROOT, *(path.parent for path in ROOT.glob("*/__init__.py"))]
MODULES = sorted(str(path.relative_to(ROOT)) for folder in FOLDERS for path in folder.glob("*.py"))


def package_of(module: str) -> str:
    """Return the package of a module; "commands" are all scripts that no other package names."""
    named = {package: names for package, names in NAMES.items() if package != "commands"}
    for package, names in named.items():
        if any(fnmatch(module, name) or (name.endswith("/") and module.startswith(name)) for name in names):
            return package
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
    wrong = [f"{a} imports {b}" for a in MODULES for b in imports(a) if package_of(b) not in ALLOWED[package_of(a)]]
    assert not wrong


def test_the_list_holds_all_modules_each_below_what_it_imports():
    scripts = ("models", "commands")
    expected = [name for name in MODULES if package_of(name) not in scripts and not name.endswith("__init__.py")]
    assert sorted(ORDER) == expected
    for place, module in enumerate(ORDER):
        below = [other for other in imports(module) if package_of(other) == package_of(module)]
        assert set(below) <= set(ORDER[:place]), f"{module} imports what stands after it"


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
