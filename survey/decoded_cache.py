"""A cache of decoded images: one memory map of pixels per subset, on the RAM drive or in any folder.

Decoding takes most of the time of an example. Views are read from the map instead, if it matches the current ids and
JPEGs. `copy_data_to_shm.py --decoded` builds the map in parallel; an interrupted build resumes.
"""

import errno
import functools
import hashlib
import json
import math
import os
from collections.abc import Sequence
from concurrent.futures import as_completed
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from galaxy.affine import IMAGE_SHAPE
from machine import files, processes
from machine.files import DataError, replacing
from machine.progress import showing
from survey import folders, images
from survey.folders import Folders

# Images per task; an interrupted build repeats at most one block per process.
_BLOCK = 64


def need_room(folder: Path, num_bytes: int) -> None:
    """Raise DataError unless a folder exists and has `num_bytes` free."""
    if not folder.is_dir():
        raise DataError(f"expected a folder to copy to, but {folder} is not a folder; name one with --ram")
    files.need_room(folder, num_bytes, "enlarge it (mount -o remount,size=4G) or name another folder with --ram")


def path(subset: str) -> Path:
    """Return the file of a subset's memory map, `.npy`; its manifest has the suffix `.json`."""
    return folders.current.ram / f"images_{subset}_rev1_decoded.npy"


def manifest(subset: str) -> dict[str, object]:
    """Describe the map of the current data: ids, shape, and a checksum of the JPEGs' names, sizes and times."""
    ids = images.load_ids(subset).tolist()
    listing = images.listing(folders.current.raw_images(subset), ids)
    return {"ids": ids, "shape": [len(ids), *IMAGE_SHAPE], "source": listing}


def find(subset: str) -> np.ndarray | None:
    """Return the decoded images of a subset, (n, 424, 424, 3) uint8 in the order of its ids; None without a map."""
    return _find(subset, folders.current)


@functools.lru_cache(maxsize=4)
def _find(subset: str, _: Folders) -> np.ndarray | None:
    target = path(subset)
    try:
        stored = json.loads(target.with_suffix(".json").read_text())
        pixels = np.load(target, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, RecursionError):
        return None
    if stored != manifest(subset) or list(pixels.shape) != stored["shape"] or pixels.dtype != np.uint8:
        return None
    return np.asarray(pixels)


def forget() -> None:
    """Discard the maps that are open; the next `find` opens them again."""
    _find.cache_clear()


def _decode_block(target: Path, paths: Sequence[str], first: int) -> int:
    """Write the pixels of images into the rows from `first`; return the number of images."""
    pixels = np.load(target, mmap_mode="r+", allow_pickle=False)
    for row, image in enumerate(paths, first):
        pixels[row] = images.read_image(image)
    pixels.flush()
    return len(paths)


def load_pixels(index: int, subset: str) -> np.ndarray:
    """Return the pixels of an image, (424, 424, 3) uint8, from the map if there is one."""
    cache = find(subset)
    if cache is not None:
        return cache[index]
    return images.read_image(images.image_path(folders.current.images(subset), images.ids_of(subset)[index]))


def build(subset: str, num_workers: int | None = None) -> Path:
    """Decode all images of a subset into its map; resume an interrupted build.

    Raises DataError for an image that cannot be decoded, and if the disk is too small.
    """
    target = path(subset)
    wanted = manifest(subset)
    if find(subset) is not None:
        return target
    partial_map, journal = target.with_suffix(".part"), target.with_suffix(".blocks")
    key = hashlib.sha256(json.dumps(wanted).encode()).hexdigest()
    done = _read_journal(journal, key) if partial_map.exists() else None
    if done is None:
        remove(subset)
        need_room(target.parent, math.prod(wanted["shape"]))
        open_memmap(partial_map, mode="w+", dtype=np.uint8, shape=tuple(wanted["shape"])).flush()
        _allocate(partial_map)
        done = set()
    # Rewritten, since an interrupt can leave half a line at the end.
    journal.write_text("".join(f"{line}\n" for line in (key, *sorted(done))))
    source = folders.current.raw_images(subset)
    _decode([images.image_path(source, id) for id in wanted["ids"]], partial_map, journal, done, num_workers)
    partial_map.replace(target)
    with replacing(target.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(wanted))
    journal.unlink()
    forget()
    return target


def _decode(paths: Sequence[str], partial_map: Path, journal: Path, done: set[int], num_workers: int | None) -> None:
    """Decode the blocks of images that are not in `done` into the map; add a line per block to the journal."""
    blocks = {first: paths[first : first + _BLOCK] for first in range(0, len(paths), _BLOCK) if first not in done}
    num_done = len(paths) - sum(map(len, blocks.values()))
    with (
        processes.pool(num_workers, folders.worker_start()) as executor,
        showing(total=len(paths), initial=num_done, desc=partial_map.stem, unit="image") as bar,
        journal.open("a", buffering=1) as lines,
    ):
        tasks = {executor.submit(_decode_block, partial_map, block, first): first for first, block in blocks.items()}
        for task in as_completed(tasks):
            bar.update(task.result())
            lines.write(f"{tasks[task]}\n")


def _allocate(path: Path) -> None:
    """Allocate the file now: writing to a sparse map on a full disk kills the process (SIGBUS)."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        size = path.stat().st_size
        path.unlink()
        if error.errno != errno.ENOSPC:
            raise
        need_room(path.parent, size)
        raise


def _read_journal(journal: Path, key: str) -> set[int] | None:
    """Return the first image of each finished block; None if the journal belongs to another map."""
    try:
        first, *lines = journal.read_text().split("\n")[:-1]  # text after the last newline is half a line
    except (OSError, ValueError):
        return None
    return {int(line) for line in lines if line.isdigit()} if first == key else None


def remove(subset: str) -> bool:
    """Remove a subset's map, finished or not; return whether there was one."""
    target = path(subset)
    files = [file for suffix in (".json", ".npy", ".part", ".blocks") if (file := target.with_suffix(suffix)).exists()]
    for file in files:
        file.unlink()
    forget()
    return bool(files)
