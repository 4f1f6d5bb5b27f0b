"""How far predictions are off."""

import numpy as np


def rmse(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Return the root mean squared error over all galaxies and answers, predictions clipped to [0, 1].

    Kaggle's score; fractions lie there, and what a network predicts without normalisation need not.
    """
    return float(np.sqrt(np.mean((np.clip(predictions, 0, 1) - labels) ** 2, dtype=np.float64)))
