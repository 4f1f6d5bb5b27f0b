"""Show results: validation RMSE of each model and of a baseline, submissions, and a picture of predictions.

The baseline predicts the mean votes of the training galaxies for every galaxy. The picture shows validation galaxies,
the predictions of the best model and the volunteers' votes side by side, question by question.

With --norms, show weights instead: the norms of the columns of each dense layer of trained models, the limits of their
norm constraint, and histograms. From such histograms the limits of 2014 were chosen (documentation of 2014, 2.3.4).
"""

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from machine.command_line import check_page_name, positive_int, run_script, script_parser

import numpy as np

from galaxy.tree import Tree
from machine import products, seals
from machine.arrays import load_pickle
from machine.files import DataError, read_text, replacing
from machine.products import Product
from survey import fold_comparison, images
from survey.folders import Folders, use_folders
from survey.noise_floor import NoiseFloor, describe, read_floor
from survey.predictions import find_models, load_predictions, rmse
from survey.survey_tree import read_tree

# One dark colour per question, so that a pale bar of it is told from a white page.
QUESTION_COLOURS = (
    "#1f6fb4", "#c8322b", "#2f8f6b", "#b9770f", "#8a4fa3", "#16899f",
    "#6b5a10", "#a03070", "#4a5a6a", "#3f8f1f", "#7a4a2a",
)  # fmt: skip
# Of the seals: a page or a picture of another command is not replaced.
SOURCE = seals.source_of("show_results.py")
# The picture shows the validation galaxy with the most votes for each of these answers, as far as the tree has them,
# and for the first answers of its questions.
SHOWN_ANSWERS = ("completely round", "edge-on", "spiral", "bar", "odd", "cigar-shaped")


def pick_galaxies(labels: np.ndarray, tree: Tree) -> list[int]:
    """Return one row of labels (n, answers) for each shown answer, without repetition."""
    chosen: list[int] = []
    columns = [tree.words.index(word) for word in SHOWN_ANSWERS if word in tree.words]
    columns += [own.start for own in tree.slices.values() if own.start not in columns]
    columns += [column for column in range(tree.num_answers) if column not in columns]
    for column in columns[: min(len(labels), len(SHOWN_ANSWERS))]:
        order = np.argsort(-labels[:, column], kind="stable")
        chosen.append(next(int(row) for row in order if row not in chosen))
    return chosen


def draw(
    pixels: list[np.ndarray], predictions: np.ndarray, labels: np.ndarray, tree: Tree, title: str, path: Path
) -> None:
    """Draw each galaxy (424, 424, 3) above its predicted and voted fractions (n, answers), side by side, into a PNG.

    A group per question, named, in the question's own colour: saturated bars are predictions, pale ones votes.
    """
    import matplotlib  # takes a second, which --help does not need

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    # One place per answer; a question begins with a place for its name.
    places, names, y = np.empty(tree.num_answers), [], 0.0
    question_colours = [QUESTION_COLOURS[index % len(QUESTION_COLOURS)] for index in range(len(tree.questions))]
    for question, answers in tree.slices.items():
        names.append((y, tree.question(question).text, question_colours[question - 1]))
        places[answers] = y + 1 + np.arange(answers.stop - answers.start)
        y = places[answers][-1] + 1.4
    colours = np.array(question_colours)[tree.question_of]
    figure, axes = plt.subplots(
        2, len(pixels), figsize=(2.3 * len(pixels) + 3, 13), height_ratios=(1, 5.2), squeeze=False, sharey="row",
        layout="constrained",
    )  # fmt: skip
    for (top, below), image, predicted, voted in zip(axes.T, pixels, predictions, labels, strict=True):
        top.imshow(image[108:-108, 108:-108])
        top.axis("off")
        below.barh(places - 0.2, np.clip(predicted, 0, 1), color=colours, height=0.4)
        below.barh(places + 0.2, voted, color=colours, height=0.4, alpha=0.35)
        below.set(xlim=(0, 1.02), ylim=(y, -0.8), xticks=(0, 0.5, 1), xlabel="fraction of volunteers")
        below.spines[["top", "right"]].set_visible(False)
        below.tick_params(axis="y", length=0)
    axes[1, 0].set_yticks(places, tree.words, fontsize=8)
    for y, text, colour in names:
        label = axes[1, 0].text(0.0, y + 0.15, text, fontsize=7.5, color=colour, weight="bold", va="center")
        label.set_in_layout(False)  # it may reach over the next galaxy
    bars = [plt.Rectangle((0, 0), 1, 1, color="0.35", alpha=alpha) for alpha in (1, 0.35)]
    figure.legend(bars, ["predicted", "voted by volunteers"], loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(title, fontsize="large")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, sealed=True) as temporary:
        figure.savefig(temporary, dpi=110, format="png", metadata={"Comment": seals.blank(SOURCE)})
    plt.close(figure)


