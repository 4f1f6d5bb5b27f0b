"""Calibration: the mean prediction and the mean label of galaxies with similar predictions, bin by bin.

Source: Naeini, Cooper & Hauskrecht 2015 (AAAI 29, 2901), expected calibration error; here for fractions, not classes.
"""

from dataclasses import dataclass

import numpy as np

BINS = 10


@dataclass(frozen=True, eq=False)
class Reliability:
    """Mean prediction, mean label, count by answer and bin: (answers, bins) each; means of empty bins are NaN."""

    predicted: np.ndarray
    labelled: np.ndarray
    counts: np.ndarray

    @property
    def errors(self) -> np.ndarray:
        """The expected calibration error (answers,): mean |prediction - label| of bins, weighted by their galaxies."""
        gaps = np.where(self.counts > 0, np.abs(self.predicted - self.labelled), 0)
        return (gaps * self.counts).sum(axis=1) / np.maximum(self.counts.sum(axis=1), 1)


def measure(predictions: np.ndarray, labels: np.ndarray, num_bins: int = BINS) -> Reliability:
    """Bin predictions (n, answers) by value in bins of equal width; predictions are clipped to [0, 1]."""
    predictions = np.clip(np.asarray(predictions, dtype=np.float64), 0, 1)
    num_answers = predictions.shape[1]
    bins = np.minimum((predictions * num_bins).astype(int), num_bins - 1) + np.arange(num_answers) * num_bins

    def total(weights: np.ndarray | None = None) -> np.ndarray:
        flat = None if weights is None else np.asarray(weights, dtype=np.float64).ravel()
        return np.bincount(bins.ravel(), flat, num_answers * num_bins).reshape(num_answers, num_bins)

    counts = total()
    some = np.where(counts > 0, counts, np.nan)
    return Reliability(total(predictions) / some, total(labels) / some, counts)
