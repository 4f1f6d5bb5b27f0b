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
import re
import zlib
from collections.abc import Sequence
from concurrent.futures import as_completed
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from galaxy.image_geometry import IMAGE_SHAPE
from machine import files, processes
from machine.files import DataError, open_file, read_text, remove_leftovers, replacing, shown
from machine.progress import showing
from survey import folders, images, ram_copies
from survey.folders import Folders

# Images per task; an interrupted build repeats at most one block per process.
_BLOCK = 64
_MAX_MANIFEST = 2**28  # bytes; it lists the images
# Up to this number, one process is faster than the start of several.
_FEW_IMAGES = 2000
# The journal of an unfinished map: a checksum of its manifest, then a block's first image and CRC-32 a line.
_HEADER, _ENTRY = re.compile(r"[0-9a-f]{64}\n"), re.compile(r"[0-9]{1,12} [0-9]{1,10}")


def need_room(folder: Path, num_bytes: int) -> None:
    """Raise DataError unless a folder exists and has `num_bytes` free."""
    if not folder.is_dir():
        raise DataError(f"expected a folder to copy to, but {folder} is not a folder; name one with --ram")
    files.need_room(folder, num_bytes, "enlarge it (mount -o remount,size=4G) or name another folder with --ram")


def path(subset: str) -> Path:
    """Return the file of a subset's memory map, `.npy`; its manifest has the suffix `.json`."""
    return folders.current.ram / f"images_{subset}_rev1_decoded.npy"


def manifest(subset: str) -> dict[str, object]:
    """Describe the map of the current data: survey, ids, shape, and a checksum of the JPEGs' names, sizes and times."""
    ids = images.load_ids(subset).tolist()
    folder = folders.current.raw_images(subset)
    return {
        "survey": ram_copies.survey_of(folder),
        "ids": ids,
        "shape": [len(ids), *IMAGE_SHAPE],
        "source": images.listing(folder, ids),
    }


def find(subset: str) -> np.ndarray | None:
    """Return the decoded images of a subset, (n, 424, 424, 3) uint8 in the order of its ids; None without a map."""
    return _find(subset, folders.current)


@functools.lru_cache(maxsize=4)
def _find(subset: str, _: Folders) -> np.ndarray | None:
    target = path(subset)
    stored = _stored(target)
    try:
        pixels = np.load(target, mmap_mode="r", allow_pickle=False) if stored and target.is_file() else None
    except Exception:  # the header is a Python expression: a damaged one can raise anything
        return None
    wanted = manifest(subset) if pixels is not None else {}
    if pixels is None or {key: stored.get(key) for key in wanted} != wanted:
        return None
    if list(pixels.shape) != wanted["shape"] or pixels.dtype != np.uint8:
        return None
    return np.asarray(pixels)


def _stored(target: Path) -> dict | None:
    """Return the manifest beside a map; None for another file."""
    try:
        stored = json.loads(read_text(target.with_suffix(".json"), "copy again", _MAX_MANIFEST))
    except (DataError, ValueError, RecursionError):
        return None
    return stored if isinstance(stored, dict) and "source" in stored else None


def verify(subset: str, num_workers: int | None = None) -> None:
    """Compare the pixels of a subset's map with the checksums of its manifest; raises DataError where they differ."""
    cache, target = find(subset), path(subset)
    if cache is None:
        return
    expected = (_stored(target) or {}).get("checksums")
    firsts = range(0, len(cache), _BLOCK)
    few = len(cache) <= _FEW_IMAGES
    with processes.mapping(1 if few else num_workers, 4) as run:
        checksums = list(run(functools.partial(_checksum, target), firsts))
    if expected != {str(first): checksum for first, checksum in zip(firsts, checksums, strict=True)}:
        raise DataError(
            f"{shown(target)} is damaged: its pixels do not have the checksums of its manifest; run "
            "copy_data_to_shm.py --remove, then copy_data_to_shm.py --decoded again"
        )


def _checksum(target: Path, first: int) -> int:
    """Return the CRC-32 of a block of images of a map."""
    return zlib.crc32(np.load(target, mmap_mode="r", allow_pickle=False)[first : first + _BLOCK])


def forget() -> None:
    """Discard the maps that are open; the next `find` opens them again."""
    _find.cache_clear()


def _decode_block(target: Path, inode: int, paths: Sequence[str], first: int) -> tuple[int, int]:
    """Write the pixels of images into the rows from `first`; return the number of images, and the pixels' CRC-32.

    Raises DataError if the map is no longer the file `inode`.
    """
    with target.open("r+b") as file:
        if os.fstat(file.fileno()).st_ino != inode:
            raise DataError(f"{shown(target)} was replaced by another program; run this again")
        pixels = np.load(target, mmap_mode="r+", allow_pickle=False)
    for row, image in enumerate(paths, first):
        pixels[row] = images.read_image(image)
    pixels.flush()
    return len(paths), zlib.crc32(pixels[first : first + len(paths)])


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
    partial_map, journal = target.with_suffix(".part"), target.with_suffix(".blocks")
    remove_leftovers(journal, target.with_suffix(".json"))
    if find(subset) is not None:
        if _is_journal(journal):  # a kill came just before its removal
            journal.unlink()
        return target
    _check_owner(target, wanted["survey"])
    key = hashlib.sha256(json.dumps(wanted).encode()).hexdigest()
    done = _read_journal(journal, key) if _is_map(partial_map, wanted["shape"]) else None
    if done is None:
        remove(subset)
        need_room(target.parent, math.prod(wanted["shape"]))
        # The journal names the survey of the map, so it is written before the map.
        _write_journal(journal, key, {})
        open_memmap(partial_map, mode="w+", dtype=np.uint8, shape=tuple(wanted["shape"])).flush()
        done = {}
    _allocate(partial_map)
    # Blocks that changed since they were written are decoded again.
    done = {first: checksum for first, checksum in done.items() if _checksum(partial_map, first) == checksum}
    _write_journal(journal, key, done)  # an interrupt can leave half a line at the end
    source = folders.current.raw_images(subset)
    _decode([images.image_path(source, id) for id in wanted["ids"]], partial_map, journal, done, num_workers)
    if manifest(subset) != wanted:
        raise DataError(f"images in {shown(source)} changed while they were decoded; run this again")
    partial_map.replace(target)
    with replacing(target.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps({**wanted, "checksums": {str(first): done[first] for first in sorted(done)}}))
    journal.unlink()
    forget()
    return target


