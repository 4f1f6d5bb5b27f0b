"""Kaggle's download of the Galaxy Challenge, found under any of its names and brought to data/raw.

Kaggle offers one zip that contains other zips, or these zips alone. People unpack them in various folders, and macOS
adds files. All zips are checked before any file is unpacked (`machine.zips`). Existing files are kept, so that an
interrupted preparation resumes. Files of the download are not moved, changed or deleted.
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
from machine.files import DataError, link_or_copy, need_room, remove_leftovers, shown
from machine.progress import showing
from survey.folders import SUBSETS, Folders
from survey.images import ID, is_image

# A browser calls a second download "images_training_rev1 (1).zip". Names without "rev1" are from the first weeks of the
# competition, when images and labels were wrong.
_IMAGES = re.compile(r"(?<![a-z])images?_(train|test)(?:ing)?_rev1(?![0-9a-z])", re.IGNORECASE)
_TABLE = re.compile(r"(?<![a-z])training_solutions_rev1(?![0-9a-z])", re.IGNORECASE)
_DOWNLOAD = re.compile(r"galaxy-zoo", re.IGNORECASE)
_MACOS_FOLDER = "__MACOSX"
# Levels of folders below the one that is given, and of zips in zips.
_MAX_DEPTH, _MAX_ZIPS = 3, 2
_DISK_BLOCK = 4096
_ROOM_HINT = "make room, or name another folder with --root or --data"


@dataclass(frozen=True)
class SourceFile:
    """One file of the download: its zip or folder, its name, its size, and a function that writes it to a path."""

    origin: str
    name: str
    size: int  # bytes
    write: Callable[[Path], None]
    num_new_bytes: int  # bytes that `write` adds to the disk; 0 if it can link


def subset_of(names: Iterable[str]) -> str | None:
    """Return the subset that the first matching name of a folder or zip stands for; None without a match."""
    return next((match[1].lower() for name in names if (match := _IMAGES.search(name))), None)


@dataclass
class Download:
    """The files of a download: images by subset and id, and the table of labels.

    Zips stay open until `stack` closes. Zips within zips are unpacked to the folder `raw`, and removed with `stack`.
    """

    stack: contextlib.ExitStack
    raw: Path
    images: dict[str, dict[int, SourceFile]] = field(default_factory=lambda: {subset: {} for subset in SUBSETS})
    table: SourceFile | None = None
    left_out: list[str] = field(default_factory=list)
    num_nested: int = 0

    def add(self, path: Path) -> None:
        """Search a folder, a zip or a file for the download."""
        if path.is_dir():
            self._add_folder(path, subset_of([path.absolute().name]), 0)
        elif not path.exists():
            raise DataError(f"{path} is missing; expected Kaggle's zips, or the folder that they are in")
        elif path.suffix.lower() == ".zip":
            self._add_zip(path, str(path), 1)
        elif not self._add_file(path, None):
            raise DataError(
                f"expected Kaggle's zips, the folder that they are in or training_solutions_rev1.csv, got {path}"
            )

    def _add_folder(self, folder: Path, subset: str | None, depth: int) -> None:
        for path in sorted(folder.iterdir()):
            if path.name.startswith("."):
                continue
            if path.is_dir():
                if depth < _MAX_DEPTH and path.name != _MACOS_FOLDER:
                    self._add_folder(path, subset_of([path.name]) or subset, depth + 1)
            elif _is_wanted_zip(path.name):
                self._add_zip(path, str(path), 1)
            else:
                self._add_file(path, subset)

    def _add_file(self, path: Path, subset: str | None) -> bool:
        """Add a file if it is an image of a subset, or the table; return whether it is."""
        try:
            status = path.stat()
        except FileNotFoundError:  # a dangling link
            return False
        size = status.st_size
        if not stat.S_ISREG(status.st_mode) or size == 0:
            return False
        same_disk = status.st_dev == _existing_parent(self.raw).stat().st_dev
        write = partial(link_or_copy, path)
        return self._add_matching(
            SourceFile(str(path.parent), path.name, size, write, 0 if same_disk else size), subset
        )

    def _add_zip(self, path: Path, name: str, depth: int) -> None:
        archive = self.stack.enter_context(zips.opened(path, name))
        nested = []
        for member in archive.files:
            *folders, last = PurePosixPath(member.filename.replace("\\", "/")).parts
            if _MACOS_FOLDER in folders or last.startswith("."):
                continue
            if _is_wanted_zip(last):
                nested.append(member)
                continue
            subset = subset_of([*reversed(folders), Path(name).name])
            size = member.file_size
            self._add_matching(SourceFile(name, last, size, partial(archive.unpack, member), size), subset)
        if nested:
            self._add_nested(archive, nested, name, depth)

    def _add_nested(self, archive: zips.Archive, nested: list[ZipInfo], name: str, depth: int) -> None:
        if depth == _MAX_ZIPS:
            raise DataError(f"{name} is refused: it is a zip in a zip and contains zips; unpack it yourself")
        self.raw.mkdir(parents=True, exist_ok=True)
        # The files of the zips take about the same room as the zips.
        need_room(self.raw, 2 * sum(member.file_size for member in nested), _ROOM_HINT)
        for member in showing(nested, desc=f"unpacking {Path(name).name}", unit="zip"):
            self.num_nested += 1
            inner = self.raw / f".{self.num_nested}.zip.{os.getpid()}.part"
            self.stack.callback(inner.unlink, missing_ok=True)
            archive.unpack(member, inner)
            self._add_zip(inner, f"{name}/{PurePosixPath(member.filename).name}", depth + 1)

    def _add_matching(self, file: SourceFile, subset: str | None) -> bool:
        """Add a file if it is an image of a subset, or the table; return whether it is."""
        stem = Path(file.name).stem
        if _TABLE.search(stem) and file.name.lower().endswith(".csv"):
            from survey.kaggle_labels import MAX_BYTES  # it imports pandas, which takes half a second

            _refuse_large(file, MAX_BYTES)
            self.table = _first_of(self.table, file)
            return True
        if subset is None or not is_image(file.name):
            return False
        if not ID.fullmatch(stem):
            self.left_out.append(f"{file.origin}/{file.name}")
            return False
        _refuse_large(file, jpeg.MAX_BYTES)
        self.images[subset][int(stem)] = _first_of(self.images[subset].get(int(stem)), file)
        return True

    def install(self, folders: Folders) -> int:
        """Write the files that are missing in data/raw; return their number.

        Raises DataError, before the first write, if a different file already has the name of one of them.
        """
        targets: list[tuple[Path, SourceFile]] = []
        for subset, files in self.images.items():
            folder = folders.raw_images(subset)
            existing = _images_in(folder)
            targets += [(existing.get(id, folder / file.name), file) for id, file in files.items()]
        if self.table is not None:
            targets.append((folders.labels_csv, self.table))
        missing = [(path, file) for path, file in targets if _is_missing(path, file)]
        num_blocks = sum(-(-file.num_new_bytes // _DISK_BLOCK) for _, file in missing)
        need_room(_existing_parent(self.raw), num_blocks * _DISK_BLOCK, _ROOM_HINT)
        for path, file in showing(missing, desc="unpacking", unit="file"):
            file.write(path)
        return len(missing)


def _is_wanted_zip(name: str) -> bool:
    """Return whether a zip's name is that of a needed one; Kaggle's benchmarks are zips too."""
    return name.lower().endswith(".zip") and any(pattern.search(name) for pattern in (_IMAGES, _TABLE, _DOWNLOAD))


def _refuse_large(file: SourceFile, max_bytes: int) -> None:
    if file.size > max_bytes:
        raise DataError(
            f"{file.origin}: expected at most {max_bytes} bytes, {file.name} has {file.size}; download it again"
        )


def _first_of(old: SourceFile | None, new: SourceFile) -> SourceFile:
    """Return the first of two files for the same id, or of two tables; raises DataError if they differ."""
    if old is None:
        return new
    if old.origin == new.origin and old.name != new.name:
        raise DataError(f"{old.origin}: expected one file per id, got {old.name} and {new.name}; remove one")
    if old.size != new.size:
        raise DataError(
            f"{old.origin} and {new.origin} both contain {old.name}, of {old.size} and {new.size} bytes; name only one"
        )
    return old


def _is_missing(path: Path, file: SourceFile) -> bool:
    """Return whether a file has to be written; raises DataError if a different one exists."""
    try:
        status = path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            raise DataError(f"{shown(path)} is a link to nothing; move it away") from None
        return True
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{shown(path)} is a folder, pipe or device; move it away")
    size = status.st_size
    if size not in (0, file.size):  # a power cut can leave an empty file
        raise DataError(
            f"{path} already exists, and differs from the one of {file.origin} ({size} bytes, not {file.size}); "
            "move it away, or name another folder with --root or --data"
        )
    return size == 0


def _images_in(folder: Path) -> dict[int, Path]:
    """Return the image of each id in a folder; nothing if the folder is missing."""
    paths = folder.iterdir() if folder.is_dir() else ()
    return {int(path.stem): path for path in paths if is_image(path.name) and ID.fullmatch(path.stem)}


def _existing_parent(folder: Path) -> Path:
    """Return a folder, or the nearest parent that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def bring(sources: Iterable[Path], folders: Folders) -> int:
    """Search folders and files for the download, and write its missing files to data/raw; return their number.

    Raises DataError if the sources contain no file of the download.
    """
    raw, sources = folders.data / "raw", list(sources)
    remove_leftovers(raw / "*", *(folders.raw_images(subset) / "*" for subset in SUBSETS))
    with contextlib.ExitStack() as stack:
        download = Download(stack, raw)
        for source in sources:
            download.add(source)
        if left_out := download.left_out:
            print(f"left out {len(left_out)} images that are not named by an id, for example {left_out[0]!r}")
        if download.table is None and not any(download.images.values()):
            raise DataError(
                f"expected Kaggle's zips or their files (images_training_rev1, images_test_rev1, "
                f"training_solutions_rev1) in {', '.join(map(str, sources))}, found none; download them from Kaggle, "
                "and name the folder with --kaggle"
            )
        return download.install(folders)
