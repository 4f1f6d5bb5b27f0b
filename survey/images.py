"""Ids, labels, the split and pixels of a data set.

An `id` is Kaggle's number of a galaxy and names its JPEG. An `index` is the galaxy's row in the order of its subset's
ids; all arrays use it.

Source: documentation of 2014, 2.3.1, 3.1 and 3.2.1.
"""

import contextlib
import functools
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from galaxy import jpeg
from galaxy.tree import Tree
from machine.arrays import load_array
from machine.files import DataError, duplicate, replacing
from survey import folders
from survey.folders import Folders
from survey.survey_tree import read_tree

# Eighteen digits fit an int64. A leading zero is refused: the number would lose it, and no longer name the image.
ID = re.compile(r"0|[1-9][0-9]{0,17}")
SUFFIXES = (".jpg", ".jpeg", ".JPG", ".JPEG")


def list_ids(subset: str) -> np.ndarray:
    """Return the ids (n,) int64 of the JPEGs of 'train' or 'test', ascending; print a line about other files.

    Raises DataError for a missing or empty folder, for a name that is not a number, and for an id with two files.
    """
    folder = folders.current.images(subset)
    hint = "download them from Kaggle or run simulate_galaxies.py"
    if not folder.is_dir():
        raise DataError(f"expected the {subset} images in {folder}, but the folder is missing; {hint}")
    names = sorted(path.name for path in folder.iterdir())
    stems = [Path(name).stem for name in names if is_image(name)]
    if not stems:
        raise DataError(f"expected the {subset} images in {folder}, but it contains no .jpg file; {hint}")
    if strangers := [name for name in names if is_image(name) and not ID.fullmatch(Path(name).stem)]:
        raise DataError(
            f"expected images named by their id, as in 100018.jpg, got {folder / strangers[0]} "
            f"({len(strangers)} such names); move them elsewhere"
        )
    ids = np.sort(np.array(stems).astype(np.int64))
    if (repeated := duplicate(ids)) is not None:
        raise DataError(f"{folder}: expected one image per id, got several of {repeated}; remove all but one")
    if left_out := [name for name in names if not is_image(name)]:
        print(f"{folder}: left out {len(left_out)} other files, {left_out[0]!r} for one")
    return ids


def is_image(name: str) -> bool:
    """Return whether a file name is that of an image; macOS adds `._100008.jpg` beside `100008.jpg`."""
    return name.endswith(SUFFIXES) and not name.startswith(".")


def load_ids(subset: str) -> np.ndarray:
    """Load the ids of 'train' or 'test', (n,) integers; their order is that of all arrays."""
    path, made_by = folders.current.data / f"{subset}_ids.npy", f"create_{subset}_ids_file.py"
    if not path.exists() and not folders.current.images(subset).is_dir():
        raise DataError(
            f"there is no data in {folders.current.data} yet; prepare Kaggle's or your own with prepare_data.py, "
            "or a simulated survey with simulate_galaxies.py and prepare_data.py (make demo does all)"
        )
    ids = load_array(path, made_by, (None,), np.integer)
    if len(ids) == 0 or ids.min() < 0:
        raise DataError(f"{path}: expected ids, numbers of at least 0, got {ids[ids < 0][:1]}; run {made_by} again")
    if (repeated := duplicate(ids)) is not None:
        raise DataError(f"{path}: expected each id once, got {repeated} twice; run {made_by} again")
    return ids


def ids_of(subset: str) -> np.ndarray:
    """Return the ids of 'train' or 'test', (n,), read once per folders in use."""
    return _ids_of(subset, folders.current)


@functools.lru_cache(maxsize=4)
def _ids_of(subset: str, _: Folders) -> np.ndarray:
    return load_ids(subset)


def load_labels() -> np.ndarray:
    """Load the labels, the weighted vote fractions of the training galaxies, (num_train, answers) float32."""
    path, made_by = folders.current.data / "solutions_train.npy", "convert_training_labels_to_npy.py"
    labels = load_array(path, made_by, (len(load_ids("train")), read_tree(folders.current).num_answers), np.floating)
    if not np.isfinite(labels).all():
        raise DataError(f"{path}: expected finite numbers, got NaN or infinity; run {made_by} again")
    return labels.astype(np.float32)


def read_labels_csv(path: Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read the table of training labels: ids (n,) int64, labels (n, answers) float64 in the decision tree's order.

    Raises DataError if the table is missing or damaged.
    """
    from survey import kaggle_labels  # pandas takes half a second to import; only the preparation scripts need it

    return kaggle_labels.read(path or folders.current.labels_csv, read_tree(folders.current))


def write_labels_csv(path: Path, ids: Sequence[int], labels: Sequence[np.ndarray], tree: Tree) -> None:
    """Write ids (n,) and weighted labels (n, answers) as a table of the tree's columns, with all digits.

    Conditional columns are empty where nobody was asked.
    """
    rows = labels if tree.weighted else map(tree.conditional, labels)
    lines = (",".join("" if value != value else repr(value) for value in row.tolist()) for row in rows)
    text = [f"{id},{line}\n" for id, line in zip(ids, lines, strict=True)]
    with replacing(path) as temporary:
        temporary.write_text(",".join(("GalaxyID", *tree.columns)) + "\n" + "".join(text))


def split(num_train: int) -> tuple[np.ndarray, np.ndarray]:
    """Split 0..num_train-1 into the indices of the parts 'train' and 'valid', the last tenth (documentation 2.3.1)."""
    num_valid = num_train // 10
    if num_valid < 1:
        raise DataError(f"expected at least 10 training galaxies, a tenth of them for validation, got {num_train}")
    indices = np.arange(num_train)
    return indices[:-num_valid], indices[-num_valid:]


def image_path(folder: Path, id: int) -> str:
    """Return the file of a galaxy in a folder; without one, the path with the suffix `.jpg`."""
    usual = f"{folder}/{id}.jpg"
    if os.path.exists(usual):
        return usual
    others = (f"{folder}/{id}{suffix}" for suffix in SUFFIXES[1:])
    return next((path for path in others if os.path.exists(path)), usual)


def read_image(path: Path | str, remedy: str = "download it again") -> np.ndarray:
    """Decode one JPEG into (424, 424, 3) uint8: rows, columns, RGB. Raises DataError, with the remedy."""
    try:
        return jpeg.decode_image(path)
    except ValueError as error:
        raise DataError(f"image {path} {error}; {remedy}") from None


def listing(folder: Path, ids: Sequence[int]) -> str:
    """Return a checksum of the names, sizes and times of the JPEGs of `ids`; it changes if a file changes."""
    stats = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if is_image(entry.name):
                with contextlib.suppress(FileNotFoundError):  # a dangling link
                    stats[entry.name] = entry.stat()
    digest = hashlib.sha256()
    for id in ids:
        names = (f"{id}{suffix}" for suffix in SUFFIXES)
        name = next((name for name in names if name in stats), None)
        digest.update(f"{id} {name and (name, stats[name].st_size, stats[name].st_mtime_ns)}\n".encode())
    return digest.hexdigest()
