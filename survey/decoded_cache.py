"""Every image decoded once: a memory map of pixels for each subset, on the RAM drive or in any folder.

Decoding is most of what an example costs; a map is read instead by whoever augments, as soon as it matches the ids and
the JPEGs as they are now. It is built by `copy_data_to_shm.py --decoded`, in parallel, and goes on where it stopped.
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

# Images a task of building, and what is done again after an interruption.
_BLOCK = 64


def need_room(folder: Path, num_bytes: int) -> None:
    """Raise DataError unless a folder is there and has room for so many bytes."""
    if not folder.is_dir():
        raise DataError(f"expected a folder to copy to, but {folder} is none; name one with --ram")
    files.need_room(folder, num_bytes, "enlarge it (mount -o remount,size=4G) or name another place with --ram")


def path(subset: str) -> Path:
    """Return the memory map of a subset, `.npy`; its manifest lies beside it, `.json`."""
    return folders.current.ram / f"images_{subset}_rev1_decoded.npy"


def manifest(subset: str) -> dict[str, object]:
    """Describe the map that would fit now: ids, shape, and a checksum of the JPEGs' names, sizes and times."""
    ids = images.load_ids(subset).tolist()
    listing = images.listing(folders.current.raw_images(subset), ids)
    return {"ids": ids, "shape": [len(ids), *IMAGE_SHAPE], "source": listing}


def find(subset: str) -> np.ndarray | None:
    """Return the decoded images of a subset, (n, 424, 424, 3) uint8 in the order of its ids, where they are at hand."""
    return _find(subset, folders.current)


@functools.lru_cache(maxsize=4)
def _find(subset: str, _: Folders) -> np.ndarray | None:
    target = path(subset)
    try:
        found = json.loads(target.with_suffix(".json").read_text())
        pixels = np.load(target, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, RecursionError):
        return None
    if found != manifest(subset) or list(pixels.shape) != found["shape"] or pixels.dtype != np.uint8:
        return None
    return np.asarray(pixels)


def forget() -> None:
    """Look for maps anew when next asked."""
    _find.cache_clear()


def _decode_block(target: Path, paths: Sequence[str], first: int) -> int:
    """Write the pixels of some images into their rows, and return how many they are."""
    pixels = np.load(target, mmap_mode="r+", allow_pickle=False)
    for row, image in enumerate(paths, first):
        pixels[row] = images.read_image(image)
    pixels.flush()
    return len(paths)


def load_pixels(index: int, subset: str) -> np.ndarray:
    """Return the pixels of an image, (424, 424, 3) uint8, from the map where there is one."""
    cache = find(subset)
    if cache is not None:
        return cache[index]
    return images.read_image(images.image_path(folders.current.images(subset), images.ids_of(subset)[index]))


def build(subset: str, num_workers: int | None = None) -> Path:
    """Decode all images of a subset into its map; what an earlier call had done is not done again.

    Raises DataError for an image that can not be decoded, and where there is no room.
    """
    target = path(subset)
    wanted = manifest(subset)
    if find(subset) is not None:
        return target
    part, journal = target.with_suffix(".part"), target.with_suffix(".blocks")
    key = hashlib.sha256(json.dumps(wanted).encode()).hexdigest()
    done = _read_journal(journal, key) if part.exists() else None
    if done is None:
        remove(subset)
        need_room(target.parent, math.prod(wanted["shape"]))
        open_memmap(part, mode="w+", dtype=np.uint8, shape=tuple(wanted["shape"])).flush()
        _reserve(part)
        done = set()
    # Anew, since what wrote the last line may have been killed within it.
    journal.write_text("".join(f"{line}\n" for line in (key, *sorted(done))))
    source = folders.current.raw_images(subset)
    _decode([images.image_path(source, id) for id in wanted["ids"]], part, journal, done, num_workers)
    part.replace(target)
    with replacing(target.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(wanted))
    journal.unlink()
    forget()
    return target


def _decode(paths: Sequence[str], part: Path, journal: Path, done: set[int], num_workers: int | None) -> None:
    """Write the blocks of images that are not done yet into the map, each with a line in the journal."""
    blocks = {first: paths[first : first + _BLOCK] for first in range(0, len(paths), _BLOCK) if first not in done}
    num_done = len(paths) - sum(map(len, blocks.values()))
    with (
        processes.pool(num_workers, folders.worker_start()) as executor,
        showing(total=len(paths), initial=num_done, desc=part.stem, unit="image") as bar,
        journal.open("a", buffering=1) as lines,
    ):
        tasks = {executor.submit(_decode_block, part, block, first): first for first, block in blocks.items()}
        for task in as_completed(tasks):
            bar.update(task.result())
            lines.write(f"{tasks[task]}\n")


def _reserve(part: Path) -> None:
    """Take the room of a file now: a map that finds none later ends whoever writes to it without a word."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        with part.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, part.stat().st_size)
    except OSError as error:
        size = part.stat().st_size
        part.unlink()
        if error.errno != errno.ENOSPC:
            raise
        need_room(part.parent, size)
        raise


def _read_journal(journal: Path, key: str) -> set[int] | None:
    """Return the blocks that are done; None where the journal is of another map."""
    try:
        first, *lines = journal.read_text().split("\n")[:-1]  # what ends without a newline is half a line
    except (OSError, ValueError):
        return None
    return {int(line) for line in lines if line.isdigit()} if first == key else None


def remove(subset: str) -> bool:
    """Remove a subset's map and what is left of an unfinished one; say whether there was any."""
    target = path(subset)
    found = [each for suffix in (".json", ".npy", ".part", ".blocks") if (each := target.with_suffix(suffix)).exists()]
    for each in found:
        each.unlink()
    forget()
    return bool(found)
