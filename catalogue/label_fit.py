"""A logistic regression that learns from a few labels which galaxies are wanted, and how probable a score makes it.

Labels are rarely balanced: both answers have the same total weight. The page of a catalogue computes the same fit
(report/templates/label_fit.js).

A probability needs scores of galaxies that the fit has not seen: those of five folds, through a logistic curve. Labels
that were chosen by their score do not bias it, since the curve is conditional on the score; labels that were chosen by
other means than the features do.

Source: Platt 1999, Probabilistic outputs for support vector machines.
"""

from dataclasses import dataclass

import numpy as np

from catalogue.columns import FEATURE_SCALE

# Weight of the squared length of the weights, for features in units of FEATURE_SCALE; chosen in doc/rare_galaxies.md.
RIDGE = 1.0
# Labels of each answer, at least, before a score is given a probability; folds for that.
LEAST_CALIBRATED, FOLDS = 10, 5
# Newton's steps, and the length of a step below which they end.
_STEPS, _SHORTEST = 50, 1e-9
# Weights are rounded to whole numbers of at most this size, so that sums over whole features are exact.
_LARGEST_WEIGHT = 2**30


@dataclass(frozen=True, eq=False)
class Fit:
    """Score of whole features f: weights (k,) f / FEATURE_SCALE + bias; the logit of a balanced sample."""

    weights: np.ndarray
    bias: float

    def scores(self, features: np.ndarray) -> np.ndarray:
        """Return the scores (n,) of whole features (n, k); equal features have equal scores in any batch."""
        unit = max(np.abs(self.weights).max(), 1e-30) / _LARGEST_WEIGHT
        whole = np.rint(self.weights / unit)
        return (features.astype(np.float64) @ whole) * (unit / FEATURE_SCALE) + self.bias


@dataclass(frozen=True)
class Curve:
    """Probability of being wanted as a function of the score: 1 / (1 + exp(-slope score - offset))."""

    slope: float
    offset: float

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Return the probabilities of scores (n,)."""
        return 1 / (1 + np.exp(-np.clip(self.slope * scores + self.offset, -700, 700)))


def fit(features: np.ndarray, wanted: np.ndarray, ridge: float = RIDGE) -> Fit:
    """Fit whole features (n, k) of labelled galaxies; `wanted` (n,) bool has both answers."""
    importance = np.where(wanted, 0.5 / max(1, wanted.sum()), 0.5 / max(1, (~wanted).sum())) * len(wanted)
    solution = _newton(features / FEATURE_SCALE, wanted.astype(float), importance, ridge)
    return Fit(solution[:-1], float(solution[-1]))


def calibrate(features: np.ndarray, wanted: np.ndarray) -> Curve | None:
    """Return the curve of probabilities for `fit` of the same labels; None if there are too few of an answer."""
    if min(wanted.sum(), (~wanted).sum()) < LEAST_CALIBRATED:
        return None
    # Each fold has its share of both answers.
    folds = np.empty(len(wanted), int)
    for answer in (True, False):
        folds[wanted == answer] = np.arange((wanted == answer).sum()) % FOLDS
    scores = np.empty(len(wanted))
    for fold in range(FOLDS):
        scores[folds == fold] = fit(features[folds != fold], wanted[folds != fold]).scores(features[folds == fold])
    # Platt's targets: never quite 0 or 1.
    target = np.where(wanted, (wanted.sum() + 1) / (wanted.sum() + 2), 1 / ((~wanted).sum() + 2))
    slope, offset = _newton(scores[:, None], target, np.ones(len(wanted)), 1e-6)
    return Curve(max(float(slope), 0.0), float(offset))


def _newton(inputs: np.ndarray, target: np.ndarray, importance: np.ndarray, ridge: float) -> np.ndarray:
    """Minimise the weighted cross entropy plus ridge / 2 |weights|^2; return weights and bias (k + 1,)."""
    inputs = np.column_stack([inputs, np.ones(len(inputs))])
    penalty = np.full(inputs.shape[1], float(ridge))
    penalty[-1] = 1e-3 * ridge  # finite also if all labels are equal

    def loss(solution: np.ndarray) -> float:
        logit = inputs @ solution
        return importance @ (np.logaddexp(0, logit) - target * logit) + penalty @ solution**2 / 2

    solution = np.zeros(inputs.shape[1])
    for _ in range(_STEPS):
        probability = 1 / (1 + np.exp(-np.clip(inputs @ solution, -700, 700)))
        gradient = inputs.T @ (importance * (probability - target)) + penalty * solution
        curvature = (inputs * (importance * probability * (1 - probability))[:, None]).T @ inputs + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        before = loss(solution)
        while loss(solution - step) > before and np.abs(step).max() > _SHORTEST:
            step = step / 2
        solution = solution - step
        if np.abs(step).max() <= _SHORTEST:
            break
    return solution
