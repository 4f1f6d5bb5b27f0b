"""Prepare the data folder, in one command: from Kaggle's download, or from your own labelled galaxies.

--kaggle finds Kaggle's zips and folders under all their names (by default in data/raw), and copies missing files to
data/raw. --images imports images of any size (JPEG, PNG, TIFF) with a table of votes (CSV, Parquet, FITS). Both write
ids and labels, like the scripts of 2014. They check the labels against the decision tree, and print what is ready and
which command comes next. An interrupted preparation resumes with the same command.

Source: documentation of 2014, 3.1, 3.4 and 5.4.
"""

import argparse
import shlex
from pathlib import Path

from machine.command_line import positive_int, run_script, script_parser

import numpy as np

from galaxy.decision_tree import TREES, find_tree
from machine import products
from machine.files import DataError, remove_leftovers
from survey import images, kaggle_download, label_weights, own_survey, preparation, status, vote_counts
from survey.folders import SUBSETS, Folders, use_folders
from survey.vote_columns import VOTE_ENDINGS, Choices

# The first training script, for many galaxies and for few: a network of 2014 learns little from few.
FOR_MANY = "try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense.py"
FOR_FEW = "try_finetune_efficientnet_lite0.py"
MANY, FEW = 20_000, 1000


def parse() -> argparse.Namespace:
    parser = script_parser(
        __doc__,
        examples=(
            "python prepare_data.py --kaggle ~/Downloads",
            "python prepare_data.py --images cutouts --labels votes.csv --root mine",
            "python prepare_data.py --images cutouts --labels votes.csv --tree euclid --root mine",
            "python prepare_data.py --check-images    # what is in data/raw already",
        ),
    )
    parser.group("input").add_argument(
        "--kaggle",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="Kaggle's zips, or folders that contain them (default: data/raw)",
    )
    parser.group("input").add_argument(
        "--images", type=Path, metavar="FOLDER", help="folder of your own images; needs --labels"
    )
    parser.group("input").add_argument(
        "--labels",
        type=Path,
        metavar="TABLE",
        help="table of votes on --images: .csv, .parquet or .fits; "
        "a column 'weight' says how much the error of a galaxy counts",
    )
    parser.group("input").add_argument(
        "--test",
        type=Path,
        metavar="FOLDER",
        help="your own images to predict (default: images without a row in --labels)",
    )
    parser.group("input").add_argument(
        "--id-column", metavar="NAME", help="column of --labels with the image names (default: detected)"
    )
    parser.group("input").add_argument(
        "--votes", choices=VOTE_ENDINGS, help="columns of --labels to read (default: detected)"
    )
    parser.group("input").add_argument(
        "--fill-missing", action="store_true", help="give questions without columns equal fractions"
    )
    parser.group("input").add_argument(
        "--tree",
        metavar="TREE",
        help=f"questions of --labels: {', '.join(TREES)}, or a .toml file that declares them "
        "(default: gz2; for a table with a column 'label', one question)",
    )
    parser.group("checks").add_argument(
        "--check-images", action="store_true", help="decode all images and list the unreadable ones"
    )
    parser.group("speed").add_argument(
        "--num-workers", type=positive_int, metavar="N", help="processes that decode, at least 1 (default: all cores)"
    )
    args = parser.parse_args()
    if (args.images is None) != (args.labels is None):
        parser.error("--images and --labels go together: a folder of images, and the table of their votes")
    if args.images is None and args.tree is not None:
        parser.error("--tree belongs to --images and --labels: Kaggle's table has the questions of Galaxy Zoo 2")
    if args.images is not None and args.kaggle is not None:
        parser.error("--kaggle and --images are different surveys; prepare each with its own --root")
    return args


def bring(args: argparse.Namespace, folders: Folders) -> None:
    """Bring images and table of labels to data/raw; raises DataError."""
    if args.images is not None:
        choices = Choices(args.id_column, args.votes, args.fill_missing)
        tree = None if args.tree is None else find_tree(args.tree)
        own_survey.bring_survey(folders, args.images, args.labels, args.test, tree, choices, args.num_workers)
        return
    if own_survey.own_ids(folders).exists():
        raise DataError(f"{folders.data} holds own galaxies; name another folder with --root or --data")
    num_new = kaggle_download.bring(args.kaggle or [folders.data / "raw"], folders)
    print(f"brought {num_new} files to {folders.data / 'raw'}; files that existed are unchanged")


def write_arrays(folders: Folders, overwrite: bool) -> None:
    """Write ids and labels of the images in data/raw, like the scripts of 2014."""
    before = {subset: status.known_ids(subset) for subset in SUBSETS}
    if folders.labels_csv.exists():
        preparation.write_train_ids(overwrite)
        preparation.write_labels(overwrite)
        label_weights.write(overwrite)
        vote_counts.write_counts(overwrite)
    if folders.raw_images("test").is_dir():
        preparation.write_test_ids(overwrite)
    for subset in SUBSETS:
        for path in (catalogue.path(subset) for catalogue in status.CATALOGUES):
            if path.exists() and not np.array_equal(before[subset], status.known_ids(subset)):
                print(f"{path} is of other galaxies than the new {subset}_ids.npy; delete it and measure again")


def main() -> None:
    args = parse()
    folders = use_folders(args.root, args.data)
    with preparation.alone():
        arrays = [folders.data / name for name in ("train_ids.npy", "test_ids.npy", "solutions_train.npy")]
        arrays += [label_weights.weights_npy(), vote_counts.counts_npy()]
        inputs = [*(args.kaggle or []), *([args.labels] if args.labels else []), folders.labels_csv]
        products.check(map(preparation.product, arrays), inputs, args.overwrite)
        remove_leftovers(folders.data / "*", folders.data / "raw" / "*")
        bring(args, folders)
        write_arrays(folders, args.overwrite)
    rows = status.look(args.check_images, args.num_workers)
    print(status.describe(rows))
    if unready := [row for row in rows if row.needed and row.remedy]:
        raise DataError(f"not ready: {unready[0].what}: {unready[0].remedy}")
    flags = [word for flag, given in (("--root", args.root), ("--data", args.data)) if given for word in (flag, given)]
    num = len(images.load_ids("train"))
    for_few = f"{FOR_FEW} --epochs 18" if num >= FEW else f"{FOR_FEW} --epochs 40 --start-from lite0"
    print(f"everything is ready; next: python {FOR_MANY if num >= MANY else for_few} {shlex.join(flags)}")


if __name__ == "__main__":
    run_script(main, "files brought to data/raw so far are kept")
