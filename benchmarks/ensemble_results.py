"""Scores of an ensemble: each model and its cost, blends of more and more models, and the gain of own seeds.

    python benchmarks/ensemble_results.py --root DIR --classes classes.csv --class-means class_mean_votes.csv [NAME]
    python benchmarks/ensemble_results.py seeds [--root DIR]

The first reads the results of the workflow (`make ensemble`) in `DIR`: predictions of the validation galaxies, and the
costs of trainings and predictions in `analysis/costs`. It prints tables in Markdown, with minutes of processor time. It
draws how the error falls when models are added, the best ones first; weights are cross-validated. Blends have the sums
of the decision tree restored, as with --obey-tree. With a NAME it scores that model alone.

The second trains pairs of models, the best one and the same on centred galaxies: once with one seed for both (the same
images, order, perturbations and first weights), once with another seed for the second. It compares the validation RMSE
of the pairs' means.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from machine.command_line import positive_int, run_script, script_parser

from benchmarks.measuring import RESULTS, parser, print_environment, save, table
from benchmarks.peers import prepared, run_command
from galaxy.decision_tree import GALAXY_ZOO_2
from machine.arrays import load_pickle
from machine.files import DataError, replacing
from machine.tables import read_cells
from survey import blending, images
from survey.folders import Folders, use_folders
from survey.predictions import find_models, load_predictions, rmse

FIRST = "try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense"
SECOND = f"{FIRST}_pysex"
OWN = 1000  # far from all seeds that scripts declare
OF_TODAY = "try_finetune_"
WORDS = {
    "blended_predictions_uniform": "uniform",
    "blended_predictions": "weighted",
    "blended_predictions_questions": "weighted by question",
    "blended_predictions_separate": "weighted by answer",
}
DRAWN = {file: words for file, words in WORDS.items() if "question" not in words}


def nearest_class(predictions: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Return the class (n,) with the nearest mean votes (classes, 37) to each prediction (n, 37): least squares."""
    return ((predictions[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)


def load_means(csv: str | Path) -> pandas.DataFrame:
    """Load the mean votes (classes, 37) of each class; raises DataError for a file without them."""
    return read_cells(Path(csv), ["class", *GALAXY_ZOO_2.columns]).set_index("class").astype(float)


def load_classes(csv: str | Path, ids: np.ndarray) -> np.ndarray:
    """Load the class of each galaxy, (n,); raises DataError for a file without classes, or without some galaxy's."""
    cells = read_cells(Path(csv), ["GalaxyID", "class"]).dropna().astype(str)
    known = dict(zip(cells["GalaxyID"], cells["class"], strict=True))
    if missing := [each for each in ids if str(each) not in known]:
        raise DataError(f"{csv}: expected a class for each galaxy, got none for {missing[0]}; name another table")
    return np.array([known[str(each)] for each in ids])


def scorer(classes_csv: str, means_csv: str, indices: np.ndarray | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that maps predictions (n, 37) of training galaxies to whether the class is right (n,) bool.

    The classes are those of the clean sample of Dai & Tong 2018 (arXiv 1807.10406): completely round, in-between,
    cigar-shaped, edge-on, spiral. `indices` (n,) choose the galaxies; the default is the validation galaxies.
    """
    ids = images.load_ids("train")
    indices = images.split(len(ids))[1] if indices is None else indices
    classes = load_classes(classes_csv, ids)[indices]
    means = load_means(means_csv)
    return lambda predictions: means.index.to_numpy()[nearest_class(predictions, means.to_numpy())] == classes


def class_flags(description: str | None) -> argparse.ArgumentParser:
    """Return the argument parser of a benchmark that scores classes: `--root`, `--data`, the two tables."""
    flags = script_parser(description)
    flags.add_argument("--classes", required=True, metavar="CSV", help="GalaxyID,class")
    flags.add_argument("--class-means", required=True, metavar="CSV", help="class and 37 columns of mean votes")
    flags.add_argument("--output", type=Path, default=RESULTS, metavar="DIR", help="default: %(default)s")
    return flags


def short(name: str) -> str:
    """Return a model's name without the common prefix."""
    return name.removeprefix("try_convnet_cc_multirotflip_3x69r45_").removeprefix("try_")


def cost(folders: Folders, commands: str) -> tuple[str, str]:
    """Return processor minutes and memory of the last runs of some commands as text; dashes if unknown."""
    paths = sorted((folders.root / "analysis" / "costs").glob(f"{commands}.tsv"))
    if not paths:
        return "-", "-"
    rows = pandas.concat([pandas.read_csv(path, sep="\t").iloc[-1:] for path in paths])
    return f"{rows['cpu_time'].sum() / 60:.1f}", f"{rows['max_pss'].max() / 1000:.1f} GB"


def draw_gain(scores: dict[str, list[float]], members: list[float], beside: dict[str, float]) -> Figure:
    """Draw the errors `scores` (n,) of each blend of the best 1, 2, ... models, and errors by name as bars.

    `members` (n,) are the errors of single models.
    """
    figure = Figure(figsize=(8.5, 3.8), layout="constrained")
    ax, bars = figure.subplots(1, 2, width_ratios=(3, 2))
    numbers, values, least = np.arange(1, len(members) + 1), np.array(members), min(map(min, scores.values()))
    # A blend gains less than members differ: models far above the blends are drawn at the edge, with their error.
    top = max(members[0], *map(max, scores.values())) + 1.5 * (members[0] - least) + 1e-4
    near = values <= top
    ax.plot(numbers[near], values[near], "o", color="#999999", markersize=4, label="each model by itself")
    ax.plot(numbers[~near], np.full((~near).sum(), top), "^", color="#999999", markersize=4, clip_on=False)
    for number in numbers[~near]:
        ax.annotate(
            f"{members[number - 1]:.3f}", (number, top), (0, -8), textcoords="offset points", fontsize=7, rotation=90,
            ha="center", va="top", color="#666666",
        )  # fmt: skip
    for (name, errors), colour in zip(scores.items(), ("#4c72b0", "#c44e52", "#55a868"), strict=True):
        ax.plot(numbers, errors, marker=".", color=colour, label=f"the models up to here, blended: {name}")
    ax.set(xlabel="models of 2014, the best one first", ylabel="RMSE, validation galaxies", xticks=numbers)
    ax.set_ylim(least - 0.2 * (top - least), top)
    figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=2)
    drawn = bars.barh(list(beside), list(beside.values()), color="#4c72b0", height=0.6)
    bars.bar_label(drawn, fmt="%.4f", fontsize=8, padding=3)
    bars.invert_yaxis()
    bars.set(xlabel="RMSE", xlim=(0, 1.2 * max(beside.values())))
    bars.spines[["top", "right"]].set_visible(False)
    bars.tick_params(axis="y", labelsize=8)
    return figure


def score_one(folders: Folders, name: str, is_right: Callable[[np.ndarray], np.ndarray]) -> None:
    """Print RMSE and accuracy of a model's validation predictions and of mean votes."""
    analysis = load_pickle(folders.analysis(name), f"{name}.py")
    labels = images.load_labels()
    train, valid = images.split(len(labels))

    def report(title: str, predictions: np.ndarray) -> None:
        right, error = is_right(predictions), rmse(predictions, labels[valid])
        print(f"{title:36}  RMSE {error:.6f}  accuracy {right.mean():.4f} ({right.sum()} of {len(right)})")

    report("mean votes of the training galaxies", np.broadcast_to(labels[train].mean(axis=0), labels[valid].shape))
    report("one prediction a galaxy", analysis["predictions"])
    if folders.augmented("valid", name).exists():
        report("mean over its transforms", load_predictions(folders, "valid", name, len(valid)))


def trained(folders: Folders, name: str, seed: int, chunks: int, chunk_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Train a model; return predictions and labels (n, 37) of its validation galaxies."""
    run_command(
        name, "--root", folders.root, "--data", folders.data, "--device", "cpu", "--seed", seed,
        "--num-chunks", chunks, "--chunk-size", chunk_size, "--initialisation", "variance-preserving", "--no-resume",
    )  # fmt: skip
    analysis = load_pickle(folders.analysis(name), f"{name}.py")
    return analysis["predictions"], analysis["targets"]


def main_of_seeds() -> None:
    """Train pairs of models and print the gain of own seeds."""
    flags = parser(__doc__, survey=True)
    flags.add_argument("--pairs", type=positive_int, default=5, metavar="N", help="default: 5")
    flags.add_argument("--chunks", type=positive_int, default=8, metavar="N", help="of 600 examples, default: 8")
    args = flags.parse_args()
    pairs, chunks, chunk_size = (1, 1, 16) if args.quick else (args.pairs, args.chunks, 600)
    described = print_environment(examples=f"{chunks * chunk_size} a model")
    rows = []
    with prepared(args.root, 30 if args.quick else 2000) as folders:
        run_command("extract_pysex_params_gen2", "--root", folders.root, "--data", folders.data)
        for seed in range(1, pairs + 1):
            first, labels = trained(folders, FIRST, seed, chunks, chunk_size)
            shared, _ = trained(folders, SECOND, seed, chunks, chunk_size)
            own, _ = trained(folders, SECOND, OWN + seed, chunks, chunk_size)
            blends = [(first + second) / 2 for second in (shared, own)]
            rows.append([f"pair {seed}", *(f"{rmse(each, labels):.5f}" for each in (first, shared, own, *blends))])
            print(rows[-1], flush=True)
    mean = np.array([row[1:] for row in rows], dtype=float).mean(axis=0)
    rows.append(["mean", *(f"{each:.5f}" for each in mean)])
    header = ["validation RMSE", "first", "second, its seed", "second, own seed", "blend, one seed", "blend, own seeds"]
    print(table(header, rows))
    save(args.output, "seeds", {"environment": described, "rows": rows})


def obeying(predictions: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return each blend (n, 37) of predictions (models, n, 37), cross-validated, with the sums of the tree."""
    blends = blending.cross_predict(predictions, labels, GALAXY_ZOO_2)
    return {name: GALAXY_ZOO_2.obey(blended) for name, blended in blends.items()}


def main() -> None:
    if "seeds" in sys.argv[1:2]:
        del sys.argv[1]
        return main_of_seeds()
    flags = class_flags(__doc__)
    flags.add_argument("name", nargs="?", metavar="NAME", help="the training script of the one model to score")
    args = flags.parse_args()
    folders = use_folders(args.root, args.data)
    is_right = scorer(args.classes, args.class_means)
    if args.name:
        return score_one(folders, args.name, is_right)
    labels = images.load_labels()
    train, valid = images.split(len(labels))
    truth = labels[valid]
    names = find_models(folders, "valid")
    predictions = {name: load_predictions(folders, "valid", name, len(valid)) for name in names}
    errors = {name: rmse(each, truth) for name, each in predictions.items()}
    names.sort(key=errors.__getitem__)

    def scores(values: np.ndarray) -> tuple[str, str]:
        return f"{rmse(values, truth):.4f}", f"{is_right(values).mean():.4f}"

    rows = []
    for name in names:
        single = load_pickle(folders.analysis(name), f"{name}.py")["predictions"]
        costs = *cost(folders, f"train_{name}"), cost(folders, f"predict_{name}.*of*")[0]
        rows.append((short(name), *scores(single), *scores(predictions[name]), *costs))
    head = ("model", "RMSE, one", "accuracy, one", "RMSE", "accuracy", "training, minutes", "memory", "prediction")
    print(table(head, rows), "\n")

    old = [name for name in names if not name.startswith(OF_TODAY)]
    ensembles = {f"the {len(old)} of 2014": old} | ({f"all {len(names)}": names} if len(old) < len(names) else {})
    rows, crossed = [], {}
    for title, members in ensembles.items():
        stacked = np.stack([predictions[name] for name in members])
        fitted = blending.fit_blends(blending.residual_grams(stacked - truth), GALAXY_ZOO_2)
        crossed[title] = obeying(stacked, truth)
        for name, words in WORDS.items():
            by_fit = GALAXY_ZOO_2.obey(blending.blend(fitted[name], stacked))
            rows.append((title, words, f"{rmse(by_fit, truth):.4f}", *scores(crossed[title][name])))
        weights = zip(members, fitted["blended_predictions"][0], strict=True)
        texts = [f"{short(name)} {weight:.3f}" for name, weight in weights if weight > 5e-4]
        print(f"weights of {title}: {', '.join(texts)}\n")
    print(table(("blend of", "weights", "RMSE, fitted", "RMSE, cross-validated", "accuracy, cross-validated"), rows))

    gains: dict[str, list[float]] = {words: [] for words in DRAWN.values()}
    for number in range(1, len(old) + 1):
        blends = obeying(np.stack([predictions[name] for name in old[:number]]), truth)
        for file, words in DRAWN.items():
            gains[words].append(rmse(blends[file], truth))
    beside = {
        "mean votes": rmse(np.broadcast_to(labels[train].mean(axis=0), truth.shape), truth),
        "the best of 2014": errors[old[0]],
        f"the {len(old)} of 2014, blended": min(values[-1] for values in gains.values()),
    }
    if len(ensembles) > 1:
        beside["the best of today"] = min(errors[name] for name in names if name not in old)
        beside["all, blended"] = min(rmse(each, truth) for each in crossed[f"all {len(names)}"].values())
    args.output.mkdir(parents=True, exist_ok=True)
    path = args.output / "ensemble.png"
    with replacing(path) as temporary:
        draw_gain(gains, [errors[name] for name in old], beside).savefig(temporary, dpi=110, format="png")
    print(f"wrote {path}")


if __name__ == "__main__":
    run_script(main)
