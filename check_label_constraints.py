"""Check that the training labels obey the decision tree; the exit status is 1 when some do not.

The answers to a question sum to the weight of the answer that leads to it (to 1 for questions asked of every galaxy),
and every label lies within [0, 1]. The competition's first table broke this rule, which is why there is a second.

Source: documentation of 2014, 2.2.2 and 3.4.
"""

import argparse

import numpy as np

from galaxy import decision_tree
from machine.command_line import run_script, script_parser
from machine.files import DataError
from survey.folders import use_folders
from survey.preparation import measure_deviations


def tolerance(text: str) -> float:
    """Read a tolerance of at least 0 from a command line."""
    if not 0 <= (number := float(text)) < np.inf:
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, got {text}")
    return number


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument(
        "--tolerance",
        type=tolerance,
        default=decision_tree.TOLERANCE,
        metavar="X",
        help="deviation that passes as rounding (default: %(default)g)",
    )
    args = parser.parse_args()
    path = use_folders(args.root, args.data).labels_csv
    found = measure_deviations()

    print(f"{'':24} {'largest deviation':>17}  galaxies beyond {args.tolerance:g}")
    for number, deviation in zip(decision_tree.QUESTIONS, found.sums.T, strict=True):
        print(f"{f'sum of question {number}':24} {deviation.max():17.2e}  {(deviation > args.tolerance).sum()}")
    print(f"{'value outside [0, 1]':24} {found.outside.max():17.2e}  {(found.outside > args.tolerance).sum()}")

    if complaint := found.complaint(args.tolerance):
        raise DataError(complaint)
    print(f"checked {len(found.ids)} galaxies of {path}: all obey the decision tree")


if __name__ == "__main__":
    run_script(main)
