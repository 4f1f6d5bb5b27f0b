"""One's own labelled galaxies in Kaggle's layout, so that every script runs on them.

Images are brought to data/raw as JPEGs named by numbers (`survey.own_images`), votes to Kaggle's table
(`survey.own_labels`). A name that is a whole number stays the galaxy's id; others get numbers, which data/own_ids.csv
tells and later preparations keep. Galaxies stand in the order of a checksum of their names, so that the last tenth, on
which training validates, is drawn from all of them however a table is sorted.
"""

import csv
import hashlib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from machine.files import DataError, need_room, open_file, remove_leftovers, replacing
from machine.processes import mapping
from machine.progress import showing
from survey import own_labels
from survey.folders import SUBSETS, Folders
from survey.images import ID, is_image, split, write_labels_csv
from survey.own_images import bring, find_images, may_be_linked
from survey.own_labels import Choices

NUM_LISTED = 10
IMAGES_A_TASK = 8
# So few images are converted before processes have started.
FEW_IMAGES = 100
# What a converted image takes at most, on average.
_JPEG_BYTES = 2**17
_COLUMNS = ("id", "name", "subset", "file")


@dataclass(frozen=True)
class Galaxy:
    """An image of one's own: its number, its name (the file's without ending), its subset, and the file."""

    id: int
    name: str
    subset: str
    file: Path


def own_ids(folders: Folders) -> Path:
    """Return the table of ids and names, by which a data folder is known to hold one's own galaxies."""
    return folders.data / "own_ids.csv"


def bring_survey(
    folders: Folders, images: Path, table: Path, test: Path | None, choices: Choices, num_workers: int | None
) -> None:
    """Bring own images and votes to data/raw; say in a line each what is left out.

    The test set is the images of the folder `test`; without one, the images that no row of the table names, or, where
    there are none, those of the last tenth of the labelled galaxies. Raises DataError for images that can not be used.
    """
    found = find_images(images, folders.data)
    names, labels = own_labels.read(table, found, choices)
    rows = _match(table, images, names, found)
    others = [name for name in found if name not in rows]
    train = sorted(rows, key=lambda name: hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest())
    _, valid = split(len(train))
    if test is not None:
        chosen = find_images(test, folders.data)
        if others:
            print(f"{images}: left out {len(others)} images without a row in {table}, {others[0]!r} first")
    elif others:
        chosen = {name: found[name] for name in others}
        print(f"{images}: {len(others)} images have no row in {table}, {others[0]!r} first: they are the test set")
    else:
        chosen = {train[index]: found[train[index]] for index in valid}
        print(
            f"{images}: every image has a row, so that none is left to predict: the test set is the {len(valid)} "
            "galaxies that training validates on, which it does not learn from; name others with --test"
        )
    old = _read_own_ids(folders)
    numbers = _number([*train, *chosen], {galaxy.name: galaxy.id for galaxy in old})
    galaxies = [Galaxy(numbers[name], name, "train", found[name]) for name in train]
    galaxies += [Galaxy(numbers[name], name, "test", file) for name, file in chosen.items()]
    _claim(folders, old, galaxies)
    _convert(folders, galaxies, num_workers)
    order = [rows[name] for name in train]
    write_labels_csv(folders.labels_csv, [numbers[name] for name in train], list(labels[order]))


def _match(table: Path, images: Path, names: list[str], found: dict[str, Path]) -> dict[str, int]:
    """Return the row of each image that has one; raises DataError where it has several."""
    rows: dict[str, int] = {}
    for row, name in enumerate(names):
        if name in found and name in rows:
            raise DataError(f"{table}: expected one row of each galaxy, got several of {name!r}")
        if name in found:
            rows[name] = row
    if strangers := [name for name in names if name not in found]:
        print(f"{table}: left out {len(strangers)} rows without an image in {images}, {strangers[0]!r} first")
    return rows


def _number(names: Iterable[str], known: dict[str, int]) -> dict[str, int]:
    """Return the id of each name: the number that it is, that it had, or the least that is free."""
    names = list(dict.fromkeys(names))
    numbers = {name: int(name) for name in names if ID.fullmatch(name)}
    taken = set(numbers.values())
    for name in names:
        if name not in numbers and name in known and known[name] not in taken:
            numbers[name] = known[name]
            taken.add(known[name])
    free = (number for number in itertools.count(1) if number not in taken)
    for name in sorted(set(names) - set(numbers)):
        numbers[name] = next(free)
    return numbers


def _read_own_ids(folders: Folders) -> list[Galaxy]:
    """Read what an earlier preparation wrote; nothing where there was none."""
    path = own_ids(folders)
    if not path.exists():
        return []
    open_file(path, "delete it").close()
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            return [
                Galaxy(int(row["id"]), row["name"], row["subset"], Path(row["file"])) for row in csv.DictReader(file)
            ]
    except (ValueError, KeyError, TypeError, csv.Error):
        raise DataError(f"{path} is damaged; delete it and data/raw, or name another folder with --data") from None


def _claim(folders: Folders, old: list[Galaxy], new: list[Galaxy]) -> None:
    """Mark the data folder as that of own galaxies, and remove what an earlier preparation made and this does not.

    Raises DataError, and touches nothing, where it holds anything else.
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
                    f"{folder} already holds {path.name}, which is none of these galaxies; name an empty folder with "
                    "--root or --data"
                )
            if path.name in then and now.get(path.name) != then[path.name]:
                unneeded.append(path)
    if not old and folders.labels_csv.exists():
        raise DataError(f"{folders.labels_csv} is there already; name an empty folder with --root or --data")
    for path in unneeded:
        path.unlink()
    with (
        replacing(own_ids(folders)) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows((galaxy.id, galaxy.name, galaxy.subset, galaxy.file) for galaxy in new)


def _convert(folders: Folders, galaxies: list[Galaxy], num_workers: int | None) -> None:
    """Bring all images; raises DataError that names those that can not be used."""
    paths = [(galaxy.file, folders.raw_images(galaxy.subset) / f"{galaxy.id}.jpg") for galaxy in galaxies]
    num_written = sum(not target.exists() and not may_be_linked(file, folders.data) for file, target in paths)
    need_room(folders.data, num_written * _JPEG_BYTES, "make room, or name another folder with --root or --data")
    few = len(paths) <= FEW_IMAGES
    with mapping(1 if few else num_workers, IMAGES_A_TASK) as each:
        faults = list(showing(each(_fault, paths), total=len(paths), desc="images", unit="image"))
    bad = [f"{str(file)!r} {fault}" for (file, _), fault in zip(paths, faults, strict=True) if fault is not None]
    if bad:
        rest = [f"and {len(bad) - NUM_LISTED} more"] if len(bad) > NUM_LISTED else []
        raise DataError(
            f"{len(bad)} of {len(paths)} images can not be used: {', '.join([*bad[:NUM_LISTED], *rest])}; "
            "mend them or move them elsewhere, and run this again"
        )


def _fault(paths: tuple[Path, Path]) -> str | None:
    """Bring one image; return what is wrong with it, None where nothing is."""
    try:
        bring(*paths)
    except ValueError as error:
        return str(error)
    return None
