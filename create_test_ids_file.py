"""Write data/test_ids.npy: the ids of the test galaxies, read from the names of their images, ascending.

All arrays of the test set (predictions, SExtractor's measurements) and the submission use the order of this file.

Source: documentation of 2014, 3.4 and 5.4.
"""

from machine.command_line import run_script, script_parser

from survey.folders import use_folders
from survey.preparation import alone, write_test_ids


def main() -> None:
    args = script_parser(__doc__).parse_args()
    use_folders(args.root, args.data)
    with alone():
        write_test_ids(args.overwrite)


if __name__ == "__main__":
    run_script(main)
