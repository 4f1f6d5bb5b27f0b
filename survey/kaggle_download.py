"""What Kaggle's Galaxy Challenge is downloaded as, found under any of its names, and brought to data/raw.

Kaggle gives one zip that holds others, or those; people unpack them here and there, and macOS adds files of its own.
All zips are checked before anything is unpacked (`machine.zips`). What is there already is left as it is, so that an
interrupted preparation goes on; nobody's files are moved, changed or deleted.
"""

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from zipfile import ZipInfo

from galaxy import jpeg
from machine import zips
from machine.files import DataError, link_or_copy, need_room, remove_leftovers
from machine.progress import showing
from survey.folders import SUBSETS, Folders
from survey.images import ID, is_image

# "images_training_rev1 (1).zip" is what a browser makes of a second download. What lacks the "rev1" is of the
# competition's first weeks, when images and labels were wrong.
_IMAGES = re.compile(r"(?<![a-z])images?_(train|test)(?:ing)?_rev1(?![0-9a-z])", re.IGNORECASE)
_TABLE = re.compile(r"(?<![a-z])training_solutions_rev1(?![0-9a-z])", re.IGNORECASE)
_DOWNLOAD = re.compile(r"galaxy-zoo", re.IGNORECASE)
_OF_MACOS = "__MACOSX"
# From the folder that is named down to the images; and zips in zips.
_MAX_DEPTH, _MAX_ZIPS = 3, 2
_DISK_BLOCK = 4096


@dataclass(frozen=True)
class Piece:
    """A file of the download: where it is, its own name there, its bytes, and how to write it elsewhere."""

    origin: str
    name: str
    size: int
    put: Callable[[Path], None]
    to_write: int  # bytes; none where a link will do


def subset_of(names: Iterable[str]) -> str | None:
    """Return which subset the first of some names of folders and zips stands for that stands for any."""
    return next((match[1].lower() for name in names if (match := _IMAGES.search(name))), None)


