"""Show what came out: each model's validation error beside a baseline, the submissions, and a picture of predictions.

The baseline predicts the mean votes of the training galaxies for every galaxy. The picture shows validation galaxies
with what volunteers answered and what the model predicts, question by question along the decision tree.
"""

import argparse
from pathlib import Path

import numpy as np

import load_data
from machine.command_line import run_script, script_parser
from machine.files import replacing
from survey import decision_tree, images
from survey.folders import use_folders
from survey.predictions import find_models, load_predictions
from survey.scores import rmse

# Kinds of galaxies worth seeing: for each of these answers, the validation galaxy that got the most votes for it.
SHOWN_ANSWERS = ((7, 1), (2, 1), (4, 1), (3, 1), (6, 1), (7, 3))


def pick_galaxies(labels: np.ndarray) -> list[int]:
    """Return rows of labels (n, 37), one for each of SHOWN_ANSWERS, no row twice."""
    chosen: list[int] = []
    for answer in SHOWN_ANSWERS[: len(labels)]:
        order = np.argsort(-labels[:, decision_tree.column(*answer)], kind="stable")
        chosen.append(next(int(row) for row in order if row not in chosen))
    return chosen


def draw(pixels: list[np.ndarray], predictions: np.ndarray, labels: np.ndarray, title: str, path: Path) -> None:
    """Draw galaxies (424, 424, 3) above their predicted and true votes (n, 37) into a PNG."""
    import matplotlib  # a second that --help need not pay

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = np.arange(decision_tree.NUM_ANSWERS)
    colours = np.concatenate([[f"C{q % 10}"] * len(tree.answers) for q, tree in decision_tree.QUESTIONS.items()])
    figure, axes = plt.subplots(
        2, len(pixels), figsize=(2.4 * len(pixels) + 1.6, 10.5), height_ratios=(1, 3.4), squeeze=False
    )
    for (top, below), image, predicted, true in zip(axes.T, pixels, predictions, labels, strict=True):
        top.imshow(image[108:-108, 108:-108])
        top.axis("off")
        for number, answers in decision_tree.SLICES.items():
            below.axhspan(answers.start - 0.5, answers.stop - 0.5, color=f"C{number % 10}", alpha=0.07, linewidth=0)
        below.barh(rows, predicted, color=colours, height=0.72)
        below.plot(true, rows, "k.", markersize=5)
        below.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5), xticks=(0, 0.5, 1), yticks=[])
        below.spines[["top", "right"]].set_visible(False)
    axes[1, 0].set_yticks(rows, decision_tree.ANSWER_NAMES, fontsize=8)
    figure.suptitle(f"{title}\nbars: predicted vote fractions, dots: the volunteers'", fontsize=11)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    plt.close(figure)


def print_scores(predictions: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, float]:
    """Print the validation error of the baseline and of each model; return the models'. Labels are (num_train, 37)."""
    train, valid = images.split(load_data.num_train)
    scores = {name: rmse(each, labels[valid]) for name, each in predictions.items()}
    width = max(map(len, scores))
    print(f"{'validation RMSE':{width}}")
    print(f"{'mean votes of the training galaxies':{width}}  {rmse(labels[train].mean(axis=0), labels[valid]):.6f}")
    for name, value in scores.items():
        print(f"{name:{width}}  {value:.6f}")
    return scores


def show(args: argparse.Namespace) -> None:
    """Print the table and draw the picture."""
    folders = use_folders(args.root, args.data)
    labels = images.load_labels()
    _, valid = images.split(load_data.num_train)
    names = find_models(folders, "valid")
    predictions = {name: load_predictions(folders, "valid", name, len(valid)) for name in names}
    scores = print_scores(predictions, labels)
    best = min(scores, key=scores.__getitem__)
    rows = pick_galaxies(labels[valid])
    pixels = [load_data.load_image(load_data.train_ids[valid[row]], normalise=False) for row in rows]
    path = Path(args.output) if args.output else folders.predictions / "predictions.png"
    draw(pixels, predictions[best][rows], labels[valid][rows], f"{best}, validation RMSE {scores[best]:.4f}", path)
    print(f"picture: {path}")
    for submission in sorted(folders.predictions.rglob("*.csv.gz")):
        print(f"submission: {submission}")


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--output", metavar="PNG", help="where the picture goes (default: predictions/final/)")
    show(parser.parse_args())


if __name__ == "__main__":
    run_script(main)
