"""Convert predictions of the test set (`.npy.gz` or `.npy`) to Kaggle's submission format (`.csv.gz`, same folder).

The rows are in the order of data/test_ids.npy. The columns are in the order of the decision tree.

Source: documentation of 2014, 3.4 and 5.8.
"""

from pathlib import Path

from machine.command_line import run_script, script_parser

import numpy as np

from galaxy.decision_tree import GALAXY_ZOO_2
from machine import products, seals
from machine.arrays import load_gz
from machine.files import DataError
from machine.products import Product
from survey.folders import use_folders
from survey.images import ids_of
from survey.submission import no_submission, write_submission
from survey.survey_tree import read_tree


def main() -> None:
    parser = script_parser(
        __doc__,
        examples=("python create_submission_from_npy.py predictions/final/blended/blended_predictions_uniform.npy.gz",),
    )
    parser.group("input").add_argument(
        "file", metavar="FILE.npy.gz", help="array of predictions of the test set, (num_test, answers) floats"
    )
    args = parser.parse_args()
    folders = use_folders(args.root, args.data)
    if reason := no_submission(read_tree(folders)):
        raise DataError(f"{folders.data}: {reason}; the array itself has all predictions")
    path = Path(args.file.removesuffix(".gz").removesuffix(".npy") + ".csv.gz")
    products.check([Product(path)], [args.file], args.overwrite)
    ids = ids_of("test")
    predictions = load_gz(args.file, (len(ids), GALAXY_ZOO_2.num_answers), np.floating)
    source = seals.source_of(ids.tobytes(), predictions.tobytes())
    products.announce([Product(path, source)])
    write_submission(path, ids, predictions, source)
    print(f"wrote {len(predictions)} rows to {path}")


if __name__ == "__main__":
    run_script(main)
