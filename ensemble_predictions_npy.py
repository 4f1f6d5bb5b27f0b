"""Blend the predictions of all models in predictions/final/augmented/test/, in four ways.

- blended_predictions_uniform.npy.gz: the plain mean. In 2014 this was the best blend, and the winning submission.
- blended_predictions.npy.gz: a weighted mean; the weights are fitted to the validation galaxies.
- blended_predictions_questions.npy.gz: separate weights for each question.
- blended_predictions_separate.npy.gz: separate weights for each answer.

The files are written to predictions/final/blended/. Separate weights break the sums of the decision tree by a few
hundredths; so does a model that lost a question (all answers are zero), which is reported. The files keep such sums, as
in 2014, unless --obey-tree restores them. The table shows both. It has two RMSE: on the validation galaxies, and
cross-validated, on galaxies that the weights were not fitted to. A model with weight 0 contributes nothing; it may also
be better to exclude it from the uniform blend (--exclude).

The best blend, by its cross-validated RMSE, is printed and named in best.txt beside the blends.

A model that was trained on all galaxies (--all-galaxies) has no validation galaxies. It replaces its twin, the same
model trained on the training part only, and is blended with the twin's weights.

Source: documentation of 2014, 2.3.1, 2.4.2, 3.3.3 and 5.7.
"""

import argparse
import re
from pathlib import Path

from machine.command_line import run_script, script_parser

import numpy as np

from galaxy.tree import Tree
from machine import products, seals
from machine.arrays import save_gz
from machine.files import DataError, file_checksum, open_file, replacing
from machine.locks import alone
from machine.products import Product
from machine.progress import showing
from machine.seals import Seal
from survey import blending, images
from survey.folders import Folders, use_folders
from survey.predictions import describe_lost, find_models, load_predictions, made_by, rmse, twin_of
from survey.survey_tree import read_tree

# The line of best.txt.
_BEST = re.compile(rb"blended_predictions\w*\.npy\.gz cross-validated RMSE [0-9.]+, uniform blend [0-9.]+\n")


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


