"""Blend the predictions of all models that have a file in predictions/final/augmented/test/, in three ways.

- blended_predictions_uniform.npy.gz: the plain mean. In 2014 this was the best one, and the winning submission.
- blended_predictions.npy.gz: a weighted mean, its weights fitted to the validation set.
- blended_predictions_separate.npy.gz: the same with weights of their own for each of the 37 answers.

All go to predictions/final/blended/. Weights are a softmax: positive, with a sum of one. A model of no weight
contributes nothing, and may be better left out of the uniform blend, too.

Source: documentation of 2014, 2.4.2, 3.3.3 and 5.7.
"""

import numpy as np
from tqdm import tqdm

import load_data
from machine.command_line import run_script, script_parser
from machine.files import DataError, save_gz
from survey import decision_tree, images
from survey.folders import Folders, use_folders
from survey.predictions import find_models, load_predictions, made_by


def find_blendable(folders: Folders) -> list[str]:
    """Return the names of the models that predicted the test set; each must have predicted the validation set, too."""
    names = find_models(folders, "test")
    for name in names:
        if not (valid := folders.augmented("valid", name)).exists():
            raise DataError(
                f"{valid} is missing, to go with {folders.augmented('test', name)}; run {made_by(name)} again"
            )
    return names


def residual_grams(residuals: np.ndarray) -> np.ndarray:
    """Return the mean products of the models' residuals, (37, models, models), from residuals (models, n, 37).

    All that a fit needs: where weights sum to one, the blend's mean squared error is weights @ gram @ weights.
    """
    by_answer = residuals.astype(np.float64).transpose(2, 0, 1)
    return by_answer @ by_answer.transpose(0, 2, 1) / residuals.shape[1]


def blend_rmse(weights: np.ndarray, grams: np.ndarray) -> float:
    """Return the RMSE over all answers of the blend with weights (37, models), from the Gram matrices of answers."""
    return float(np.sqrt(np.maximum(np.einsum("am,amk,ak->a", weights, grams, weights), 0).mean()))


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


def fit_blends(grams: np.ndarray) -> dict[str, np.ndarray]:
    """Return the weights (37, models) of each blend by the name of its file, from the Gram matrices of answers."""
    num_answers, num_models, _ = grams.shape
    return {
        "blended_predictions_uniform": np.full((num_answers, num_models), 1 / num_models),
        "blended_predictions": np.tile(fit_weights(grams.mean(axis=0)), (num_answers, 1)),
        "blended_predictions_separate": np.stack([fit_weights(gram) for gram in grams]),
    }


def print_table(names: list[str], grams: np.ndarray, blends: dict[str, np.ndarray]) -> None:
    """Print each model's validation RMSE and weight, and each blend's validation RMSE."""
    width = max(map(len, [*names, *blends]))
    gram, weights = grams.mean(axis=0), blends["blended_predictions"][0]
    print(f"{'':{width}}  validation RMSE  weight")
    for name, squared_error, weight in zip(names, gram.diagonal(), weights, strict=True):
        print(f"{name:{width}}  {np.sqrt(squared_error):15.6f}  {weight:.4f}")
    for stem, blend in blends.items():
        print(f"{stem:{width}}  {blend_rmse(blend, grams):15.6f}")


def write_blends(folders: Folders, names: list[str], blends: dict[str, np.ndarray]) -> None:
    """Blend the models' predictions of the test set with each blend's weights (37, models), and write them."""
    blended = {stem: np.zeros((load_data.num_test, decision_tree.NUM_ANSWERS)) for stem in blends}
    for index, name in enumerate(tqdm(names, desc="blending", unit="model", disable=None)):
        predictions = load_predictions(folders, "test", name, load_data.num_test)
        for stem, weights in blends.items():
            blended[stem] += weights[:, index] * predictions
    for stem, predictions in blended.items():
        path = folders.predictions / "blended" / f"{stem}.npy.gz"
        save_gz(path, predictions.astype(np.float32))
        print(f"wrote {len(predictions)} rows to {path}")


def main() -> None:
    args = script_parser(__doc__).parse_args()
    folders = use_folders(args.root, args.data)
    names = find_blendable(folders)
    _, valid = images.split(load_data.num_train)
    labels = images.load_labels()[valid]
    residuals = np.stack([load_predictions(folders, "valid", name, len(valid)) - labels for name in names])
    grams = residual_grams(residuals)
    blends = fit_blends(grams)
    print_table(names, grams, blends)
    write_blends(folders, names, blends)


if __name__ == "__main__":
    run_script(main)
