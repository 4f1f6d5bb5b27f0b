"""Intervals cover what they say, and what is unlike the training images is far from them."""

import numpy as np
import pytest

from catalogue.calibration import FAR_FROM, LEVELS, fit_features, fit_intervals, held_out_distances, rank


def galaxies(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return predictions and labels whose residuals are skewed, and wider in the middle."""
    rng = np.random.default_rng(seed)
    predictions = rng.random((num, 37))
    residuals = (rng.gamma(2, size=(num, 37)) - 1.5) * 0.2 * predictions * (1 - predictions)
    return predictions, np.clip(predictions + residuals, 0, 1)


def test_intervals_cover_their_nominal_part_of_galaxies_that_they_were_not_fitted_to():
    intervals = fit_intervals(*galaxies(400, 0))
    predictions, labels = galaxies(2000, 1)
    for level, (low, high) in intervals.around(predictions).items():
        covered = (low <= labels) & (labels <= high)
        assert covered.mean() == pytest.approx(level / 100, abs=0.02)
        of_middle = covered[(predictions > 0.4) & (predictions < 0.6)].mean()
        assert of_middle == pytest.approx(level / 100, abs=0.04)
        assert (low >= 0).all() and (high <= 1).all() and (low <= high).all()
    assert list(LEVELS) == [68, 95]


def test_each_interval_contains_its_prediction_even_if_residuals_are_biased():
    predictions, labels = galaxies(400, 0)
    intervals = fit_intervals(predictions, np.clip(labels + 0.2, 0, 1))
    again = galaxies(100, 1)[0]
    for low, high in intervals.around(again).values():
        assert ((low <= again) & (again <= high)).all()
    assert (intervals.around(again)[68][0] == again).mean() > 0.5  # widened downwards


def test_wider_intervals_hold_narrower_ones():
    intervals = fit_intervals(*galaxies(400, 0)).around(galaxies(50, 1)[0])
    assert (intervals[95][0] <= intervals[68][0]).all() and (intervals[95][1] >= intervals[68][1]).all()


def test_answers_of_which_little_is_known_have_wide_intervals_and_unknown_ones_none():
    predictions, labels = galaxies(60, 0)
    labels[3:, 5] = np.nan
    intervals = fit_intervals(predictions, labels)
    predictions[0, 7] = np.nan
    low, high = intervals.around(predictions)[68]
    assert (low[:, 5] == 0).all() and (high[:, 5] == 1).all()
    assert np.isnan(low[0, 7]) and np.isnan(high[0, 7])


def test_what_is_unlike_the_training_is_far_and_little_else():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(10, 100))

    def features(num: int) -> np.ndarray:
        return rng.normal(size=(num, 10)) @ mixing + 0.1 * rng.normal(size=(num, 100)) + 5

    statistics = fit_features(features(500))
    levels = np.quantile(statistics.distances(features(400)), np.linspace(0, 1, 201))
    near = rank(statistics.distances(features(1000)), levels)
    assert (near > FAR_FROM).mean() < 0.06
    # Outside of the directions in which training images differ, and too far along them.
    for far in (features(100) + rng.normal(size=(100, 100)), 3 * (features(100) - 5) + 5, np.zeros((100, 100))):
        assert (rank(statistics.distances(far), levels) > FAR_FROM).mean() > 0.9


def test_features_that_never_differ_break_nothing():
    for features in (np.zeros((20, 8)), np.ones((1, 8)), np.tile(np.arange(8.0), (30, 1))):
        statistics = fit_features(features)
        assert np.isfinite(statistics.distances(features)).all()
        assert statistics.distances(features + 1).min() > 100


def test_the_oracle_of_distances_is_one_for_typical_and_two_for_doubled_features():
    rng = np.random.default_rng(4)
    features = rng.normal(size=(4000, 6)) * [5, 4, 3, 2, 1, 0.5]
    statistics = fit_features(features, max_kept=3)
    assert (statistics.distances(features) ** 2).mean() == pytest.approx(1, abs=0.01)
    doubled = statistics.mean + 2 * (features - statistics.mean)
    np.testing.assert_allclose(statistics.distances(doubled), 2 * statistics.distances(features))


def test_ranks_are_fractions_of_the_validation_galaxies():
    quantiles = np.linspace(1, 3, 201)
    assert rank(np.array([0.0, 1.0, 1.5, 2.0, 3.0, 9.0]), quantiles).tolist() == [0, 0, 0.25, 0.5, 1, 1]


def test_an_interval_is_the_quantiles_of_the_residuals_of_its_bin():
    """The oracle: two groups of predictions, 50 residuals each, of known quantiles."""
    predictions = np.repeat([0.3, 0.7], 50)[:, None] * np.ones((1, 37))
    steps = np.arange(1, 51) / 51  # weibull: the quantile q of n values is at q (n + 1)
    residuals = np.concatenate([0.1 * (steps - 0.5), 0.2 * (steps - 0.5)])[:, None]
    intervals = fit_intervals(predictions, predictions + residuals).around(predictions)
    for level, (below, above) in LEVELS.items():
        for row, width in ((0, 0.1), (99, 0.2)):
            expected = predictions[row, 0] + width * (np.array([below, above]) - 0.5)
            np.testing.assert_allclose([intervals[level][0][row, 8], intervals[level][1][row, 8]], expected)


def test_held_out_distances_come_from_the_statistics_of_the_other_folds():
    features = np.random.default_rng(0).normal(size=(200, 12)) * np.linspace(3, 1, 12)
    features[10] += 100
    held_out = held_out_distances(features)
    others = np.arange(200) % 5 != 0
    np.testing.assert_allclose(held_out[::5], fit_features(features[others]).distances(features[::5]))
    assert held_out.argmax() == 10 and held_out[10] > 3 * np.delete(held_out, 10).max()
