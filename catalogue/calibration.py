"""Uncertainty of predictions, measured on validation galaxies: prediction intervals, distance to the training images.

An interval comes from the residuals (label - prediction) of validation galaxies with similar predictions, answer by
answer. A distance is ranked among the distances of the validation galaxies.

Source: split conformal prediction, binned (Lei et al. 2018, JASA 113, 1094).
"""

from dataclasses import dataclass

import numpy as np

# Nominal coverage in %, and the quantiles of residuals at its ends.
LEVELS = {68: (0.16, 0.84), 95: (0.025, 0.975)}
_QUANTILES = tuple(quantile for pair in LEVELS.values() for quantile in pair)
# Galaxies in a bin, at least: about one is beyond each end of the 95 % interval. Bins, at most.
GALAXIES_A_BIN, MAX_BINS = 50, 10
# An image is far from the training images if it is farther than this fraction of the validation galaxies.
FAR_FROM = 0.97
# Directions of the features of a catalogue, at most; the stored number in rows without features.
MAX_AXES, NO_FEATURES = 64, -128


@dataclass(frozen=True, eq=False)
class Intervals:
    """Quantiles of residuals by answer and bin of predictions.

    Edges (answers, bins - 1), offsets (answers, bins, 4).
    """

    edges: np.ndarray
    offsets: np.ndarray

    def around(self, predictions: np.ndarray) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Return (low, high) of the intervals around predictions (n, answers), by level; NaN where predictions are NaN.

        Residuals can be biased. An interval that does not contain its prediction is widened to it.
        """
        bins = np.stack(
            [
                np.searchsorted(edges, column, side="right")
                for edges, column in zip(self.edges, predictions.T, strict=True)
            ]
        )
        bins = np.minimum(bins, self.offsets.shape[1] - 1)  # NaN is sorted behind the last bin
        offsets = self.offsets[np.arange(len(self.edges))[:, None], bins].transpose(1, 0, 2)
        ends = np.clip(predictions[..., None] + offsets, 0, 1)
        low, high = (np.minimum(ends, predictions[..., None]), np.maximum(ends, predictions[..., None]))
        return {level: (low[..., 2 * n], high[..., 2 * n + 1]) for n, level in enumerate(LEVELS)}


def fit_intervals(predictions: np.ndarray, labels: np.ndarray) -> Intervals:
    """Fit intervals to predictions (n, answers) and labels (n, answers); pairs with NaN are ignored."""
    all_edges, all_offsets = [], []
    for predicted, true in zip(predictions.T, labels.T, strict=True):
        known = np.isfinite(predicted) & np.isfinite(true)
        predicted, residuals = predicted[known], (true - predicted)[known]
        num = int(np.clip(len(predicted) // GALAXIES_A_BIN, 1, MAX_BINS))
        edges = np.quantile(predicted, np.arange(1, num) / num) if num > 1 else np.empty(0)
        bins = np.searchsorted(edges, predicted, side="right")
        offsets = []
        for index in range(num):
            inside = residuals[bins == index]
            # Equal predictions can leave a bin almost empty: use all residuals.
            inside = inside if len(inside) >= GALAXIES_A_BIN // 2 else residuals
            # Too few residuals for quantiles: the interval is from 0 to 1.
            few = len(inside) < 5
            offsets.append((-1, 1, -1, 1) if few else np.quantile(inside, _QUANTILES, method="weibull"))
        # Repeat the last bin, so that all answers have the same number of bins.
        all_edges.append(np.concatenate([edges, np.full(MAX_BINS - num, np.inf)]))
        all_offsets.append(np.array(offsets + [offsets[-1]] * (MAX_BINS - num), dtype=np.float64))
    return Intervals(np.array(all_edges), np.array(all_offsets))


@dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """Statistics of a network's features over training images: mean, principal directions, deviations along them.

    `rest` is the mean squared length of the residual, which is outside the directions. The squared distance of features
    f is (|(f - mean) directions / deviations|^2 + weight_of_rest |residual|^2 / rest) / (kept + weight_of_rest). It is
    about 1 for a typical training image. `engine.export` computes it within the network.
    """

    mean: np.ndarray
    directions: np.ndarray  # (features, kept), orthonormal
    deviations: np.ndarray  # (kept,)
    rest: float
    # (features, up to MAX_AXES): (f - mean) axes are the features of a catalogue. The first has unit variance; the
    # others keep their smaller ones: weak directions are mostly noise, and neighbours are alike more often so.
    axes: np.ndarray

    @property
    def weight_of_rest(self) -> float:
        """Weight of the residual, in units of kept directions."""
        return float(len(self.deviations))

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Return the distances (n,) of features (n, features), as `engine.export` computes them."""
        centred = features - self.mean
        inside = centred @ self.directions
        outside = np.maximum((centred**2).sum(1) - (inside**2).sum(1), 0)
        squares = ((inside / self.deviations) ** 2).sum(1) + self.weight_of_rest * outside / self.rest
        return np.sqrt(squares / (len(self.deviations) + self.weight_of_rest))


def held_out_distances(features: np.ndarray, num_folds: int = 5) -> np.ndarray:
    """Return the distance (n,) of each row of features (n, features) by the statistics of the other folds."""
    folds = np.arange(len(features)) % num_folds
    distances = np.empty(len(features))
    for fold in range(num_folds):
        distances[folds == fold] = fit_features(features[folds != fold]).distances(features[folds == fold])
    return distances


def fit_features(features: np.ndarray, max_kept: int = 32) -> FeatureStatistics:
    """Fit statistics to the features (n, features) of training images."""
    features = np.asarray(features, dtype=np.float64)
    mean = features.mean(axis=0)
    _, singular, directions = np.linalg.svd(features - mean, full_matrices=False)
    deviations = singular / np.sqrt(max(1, len(features) - 1))
    kept = max(1, min(max_kept, len(features) // 10, int((deviations > 1e-6 * (deviations[0] + 1e-30)).sum())))
    rest = float((deviations[kept:] ** 2).sum())
    smallest = max(float(deviations[0]), 1e-6) * 1e-3
    # If training images have no residual, any residual of another image is large.
    num_axes = max(1, min(MAX_AXES, len(features) // 10, int((deviations > 1e-3 * (deviations[0] + 1e-30)).sum())))
    return FeatureStatistics(
        mean,
        directions[:kept].T.copy(),
        np.maximum(deviations[:kept], smallest),
        max(rest, smallest**2),
        directions[:num_axes].T / max(float(deviations[0]), 1e-6),
    )


def rank(distances: np.ndarray, validation_quantiles: np.ndarray) -> np.ndarray:
    """Return the fraction of validation galaxies nearer than each distance (n,), from the quantiles of theirs (q,)."""
    levels = np.linspace(0, 1, len(validation_quantiles))
    return np.interp(distances, validation_quantiles, levels)
