"""Blend the predictions of all models that have a file in predictions/final/augmented/test/, in four ways.

- blended_predictions_uniform.npy.gz: the plain mean. In 2014 this was the best one, and the winning submission.
- blended_predictions.npy.gz: a weighted mean, its weights fitted to the validation galaxies.
- blended_predictions_questions.npy.gz: the same with weights of their own for each of the 11 questions.
- blended_predictions_separate.npy.gz: the same for each of the 37 answers.

All go to predictions/final/blended/. Weights of their own break the sums of the decision tree, by a few hundredths;
they are restored, unless --raw leaves them as in 2014. Printed are the RMSE on the validation galaxies, and
cross-validated: on galaxies that the weights were not fitted to. A model of no weight contributes nothing, and may be
better left out of the uniform blend, too (--exclude).

A model that was trained on all galaxies (--all-galaxies) has no validation galaxies: it is blended with the weights of
its twin that was not, in the twin's place.

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
    """Return the models to blend: whose validation predictions are weighed, and whose test predictions they stand for.

    Raises DataError for a model without validation predictions, for one that is named and not there, and where none is
    left.
    """
    found = find_models(folders, "test")
    for flag, names in (("--exclude", excluded), ("--only", only or [])):
        if strangers := sorted(set(names) - set(found)):
            raise DataError(f"{flag} {strangers[0]}: expected one of {', '.join(found)}")
    chosen: dict[str, str] = {}
    for name in found:
        if name not in excluded and (not only or name in only):
            chosen[twin_of(name)] = name  # in order, so that a twin trained on all galaxies takes the other's place
    if not chosen:
        raise DataError("expected a model to blend, but all are excluded")
    for twin, name in chosen.items():
        if not (valid := folders.augmented("valid", twin)).exists():
            raise DataError(
                f"{valid} is missing, to go with {folders.augmented('test', name)}; run {made_by(twin)} again"
            )
    return chosen


def print_table(names: list[str], predictions: np.ndarray, labels: np.ndarray, raw: bool) -> dict[str, np.ndarray]:
    """Print each model's validation RMSE and weight, and each blend's; return the blends' weights (37, models)."""
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
        print(f"without {names[model]} the uniform blend's RMSE is {value:.6f}: no worse (--exclude {names[model]})")
    return blends


def write_blends(folders: Folders, names: list[str], blends: dict[str, np.ndarray], raw: bool) -> None:
    """Blend the models' predictions of the test galaxies with each blend's weights (37, models), and write them."""
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
    parser.add_argument("--exclude", action="append", default=[], metavar="MODEL", help="leave out; may be given again")
    parser.add_argument("--only", action="append", metavar="MODEL", help="blend this one; may be given again")
    parser.add_argument("--raw", action="store_true", help="leave sums that break the decision tree, as in 2014")
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
