"""Write data/train_ids.npy: the ids of the training galaxies, in the order of Kaggle's table of labels.

Everything that concerns the training set (labels, predictions, extracted parameters) follows the order of this file,
so that images and labels can not be mismatched.

Source: documentation of 2014, 3.4 and 5.4.
"""

import numpy as np

from machine.command_line import run_script, script_parser
from machine.files import DataError, save_array
from survey.folders import Folders, use_folders
from survey.images import list_ids, read_labels_csv


def refuse_strangers(folders: Folders, ids: np.ndarray) -> None:
    """Raise DataError where an image of the training set is in no line of the table; it may be yet to come."""
    folder = folders.images("train")
    if not folder.is_dir():
        return
    if len(strangers := np.setdiff1d(list_ids("train"), ids)):
        raise DataError(
            f"{folder}: expected an image for each line of {folders.labels_csv.name}, but "
            f"{strangers[0]}.jpg has no line ({len(strangers)} such images); download the table again, "
            "or move them elsewhere"
        )


def main() -> None:
    args = script_parser(__doc__).parse_args()
    folders = use_folders(args.root, args.data)
    ids, _ = read_labels_csv()
    if len(ids) == 0:
        raise DataError(f"{folders.labels_csv}: expected one line for each galaxy, got none; download it again")
    refuse_strangers(folders, ids)
    path = folders.data / "train_ids.npy"
    save_array(path, ids)
    print(f"wrote {len(ids)} ids to {path}")


if __name__ == "__main__":
    run_script(main)
