"""The structure of the code: no import cycles, cheap packages, few scripts, names in the field's terms."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

from tiny import ROOT

PACKAGES = ("machine", "galaxy", "survey", "catalogue", "report", "engine", "tried")
WITHOUT_TORCH = ("machine", "galaxy", "survey", "catalogue", "report")


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


PATHS = [*ROOT.glob("*.py"), *(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))]
TREES = {module_of(path): ast.parse(path.read_text()) for path in sorted(PATHS)}


def imports_of(tree: ast.Module) -> set[str]:
    """Return what a module imports, at its top or within: modules of ours by their full names."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in TREES else node.module for name in names}
    return found


IMPORTS = {name: imports_of(tree) for name, tree in TREES.items()}


def test_packages_without_a_network_do_not_import_torch():
    knowing = {name for name, names in IMPORTS.items() if any(each.partition(".")[0] == "torch" for each in names)}
    assert not [name for name in knowing if name.startswith(WITHOUT_TORCH)]


def test_no_import_cycles():
    TopologicalSorter({name: names & TREES.keys() for name, names in IMPORTS.items()}).prepare()


def test_only_load_data_reads_attributes_lazily():
    lazy = [name for name, tree in TREES.items() for node in tree.body if getattr(node, "name", "") == "__getattr__"]
    assert lazy == ["load_data"]


def test_a_package_itself_imports_nothing():
    for package in TREES.keys() & set(PACKAGES):
        assert [type(node) for node in TREES[package].body] == [ast.Expr], "more than a docstring"


def test_the_top_level_holds_commands_and_documented_modules():
    models = [name for name in TREES if name.startswith(("try_", "predict_augmented_npy_"))]
    assert len(list(ROOT.glob("*.py"))) - len(models) <= 22
