"""Convert predictions of the test set from `.npy.gz` to a submission in Kaggle's format, `.csv.gz` beside it.

The rows of the array are in the order of data/test_ids.npy, its columns in that of the decision tree.

Source: documentation of 2014, 3.4 and 5.8.
"""

from pathlib import Path

import numpy as np

import decision_tree
import load_data


def main() -> None:
    parser = load_data.script_parser(__doc__)
    parser.add_argument("file", metavar="FILE.npy.gz", help="predictions of the test set, (num_test, 37)")
    args = parser.parse_args()
    load_data.use_folders(args.root, args.data)
    expected = (load_data.num_test, decision_tree.NUM_ANSWERS)
    predictions = load_data.load_gz(args.file, expected, np.floating)
    path = Path(args.file.removesuffix(".npy.gz") + ".csv.gz")
    load_data.write_submission(path, load_data.test_ids, predictions)
    print(f"wrote {len(predictions)} rows to {path}")


if __name__ == "__main__":
    load_data.run_script(main)
