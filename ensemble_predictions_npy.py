"""Blend the predictions of all models in predictions/final/augmented/test/, in four ways.

- blended_predictions_uniform.npy.gz: the plain mean. In 2014 this was the best blend, and the winning submission.
- blended_predictions.npy.gz: a weighted mean; the weights are fitted to the validation galaxies.
- blended_predictions_questions.npy.gz: separate weights for each of the 11 questions.
- blended_predictions_separate.npy.gz: separate weights for each of the 37 answers.

The files are written to predictions/final/blended/. Separate weights break the sums of the decision tree by a few
hundredths. The sums are restored, unless --raw keeps them as in 2014. Two RMSE are printed: on the validation galaxies,
and cross-validated, on galaxies that the weights were not fitted to. A model with weight 0 contributes nothing; it may
also be better to exclude it from the uniform blend (--exclude).

A model that was trained on all galaxies (--all-galaxies) has no validation galaxies. It replaces its twin, the same
model trained on the training part only, and is blended with the twin's weights.

Source: documentation of 2014, 2.3.1, 2.4.2, 3.3.3 and 5.7.
"""

import argparse

import numpy as np

from galaxy import decision_tree
from machine.command_line import run_script, script_parser
from machine.files import DataError, save_gz
from machine.progress import showing
from survey import blending, images
from survey.folders import Folders, use_folders
from survey.predictions import find_models, load_predictions, made_by, rmse, twin_of


def find_blendable(folders: Folders, excluded: list[str], only: list[str] | None = None) -> dict[str, str]:
    """Return the models to blend: {model with validation predictions: model with test predictions}.

    Raises DataError if a model has no validation predictions, if a named model does not exist, or if none remains.
    """
    available = find_models(folders, "test")
    for flag, names in (("--exclude", excluded), ("--only", only or [])):
        if strangers := sorted(set(names) - set(available)):
            raise DataError(f"{flag} {strangers[0]}: expected one of {', '.join(available)}")
    chosen: dict[str, str] = {}
    for name in available:
        if name not in excluded and (not only or name in only):
            chosen[twin_of(name)] = name  # sorted, so a model trained on all galaxies replaces its twin
    if not chosen:
        raise DataError("expected at least one model to blend, got none; exclude fewer")
    for twin, name in chosen.items():
        if not (valid := folders.augmented("valid", twin)).exists():
            raise DataError(
                f"{valid} is missing, but {folders.augmented('test', name)} exists; run {made_by(twin)} again"
            )
    return chosen


def print_table(names: list[str], predictions: np.ndarray, labels: np.ndarray, raw: bool) -> dict[str, np.ndarray]:
    """Print the validation RMSE of models and blends, and weights; return the weights (37, models) of each blend."""
    grams = blending.residual_grams(predictions - labels)
    blends = blending.fit_blends(grams)
    crossed = blending.cross_validate(predictions, labels, raw)
    width = max(map(len, [*names, *blends]))
    print(f"{'':{width}}  validation RMSE  weight")
    for name, squared_error, weight in zip(
        names, grams.mean(axis=0).diagonal(), blends["blended_predictions"][0], strict=True
    ):
        print(f"{name:{width}}  {np.sqrt(squared_error):15.6f}  {weight:.4f}")
    print(f"{'':{width}}  validation RMSE  cross-validated")
    for stem, weights in blends.items():
        fitted = rmse(blending.blend(weights, predictions, raw), labels)
        print(f"{stem:{width}}  {fitted:15.6f}  {crossed[stem]:15.6f}")
    for model, value in blending.harmless_removals(predictions, labels, raw).items():
        print(f"without {names[model]} the uniform blend's RMSE is {value:.6f}: no worse; use --exclude {names[model]}")
    return blends


def write_blends(folders: Folders, names: list[str], blends: dict[str, np.ndarray], raw: bool) -> None:
    """Blend the models' predictions of the test galaxies by the weights (37, models) of each blend; write the files."""
    num_test = len(images.ids_of("test"))
    blended = {stem: np.zeros((num_test, decision_tree.NUM_ANSWERS)) for stem in blends}
    for index, name in enumerate(showing(names, desc="blending", unit="model")):
        predictions = load_predictions(folders, "test", name, num_test)
        for stem, weights in blends.items():
            blended[stem] += weights[:, index] * predictions
    for stem, predictions in blended.items():
        path = folders.predictions / "blended" / f"{stem}.npy.gz"
        save_gz(path, (predictions if raw else decision_tree.obey(predictions)).astype(np.float32))
        print(f"wrote {len(predictions)} rows to {path}")


def parse() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="MODEL",
        help="model to leave out; repeat the flag for several (default: none)",
    )
    parser.add_argument(
        "--only", action="append", metavar="MODEL", help="model to blend; repeat the flag for several (default: all)"
    )
    parser.add_argument(
        "--raw", action="store_true", help="keep sums that break the decision tree, as in 2014 (default: restore them)"
    )
    return parser.parse_args()


def main() -> None:
    args = parse()
    folders = use_folders(args.root, args.data)
    models = find_blendable(folders, args.exclude, args.only)
    labels = images.load_labels()
    _, valid = images.split(len(labels))
    predictions = np.stack([load_predictions(folders, "valid", twin, len(valid)) for twin in models])
    blends = print_table(list(models.values()), predictions, labels[valid], args.raw)
    write_blends(folders, list(models.values()), blends, args.raw)


if __name__ == "__main__":
    run_script(main)
