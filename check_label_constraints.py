"""Check that the training labels obey the decision tree; the exit status is 1 if a label does not.

The answers to a question must sum to the weight of the answer that leads to it, or to 1 if the question is asked for
every galaxy. Every label must be within [0, 1]. The competition's first table broke this rule, so Kaggle published a
second table (`rev1`).

Source: documentation of 2014, 2.2.2 and 3.4.
"""

import argparse

from machine.command_line import run_script, script_parser

import numpy as np

from galaxy.decision_tree import TOLERANCE
from machine.files import DataError
from survey.folders import use_folders
from survey.preparation import measure_deviations
from survey.survey_tree import read_tree


def tolerance(text: str) -> float:
    """Read a tolerance, a finite number of at least 0, from a command line."""
    if not 0 <= (value := float(text)) < np.inf:
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, got {text}")
    return value


def main() -> None:
    parser = script_parser(__doc__, writes=False)
    parser.group("checks").add_argument(
        "--tolerance",
        type=tolerance,
        default=TOLERANCE,
        metavar="X",
        help="largest deviation that counts as rounding, at least 0 (default: %(default)g)",
    )
    args = parser.parse_args()
    folders = use_folders(args.root, args.data)
    path, tree = folders.labels_csv, read_tree(folders)
    deviations = measure_deviations()

    print(f"{'':24} {'largest deviation':>17}  galaxies beyond {args.tolerance:g}")
    for question, deviation in zip(tree.numbers, deviations.sums.T, strict=True):
        print(f"{f'sum of question {question}':24} {deviation.max():17.2e}  {(deviation > args.tolerance).sum()}")
    print(
        f"{'value outside [0, 1]':24} {deviations.outside.max():17.2e}  {(deviations.outside > args.tolerance).sum()}"
    )

    if complaint := deviations.complaint(args.tolerance):
        raise DataError(complaint)
    print(f"checked {len(deviations.ids)} galaxies of {path}: all obey the decision tree")


if __name__ == "__main__":
    run_script(main)
