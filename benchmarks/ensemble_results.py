"""What an ensemble came to: each model, what it cost, and what blends of more and more models gain.

    python benchmarks/ensemble_results.py --root DIR --classes classes.csv --class-means class_mean_votes.csv

reads what the workflow (`make ensemble`) left in `DIR`: predictions of the validation galaxies, and the costs of
trainings and predictions in `analysis/costs`, in minutes of processor time. The tables are those of
`five_class_accuracy.py`. Prints tables in Markdown, and draws how the error falls as models are added, the best ones
first; weights are cross-validated.
"""

import sys
from pathlib import Path

import numpy as np
import pandas
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.five_class_accuracy import scorer
from benchmarks.measuring import RESULTS, table
from machine.command_line import run_script, script_parser
from machine.files import load_pickle, replacing
from survey import blending, images
from survey.folders import Folders, use_folders
from survey.predictions import find_models, load_predictions, rmse

OF_TODAY = "try_finetune_"
WORDS = {
    "blended_predictions_uniform": "uniform",
    "blended_predictions": "weighted",
    "blended_predictions_questions": "weighted by question",
    "blended_predictions_separate": "weighted by answer",
}
DRAWN = {file: words for file, words in WORDS.items() if "question" not in words}


def short(name: str) -> str:
    """Return a model's name without what all names of its kind begin with."""
    return name.removeprefix("try_convnet_cc_multirotflip_3x69r45_").removeprefix("try_")


def cost(folders: Folders, commands: str) -> tuple[str, str]:
    """Return processor minutes and memory of the last runs of some commands, as words; dashes for the unknown."""
    paths = sorted((folders.root / "analysis" / "costs").glob(f"{commands}.tsv"))
    if not paths:
        return "-", "-"
    rows = pandas.concat([pandas.read_csv(path, sep="\t").iloc[-1:] for path in paths])
    return f"{rows['cpu_time'].sum() / 60:.1f}", f"{rows['max_pss'].max() / 1000:.1f} GB"


def draw_gain(scores: dict[str, list[float]], members: list[float], beside: dict[str, float]) -> Figure:
    """Draw the error of blends of the best 1, 2, ... models, and beside them some errors by name.

    `members` (n,) are the errors of the models by themselves, `scores` (n,) those of each kind of blend.
    """
    figure = Figure(figsize=(8.5, 3.8), layout="constrained")
    ax, bars = figure.subplots(1, 2, width_ratios=(3, 2))
    numbers, values, least = np.arange(1, len(members) + 1), np.array(members), min(map(min, scores.values()))
    # What blends gain is a fraction of what members differ by: those far above stand at the edge, with their number.
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


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--classes", required=True, metavar="CSV", help="GalaxyID,class")
    parser.add_argument("--class-means", required=True, metavar="CSV", help="class and 37 columns of mean votes")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR")
    args = parser.parse_args()
    folders = use_folders(args.root, args.data)
    is_right = scorer(args.classes, args.class_means)
    labels = images.load_labels()
    train, valid = images.split(len(labels))
    mean = rmse(np.broadcast_to(labels[train].mean(axis=0), labels[valid].shape), labels[valid])
    names = find_models(folders, "valid")
    predictions = {name: load_predictions(folders, "valid", name, len(valid)) for name in names}
    errors = {name: rmse(each, labels[valid]) for name, each in predictions.items()}
    names.sort(key=errors.__getitem__)
    rows = []
    for name in names:
        single = load_pickle(folders.analysis(name), f"{name}.py")["predictions"]
        costs = *cost(folders, f"train_{name}"), cost(folders, f"predict_{name}.*of*")[0]
        one = f"{rmse(single, labels[valid]):.4f}", f"{is_right(single).mean():.4f}"
        rows.append((short(name), *one, f"{errors[name]:.4f}", f"{is_right(predictions[name]).mean():.4f}", *costs))
    head = ("model", "RMSE, one", "accuracy, one", "RMSE", "accuracy", "training, minutes", "memory", "prediction")
    print(table(head, rows), "\n")

    old = [name for name in names if not name.startswith(OF_TODAY)]
    rows, crossed = [], {}
    for title, of in ((f"the {len(old)} of 2014", old), (f"all {len(names)}", names)):
        stacked = np.stack([predictions[name] for name in of])
        fitted = blending.fit_blends(blending.residual_grams(stacked - labels[valid]))
        crossed[title] = blending.cross_predict(stacked, labels[valid])
        for name, words in WORDS.items():
            by_fit, by_others = blending.blend(fitted[name], stacked), crossed[title][name]
            scores = [f"{rmse(each, labels[valid]):.4f}" for each in (by_fit, by_others)]
            rows.append((title, words, *scores, f"{is_right(by_others).mean():.4f}"))
        weights = dict(zip(of, fitted["blended_predictions"][0], strict=True))
        told = ", ".join(f"{short(name)} {weight:.3f}" for name, weight in weights.items() if weight > 5e-4)
        print(f"weights of {title}: {told}\n")
        if of is old and len(old) == len(names):
            break
    print(table(("blend of", "weights", "RMSE, fitted", "RMSE, cross-validated", "accuracy, cross-validated"), rows))

    gains: dict[str, list[float]] = {words: [] for words in DRAWN.values()}
    for number in range(1, len(old) + 1):
        found = blending.cross_validate(np.stack([predictions[name] for name in old[:number]]), labels[valid])
        for file, words in DRAWN.items():
            gains[words].append(found[file])
    best = min(values[-1] for values in gains.values())
    beside = {"mean votes": mean, "the best of 2014": errors[old[0]], f"the {len(old)} of 2014, blended": best}
    if of_today := [errors[name] for name in names if name not in old]:
        blends = crossed[f"all {len(names)}"].values()
        beside |= {
            "the best of today": min(of_today),
            "all, blended": min(rmse(each, labels[valid]) for each in blends),
        }
    args.output.mkdir(parents=True, exist_ok=True)
    path = args.output / "ensemble.png"
    with replacing(path) as temporary:
        draw_gain(gains, [errors[name] for name in old], beside).savefig(temporary, dpi=110, format="png")
    print(f"wrote {path}")


if __name__ == "__main__":
    run_script(main)
