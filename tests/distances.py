"""Oracle of the distance to the training images: the formula of `FeatureStatistics` in NumPy, in double precision."""

import numpy as np

from catalogue.calibration import FeatureStatistics


def distances(statistics: FeatureStatistics, features: np.ndarray) -> np.ndarray:
    """Return the distances (n,) of features (n, features)."""
    centred = features - statistics.mean
    inside = centred @ statistics.directions
    outside = np.maximum((centred**2).sum(axis=1) - (inside**2).sum(axis=1), 0)
    weight = statistics.weight_of_rest
    squares = ((inside / statistics.deviations) ** 2).sum(axis=1) + outside / statistics.rest * weight
    return np.sqrt(squares / (len(statistics.deviations) + weight))
