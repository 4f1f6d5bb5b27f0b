"""The decision tree of a data folder: that of data/tree.json, or of Galaxy Zoo 2 without one.

The commands that read labels or predictions take the tree from here. A training script that declares a tree of its own
(`Experiment.tree`) must declare the same one.
"""

import json
from pathlib import Path

from galaxy.decision_tree import GALAXY_ZOO_2
from galaxy.tree import Tree, from_plain
from machine.files import DataError, first_line, open_file, replacing
from survey.folders import Folders

_HINT = "prepare the data again (prepare_data.py --tree)"
MAX_BYTES = 2**22


def tree_json(folders: Folders) -> Path:
    """Return the path of the tree of the labels in the data folder."""
    return folders.data / "tree.json"


def read_tree(folders: Folders) -> Tree:
    """Read the tree of the labels in the data folder; raises DataError for a damaged file."""
    path = tree_json(folders)
    if not path.exists():
        return GALAXY_ZOO_2
    try:
        with open_file(path, _HINT) as file:
            return from_plain(json.loads(file.read(MAX_BYTES)))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged ({first_line(error)}); {_HINT}") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def write_tree(folders: Folders, tree: Tree) -> None:
    """Write the tree of the labels to the data folder; Galaxy Zoo 2 needs no file."""
    path = tree_json(folders)
    if tree == GALAXY_ZOO_2:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(tree.as_plain(), indent=1) + "\n")
