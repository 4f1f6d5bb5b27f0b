"""Calibration against a slow loop over galaxies."""

import numpy as np
import pytest

from report import reliability


def slowly(predictions: np.ndarray, labels: np.ndarray, num_bins: int) -> list[float]:
    """Return the expected calibration error of each answer, one galaxy at a time."""
    errors = []
    for answer in range(predictions.shape[1]):
        bins: dict[int, list[tuple[float, float]]] = {}
        for predicted, labelled in zip(predictions[:, answer], labels[:, answer], strict=True):
            predicted = min(1.0, max(0.0, float(predicted)))
            bins.setdefault(min(num_bins - 1, int(predicted * num_bins)), []).append((predicted, float(labelled)))
        error = 0.0
        for pairs in bins.values():
            gap = sum(a for a, _ in pairs) / len(pairs) - sum(b for _, b in pairs) / len(pairs)
            error += len(pairs) / len(predictions) * abs(gap)
        errors.append(error)
    return errors


@pytest.mark.parametrize("num_bins", [1, 7, 10])
@pytest.mark.parametrize("seed", range(4))
def test_calibration_errors_equal_those_of_a_slow_loop(num_bins: int, seed: int):
    rng = np.random.default_rng(seed)
    labels = rng.beta(0.4, 0.8, (200, 37))
    predictions = (labels + rng.normal(0, 0.2, labels.shape)).astype(np.float32)
    predictions[:5] = (0.0, 0.1, 0.3, 1.0, 1.2)[seed]
    found = reliability.measure(predictions, labels, num_bins)
    np.testing.assert_allclose(found.errors, slowly(predictions, labels, num_bins), atol=1e-12)
    assert (found.counts.sum(axis=1) == 200).all()


def test_perfect_predictions_have_no_error_and_constant_ones_their_offset():
    labels = np.random.default_rng(1).uniform(0, 1, (500, 37))
    assert reliability.measure(labels, labels).errors.max() < 1e-12
    np.testing.assert_allclose(reliability.measure(np.full_like(labels, 0.8), labels).errors, 0.8 - labels.mean(axis=0))


def test_means_of_an_empty_bin_are_nan():
    found = reliability.measure(np.full((4, 37), 0.05), np.zeros((4, 37)))
    assert np.isnan(found.predicted[:, 1:]).all() and np.isnan(found.labelled[:, 1:]).all()
    np.testing.assert_allclose(found.predicted[:, 0], 0.05)
    np.testing.assert_allclose(found.errors, 0.05)
