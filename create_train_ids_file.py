"""Write data/train_ids.npy: the ids of the training galaxies, in the order of Kaggle's table of labels.

Everything that concerns the training set (labels, predictions, extracted parameters) follows the order of this file,
so that images and labels can not be mismatched.

Source: documentation of 2014, 3.4 and 5.4.
"""

from machine.command_line import run_script, script_parser
from survey.folders import use_folders
from survey.preparation import write_train_ids


def main() -> None:
    args = script_parser(__doc__).parse_args()
    use_folders(args.root, args.data)
    write_train_ids()


if __name__ == "__main__":
    run_script(main)
