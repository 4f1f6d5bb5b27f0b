"""Blends of models: weights fitted to the validation galaxies, for all answers alike, for each question or each answer.

Weights are at least 0 and sum to one. 2014 wrote them as a softmax and descended on its logits. The problem is convex
in the weights themselves, so non-negative least squares finds the optimum directly.

Source: documentation of 2014, 2.4.2 and 3.3.3.
"""

import numpy as np

from galaxy.tree import Tree
from survey.predictions import rmse

# The validation galaxies are divided into folds; each fold is predicted with weights fitted to the others.
NUM_FOLDS = 5
# Added to each model's mean squared error in a fit, as a fraction of it: above the rounding of float32 predictions.
RIDGE = 1e-11


def residual_grams(residuals: np.ndarray) -> np.ndarray:
    """Return mean products of the models' residuals (answers, models, models) from residuals (models, n, answers).

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


def uniform(grams: np.ndarray, _: Tree) -> np.ndarray:
    """Return the weights (answers, models) of the plain mean."""
    return np.full(grams.shape[:2], 1 / grams.shape[1])


def weighted(grams: np.ndarray, _: Tree) -> np.ndarray:
    """Return the same weights (answers, models) for all answers, from Gram matrices (answers, models, models)."""
    return np.tile(fit_weights(grams.mean(axis=0)), (len(grams), 1))


def by_question(grams: np.ndarray, tree: Tree) -> np.ndarray:
    """Return weights (answers, models) with one fit per question (documentation 3.3.3)."""
    weights = np.empty(grams.shape[:2])
    for answers in tree.slices.values():
        weights[answers] = fit_weights(grams[answers].mean(axis=0))
    return weights


def by_answer(grams: np.ndarray, _: Tree) -> np.ndarray:
    """Return weights (answers, models) with one fit per answer, as in the code of 2014."""
    return np.stack([fit_weights(gram) for gram in grams])


# The fit of each blend, by the name of the blend's file.
BLENDS = {
    "blended_predictions_uniform": uniform,
    "blended_predictions": weighted,
    "blended_predictions_questions": by_question,
    "blended_predictions_separate": by_answer,
}


def fit_blends(grams: np.ndarray, tree: Tree) -> dict[str, np.ndarray]:
    """Return the weights (answers, models) of each blend by the name of its file, from the answers' Gram matrices."""
    return {name: fit(grams, tree) for name, fit in BLENDS.items()}


def blend(weights: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Return the blend (n, answers) of predictions (models, n, answers) with weights (answers, models).

    Weights that differ between questions violate the sums of the decision tree; `Tree.obey` restores them.
    """
    return np.einsum("am,mna->na", weights, predictions)


def cross_predict(predictions: np.ndarray, labels: np.ndarray, tree: Tree) -> dict[str, np.ndarray]:
    """Return each blend (n, answers) of predictions (models, n, answers); no galaxy takes part in its own fit.

    Galaxy i is in fold i % NUM_FOLDS.
    """
    folds = np.arange(len(labels)) % NUM_FOLDS
    blended = {name: np.empty(labels.shape) for name in BLENDS}
    for fold in np.unique(folds):
        inside, outside = folds == fold, folds != fold
        if not outside.any():  # a single galaxy
            outside = inside
        for name, weights in fit_blends(residual_grams(predictions[:, outside] - labels[outside]), tree).items():
            blended[name][inside] = blend(weights, predictions[:, inside])
    return blended


def cross_validate(predictions: np.ndarray, labels: np.ndarray, tree: Tree) -> dict[str, float]:
    """Return the cross-validated RMSE of each blend; see `cross_predict`."""
    return {name: rmse(blended, labels) for name, blended in cross_predict(predictions, labels, tree).items()}


def harmless_removals(
    predictions: np.ndarray, labels: np.ndarray, tree: Tree, obey_tree: bool = False
) -> dict[int, float]:
    """Return the RMSE of the uniform blend without a model, for each model whose removal does not raise it (2.4.2).

    The predictions (models, n, answers) and labels (n, answers) are those of validation galaxies. With `obey_tree`, the
    blends have the sums of the decision tree restored.
    """
    num_models = len(predictions)
    if num_models < 2:
        return {}

    def error(sums: np.ndarray, num_summed: int) -> float:
        mean = sums / num_summed
        return rmse(tree.obey(mean) if obey_tree else mean, labels)

    total = predictions.sum(axis=0, dtype=np.float64)
    least = error(total, num_models)
    without = {model: error(total - one, num_models - 1) for model, one in enumerate(predictions)}
    return {model: value for model, value in without.items() if value <= least}
