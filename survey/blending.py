"""Blends of models: weights fitted to the validation galaxies, for all answers alike, for each question or each answer.

Weights are a softmax: positive, with a sum of one.

Source: documentation of 2014, 2.4.2 and 3.3.3.
"""

import numpy as np

from galaxy import decision_tree
from survey.predictions import rmse

# Of the validation galaxies; each part is predicted with weights fitted to the others.
NUM_FOLDS = 5


def residual_grams(residuals: np.ndarray) -> np.ndarray:
    """Return the mean products of the models' residuals, (37, models, models), from residuals (models, n, 37).

    All that a fit needs: where weights sum to one, the blend's mean squared error is weights @ gram @ weights.
    """
    by_answer = residuals.astype(np.float64).transpose(2, 0, 1)
    return by_answer @ by_answer.transpose(0, 2, 1) / residuals.shape[1]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return positive numbers that sum to one."""
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def descend(excess: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Lower weights @ excess @ weights by L-BFGS on the logits of `weights`."""
    from scipy.optimize import minimize  # a quarter of a second that --help need not pay

    # In units of its first value, so that tolerances mean the same for good and for bad models.
    scale = weights @ excess @ weights

    def objective(logits: np.ndarray) -> tuple[float, np.ndarray]:
        weights = softmax(logits)
        slopes = excess @ weights / scale
        value = weights @ slopes
        return value, 2 * weights * (slopes - value)

    # On its way to a corner a weight's gradient fades with the weight: the default tolerances stop long before.
    options = {"ftol": 1e-16, "gtol": 1e-14, "maxcor": 20, "maxiter": 5000, "maxfun": 20000}
    logits = np.log(np.maximum(weights, 1e-300))
    return softmax(minimize(objective, logits, jac=True, method="L-BFGS-B", options=options).x)


def fit_weights(residual_gram: np.ndarray) -> np.ndarray:
    """Return the weights (models,), a softmax, of the blend of least squared error, from a Gram matrix of residuals.

    The problem is convex in the weights, but not in their logits: a line search that overshoots leaves a weight so
    near zero that its gradient is gone. So every descent ends with a step straight to the model that promises most
    (Frank-Wolfe); where it promises nothing, that proves the optimum, else the descent goes on from there.
    """
    num_models = len(residual_gram)
    uniform = np.full(num_models, 1 / num_models)
    # Weights sum to one, so what all entries share adds the same to every blend; without it, models that hardly
    # differ are told apart as well as others.
    excess = residual_gram - residual_gram.min()
    if excess.max() <= 1e-12 * np.abs(residual_gram).max():  # one model, or copies of one
        return uniform
    weights = uniform
    for _ in range(50):
        if weights @ excess @ weights <= 1e-14 * excess.max():
            break
        weights = descend(excess, weights)
        slopes = excess @ weights
        value = weights @ slopes
        best = slopes.argmin()
        # By convexity, no blend's error is lower than this one's by more than 2 * (value - slopes[best]).
        if value - slopes[best] <= 1e-10 * value:
            break
        direction = np.eye(num_models)[best] - weights
        curvature = direction @ excess @ direction
        weights = weights + min(1, (value - slopes[best]) / max(curvature, np.finfo(float).tiny)) * direction
    return min((uniform, weights), key=lambda w: w @ residual_gram @ w)


def uniform(num_models: int) -> np.ndarray:
    """Return the weights (37, models) of the plain mean."""
    return np.full((decision_tree.NUM_ANSWERS, num_models), 1 / num_models)


def weighted(grams: np.ndarray) -> np.ndarray:
    """Return weights (37, models) that all answers share, from the Gram matrices of answers (37, models, models)."""
    return np.tile(fit_weights(grams.mean(axis=0)), (len(grams), 1))


def by_question(grams: np.ndarray) -> np.ndarray:
    """Return weights (37, models) that the answers of a question share (documentation 3.3.3)."""
    weights = np.empty(grams.shape[:2])
    for answers in decision_tree.SLICES.values():
        weights[answers] = fit_weights(grams[answers].mean(axis=0))
    return weights


def by_answer(grams: np.ndarray) -> np.ndarray:
    """Return weights (37, models) of each answer's own, as the code of 2014 has it."""
    return np.stack([fit_weights(gram) for gram in grams])


# The blends by the name of their file.
BLENDS = {
    "blended_predictions_uniform": lambda grams: uniform(grams.shape[1]),
    "blended_predictions": weighted,
    "blended_predictions_questions": by_question,
    "blended_predictions_separate": by_answer,
}


def fit_blends(grams: np.ndarray) -> dict[str, np.ndarray]:
    """Return the weights (37, models) of each blend by the name of its file, from the Gram matrices of answers."""
    return {name: fit(grams) for name, fit in BLENDS.items()}


def blend(weights: np.ndarray, predictions: np.ndarray, raw: bool = False) -> np.ndarray:
    """Return the blend (n, 37) of predictions (models, n, 37) with weights (37, models).

    Weights that differ from question to question break the sums of the decision tree, which are restored unless `raw`.
    """
    blended = np.einsum("am,mna->na", weights, predictions)
    return blended if raw else decision_tree.obey(blended)


def cross_predict(predictions: np.ndarray, labels: np.ndarray, raw: bool = False) -> dict[str, np.ndarray]:
    """Return each blend (n, 37) of predictions (models, n, 37), each galaxy by weights that were not fitted to it.

    Galaxy i is in part i % NUM_FOLDS.
    """
    parts = np.arange(len(labels)) % NUM_FOLDS
    blended = {name: np.empty(labels.shape) for name in BLENDS}
    for part in np.unique(parts):
        inside, outside = parts == part, parts != part
        if not outside.any():  # a single galaxy
            outside = inside
        for name, weights in fit_blends(residual_grams(predictions[:, outside] - labels[outside])).items():
            blended[name][inside] = blend(weights, predictions[:, inside], raw)
    return blended


def cross_validate(predictions: np.ndarray, labels: np.ndarray, raw: bool = False) -> dict[str, float]:
    """Return the RMSE of each blend on galaxies that its weights were not fitted to; see `cross_predict`."""
    return {name: rmse(each, labels) for name, each in cross_predict(predictions, labels, raw).items()}


def harmless_removals(predictions: np.ndarray, labels: np.ndarray, raw: bool = False) -> dict[int, float]:
    """Return the models without which the uniform blend is no worse, and its RMSE then (documentation 2.4.2).

    Given the predictions (models, n, 37) and labels (n, 37) of validation galaxies; `raw` as in `blend`.
    """
    num_models = len(predictions)
    if num_models < 2:
        return {}

    def error(sums: np.ndarray, number: int) -> float:
        return rmse(sums / number if raw else decision_tree.obey(sums / number), labels)

    total = predictions.sum(axis=0, dtype=np.float64)
    least = error(total, num_models)
    without = {model: error(total - each, num_models - 1) for model, each in enumerate(predictions)}
    return {model: value for model, value in without.items() if value <= least}
