"""The script that makes a submission: Kaggle's format, the order of the ids, and what it says of other files."""

import numpy as np
import pytest
from tiny import Survey, draw_labels, read_submission

import create_submission_from_npy
from galaxy.decision_tree import GALAXY_ZOO_2
from machine.arrays import save_array, save_gz
from machine.files import DataError


@pytest.fixture
def predictions() -> np.ndarray:
    return draw_labels(8, np.random.default_rng(5)).astype(np.float32)


def test_format(prepared_survey: Survey, predictions: np.ndarray, run_main, capsys):
    path = prepared_survey.root / "blend.npy.gz"
    save_gz(path, predictions)
    run_main(create_submission_from_npy, path, "--root", prepared_survey.root)
    header, *rows = read_submission(prepared_survey.root / "blend.csv.gz")
    assert header == ["GalaxyID", *GALAXY_ZOO_2.columns]
    assert [row[0] for row in rows] == ["7", "31", "100", "205", "1003", "20011", "100024", "900080"]
    written = np.array([[float(cell) for cell in row[1:]] for row in rows])
    np.testing.assert_array_equal(written.astype(np.float32), predictions)
    assert "wrote 8 rows" in capsys.readouterr().out


def test_rows_follow_the_ids_file(prepared_survey: Survey, predictions: np.ndarray, run_main):
    ids = prepared_survey.test_ids[::-1]
    save_array(prepared_survey.root / "data" / "test_ids.npy", ids)
    path = prepared_survey.root / "blend.npy.gz"
    save_gz(path, predictions)
    run_main(create_submission_from_npy, path, "--root", prepared_survey.root)
    assert [int(row[0]) for row in read_submission(prepared_survey.root / "blend.csv.gz")[1:]] == ids.tolist()


def test_files_that_are_missing_or_named_otherwise(prepared_survey: Survey, predictions: np.ndarray, run_main):
    root = prepared_survey.root
    with pytest.raises(DataError, match=r"absent\.npy\.gz is missing"):
        run_main(create_submission_from_npy, root / "absent.npy.gz", "--root", root)
    np.savez(root / "blend.npz", predictions)
    with pytest.raises(DataError, match=r"ends with \.npy\.gz or \.npy"):
        run_main(create_submission_from_npy, root / "blend.npz", "--root", root)
    np.save(root / "plain.npy", predictions)
    run_main(create_submission_from_npy, root / "plain.npy", "--root", root)
    assert (root / "plain.csv.gz").exists()
    (root / "data" / "test_ids.npy").unlink()
    save_gz(root / "blend.npy.gz", predictions)
    with pytest.raises(DataError, match=r"run create_test_ids_file\.py first"):
        run_main(create_submission_from_npy, root / "blend.npy.gz", "--root", root)
