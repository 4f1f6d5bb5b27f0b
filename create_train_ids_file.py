"""Write data/train_ids.npy: the ids of the training galaxies, in the order of Kaggle's table of labels.

All arrays of the training set (labels, predictions, SExtractor's measurements) use the order of this file. So every
image has its own labels.

Source: documentation of 2014, 3.4 and 5.4.
"""

from machine.command_line import run_script, script_parser

from survey.folders import use_folders
from survey.preparation import alone, write_train_ids


def main() -> None:
    args = script_parser(__doc__).parse_args()
    use_folders(args.root, args.data)
    with alone():
        write_train_ids(args.overwrite)


if __name__ == "__main__":
    run_script(main)
