"""Your own labelled galaxies in Kaggle's layout, so that every script runs on them.

Images become JPEGs in data/raw, named by ids (`survey.own_images`). Votes become a table of the tree's columns, by
default Kaggle's (`survey.own_labels`). A name that is a whole number is the galaxy's id. Other names get numbers, which
are stored in data/own_ids.csv and kept by later preparations. Galaxies are sorted by a checksum of their names. So the
validation galaxies, the last tenth, are a random sample for any order of the table.
"""

import csv
import hashlib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from galaxy.decision_tree import GALAXY_ZOO_2
from galaxy.tree import Tree
from machine import products
from machine.files import DataError, need_room, open_file, remove_leftovers, replacing
from machine.processes import mapping
from machine.products import Product
from machine.progress import showing
from machine.tables import inert, original, printable
from survey import label_weights, own_labels
from survey.folders import SUBSETS, Folders
from survey.images import ID, is_image, split, write_labels_csv
from survey.own_images import bring, find_images, may_be_linked
from survey.survey_tree import tree_json, write_tree
from survey.vote_columns import Choices
from survey.vote_counts import counts_csv, write_counts_csv

NUM_LISTED = 10
IMAGES_A_TASK = 8
# Up to this number, one process is faster than the start of several.
FEW_IMAGES = 100
# An upper limit of the average size of a converted image.
_JPEG_BYTES = 2**17
_COLUMNS = ("id", "name", "subset", "file")


@dataclass(frozen=True)
class Galaxy:
    """A galaxy of your own: its id, its name (the file's name without ending), its subset, and its file."""

    id: int
    name: str
    subset: str
    file: Path


def own_ids(folders: Folders) -> Path:
    """Return the file of ids and names; it marks a data folder with your own galaxies."""
    return folders.data / "own_ids.csv"


def bring_survey(
    folders: Folders,
    images: Path,
    table: Path,
    test: Path | None,
    tree: Tree | None,
    choices: Choices,
    num_workers: int | None,
) -> None:
    """Bring your own images and votes to data/raw; print a line about each group of images or rows that is left out.

    The test set is the images of the folder `test`. Without that folder it is the images without a row in the table; if
    all have a row, it is the validation galaxies. Without a tree, a table of classes has one question, and a table of
    votes those of Galaxy Zoo 2. Raises DataError for images that cannot be used.
    """
    files = find_images(images, folders.data)
    classes = own_labels.read_classes(table, files, choices) if tree is None else None
    tree, own = classes or (tree or GALAXY_ZOO_2, None)
    names, labels, counts = own or own_labels.read(table, files, tree, choices)
    rows = _match(table, images, names, files)
    others = [name for name in files if name not in rows]
    train = sorted(rows, key=lambda name: hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest())
    _, valid = split(len(train))
    if test is not None:
        chosen = find_images(test, folders.data)
        if others:
            print(f"{images}: left out {len(others)} images without a row in {table}, {others[0]!r} first")
    elif others:
        chosen = {name: files[name] for name in others}
        print(f"{images}: {len(others)} images have no row in {table}, {others[0]!r} first: they are the test set")
    else:
        chosen = {train[index]: files[train[index]] for index in valid}
        print(
            f"{images}: every image has a row: the test set is the {len(valid)} validation galaxies, on which no "
            "network is trained; name other images with --test"
        )
    old = _read_own_ids(folders)
    ids = _assign_ids([*train, *chosen], {galaxy.name: galaxy.id for galaxy in old})
    galaxies = [Galaxy(ids[name], name, "train", files[name]) for name in train]
    galaxies += [Galaxy(ids[name], name, "test", file) for name, file in chosen.items()]
    _claim(folders, old, galaxies)
    _convert(folders, galaxies, num_workers)
    order = [rows[name] for name in train]
    write_labels_csv(folders.labels_csv, [ids[name] for name in train], list(labels[order]), tree)
    write_tree(folders, tree)
    if counts is None:
        counts_csv(folders).unlink(missing_ok=True)
    else:
        write_counts_csv(counts_csv(folders), [ids[name] for name in train], counts[order], tree)
    weights = label_weights.read_own(table, names, choices)
    label_weights.write_csv([ids[name] for name in train], None if weights is None else weights[order])


def _match(table: Path, images: Path, names: list[str], files: dict[str, Path]) -> dict[str, int]:
    """Return the row of each image in the table; raises DataError for an image with several rows."""
    rows: dict[str, int] = {}
    for row, name in enumerate(names):
        if name in files and name in rows:
            raise DataError(f"{table}: expected one row per galaxy, got several of {name!r}; remove all but one")
        if name in files:
            rows[name] = row
    if strangers := [name for name in names if name not in files]:
        print(f"{table}: left out {len(strangers)} rows without an image in {images}, {strangers[0]!r} first")
    return rows


