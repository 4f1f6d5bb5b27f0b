"""Cross-validated scores beside those of a catalogue."""

import numpy as np
import pytest
from tiny import write_csv

import show_results
from machine.arrays import save_gz
from machine.files import DataError
from survey import fold_comparison, folds
from survey.folds import Fold


def write_folds(labels: np.ndarray, noise: float) -> None:
    """Write predictions of two folds of an experiment, with constant errors."""
    for fold in (Fold(1, 2), Fold(2, 2)):
        rows = np.clip(labels[folds.predicted(fold)], 0.2, 0.8) + noise
        save_gz(folds.product("train", f"a{fold.suffix}"), rows.astype(np.float32))
        save_gz(folds.product("test", f"a{fold.suffix}"), np.zeros((8, 37), np.float32))


def test_a_better_network_is_called_so(prepared_survey, run_main, tmp_path, capsys):
    write_folds(prepared_survey.labels, 0.0)
    table, rows = tmp_path / "box.csv", np.arange(0, 30, 2)
    write_csv(table, prepared_survey.train_ids[rows], np.roll(prepared_survey.labels, 1, axis=0)[rows])
    run_main(show_results, "--root", prepared_survey.root, "--folds", "a.py", "--against", table)
    lines = capsys.readouterr().out.splitlines()
    assert "RMSE of 15 galaxies" in lines[-5] and "a is better: difference -" in lines[-1]
    labels = prepared_survey.labels[rows].astype(np.float32)
    expected = np.sqrt(np.mean((np.clip(labels, 0.2, 0.8) - labels) ** 2))
    assert float(lines[-4].split()[1]) == pytest.approx(expected, abs=1e-4)


def test_equal_predictions_are_not_told_apart(prepared_survey, tmp_path):
    write_csv(tmp_path / "same.csv", prepared_survey.train_ids, prepared_survey.labels)
    for fold in (Fold(1, 2), Fold(2, 2)):
        rows = prepared_survey.labels[folds.predicted(fold)].round(6).astype(np.float32)
        save_gz(folds.product("train", f"a{fold.suffix}"), np.roll(rows, 1, axis=0) * 0 + rows)
        save_gz(folds.product("test", f"a{fold.suffix}"), np.zeros((8, 37), np.float32))
    assert fold_comparison.compare("a")[1].startswith("a ")
    assert len(fold_comparison.compare("a", tmp_path / "same.csv")) == 5


def test_standard_errors_are_those_of_the_mean():
    squares = np.random.default_rng(1).exponential(0.01, size=(400, 1))
    samples = fold_comparison.bootstrap(squares)
    expected = squares.std() / np.sqrt(400) / (2 * np.sqrt(squares.mean()))
    assert samples.std() == pytest.approx(expected, rel=0.1)


def test_a_table_alone_is_refused(survey, run_main, tmp_path):
    with pytest.raises(DataError, match="expected --folds with --against"):
        run_main(show_results, "--root", survey.root, "--against", tmp_path / "box.csv")
