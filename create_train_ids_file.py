"""Write data/train_ids.npy: the ids of the training galaxies, in the order of Kaggle's table of labels.

Everything that concerns the training set (labels, predictions, extracted parameters) follows the order of this file,
so that images and labels can not be mismatched.

Source: documentation of 2014, 3.4 and 5.4.
"""

import numpy as np

import image_check
import load_data


def refuse_strangers(ids: np.ndarray) -> None:
    """Raise DataError where an image of the training set is in no line of the table; it may be yet to come."""
    folder = load_data.folders.images("train")
    if not folder.is_dir():
        return
    if len(strangers := np.setdiff1d(image_check.list_ids("train"), ids)):
        raise load_data.DataError(
            f"{folder}: expected an image for each line of {load_data.folders.solutions_csv.name}, but "
            f"{strangers[0]}.jpg has no line ({len(strangers)} such images); download the table again, "
            "or move them elsewhere"
        )


def main() -> None:
    args = load_data.script_parser(__doc__).parse_args()
    folders = load_data.use_folders(args.root, args.data)
    ids, _ = load_data.read_solutions_csv()
    if len(ids) == 0:
        raise load_data.DataError(
            f"{folders.solutions_csv}: expected one line for each galaxy, got none; download it again"
        )
    refuse_strangers(ids)
    path = folders.data / "train_ids.npy"
    load_data.save_array(path, ids)
    print(f"wrote {len(ids)} ids to {path}")


if __name__ == "__main__":
    load_data.run_script(main)
