"""Write data/solutions_train.npy: the training labels (num_train, 37) float32, one row for each of train_ids.npy.

Kaggle's table is text, and nothing but its header says which line is whose; here every row is looked up by its id.

Source: documentation of 2014, 3.4 and 5.4.
"""

from machine.command_line import run_script, script_parser
from survey.folders import use_folders
from survey.preparation import write_labels


def main() -> None:
    args = script_parser(__doc__).parse_args()
    use_folders(args.root, args.data)
    write_labels()


if __name__ == "__main__":
    run_script(main)
