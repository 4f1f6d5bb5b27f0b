"""From what one has to what the scripts need, in one command: Kaggle's download, or one's own labelled galaxies.

    python prepare_data.py --kaggle ~/Downloads
    python prepare_data.py --images cutouts --labels votes.csv

The first finds Kaggle's zips and folders under any of their names (without --kaggle, in data/raw) and brings what is
not there yet to data/raw. The second brings images of any size (JPEG, PNG, TIFF) and a table of votes (CSV, Parquet,
FITS) there. Both then write ids and labels, as 2014's scripts do, compare the labels with the decision tree, and say
what is ready and which command comes next. One that was interrupted goes on when it is run again.

Source: documentation of 2014, 3.1, 3.4 and 5.4.
"""

import argparse
import shlex
from pathlib import Path

import numpy as np

from machine import locks
from machine.command_line import positive_int, run_script, script_parser
from machine.files import DataError, remove_leftovers
from survey import kaggle_download, own_survey, preparation, status
from survey.folders import SUBSETS, Folders, use_folders
from survey.own_labels import VOTE_ENDINGS, Choices

NEXT = "try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense.py"


def parse() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("--kaggle", nargs="+", type=Path, metavar="PLACE", help="zips, or folders that they are in")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="own images, labelled or not")
    parser.add_argument("--labels", type=Path, metavar="TABLE", help="votes on them: .csv, .parquet or .fits")
    parser.add_argument(
        "--test", type=Path, metavar="FOLDER", help="own images to predict (default: those without a row)"
    )
    parser.add_argument("--id-column", metavar="NAME", help="the table's column of names (default: found)")
    parser.add_argument("--votes", choices=VOTE_ENDINGS, help="which columns of votes (default: found)")
    parser.add_argument("--fill-missing", action="store_true", help="take questions without columns as evenly answered")
    parser.add_argument("--check-images", action="store_true", help="decode all images, and name the bad ones")
    parser.add_argument("--num-workers", type=positive_int, metavar="N", help="to decode (default: cores)")
    args = parser.parse_args()
    if (args.images is None) != (args.labels is None):
        parser.error("--images and --labels go together: a folder, and the table of votes on what is in it")
    if args.images is not None and args.kaggle is not None:
        parser.error("--kaggle and --images are for different surveys; run this for each, with a --root of its own")
    return args


def bring(args: argparse.Namespace, folders: Folders) -> None:
    """Have images and table in data/raw."""
    if args.images is not None:
        choices = Choices(args.id_column, args.votes, args.fill_missing)
        own_survey.bring_survey(folders, args.images, args.labels, args.test, choices, args.num_workers)
        return
    if own_survey.own_ids(folders).exists():
        raise DataError(f"{folders.data} holds own galaxies; name another folder with --root or --data")
    num_new = kaggle_download.bring(args.kaggle or [folders.data / "raw"], folders)
    print(f"brought {num_new} files to {folders.data / 'raw'}; what was there is as it was")


def write_arrays(folders: Folders) -> None:
    """Write ids and labels of what is there, as 2014's scripts do."""
    before = {subset: status.known_ids(subset) for subset in SUBSETS}
    if folders.labels_csv.exists():
        preparation.write_train_ids()
        preparation.write_labels()
    if folders.raw_images("test").is_dir():
        preparation.write_test_ids()
    for subset in SUBSETS:
        for path in (catalogue.path(subset) for catalogue in status.CATALOGUES):
            if path.exists() and not np.array_equal(before[subset], status.known_ids(subset)):
                print(f"{path} is of other galaxies than {subset}_ids.npy is now: delete it, and measure again")


def main() -> None:
    args = parse()
    folders = use_folders(args.root, args.data)
    with locks.alone(folders.lock("data", "prepare"), "preparation of the data"):
        remove_leftovers(folders.data / "*")
        bring(args, folders)
        write_arrays(folders)
    rows = status.look(args.check_images, args.num_workers)
    print(status.describe(rows))
    if open_ends := [row for row in rows if row.needed and row.remedy]:
        raise DataError(f"not ready: {open_ends[0].what}: {open_ends[0].remedy}")
    flags = [word for flag, given in (("--root", args.root), ("--data", args.data)) if given for word in (flag, given)]
    print(f"all is ready; next: python {NEXT} {shlex.join(flags)}")


if __name__ == "__main__":
    run_script(main)
