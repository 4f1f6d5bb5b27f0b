"""Write data/solutions_train.npy: the training labels (num_train, answers) float32, one row per id of train_ids.npy.

Each row of Kaggle's table is found by its id, so the array has the order of train_ids.npy, not that of the table.

Source: documentation of 2014, 3.4 and 5.4.
"""

from machine.command_line import run_script, script_parser

from survey.folders import use_folders
from survey.preparation import alone, write_labels


def main() -> None:
    args = script_parser(__doc__).parse_args()
    use_folders(args.root, args.data)
    with alone():
        write_labels(args.overwrite)


if __name__ == "__main__":
    run_script(main)
