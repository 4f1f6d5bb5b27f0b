"""How far a prediction can be trusted, as measured on galaxies that a model did not learn from.

Intervals are those into which residuals (label - prediction) fell among validation galaxies of which much the same was
predicted, answer by answer. Distances to the training images are compared with those of the same galaxies.

Source: split conformal prediction, binned (Lei et al. 2018, JASA 113, 1094).
"""

from dataclasses import dataclass

import numpy as np

# Nominal coverage, and the quantiles of residuals that give it.
LEVELS = {68: (0.16, 0.84), 95: (0.025, 0.975)}
_QUANTILES = tuple(quantile for pair in LEVELS.values() for quantile in pair)
# A bin has at least so many galaxies, of which one lies beyond each end of the wider interval.
GALAXIES_A_BIN, MAX_BINS = 50, 10
# An image is far from training where it is farther than this part of the validation galaxies.
FAR_FROM = 0.97


@dataclass(frozen=True, eq=False)
class Intervals:
    """Quantiles of residuals by answer and by bin of its prediction: edges (37, bins - 1), offsets (37, bins, 4)."""

    edges: np.ndarray
    offsets: np.ndarray

    def around(self, predictions: np.ndarray) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Return the ends of the intervals of each level around predictions (n, 37), NaN where these are."""
        bins = np.stack(
            [
                np.searchsorted(edges, column, side="right")
                for edges, column in zip(self.edges, predictions.T, strict=True)
            ]
        )
        bins = np.minimum(bins, self.offsets.shape[1] - 1)  # of NaN
        offsets = self.offsets[np.arange(len(self.edges))[:, None], bins].transpose(1, 0, 2)
        ends = np.clip(predictions[..., None] + offsets, 0, 1)
        return {level: (ends[..., 2 * n], ends[..., 2 * n + 1]) for n, level in enumerate(LEVELS)}


def fit_intervals(predictions: np.ndarray, labels: np.ndarray) -> Intervals:
    """Measure residuals of predictions (n, 37) of galaxies with labels (n, 37); NaN in either does not count."""
    all_edges, all_offsets = [], []
    for predicted, true in zip(predictions.T, labels.T, strict=True):
        known = np.isfinite(predicted) & np.isfinite(true)
        predicted, residuals = predicted[known], (true - predicted)[known]
        num = int(np.clip(len(predicted) // GALAXIES_A_BIN, 1, MAX_BINS))
        edges = np.quantile(predicted, np.arange(1, num) / num) if num > 1 else np.empty(0)
        bins = np.searchsorted(edges, predicted, side="right")
        offsets = []
        for number in range(num):
            inside = residuals[bins == number]
            # Bins that are empty, since many predictions are equal, take all residuals.
            inside = inside if len(inside) >= GALAXIES_A_BIN // 2 else residuals
            # Nothing is known of an answer that nobody was asked for: from 0 to 1.
            few = len(inside) < 5
            offsets.append((-1, 1, -1, 1) if few else np.quantile(inside, _QUANTILES, method="weibull"))
        # All answers have the same number of bins: those of the last one are repeated.
        all_edges.append(np.concatenate([edges, np.full(MAX_BINS - num, np.inf)]))
        all_offsets.append(np.array(offsets + [offsets[-1]] * (MAX_BINS - num), dtype=np.float64))
    return Intervals(np.array(all_edges), np.array(all_offsets))


@dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """What training images look like to a network: mean, directions and deviations along them, the rest's square.

    The squared distance of features f is |(f - mean) directions / deviations|^2 plus `kept` times what lies outside of
    the directions, divided by its mean among training images, all divided by 2 kept: about 1 for a typical one.
    """

    mean: np.ndarray
    directions: np.ndarray  # (features, kept), orthonormal
    deviations: np.ndarray  # (kept,)
    rest: float

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Return the distances (n,) of features (n, features)."""
        centred = features - self.mean
        inside = centred @ self.directions
        outside = np.maximum((centred**2).sum(axis=1) - (inside**2).sum(axis=1), 0)
        squares = ((inside / self.deviations) ** 2).sum(axis=1) + outside / self.rest * self.weight_of_rest
        return np.sqrt(squares / (len(self.deviations) + self.weight_of_rest))

    @property
    def weight_of_rest(self) -> float:
        """How many directions what lies outside of the kept ones counts for."""
        return float(len(self.deviations))


def fit_features(features: np.ndarray, max_kept: int = 32) -> FeatureStatistics:
    """Measure the features (n, features) of training images."""
    features = np.asarray(features, dtype=np.float64)
    mean = features.mean(axis=0)
    _, singular, directions = np.linalg.svd(features - mean, full_matrices=False)
    deviations = singular / np.sqrt(max(1, len(features) - 1))
    kept = max(1, min(max_kept, len(features) // 10, int((deviations > 1e-6 * (deviations[0] + 1e-30)).sum())))
    rest = float((deviations[kept:] ** 2).sum())
    smallest = max(float(deviations[0]), 1e-6) * 1e-3
    # Where training images have nothing outside of the kept directions, any of it is much.
    return FeatureStatistics(
        mean, directions[:kept].T.copy(), np.maximum(deviations[:kept], smallest), max(rest, smallest**2)
    )


def rank(distances: np.ndarray, of_validation: np.ndarray) -> np.ndarray:
    """Return the part of the validation galaxies that is nearer than each distance, given quantiles of theirs."""
    levels = np.linspace(0, 1, len(of_validation))
    return np.interp(distances, of_validation, levels)
