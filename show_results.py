"""Show what came out: each model's validation error beside a baseline, the submissions, and a picture of predictions.

The baseline predicts the mean votes of the training galaxies for every galaxy. The picture shows validation galaxies
with what volunteers answered and what the model predicts, question by question along the decision tree.
"""

import argparse
from pathlib import Path

import numpy as np

import decision_tree
import load_data
from load_data import DataError

# Kinds of galaxies worth seeing: for each of these answers, the validation galaxy that got the most votes for it.
SHOWN_ANSWERS = ((7, 1), (2, 1), (4, 1), (3, 1), (6, 1), (7, 3))


def score(predictions: np.ndarray, targets: np.ndarray) -> float:
    """Return the root mean squared error over all galaxies and answers."""
    return float(np.sqrt(np.mean((predictions - targets) ** 2, dtype=np.float64)))


def pick_galaxies(targets: np.ndarray) -> list[int]:
    """Return rows of targets (n, 37), one for each of SHOWN_ANSWERS, no row twice."""
    chosen: list[int] = []
    for answer in SHOWN_ANSWERS[: len(targets)]:
        order = np.argsort(-targets[:, decision_tree.column(*answer)], kind="stable")
        chosen.append(next(int(row) for row in order if row not in chosen))
    return chosen


def draw(images: list[np.ndarray], predictions: np.ndarray, targets: np.ndarray, title: str, path: Path) -> None:
    """Draw galaxies (424, 424, 3) above their predicted and true votes (n, 37) into a PNG."""
    import matplotlib  # a second that --help need not pay

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = np.arange(decision_tree.NUM_ANSWERS)
    colours = np.concatenate([[f"C{q % 10}"] * len(tree.answers) for q, tree in decision_tree.QUESTIONS.items()])
    figure, axes = plt.subplots(
        2, len(images), figsize=(2.4 * len(images) + 1.6, 10.5), height_ratios=(1, 3.4), squeeze=False
    )
    for (top, below), image, predicted, true in zip(axes.T, images, predictions, targets, strict=True):
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
    with load_data.replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    plt.close(figure)


def show(args: argparse.Namespace) -> None:
    """Print the table and draw the picture."""
    folders = load_data.use_folders(args.root, args.data)
    labels = load_data.load_solutions()
    train, valid = load_data.split(load_data.num_train)
    targets = labels[valid]
    folder = folders.augmented("valid", "").parent
    names = sorted(path.name.removesuffix(".npy.gz") for path in folder.glob("*.npy.gz"))
    if not names:
        raise DataError(f"expected validation predictions in {folder}, got none; run a predict_augmented_npy script")
    predictions = {
        name: load_data.load_predictions(
            folders.augmented("valid", name), len(valid), f"the predict_augmented_npy script of {name}"
        )
        for name in names
    }
    scores = {name: score(each, targets) for name, each in predictions.items()}
    width = max(map(len, names))
    print(f"{'validation RMSE':{width}}")
    print(f"{'mean votes of the training galaxies':{width}}  {score(labels[train].mean(axis=0), targets):.6f}")
    for name, value in scores.items():
        print(f"{name:{width}}  {value:.6f}")
    best = min(scores, key=scores.__getitem__)
    rows = pick_galaxies(targets)
    images = [load_data.load_image(load_data.train_ids[valid[row]], normalise=False) for row in rows]
    path = Path(args.output) if args.output else folders.predictions / "predictions.png"
    draw(images, predictions[best][rows], targets[rows], f"{best}, validation RMSE {scores[best]:.4f}", path)
    print(f"picture: {path}")
    for submission in sorted(folders.predictions.rglob("*.csv.gz")):
        print(f"submission: {submission}")


def main() -> None:
    parser = load_data.script_parser(__doc__)
    parser.add_argument("--output", metavar="PNG", help="where the picture goes (default: predictions/final/)")
    show(parser.parse_args())


if __name__ == "__main__":
    load_data.run_script(main)