def _is_map(file: Path, shape: object) -> bool:
    """Return whether a file is a map of pixels of this shape, and neither cut nor empty."""
    try:
        pixels = np.load(file, mmap_mode="r", allow_pickle=False)
    except Exception:  # the header is a Python expression: a damaged one can raise anything
        return False
    return list(pixels.shape) == shape and pixels.dtype == np.uint8 and pixels.flags.c_contiguous


def _check_owner(target: Path, survey: object) -> None:
    """Raise DataError where a map of another survey or another file has the name."""
    stored, others = _stored(target), [target, *map(target.with_suffix, (".json", ".part", ".blocks"))]
    remedy = "name another folder with --ram"
    if stored is not None and stored.get("survey", survey) != survey:
        owner = shown(stored["survey"])
        raise DataError(
            f"{shown(target)} holds the decoded images of {owner}; run copy_data_to_shm.py --remove there, or {remedy}"
        )
    has_journal = _HEADER.match(_text(target.with_suffix(".blocks"))) is not None
    for file in others if stored is None and not has_journal else ():
        if os.path.lexists(file):
            raise DataError(f"{shown(file)} exists and is not of this project; move it away, or {remedy}")
    for file in others:
        if os.path.islink(file) or (file.exists() and not file.is_file()):
            raise DataError(f"{shown(file)} is a link, a folder or a pipe; move it away, or {remedy}")


def _is_journal(file: Path) -> bool:
    """Return whether a file may be a journal, whole or damaged."""
    try:
        with open_file(file, "") as opened:
            content = opened.read(_MAX_MANIFEST)
    except DataError:
        return False
    return len(content.translate(None, b"0123456789abcdef \n")) <= len(content) // 10


def _text(file: Path) -> str:
    try:
        return read_text(file, "copy again", _MAX_MANIFEST)
    except DataError:
        return ""


def _decode(
    paths: Sequence[str], partial_map: Path, journal: Path, done: dict[int, int], num_workers: int | None
) -> None:
    """Decode the blocks of images that are not in `done` into the map; add a line per block to the journal.

    `done` has the CRC-32 of each block by its first image; new blocks are added.
    """
    inode = partial_map.stat().st_ino
    blocks = {first: paths[first : first + _BLOCK] for first in range(0, len(paths), _BLOCK) if first not in done}
    num_done = len(paths) - sum(map(len, blocks.values()))
    with (
        processes.pool(num_workers, folders.worker_start()) as executor,
        showing(total=len(paths), initial=num_done, desc=partial_map.stem, unit="image") as bar,
        journal.open("a", buffering=1) as lines,
    ):
        tasks = {
            executor.submit(_decode_block, partial_map, inode, block, first): first for first, block in blocks.items()
        }
        for task in as_completed(tasks):
            num_images, done[tasks[task]] = task.result()
            bar.update(num_images)
            lines.write(f"{tasks[task]} {done[tasks[task]]}\n")


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
            raise DataError(
                f"{shown(path)} cannot be written ({error.strerror}); name another folder with --ram"
            ) from error
        need_room(path.parent, size)
        raise


def _write_journal(journal: Path, key: str, done: dict[int, int]) -> None:
    """Write the key of a map and the CRC-32 of each finished block by its first image."""
    with replacing(journal) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in (key, *(f"{first} {crc}" for first, crc in done.items()))))


def _read_journal(journal: Path, key: str) -> dict[int, int] | None:
    """Return the CRC-32 of each finished block by its first image; None if the journal belongs to another map."""
    try:
        first, *lines = _text(journal).split("\n")[:-1]  # text after the last newline is half a line
    except ValueError:
        return None
    entries = (line.split(" ") for line in lines if _ENTRY.fullmatch(line))
    return {int(block): int(checksum) for block, checksum in entries} if first == key else None


def remove(subset: str) -> bool:
    """Remove a subset's map, finished or not, if it belongs to this survey; return whether there was one."""
    target = path(subset)
    try:
        _check_owner(target, ram_copies.survey_of(folders.current.raw_images(subset)))
    except DataError as error:
        print(f"kept: {error}")
        return False
    # The journal and the manifest name the survey of the map, so they are removed last.
    remove_leftovers(*map(target.with_suffix, (".blocks", ".json")))
    files = [file for suffix in (".npy", ".part", ".blocks", ".json") if (file := target.with_suffix(suffix)).exists()]
    for file in files:
        file.unlink()
    forget()
    return bool(files)
