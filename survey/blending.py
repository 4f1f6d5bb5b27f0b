"""Blends of models: weights fitted to the validation galaxies, for all answers alike, for each question or each answer.

Weights are at least 0 and sum to one. 2014 wrote them as a softmax and descended on its logits. The problem is convex
in the weights themselves, so non-negative least squares finds the optimum directly.

Source: documentation of 2014, 2.4.2 and 3.3.3.
"""

import numpy as np

from galaxy import decision_tree
from survey.predictions import rmse

# The validation galaxies are divided into folds; each fold is predicted with weights fitted to the others.
NUM_FOLDS = 5
# Added to each model's mean squared error in a fit, as a fraction of it: above the rounding of float32 predictions.
RIDGE = 1e-11


def residual_grams(residuals: np.ndarray) -> np.ndarray:
    """Return the mean products of the models' residuals, (37, models, models), from residuals (models, n, 37).

    A fit needs nothing else: for weights that sum to one, the blend's mean squared error is weights @ gram @ weights.
    """
    by_answer = residuals.astype(np.float64).transpose(2, 0, 1)
    return by_answer @ by_answer.transpose(0, 2, 1) / residuals.shape[1]


def fit_weights(residual_gram: np.ndarray) -> np.ndarray:
    """Return the weights (models,) of the blend of least squared error, from the Gram matrix of the models' residuals.

    The weights are at least 0 and sum to one. Copies of a model get equal weights.
    """
    from scipy.optimize import nnls  # a quarter of a second that --help need not pay

    num_models = len(residual_gram)
    uniform = np.full(num_models, 1 / num_models)
    # Residuals with the same Gram matrix, (models, models); columns of unit length keep the digits of good models.
    # The ridge makes the optimum unique: copies of a model share its weight, and weights do not follow rounding.
    lengths = np.sqrt(np.maximum(residual_gram.diagonal(), np.finfo(float).tiny))
    values, vectors = np.linalg.eigh(residual_gram / lengths / lengths[:, None])
    residuals = np.sqrt(values.clip(min=0) + RIDGE)[:, None] * vectors.T * lengths
    # The row k * sum(weights) = k replaces the constraint on the sum. If a blend w on the simplex has the error f(w),
    # its best multiple costs k^2 f / (k^2 + f). That rises with f: the solution, divided by its sum, is the best blend.
    k = np.sqrt(residual_gram.diagonal().mean()) or 1.0  # 0 if all models are perfect
    design, target = np.vstack([residuals, np.full(num_models, k)]), np.append(np.zeros(num_models), k)
    weights, _ = nnls(design, target, maxiter=100 * num_models)
    return min((uniform, weights / weights.sum()), key=lambda w: w @ residual_gram @ w)


def uniform(num_models: int) -> np.ndarray:
    """Return the weights (37, models) of the plain mean."""
    return np.full((decision_tree.NUM_ANSWERS, num_models), 1 / num_models)


def weighted(grams: np.ndarray) -> np.ndarray:
    """Return the same weights for all answers, (37, models), from the answers' Gram matrices (37, models, models)."""
    return np.tile(fit_weights(grams.mean(axis=0)), (len(grams), 1))


def by_question(grams: np.ndarray) -> np.ndarray:
    """Return weights (37, models) with one fit per question (documentation 3.3.3)."""
    weights = np.empty(grams.shape[:2])
    for answers in decision_tree.SLICES.values():
        weights[answers] = fit_weights(grams[answers].mean(axis=0))
    return weights


def by_answer(grams: np.ndarray) -> np.ndarray:
    """Return weights (37, models) with one fit per answer, as in the code of 2014."""
    return np.stack([fit_weights(gram) for gram in grams])


# The fit of each blend, by the name of the blend's file.
BLENDS = {
    "blended_predictions_uniform": lambda grams: uniform(grams.shape[1]),
    "blended_predictions": weighted,
    "blended_predictions_questions": by_question,
    "blended_predictions_separate": by_answer,
}


def fit_blends(grams: np.ndarray) -> dict[str, np.ndarray]:
    """Return the weights (37, models) of each blend by the name of its file, from the answers' Gram matrices."""
    return {name: fit(grams) for name, fit in BLENDS.items()}


def blend(weights: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Return the blend (n, 37) of predictions (models, n, 37) with weights (37, models), the plain weighted mean.

    Weights that differ between questions violate the sums of the decision tree; `decision_tree.obey` restores them.
    """
    return np.einsum("am,mna->na", weights, predictions)


def cross_predict(predictions: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return each blend (n, 37) of predictions (models, n, 37); no galaxy takes part in the fit of its own weights.

    Galaxy i is in fold i % NUM_FOLDS.
    """
    folds = np.arange(len(labels)) % NUM_FOLDS
    blended = {name: np.empty(labels.shape) for name in BLENDS}
    for fold in np.unique(folds):
        inside, outside = folds == fold, folds != fold
        if not outside.any():  # a single galaxy
            outside = inside
        for name, weights in fit_blends(residual_grams(predictions[:, outside] - labels[outside])).items():
            blended[name][inside] = blend(weights, predictions[:, inside])
    return blended


def cross_validate(predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the cross-validated RMSE of each blend; see `cross_predict`."""
    return {name: rmse(blended, labels) for name, blended in cross_predict(predictions, labels).items()}


def harmless_removals(predictions: np.ndarray, labels: np.ndarray, obey_tree: bool = False) -> dict[int, float]:
    """Return the RMSE of the uniform blend without a model, for each model whose removal does not raise it (2.4.2).

    The predictions (models, n, 37) and labels (n, 37) are those of validation galaxies. With `obey_tree`, the blends
    have the sums of the decision tree restored.
    """
    num_models = len(predictions)
    if num_models < 2:
        return {}

    def error(sums: np.ndarray, num_summed: int) -> float:
        mean = sums / num_summed
        return rmse(decision_tree.obey(mean) if obey_tree else mean, labels)

    total = predictions.sum(axis=0, dtype=np.float64)
    least = error(total, num_models)
    without = {model: error(total - one, num_models - 1) for model, one in enumerate(predictions)}
    return {model: value for model, value in without.items() if value <= least}
