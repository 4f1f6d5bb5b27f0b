"""A scan for images that cannot be decoded, before a run starts.

The scan decodes every image of the ids, in less than a millisecond per image and core. Its result is stored until a
file changes. A bad image ends the run (`--on-bad-image fail`), or the run leaves it out (`skip`).
"""

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from galaxy import jpeg
from machine import seals
from machine.files import DataError, open_file, read_text, remove_leftovers, replacing, shown
from machine.processes import mapping
from machine.progress import showing
from survey import decoded_cache, folders, images, ram_copies

ON_BAD_IMAGE = ("fail", "skip")
NUM_LISTED = 10
# A stored result begins so.
_STARTS = (b'{"seal": "galaxyseal', b'{"listing": ')
_HEAD_BYTES = 100
IMAGES_A_TASK = 32
# Up to this number, one process is faster than the start of several.
FEW_IMAGES = 500


def _fault(folder: Path, id: int) -> str | None:
    """Return the reason why an image cannot be decoded, or None."""
    try:
        jpeg.decode_image(images.image_path(folder, id))
    except ValueError as error:
        return str(error)
    return None


def scan_images(subset: str, ids: Sequence[int] | np.ndarray, num_workers: int | None = None) -> dict[int, str]:
    """Decode the images of ids (n,) of 'train' or 'test'; return the reason for each bad one by its index in `ids`.

    `num_workers` is the number of processes; None means all cores.
    """
    fault = partial(_fault, folders.current.images(subset))
    ids = np.asarray(ids).tolist()
    few = len(ids) <= FEW_IMAGES
    with mapping(1 if few else num_workers, IMAGES_A_TASK, folders.worker_start()) as decode_all:
        faults = showing(decode_all(fault, ids), total=len(ids), desc=f"checking {subset}", unit="image")
        return {index: reason for index, reason in enumerate(faults) if reason is not None}


def find_bad(subset: str, num_workers: int | None = None) -> dict[int, str]:
    """Return the result of `scan_images` for all ids of 'train' or 'test'; scan only if a file has changed.

    The result is stored below `analysis/` if that folder is writable.
    """
    ids = images.ids_of(subset)
    if decoded_cache.find(subset) is not None:  # the cache is built only if every image can be decoded
        decoded_cache.verify(subset, num_workers)
        return {}
    current = folders.current
    path = current.scan(subset)
    remove_leftovers(path)
    listing = images.listing(current.images(subset), ids.tolist())
    if current.from_ram:
        originals = current.raw_images(subset)
        expected = images.listing(originals, ids.tolist())
        ram_copies.check_current(current.ram_images(subset), originals, expected, listing)
    # An unreadable result is replaced by a new scan.
    with contextlib.suppress(DataError, OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        scan = json.loads(read_text(path, "delete it"))
        seal = seals.read(path)
        if scan["listing"] == listing and seal is not None and seal.is_whole:
            return {int(index): str(reason) for index, reason in scan["bad"].items() if 0 <= int(index) < len(ids)}
    bad = scan_images(subset, ids, num_workers)
    # A file of somebody else stays.
    if os.path.lexists(path) and (path.is_symlink() or not path.is_file() or not _is_own(path)):
        print(f"{shown(path)} is not of this project; what was found in the images is not stored")
        return bad
    with contextlib.suppress(DataError), replacing(path, sealed=True) as temporary:
        temporary.write_text(json.dumps({"seal": seals.blank(), "listing": listing, "bad": bad}))
    return bad


def _is_own(path: Path) -> bool:
    """Return whether a file may be a stored result, whole or damaged."""
    try:
        with open_file(path, "") as file:
            head = file.read(_HEAD_BYTES)
    except DataError:
        return False
    # An empty file, or one of zeros, is left by a power cut.
    return head.startswith(_STARTS) or not head.strip(b"\0")


def describe(subset: str, ids: Sequence[int] | np.ndarray, bad: Mapping[int, str]) -> str:
    """Return one line about the bad images: names and reasons of the first ten, and the number of the others."""
    listed = [f"{ids[index]}.jpg {bad[index]}" for index in sorted(bad)[:NUM_LISTED]]
    rest = [f"and {len(bad) - NUM_LISTED} more"] if len(bad) > NUM_LISTED else []
    return f"{len(bad)} of {len(ids)} {subset} images are bad: {', '.join([*listed, *rest])}"


def check_images(subset: str, on_bad_image: str = "fail", num_workers: int | None = None) -> dict[int, str]:
    """Scan the images of 'train' or 'test'; return the reason for each image to leave out, by its index.

    With 'fail', a bad image raises DataError. With 'skip', a line lists the bad images, and DataError is raised only if
    all images are bad. A missing folder always raises DataError.
    """
    if on_bad_image not in ON_BAD_IMAGE:
        raise ValueError(f"on_bad_image is one of {ON_BAD_IMAGE}, not {on_bad_image!r}")
    folder = folders.current.images(subset)
    if not folder.is_dir() and decoded_cache.find(subset) is None:
        from_ram = folders.current.from_ram
        hint = "run copy_data_to_shm.py" if from_ram else "download it from Kaggle or run simulate_galaxies.py"
        raise DataError(f"{folder} is missing; {hint}")
    ids = images.ids_of(subset)
    bad = find_bad(subset, num_workers)
    if not bad:
        return bad
    summary = f"{folder}: {describe(subset, ids, bad)}"
    if on_bad_image == "fail" or len(bad) == len(ids):
        raise DataError(f"{summary}; download them again, or run with --on-bad-image skip")
    print(f"left out: {summary}")
    return bad
