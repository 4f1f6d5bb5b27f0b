"""Which images are bad: known before hours of work, not in the middle of them.

One scan decodes every image that the ids name, in less than a millisecond each and core, and is remembered until a
file changes. What it finds is the end of the run (`--on-bad-image fail`), or what the run leaves out (`skip`).
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from galaxy import jpeg
from machine.files import DataError, replacing
from machine.processes import mapping
from machine.progress import showing
from survey import decoded_cache, folders, images

ON_BAD_IMAGE = ("fail", "skip")
NUM_LISTED = 10
IMAGES_A_TASK = 32
# So few images are decoded before processes have started.
FEW_IMAGES = 500


def _fault(folder: Path, id: int) -> str | None:
    """Return what is wrong with an image, None where nothing is."""
    try:
        jpeg.decode_image(images.image_path(folder, id))
    except ValueError as error:
        return str(error)
    return None


def scan_images(subset: str, ids: Sequence[int] | np.ndarray, num_workers: int | None = None) -> dict[int, str]:
    """Decode all images of 'train' or 'test' that ids (n,) name; return the reason by the index of each bad one.

    `num_workers` is the number of processes, all cores for None.
    """
    fault = partial(_fault, folders.current.images(subset))
    ids = np.asarray(ids).tolist()
    few = len(ids) <= FEW_IMAGES
    with mapping(1 if few else num_workers, IMAGES_A_TASK, folders.worker_start()) as each:
        faults = showing(each(fault, ids), total=len(ids), desc=f"checking {subset}", unit="image")
        return {index: reason for index, reason in enumerate(faults) if reason is not None}


def find_bad(subset: str, num_workers: int | None = None) -> dict[int, str]:
    """Return what `scan_images` finds for all ids of 'train' or 'test'; no file that has not changed is decoded again.

    What was found is kept below `analysis/`, where that can be written.
    """
    ids = images.ids_of(subset)
    if decoded_cache.find(subset) is not None:  # all could be read when it was built
        return {}
    path = folders.current.scan(subset)
    listing = images.listing(folders.current.images(subset), ids.tolist())
    # Where it can not be read it is made again.
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        scan = json.loads(path.read_text())
        if scan["listing"] == listing:
            return {int(index): str(reason) for index, reason in scan["bad"].items() if 0 <= int(index) < len(ids)}
    bad = scan_images(subset, ids, num_workers)
    with contextlib.suppress(DataError), replacing(path) as temporary:
        temporary.write_text(json.dumps({"listing": listing, "bad": bad}))
    return bad


def describe(subset: str, ids: Sequence[int] | np.ndarray, bad: Mapping[int, str]) -> str:
    """Say in one line which images are bad: the first ten by name and with the reason, and the number of the rest."""
    listed = [f"{ids[index]}.jpg {bad[index]}" for index in sorted(bad)[:NUM_LISTED]]
    rest = [f"and {len(bad) - NUM_LISTED} more"] if len(bad) > NUM_LISTED else []
    return f"{len(bad)} of {len(ids)} {subset} images are bad: {', '.join([*listed, *rest])}"


def check_images(subset: str, on_bad_image: str = "fail", num_workers: int | None = None) -> dict[int, str]:
    """Look at the images of 'train' or 'test'; return what is to be left out: a reason by its index.

    For 'fail', a bad image raises DataError; for 'skip', a line says what is left out, and the error is raised where no
    image is left. A folder that is missing is an error in any case.
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
    found = f"{folder}: {describe(subset, ids, bad)}"
    if on_bad_image == "fail" or len(bad) == len(ids):
        raise DataError(f"{found}; download them again, or run with --on-bad-image skip")
    print(f"left out: {found}")
    return bad
