"""The structure of the code: no import cycles, cheap packages, few scripts, names in the field's terms."""

import ast
import re
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


# Words without a meaning of their own: loop variables at most (doc/README.md, "Words").
VAGUE = {"place", "part", "kind", "number", "found", "each", "some", "told", "of", "whose"}
# 'train' or 'valid', as the documentation of 2014 calls the parts of the training set.
PARTS = {
    "survey.folders.augmented",
    "survey.predictions.find_models",
    "survey.predictions.load_predictions",
    "survey.predictions.describe_lost",
}


def vague_names(module: str, tree: ast.Module) -> list[str]:
    """Return parameters, attributes and functions of a module with a vague name."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            function = f"{module}.{getattr(node, 'name', 'lambda')}"
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            allowed = {"part"} if function in PARTS else set()
            names += [f"{function}({arg.arg})" for arg in arguments if arg.arg in VAGUE - allowed]
            if getattr(node, "name", "").strip("_") in VAGUE:
                names.append(function)
        elif isinstance(node, ast.ClassDef):
            fields = [line.target.id for line in node.body if isinstance(line, ast.AnnAssign)]
            names += [f"{module}.{node.name}.{field}" for field in fields if field in VAGUE]
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and node.attr.strip("_") in VAGUE:
            names.append(f"{module}: attribute {node.attr}")
    return names


def test_names_are_the_field_s_terms():
    code = "class A:\n    kind: int\n    def place(self, part, of): self.number = 1\n"
    assert len(vague_names("example", ast.parse(code))) == 5
    others = {path: path for folder in ("benchmarks", "doc") for path in (ROOT / folder).glob("*.py")}
    trees = TREES | {path.stem: ast.parse(path.read_text()) for path in others}
    assert not [name for module, tree in trees.items() for name in vague_names(module, tree)]


# Numbers that would tie a module to the 11 questions and 37 answers of Galaxy Zoo 2.
OF_GALAXY_ZOO_2 = {11, 37}
# Modules that 2014 documents: networks have their numbers in full.
DOCUMENTED = ("try_", "predict_augmented_npy_", "custom", "layers", "cc_layers", "load_data", "realtime_augmentation")


def numbers_of(tree: ast.Module) -> set[object]:
    """Return the whole numbers in the code of a module."""
    values = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return {value for value in values if type(value) is int}


def test_no_module_depends_on_the_numbers_of_one_tree():
    assert numbers_of(ast.parse("a = (37, 2.5, 'b', True)")) == {37}
    others = {name: tree for name, tree in TREES.items() if not name.startswith(("galaxy.", *DOCUMENTED))}
    assert not [name for name, tree in others.items() if OF_GALAXY_ZOO_2 & numbers_of(tree)]
    texts = {name: ast.unparse(tree) for name, tree in others.items()}
    assert not [name for name, text in texts.items() if re.search(r"Class\d+\.\d|(?<![\d.])37\b", text)]


# Modules without a test file of their own, and where their tests are.
TESTED_ELSEWHERE = {
    "galaxy.answer_names": "tests/survey/test_own_labels.py reads tables with all names",
    "machine.whole_files": "tests/machine/test_files.py",
    "galaxy.question": "tests/galaxy/test_tree.py",
    "survey.vote_columns": "tests/survey/test_own_labels.py",
    "machine.passed_columns": "tests/machine/test_table_writers.py and tests/catalogue/test_inputs.py",
    "machine.table_cells": "tests/machine/test_tables.py",
    "galaxy.opencv_images": "tests/galaxy/test_image_files.py decodes with it",
    "galaxy.warping": "tests/survey/test_views.py and test_realtime_augmentation.py, against arrays of 2014",
    "catalogue.reading": "tests/galaxy/test_image_files.py",
    "catalogue.job": "tests/test_predict_galaxies.py",
    "catalogue.request": "tests/test_predict_galaxies.py",
    "catalogue.rows": "tests/test_predict_galaxies.py",
    "catalogue.targets": "tests/test_predict_galaxies.py",
    "catalogue.read_ahead": "tests/test_predict_galaxies.py and tests/promises/test_bad_catalogues.py",
    "catalogue.field_sources": "tests/catalogue/test_fields_command.py",
    "engine.consistency": "tests/engine/test_teaching.py",
    "engine.ema": "tests/engine/test_steps.py and test_checkpoints.py",
    "engine.network": "tests/test_models.py and tests/engine/test_training.py",
    "engine.optimizers": "tests/test_update_rules.py",
    "engine.options": "tests/engine/test_training.py and tests/promises/test_scripts.py",
    "engine.record": "tests/engine/test_checkpoints.py and test_training.py",
}


def test_tests_mirror_the_packages():
    modules = [name for name in TREES if "." in name and not name.startswith("tried.")]
    untested = [name for name in modules if not (ROOT / "tests" / f"{name.replace('.', '/test_')}.py").is_file()]
    assert sorted(untested) == sorted(TESTED_ELSEWHERE)
