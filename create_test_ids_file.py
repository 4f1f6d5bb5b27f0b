"""Write data/test_ids.npy: the ids of the test galaxies, read off the names of their images and sorted by number.

Everything that concerns the test set (predictions, extracted parameters, the submission) follows the order of this
file.

Source: documentation of 2014, 3.4 and 5.4.
"""

import re
from pathlib import Path

import numpy as np

import load_data

# Eighteen digits fit an int64; a leading zero would be lost, and the image not found again.
ID = re.compile(r"0|[1-9][0-9]{0,17}")


def list_ids(folder: Path) -> np.ndarray:
    """Return the ids (n,) int64 of a folder's JPEGs in rising order; raises DataError for a name that is no number."""
    if not folder.is_dir():
        raise load_data.DataError(
            f"expected the test images in {folder}, but there is no such folder; "
            "download them from Kaggle or run simulate_galaxies.py"
        )
    names = sorted(path.stem for path in folder.glob("*.jpg"))
    if not names:
        raise load_data.DataError(
            f"expected the test images in {folder}, but it holds no .jpg file; "
            "download them from Kaggle or run simulate_galaxies.py"
        )
    if strangers := [name for name in names if not ID.fullmatch(name)]:
        raise load_data.DataError(
            f"expected images named by their id, as in 100018.jpg, got {folder / strangers[0]}.jpg "
            f"({len(strangers)} such names); move them elsewhere"
        )
    return np.sort(np.array(names).astype(np.int64))


def main() -> None:
    args = load_data.script_parser(__doc__).parse_args()
    folders = load_data.use_folders(args.root, args.data)
    ids = list_ids(folders.images("test"))
    path = folders.data / "test_ids.npy"
    load_data.save_array(path, ids)
    print(f"wrote {len(ids)} ids to {path}")


if __name__ == "__main__":
    load_data.run_script(main)