def print_table(
    names: list[str], predictions: np.ndarray, labels: np.ndarray, tree: Tree, obey_tree: bool
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Print the validation RMSE of models and blends, and weights.

    Return the weights (answers, models) and the cross-validated RMSE of each blend.
    """
    grams = blending.residual_grams(predictions - labels)
    blends = blending.fit_blends(grams, tree)
    crossed = blending.cross_predict(predictions, labels, tree)
    width = max(map(len, [*names, *blends]))
    print(f"{'':{width}}  validation RMSE  weight")
    for name, squared_error, weight in zip(
        names, grams.mean(axis=0).diagonal(), blends["blended_predictions"][0], strict=True
    ):
        print(f"{name:{width}}  {np.sqrt(squared_error):15.6f}  {weight:.4f}")
    scores = {}
    print(f"{'':{width}}  validation RMSE  cross-validated  with --obey-tree  cross-validated")
    for stem, weights in blends.items():
        blended = blending.blend(weights, predictions), crossed[stem]
        plain, obeying = ([rmse(each, labels) for each in versions] for versions in (blended, map(tree.obey, blended)))
        scores[stem] = (obeying if obey_tree else plain)[1]
        print(f"{stem:{width}}  {plain[0]:15.6f}  {plain[1]:15.6f}  {obeying[0]:16.6f}  {obeying[1]:15.6f}")
    for model, value in blending.harmless_removals(predictions, labels, tree, obey_tree).items():
        print(
            f"leaving out {names[model]} changes the RMSE of the uniform blend from "
            f"{scores['blended_predictions_uniform']:.6f} to {value:.6f}; to do so: --exclude {names[model]}"
        )
    return blends, scores


def blend_path(folders: Folders, stem: str) -> Path:
    """Return the file of a blend."""
    return folders.predictions / "blended" / f"{stem}.npy.gz"


def write_blends(
    folders: Folders, names: list[str], blends: dict[str, np.ndarray], tree: Tree, obey_tree: bool, source: str
) -> None:
    """Blend the models' predictions of the test galaxies by weights (answers, models) of each blend; write the files.

    `source` is that of their seals. Print a line for each model that lost a question.
    """
    num_test = len(images.ids_of("test"))
    blended = {stem: np.zeros((num_test, tree.num_answers)) for stem in blends}
    notes = []
    for index, name in enumerate(showing(names, desc="blending", unit="model")):
        predictions = load_predictions(folders, "test", name, num_test)
        notes.append(describe_lost(name, "test galaxies", predictions, tree))
        for stem, weights in blends.items():
            blended[stem] += weights[:, index] * predictions
    for note in filter(None, notes):
        print(f"{note}; --exclude the model, or restore the sums of the blends with --obey-tree")
    for stem, predictions in blended.items():
        path = blend_path(folders, stem)
        save_gz(path, (tree.obey(predictions) if obey_tree else predictions).astype(np.float32), source)
        print(f"wrote {len(predictions)} rows to {path}")


def best_path(folders: Folders) -> Path:
    """Return the file that names the best blend."""
    return folders.predictions / "blended" / "best.txt"


def _best_seal(path: Path) -> Seal | None:
    """Return a seal for a file of one line, as `write_best` writes it."""
    try:
        with open_file(path, "") as file:
            line = file.read(1000)
    except DataError:
        return None
    return Seal(seals.NO_SOURCE) if _BEST.fullmatch(line) else None


def write_best(folders: Folders, scores: dict[str, float]) -> None:
    """Print the blend with the lowest cross-validated RMSE, and write its name and the reason to best.txt."""
    best = min(scores, key=scores.__getitem__)
    reason = f"cross-validated RMSE {scores[best]:.6f}, uniform blend {scores['blended_predictions_uniform']:.6f}"
    with replacing(best_path(folders)) as temporary:
        temporary.write_text(f"{best}.npy.gz {reason}\n")
    print(f"best blend: {blend_path(folders, best)} ({reason})")


def parse() -> argparse.Namespace:
    parser = script_parser(
        __doc__,
        examples=(
            "python ensemble_predictions_npy.py",
            "python ensemble_predictions_npy.py --exclude try_convnet_cc_multirotflip_3x69r45_bigger --obey-tree",
        ),
    )
    group = parser.group("blends")
    group.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="MODEL",
        help="model to leave out; repeat the flag for several (default: none)",
    )
    group.add_argument(
        "--only", action="append", metavar="MODEL", help="model to blend; repeat the flag for several (default: all)"
    )
    group.add_argument(
        "--obey-tree",
        action="store_true",
        help="restore the sums of the decision tree in all four blends (default: keep them, as in 2014)",
    )
    return parser.parse_args()


def main() -> None:
    args = parse()
    folders = use_folders(args.root, args.data)
    with alone(folders.lock("models", "blend"), "blending"):
        run(args, folders)


def run(args: argparse.Namespace, folders: Folders) -> None:
    """Fit the weights, and write the blends and the name of the best one."""
    models = find_blendable(folders, args.exclude, args.only)
    inputs = [
        folders.augmented(part, name)
        for twin, model in models.items()
        for part, name in (("valid", twin), ("test", model))
    ]
    written = [blend_path(folders, stem) for stem in blending.BLENDS]
    best = Product(best_path(folders), read_seal=_best_seal)
    products.check([*map(Product, written), best], inputs, args.overwrite)
    num_test = len(images.ids_of("test"))
    for name in models.values():  # a damaged file is named before hours of fits
        load_predictions(folders, "test", name, num_test)
    labels, tree = images.load_labels(), read_tree(folders)
    checksums = [file_checksum(path) for path in inputs]
    source = seals.source_of(*models.values(), *checksums, labels.tobytes(), str(args.obey_tree))
    products.announce(Product(path, source) for path in written)
    _, valid = images.split(len(labels))
    predictions = np.stack([load_predictions(folders, "valid", twin, len(valid)) for twin in models])
    blends, scores = print_table(list(models.values()), predictions, labels[valid], tree, args.obey_tree)
    write_blends(folders, list(models.values()), blends, tree, args.obey_tree, source)
    write_best(folders, scores)


if __name__ == "__main__":
    run_script(main)