@dataclass
class Download:
    """What is found of a download: images by subset and id, and the table of labels.

    Zips are open for as long as `stack` is; those that lie in others are unpacked in the folder `workshop` first.
    """

    stack: contextlib.ExitStack
    workshop: Path
    images: dict[str, dict[int, Piece]] = field(default_factory=lambda: {subset: {} for subset in SUBSETS})
    table: Piece | None = None
    left_out: list[str] = field(default_factory=list)
    num_nested: int = 0

    def add(self, place: Path) -> None:
        """Look for the download in a folder, or in a file that is named."""
        if place.is_dir():
            self._add_folder(place, subset_of([place.absolute().name]), 0)
        elif not place.exists():
            raise DataError(f"{place} is missing; expected Kaggle's zips, or the folder that they are in")
        elif place.suffix.lower() == ".zip":
            self._add_zip(place, str(place), 1)
        elif not self._add_file(place, None):
            raise DataError(
                f"expected Kaggle's zips, the folder that they are in or training_solutions_rev1.csv, got {place}"
            )

    def _add_folder(self, folder: Path, subset: str | None, depth: int) -> None:
        with os.scandir(folder) as scan:
            entries = sorted((entry for entry in scan if not entry.name.startswith(".")), key=lambda entry: entry.name)
        for entry in entries:
            path = Path(entry.path)
            if entry.is_dir():
                if depth < _MAX_DEPTH and entry.name != _OF_MACOS:
                    self._add_folder(path, subset_of([entry.name]) or subset, depth + 1)
            elif _is_wanted_zip(entry.name):
                self._add_zip(path, str(path), 1)
            else:
                self._add_file(path, subset)

    def _add_file(self, path: Path, subset: str | None) -> bool:
        """Take a file that is an image of a subset, or the table; say whether it was one."""
        try:
            status = path.stat()
        except FileNotFoundError:  # a link to nothing
            return False
        if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
            return False
        linked = status.st_dev == _parent_there(self.workshop).stat().st_dev
        size = status.st_size
        return self._take(
            Piece(str(path.parent), path.name, size, partial(link_or_copy, path), 0 if linked else size), subset
        )

    def _add_zip(self, path: Path, name: str, depth: int) -> None:
        archive = self.stack.enter_context(zips.opened(path, name))
        nested = []
        for member in archive.files:
            *folders, last = PurePosixPath(member.filename.replace("\\", "/")).parts
            if _OF_MACOS in folders or last.startswith("."):
                continue
            if _is_wanted_zip(last):
                nested.append(member)
                continue
            subset = subset_of([*reversed(folders), Path(name).name])
            put = partial(archive.unpack, member)
            self._take(Piece(name, last, member.file_size, put, member.file_size), subset)
        if nested:
            self._add_nested(archive, nested, name, depth)

    def _add_nested(self, archive: zips.Archive, nested: list[ZipInfo], name: str, depth: int) -> None:
        if depth == _MAX_ZIPS:
            raise DataError(f"{name} is refused: it is a zip in a zip, and holds zips again; unpack it yourself")
        # Their files take about as much room again.
        self.workshop.mkdir(parents=True, exist_ok=True)
        self.need_room(2 * sum(member.file_size for member in nested))
        for member in showing(nested, desc=f"unpacking {Path(name).name}", unit="zip"):
            self.num_nested += 1
            inner = self.workshop / f".{self.num_nested}.zip.{os.getpid()}.part"
            self.stack.callback(inner.unlink, missing_ok=True)
            archive.unpack(member, inner)
            self._add_zip(inner, f"{name}/{PurePosixPath(member.filename).name}", depth + 1)

    def _take(self, piece: Piece, subset: str | None) -> bool:
        """Take a piece that is an image of a subset, or the table; say whether it is one."""
        stem = Path(piece.name).stem
        if _TABLE.search(stem) and piece.name.lower().endswith(".csv"):
            from survey.kaggle_labels import MAX_BYTES  # with pandas, which takes half a second

            _refuse_large(piece, MAX_BYTES)
            self.table = _same(self.table, piece)
            return True
        if subset is None or not is_image(piece.name):
            return False
        if not ID.fullmatch(stem):
            self.left_out.append(f"{piece.origin}/{piece.name}")
            return False
        _refuse_large(piece, jpeg.MAX_BYTES)
        images = self.images[subset]
        images[int(stem)] = _same(images.get(int(stem)), piece)
        return True

    def need_room(self, num_bytes: int) -> None:
        """Raise DataError unless there is room for so many bytes where the download is brought."""
        need_room(_parent_there(self.workshop), num_bytes, "make room, or name another folder with --root or --data")

    def install(self, folders: Folders) -> int:
        """Bring what is not there yet to data/raw; return how many files that were.

        Raises DataError, before anything is written, where another file stands under the name of one.
        """
        todo: list[tuple[Path, Piece]] = []
        for subset, pieces in self.images.items():
            target = folders.raw_images(subset)
            there = _images_in(target)
            for id, piece in pieces.items():
                path, size = there.get(id, (target / piece.name, None))
                if _is_to_be_written(path, size, piece):
                    todo.append((path, piece))
        if self.table is not None:
            path = folders.labels_csv
            if _is_to_be_written(path, path.stat().st_size if path.exists() else None, self.table):
                todo.append((path, self.table))
        self.need_room(sum(-(-piece.to_write // _DISK_BLOCK) * _DISK_BLOCK for _, piece in todo))
        for path, piece in showing(todo, desc="unpacking", unit="file"):
            piece.put(path)
        return len(todo)


def _is_wanted_zip(name: str) -> bool:
    """Say whether a zip holds what is needed by its name: benchmarks, which are zips too, do not."""
    return name.lower().endswith(".zip") and any(kind.search(name) for kind in (_IMAGES, _TABLE, _DOWNLOAD))


def _refuse_large(piece: Piece, most: int) -> None:
    if piece.size > most:
        raise DataError(
            f"{piece.origin}: expected at most {most} bytes, {piece.name} has {piece.size}; download it again"
        )


def _same(old: Piece | None, new: Piece) -> Piece:
    """Return the first of two pieces that stand for the same; raises DataError where they can not be."""
    if old is None:
        return new
    if old.origin == new.origin and old.name != new.name:
        raise DataError(f"{old.origin}: expected one file of each, got {old.name} and {new.name}; remove one")
    if old.size != new.size:
        raise DataError(
            f"{old.origin} and {new.origin} both hold {old.name}, of {old.size} and {new.size} bytes; name only one"
        )
    return old


def _is_to_be_written(path: Path, size: int | None, piece: Piece) -> bool:
    if size == piece.size:
        return False
    if size:  # an empty file is what a power cut can leave
        raise DataError(
            f"{path} is there already, and not the one of {piece.origin} ({size} bytes, {piece.size} there); "
            "move it away, or name another folder with --root or --data"
        )
    return True


def _images_in(folder: Path) -> dict[int, tuple[Path, int]]:
    """Return the file and its bytes of each id in a folder, which need not be there."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if is_image(entry.name) and ID.fullmatch(Path(entry.name).stem)]
        return {int(Path(entry.name).stem): (Path(entry.path), entry.stat().st_size) for entry in found}


def _parent_there(folder: Path) -> Path:
    """Return a folder, or the first above it that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def bring(places: Iterable[Path], folders: Folders) -> int:
    """Find a download in some folders and files, and bring it to data/raw; return how many files were not there yet.

    Raises DataError where nothing of it is found, there or in data/raw.
    """
    raw = folders.data / "raw"
    targets = [folders.raw_images(subset) for subset in SUBSETS]
    remove_leftovers(raw / "*", *(target / "*" for target in targets))
    places = list(places)
    with contextlib.ExitStack() as stack:
        download = Download(stack, raw)
        for place in places:
            download.add(place)
        if left_out := download.left_out:
            print(f"left out {len(left_out)} images that are not named by an id, {left_out[0]!r} for one")
        if download.table is None and not any(download.images.values()):
            raise DataError(
                f"expected Kaggle's zips or what they hold (images_training_rev1, images_test_rev1, "
                f"training_solutions_rev1) in {', '.join(map(str, places))}, found none of them; download them from "
                "Kaggle, and name the folder with --kaggle"
            )
        return download.install(folders)