def _assign_ids(names: Iterable[str], known: dict[str, int]) -> dict[str, int]:
    """Return the id of each name: the name as a number, the id in `known`, or the smallest free number."""
    names = list(dict.fromkeys(names))
    ids = {name: int(name) for name in names if ID.fullmatch(name)}
    taken = set(ids.values())
    for name in names:
        if name not in ids and name in known and known[name] not in taken:
            ids[name] = known[name]
            taken.add(known[name])
    free = (id for id in itertools.count(1) if id not in taken)
    for name in sorted(set(names) - set(ids)):
        ids[name] = next(free)
    return ids


def _read_own_ids(folders: Folders) -> list[Galaxy]:
    """Read the galaxies of an earlier preparation; an empty list without one."""
    path = own_ids(folders)
    if not path.exists():
        return []
    open_file(path, "delete it").close()
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = csv.DictReader(file)
            if path.stat().st_size and tuple(rows.fieldnames or ()) != _COLUMNS:
                raise DataError(f"{path} is not of this project; move it away, or name another folder with --data")
            return [
                Galaxy(int(row["id"]), original(row["name"]), row["subset"], Path(original(row["file"])))
                for row in rows
            ]
    except (ValueError, KeyError, TypeError, csv.Error):
        raise DataError(f"{path} is damaged; delete it and data/raw, or name another folder with --data") from None


def _claim(folders: Folders, old: list[Galaxy], new: list[Galaxy]) -> None:
    """Mark the data folder as one of your own galaxies, and remove images of an earlier preparation that are not used.

    Raises DataError, before any change, if the folder contains other images or another table.
    """
    unneeded = []
    for subset in SUBSETS:
        folder = folders.raw_images(subset)
        remove_leftovers(folder / "*")
        then, now = (
            {f"{galaxy.id}.jpg": galaxy.name for galaxy in galaxies if galaxy.subset == subset}
            for galaxies in (old, new)
        )
        for path in folder.iterdir() if folder.is_dir() else ():
            if is_image(path.name) and path.name not in then:
                raise DataError(
                    f"{folder} already contains {path.name}, which is not one of these galaxies; name an empty folder "
                    "with --root or --data"
                )
            if path.name in then and now.get(path.name) != then[path.name]:
                unneeded.append(path)
    tables = [folders.labels_csv, counts_csv(folders), label_weights.weights_csv(), tree_json(folders)]
    products.check(map(Product, [own_ids(folders), *tables]), overwrite=True)  # a folder, a pipe or a link
    if not old and (other := next((path for path in tables if path.exists()), None)):
        raise DataError(f"{other} already exists; name an empty folder with --root or --data")
    for path in unneeded:
        path.unlink()
    with (
        replacing(own_ids(folders)) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for galaxy in new:
            # A spreadsheet would run some names as formulas.
            name, path = (inert(printable(str(text))) for text in (galaxy.name, galaxy.file))
            writer.writerow((galaxy.id, name, galaxy.subset, path))


def _convert(folders: Folders, galaxies: list[Galaxy], num_workers: int | None) -> None:
    """Write all images as JPEGs; raises DataError that names the ones that cannot be used."""
    paths = [(galaxy.file, folders.raw_images(galaxy.subset) / f"{galaxy.id}.jpg") for galaxy in galaxies]
    num_written = sum(not target.exists() and not may_be_linked(file, folders.data) for file, target in paths)
    need_room(folders.data, num_written * _JPEG_BYTES, "make room, or name another folder with --root or --data")
    few = len(paths) <= FEW_IMAGES
    with mapping(1 if few else num_workers, IMAGES_A_TASK) as convert_all:
        faults = list(showing(convert_all(_fault, paths), total=len(paths), desc="images", unit="image"))
    bad = [f"{str(file)!r} {fault}" for (file, _), fault in zip(paths, faults, strict=True) if fault is not None]
    if bad:
        rest = [f"and {len(bad) - NUM_LISTED} more"] if len(bad) > NUM_LISTED else []
        raise DataError(
            f"{len(bad)} of {len(paths)} images cannot be used: {', '.join([*bad[:NUM_LISTED], *rest])}; "
            "repair them or move them elsewhere, and run this again"
        )


def _fault(paths: tuple[Path, Path]) -> str | None:
    """Write one image as a JPEG; return the reason why it cannot be used, or None."""
    try:
        bring(*paths)
    except ValueError as error:
        return str(error)
    return None