def print_scores(
    predictions: dict[str, np.ndarray], labels: np.ndarray, floor: NoiseFloor | None = None
) -> dict[str, float]:
    """Print the validation RMSE of the baseline and of each model; return the models'.

    Labels are (num_train, answers). The noise `floor` stands beside each.
    """
    train, valid = images.split(len(labels))
    scores = {name: rmse(each, labels[valid]) for name, each in predictions.items()}
    scores = dict(sorted(scores.items(), key=lambda item: item[1]))  # the best model first
    width = max(map(len, scores))
    beside = f"  {floor.total:.6f}" if floor else ""
    print(f"{'validation RMSE':{width}}" + (f"  noise floor of {floor.source}" if floor else ""))
    baseline = rmse(labels[train].mean(axis=0), labels[valid])
    for name, value in {"mean votes of the training galaxies": baseline, **scores}.items():
        print(f"{name:{width}}  {value:.6f}{beside}")
    return scores


def check_products(paths: Iterable[Path | None], inputs: Iterable[Path], args: argparse.Namespace) -> None:
    """Raise DataError where a picture or a page would replace an input, or a file of somebody else."""
    products.check((Product(path, SOURCE) for path in paths if path), inputs, args.overwrite)


def show(args: argparse.Namespace) -> None:
    """Print the table of scores, draw the picture, and write the page of --report."""
    folders = use_folders(args.root, args.data)
    path = Path(args.output) if args.output else folders.predictions / "predictions.png"
    check_products(
        [path, args.report], [folders.augmented("valid", name) for name in find_models(folders, "valid")], args
    )
    labels = images.load_labels()
    _, valid = images.split(len(labels))
    names = find_models(folders, "valid")
    predictions = {name: load_predictions(folders, "valid", name, len(valid)) for name in names}
    tree = read_tree(folders)
    floor = read_floor(labels, valid, tree, args.votes_per_galaxy)
    scores = print_scores(predictions, labels, floor)
    best = next(iter(scores))
    if floor:
        print("\n".join(describe(floor, predictions[best], labels[valid], tree, best)))
    rows = pick_galaxies(labels[valid], tree)
    ids = images.ids_of("train")[valid[rows]]
    pixels = [images.read_image(images.image_path(folders.images("train"), id)) for id in ids]
    title = f"{best}: validation RMSE {scores[best]:.4f}"
    draw(pixels, predictions[best][rows], labels[valid][rows], tree, title, path)
    print(f"picture: {path}")
    if args.report:
        from report import page, training_page  # imports templates and figures, which the table does not need

        page.write(training_page.build(folders, args.votes_per_galaxy), args.report, SOURCE)
        print(f"report: {args.report}")
    for submission in sorted(folders.predictions.rglob("*.csv.gz")):
        print(f"submission: {submission}")


@dataclass(frozen=True)
class Norms:
    """L2 norms (columns,) of the weights of each unit of a dense layer, and their limit, or None if unknown."""

    inputs: int
    values: np.ndarray
    limit: float | None

    @property
    def num_over(self) -> int:
        """The number of norms that exceed the limit by more than rounding."""
        return 0 if self.limit is None else int((self.values > self.limit * (1 + 1e-5)).sum())

    def row(self, layer_index: int) -> str:
        """Return the row of the table for this layer; layers are counted from 1 at the bottom."""
        quantiles = " ".join(f"{value:8.4f}" for value in np.percentile(self.values, (0, 5, 50, 95, 100)))
        num = len(self.values)
        over = "" if self.limit is None else f"{self.limit:8g}  {self.num_over} ({self.num_over / num:.1%})"
        return f"{layer_index:6} {self.inputs:7} {num:8} {quantiles} {over}"


HEADER = " dense  inputs  columns      min      5 %   median     95 %      max    limit  over"


def read_norms(folders: Folders, name: str) -> list[Norms]:
    """Return the norms of a trained model's dense layers, from the bottom up.

    The run record names the dense layers and their limits. Without a record (2014 had none), every matrix counts as the
    weights of a dense layer, and limits are unknown. Raises DataError unless the analysis pickle holds parameters.
    """
    path = folders.analysis(name)
    analysis = load_pickle(path, f"{name}.py")
    values = analysis.get("param_values") if isinstance(analysis, dict) else None
    if not isinstance(values, (list, tuple)) or not all(isinstance(value, np.ndarray) for value in values):
        raise DataError(f"{path}: expected a dictionary with arrays as param_values; run {name}.py again")
    classes, limits = _read_record(path.with_suffix(".json"))
    classes = classes if len(classes) == len(values) else ["DenseLayer"] * len(values)
    matrices = [
        value for value, name in zip(values, classes, strict=True) if value.ndim == 2 and name.endswith("DenseLayer")
    ][::-1]
    limits = [*limits, *[None] * len(matrices)][: len(matrices)]
    norms = [np.sqrt(np.square(each, dtype=np.float64).sum(axis=0)) for each in matrices]
    if not all(len(each) and np.isfinite(each).all() for each in norms):
        raise DataError(f"{path}: expected finite parameters, got NaN or infinity; train the model again")
    return [Norms(len(each), *rest) for each, *rest in zip(matrices, norms, limits, strict=True)]


