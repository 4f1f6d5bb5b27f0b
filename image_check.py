"""Which images are there, and which of them are bad: known before hours of work, not in the middle of them.

One scan decodes every image that the ids name, in less than a millisecond each and core. What it finds is the end of
the run (`--on-bad-image fail`), or what the run leaves out (`skip`).
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

import jpeg
import load_data
from load_data import DataError
from process_pool import mapping

ON_BAD_IMAGE = ("fail", "skip")
NUM_LISTED = 10
IMAGES_A_TASK = 32
# So few images are decoded before processes have started.
FEW_IMAGES = 500
# Eighteen digits fit an int64; a leading zero would be lost, and the image not found again.
ID = re.compile(r"0|[1-9][0-9]{0,17}")


def list_ids(subset: str) -> np.ndarray:
    """Return the ids (n,) int64 of the JPEGs of 'train' or 'test', in rising order.

    Raises DataError for a folder that is missing or empty, and for a name that is no number.
    """
    folder = load_data.folders.images(subset)
    hint = "download them from Kaggle or run simulate_galaxies.py"
    if not folder.is_dir():
        raise DataError(f"expected the {subset} images in {folder}, but there is no such folder; {hint}")
    names = [path.stem for path in folder.glob("*.jpg")]
    if not names:
        raise DataError(f"expected the {subset} images in {folder}, but it holds no .jpg file; {hint}")
    if strangers := sorted(name for name in names if not ID.fullmatch(name)):
        raise DataError(
            f"expected images named by their id, as in 100018.jpg, got {folder / strangers[0]}.jpg "
            f"({len(strangers)} such names); move them elsewhere"
        )
    return np.sort(np.array(names).astype(np.int64))


def _fault(folder: Path, img_id: int) -> str | None:
    """Return what is wrong with an image, None where nothing is."""
    try:
        jpeg.decode_image(folder / f"{img_id}.jpg")
    except ValueError as error:
        return str(error)
    return None


def scan_images(
    subset: str, ids: Sequence[int] | np.ndarray, from_ram: bool = False, num_workers: int | None = None
) -> dict[int, str]:
    """Decode all images of 'train' or 'test' that ids (n,) name; return why, by the position in `ids` of each bad one.

    `num_workers` is the number of processes, all cores for None.
    """
    fault = partial(_fault, load_data.folders.images(subset, from_ram))
    ids = np.asarray(ids).tolist()
    with mapping(1 if len(ids) <= FEW_IMAGES else num_workers, IMAGES_A_TASK) as each:
        faults = tqdm(each(fault, ids), total=len(ids), desc=f"checking {subset}", unit="image", disable=None)
        return {position: reason for position, reason in enumerate(faults) if reason is not None}


def describe(subset: str, ids: Sequence[int] | np.ndarray, bad: Mapping[int, str]) -> str:
    """Say in one line which images are bad: the first ten by name and with the reason, and the number of the rest."""
    listed = [f"{ids[position]}.jpg {bad[position]}" for position in sorted(bad)[:NUM_LISTED]]
    rest = [f"and {len(bad) - NUM_LISTED} more"] if len(bad) > NUM_LISTED else []
    return f"{len(bad)} of {len(ids)} {subset} images are bad: {', '.join([*listed, *rest])}"


def check_images(
    subset: str, on_bad_image: str = "fail", from_ram: bool = False, num_workers: int | None = None
) -> dict[int, str]:
    """Scan the images of 'train' or 'test'; return what is to be left out: a reason by its position in the ids.

    For 'fail', a bad image raises DataError; for 'skip', a line says what is left out, and the error is raised where no
    image is left. A folder that is missing is an error in any case.
    """
    if on_bad_image not in ON_BAD_IMAGE:
        raise ValueError(f"on_bad_image is one of {ON_BAD_IMAGE}, not {on_bad_image!r}")
    folder = load_data.folders.images(subset, from_ram)
    if not folder.is_dir():
        hint = "run copy_data_to_shm.py" if from_ram else "download it from Kaggle or run simulate_galaxies.py"
        raise DataError(f"{folder} is missing; {hint}")
    ids = load_data.load_ids(subset)
    bad = scan_images(subset, ids, from_ram, num_workers)
    if not bad:
        return bad
    found = f"{folder}: {describe(subset, ids, bad)}"
    if on_bad_image == "fail" or len(bad) == len(ids):
        raise DataError(f"{found}; download them again, or run with --on-bad-image skip")
    print(f"left out: {found}")
    return bad
