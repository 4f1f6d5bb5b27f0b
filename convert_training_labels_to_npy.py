"""Write data/solutions_train.npy: the training labels (num_train, 37) float32, one row for each of train_ids.npy.

Kaggle's table is text, and nothing but its header says which line is whose; here every row is looked up by its id.

Source: documentation of 2014, 3.4 and 5.4.
"""

import numpy as np

import decision_tree
import load_data


def rows_of(wanted: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return where each of `wanted` stands in `ids`, which has no id twice; raises DataError for one without a row."""
    if absent := sorted(set(wanted.tolist()) - set(ids.tolist())):
        raise load_data.DataError(
            f"expected a line of labels for each of the {len(wanted)} ids in train_ids.npy, "
            f"but GalaxyID {absent[0]} has none ({len(absent)} such ids); run create_train_ids_file.py again"
        )
    order = np.argsort(ids)
    return order[np.searchsorted(ids, wanted, sorter=order)]


def refuse_outside(ids: np.ndarray, votes: np.ndarray) -> None:
    """Raise DataError for votes (n, 37) that are no fractions."""
    outside = np.argwhere((votes < -decision_tree.TOLERANCE) | (votes > 1 + decision_tree.TOLERANCE))
    if len(outside):
        row, column = outside[0]
        raise load_data.DataError(
            f"{load_data.folders.solutions_csv}: expected fractions within [0, 1], got {votes[row, column]:g} for "
            f"GalaxyID {ids[row]} in {decision_tree.COLUMN_NAMES[column]} ({len(outside)} such cells); "
            "download it again; check_label_constraints.py counts them"
        )


def main() -> None:
    args = load_data.script_parser(__doc__).parse_args()
    folders = load_data.use_folders(args.root, args.data)
    ids, votes = load_data.read_solutions_csv()
    refuse_outside(ids, votes)
    solutions = votes[rows_of(load_data.train_ids, ids)].astype(np.float32)
    path = folders.data / "solutions_train.npy"
    load_data.save_array(path, solutions)
    print(f"wrote {len(solutions)} rows of {solutions.shape[1]} labels to {path} ({len(ids)} lines read)")


if __name__ == "__main__":
    load_data.run_script(main)