def _read_record(path: Path) -> tuple[list[str], list[float]]:
    """Return the layer class of each parameter and the limits of the norm constraint; empty lists if unknown."""
    try:
        experiment = json.loads(read_text(path, "train again"))["experiment"]
        classes = [str(layer["class"]) for layer in experiment["network"] for _ in layer.get("parameters", [])]
        return classes, [float(limit) for limit in (experiment["norm_constraint"] or {"limits": []})["limits"]]
    except (DataError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return [], []


def draw_norms(norms: dict[str, list[Norms]], path: Path) -> None:
    """Draw histograms into a PNG: one row per model, one column per dense layer, limits as lines."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    num_columns = max(map(len, norms.values()))
    figure, axes = plt.subplots(
        len(norms), num_columns, figsize=(4 * num_columns, 2.6 * len(norms) + 0.6), squeeze=False, layout="constrained"
    )
    for row, (name, model_norms) in zip(axes, norms.items(), strict=True):
        for ax in row[len(model_norms) :]:
            ax.axis("off")
        for number, (ax, each) in enumerate(zip(row, model_norms, strict=False), 1):
            ax.hist(each.values, bins=50)
            if each.limit is not None:
                ax.axvline(each.limit, color="C3", label=f"limit {each.limit:g}")
                ax.legend(fontsize=8)
            ax.set_title(
                f"{name}\n" * (number == 1) + f"dense layer {number}, {each.inputs} inputs", fontsize=8, loc="left"
            )
    figure.supxlabel("norm of the weights into a unit", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, sealed=True) as temporary:
        figure.savefig(temporary, dpi=110, format="png", metadata={"Comment": seals.blank(SOURCE)})
    plt.close(figure)


def show_norms(args: argparse.Namespace) -> None:
    """Print the table of norms and draw their histograms, for the named models or for all trained models."""
    folders = use_folders(args.root, args.data)
    folder = folders.analysis("").parent
    names = [name.removesuffix(".py") for name in args.norms] or sorted(path.stem for path in folder.glob("*.pkl"))
    if not names:
        raise DataError(f"expected analysis pickles in {folder}, got none; run a try_*.py script first")
    path = Path(args.output) if args.output else folders.predictions / "norms.png"
    check_products([path], map(folders.analysis, names), args)
    norms = {}
    for name in names:
        norms[name] = read_norms(folders, name)
        print("\n".join([name, HEADER, *(each.row(number) for number, each in enumerate(norms[name], 1))]))
    if any(norms.values()):
        draw_norms(norms, path)
        print(f"histograms: {path}")


def main() -> None:
    parser = script_parser(
        __doc__,
        examples=(
            "python show_results.py --report report.html",
            "python show_results.py --norms maxout2048_extradense",
            "python show_results.py --folds try_finetune_efficientnet_lite0 --against box.csv",
        ),
    )
    parser.group("output").add_argument(
        "--output",
        metavar="PNG",
        help="file of the picture (default: predictions.png, or norms.png, in predictions/final/)",
    )
    parser.group("output").add_argument(
        "--norms",
        nargs="*",
        metavar="MODEL",
        help="show norms of the weights of these models (default: all trained models); use it to choose limits",
    )
    parser.group("output").add_argument(
        "--report",
        type=Path,
        metavar="HTML",
        help="also write a page with learning curves, calibration and galaxies, one .html file",
    )
    parser.group("output").add_argument(
        "--votes-per-galaxy",
        type=positive_int,
        metavar="N",
        help="show the error that the noise of N volunteers leaves, at least 2 (default: the known counts, if any)",
    )
    parser.group("cross-validation").add_argument(
        "--folds", metavar="NAME", help="show the RMSE of an experiment by the networks of all its folds (--fold)"
    )
    parser.group("cross-validation").add_argument(
        "--against", type=Path, metavar="TABLE", help="beside that of a weighted catalogue of the training images"
    )
    args = parser.parse_args()
    if args.against and not args.folds:
        raise DataError("expected --folds with --against: the name of an experiment whose folds are compared")
    if args.folds:
        use_folders(args.root, args.data)
        return print("\n".join(fold_comparison.compare(args.folds, args.against)))
    if args.report:
        check_page_name(args.report)
        if args.norms is not None:
            raise DataError("expected --norms or --report, got both; run the command once for each")
    (show if args.norms is None else show_norms)(args)


if __name__ == "__main__":
    run_script(main)
