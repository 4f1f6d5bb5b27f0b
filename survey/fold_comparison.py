"""Cross-validated scores: an experiment by the networks of all its folds, beside a catalogue of the same galaxies.

Errors are the standard deviations over bootstrap samples of the galaxies; both predictions share the samples.
"""

from pathlib import Path

import numpy as np

from machine.files import DataError
from survey import folders, folds, images, own_labels
from survey.survey_tree import read_tree

NUM_SAMPLES = 2000


def bootstrap(squares: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return the RMSE (samples, models) of bootstrap samples, from mean squared errors (galaxies, models)."""
    num = len(squares)
    counts = np.random.default_rng(seed).multinomial(num, np.full(num, 1 / num), NUM_SAMPLES)
    return np.sqrt(counts @ squares / num)


def squared_errors(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the mean squared error of each galaxy (n,), of predictions (n, answers) clipped to [0, 1]."""
    return np.square(np.clip(predictions, 0, 1) - labels).mean(axis=1, dtype=np.float64)


def compare(name: str, against: Path | None = None) -> list[str]:
    """Return lines with the RMSE of an experiment's folds, and of a table of predictions with the training ids.

    Galaxies without predictions in the table are left out. Raises DataError.
    """
    tree, labels = read_tree(folders.current), images.load_labels()
    ids = [str(id) for id in images.ids_of("train")]
    name = name.removesuffix(".py")
    models = {name: folds.load_predictions(name, tree.num_answers)[0]}
    rows = np.arange(len(ids))
    if against is not None:
        table = own_labels.read(against, ids, tree)
        row_of = {key: row for row, key in enumerate(table.names)}
        rows = np.array([row for row, id in enumerate(ids) if id in row_of])
        if len(row_of) < len(table.names):
            raise DataError(f"{against}: expected one row per galaxy; remove all but one")
        others = np.empty_like(models[name])
        others[rows] = table.labels[[row_of[ids[row]] for row in rows]]
        models[str(against)] = others
    models["mean votes"] = np.broadcast_to(labels.mean(axis=0), labels.shape)
    squares = np.stack([squared_errors(each[rows], labels[rows]) for each in models.values()], axis=1)
    samples = bootstrap(squares)
    width = max(map(len, models))
    lines = [f"RMSE of {len(rows)} galaxies by networks that were not trained on them, and its standard error:"]
    for title, score, error in zip(models, np.sqrt(squares.mean(axis=0)), samples.std(axis=0), strict=True):
        lines.append(f"{title:{width}}  {score:.4f} +- {error:.4f}")
    if against is not None:
        low, high = np.quantile(samples[:, 0] - samples[:, 1], (0.025, 0.975))
        verdict = "better" if high < 0 else "worse" if low > 0 else "not told apart"
        lines.append(f"{name} is {verdict}: difference {low:+.4f} to {high:+.4f} (95 %)")
    return lines
