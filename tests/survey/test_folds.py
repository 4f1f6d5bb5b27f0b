"""Folds: each training galaxy is predicted by a network that was not trained on it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import OPTIONS, TINY, refused, run

from engine import prediction, training
from engine.options import named
from engine.prediction import main
from machine.arrays import load_gz, save_gz
from machine.files import DataError
from survey import folders, folds
from survey.folds import Fold
from survey.predictions import find_models, twin_of


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 60), st.integers(2, 7))
def test_folds_cover_each_galaxy_once_and_train_on_the_others(num_galaxies: int, num_folds: int):
    indices = np.random.default_rng(num_galaxies).permutation(num_galaxies)
    all_folds = [Fold(index, num_folds) for index in range(1, num_folds + 1)]
    np.testing.assert_array_equal(
        np.sort(np.concatenate([fold.held_out(indices) for fold in all_folds])), np.sort(indices)
    )
    for fold in all_folds:
        both = np.concatenate([fold.held_out(indices), fold.trained(indices)])
        np.testing.assert_array_equal(np.sort(both), np.sort(indices))


def test_the_only_fold_holds_nothing_out():
    np.testing.assert_array_equal(Fold(1, 1).trained(np.arange(5)), np.arange(5))
    np.testing.assert_array_equal(Fold(1, 1).held_out(np.arange(5)), np.arange(5))


def test_a_name_has_its_fold():
    name = named(TINY, False, Fold(2, 5)).name
    assert name == "tiny_fold2of5" and folds.of_name(name) == Fold(2, 5) and folds.of_name("tiny") is None
    assert twin_of(name) == twin_of("tiny_all_galaxies") == "tiny"


def predict(run_main, root, *arguments: object) -> None:
    script = type("Script", (), {"__name__": "predict_tiny", "main": staticmethod(lambda: main(TINY))})
    run_main(script, "--root", root, "--device", "cpu", "--num-workers", 1, "--chunk-size", 60, *arguments)


def test_a_run_leaves_its_fold_out_and_predicts_it(prepared_survey, run_main):
    analysis = run(
        run_main, prepared_survey, "--num-chunks", 1, "--fold", "2/3", experiment=named(TINY, False, Fold(2, 3))
    )
    np.testing.assert_array_equal(analysis["ids"], prepared_survey.train_ids[27:])
    chosen = training.Run.prepare(
        named(TINY, False, Fold(2, 3)), OPTIONS.__class__(**vars(OPTIONS) | {"fold": Fold(2, 3)})
    )
    assert not set(chosen.train_indices) & set(range(1, 27, 3)) and len(chosen.train_indices) == 18
    predict(run_main, prepared_survey.root, "--fold", "2/3")
    assert load_gz(folds.product("train", "tiny_fold2of3")).shape == (9 + 3, 37)
    assert load_gz(folds.product("test", "tiny_fold2of3")).shape == (8, 37)
    with pytest.raises(DataError, match="got none"):
        find_models(folders.current, "valid")


def write_folds(num_folds: int, num_train: int = 30, num_test: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Write predictions of all folds, and return what they are together."""
    rng = np.random.default_rng(num_folds)
    train, test = np.zeros((num_train, 37)), np.zeros((num_test, 37))
    for index in range(1, num_folds + 1):
        fold = Fold(index, num_folds)
        rows = rng.random((len(folds.predicted(fold)), 37), np.float32)
        others = rng.random((num_test, 37), np.float32)
        save_gz(folds.product("train", f"a{fold.suffix}"), rows)
        save_gz(folds.product("test", f"a{fold.suffix}"), others)
        train[folds.predicted(fold)] += rows
        test += others / num_folds
    train[27:] /= num_folds
    return train, test


def test_all_folds_together_predict_each_galaxy(prepared_survey):
    expected = write_folds(3)
    for ours, theirs in zip(folds.load_predictions("a", 37), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_predictions_that_do_not_make_all_folds_are_refused(prepared_survey):
    with pytest.raises(DataError, match=r"got none; run a\.py and its prediction script with --fold 1/5 to"):
        folds.load_predictions("a", 37)
    write_folds(3)
    folds.product("test", "a_fold2of3").unlink()
    with pytest.raises(DataError, match=r"a_fold2of3\.npy\.gz is missing; run a\.py and its .* with --fold 2/3 first"):
        folds.load_predictions("a", 37)
    write_folds(2)
    with pytest.raises(DataError, match="got folds of 2 and 3; remove all but one"):
        folds.load_predictions("a", 37)
    for path in folds.product("train", "").parent.glob("*of3*"):
        path.unlink()
    save_gz(folds.product("train", "a_fold1of2"), np.full((14 + 3, 37), np.nan))
    with pytest.raises(DataError, match="expected finite numbers"):
        folds.load_predictions("a", 37)


def test_a_fold_of_all_galaxies_is_refused(prepared_survey, run_main):
    script = type("Script", (), {"__name__": "tiny", "main": staticmethod(lambda: training.main(TINY))})
    line = refused(run_main, prepared_survey.root, script, "--fold", "1/2", "--all-galaxies")
    assert "--fold leaves galaxies out" in line
    line = refused(
        run_main, prepared_survey.root, type("P", (), {"__name__": "p", "main": lambda: prediction.main(TINY)}),
        "--fold", "1/2",
    )  # fmt: skip
    assert "run tiny.py --fold 1/2 first" in line
