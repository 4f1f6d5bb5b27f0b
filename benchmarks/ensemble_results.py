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
from survey.predictions import find_models, load_predictions
from survey.scores import rmse

OF_TODAY = "try_finetune_"
WORDS = {
    "blended_predictions_uniform": "uniform",
    "blended_predictions": "weighted",
    "blended_predictions_questions": "weighted by question",
    "blended_predictions_separate": "weighted by answer",
}


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


def draw_gain(
    scores: dict[str, list[float]], members: list[float], everything: dict[str, float], mean: float
) -> Figure:
    """Draw the error of blends of the best 1, 2, ... models; `members` (n,) are those of the models by themselves."""
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    ax = figure.subplots()
    numbers = np.arange(1, len(members) + 1)
    ax.plot(numbers, members, "o", color="#999999", markersize=4, label="each model by itself")
    for (name, values), colour in zip(scores.items(), ("#4c72b0", "#c44e52"), strict=False):
        ax.plot(numbers, values, marker=".", color=colour, label=f"blend of the models up to here, {name}")
        if everything:
            ax.axhline(everything[name], color=colour, linestyle=":", linewidth=1)
    if everything:
        ax.annotate(
            "with today's networks", (len(members), min(everything.values())), (0, 4), textcoords="offset points",
            ha="right", fontsize=8,
        )  # fmt: skip
    ax.set(xlabel="models of 2014, the best one first", ylabel="RMSE, validation galaxies", xticks=numbers)
    ax.legend(frameon=False, fontsize=8)
    ax.set_title(f"mean votes: {mean:.4f}", fontsize=8, loc="right")
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

    shown = {"uniform": "blended_predictions_uniform", "weighted": "blended_predictions"}
    gains: dict[str, list[float]] = {name: [] for name in shown}
    for number in range(1, len(old) + 1):
        found = blending.cross_validate(np.stack([predictions[name] for name in old[:number]]), labels[valid])
        for name, file in shown.items():
            gains[name].append(found[file])
    with_today = crossed.get(f"all {len(names)}", {})
    everything = {name: rmse(with_today[file], labels[valid]) for name, file in shown.items()} if with_today else {}
    args.output.mkdir(parents=True, exist_ok=True)
    path = args.output / "ensemble.png"
    with replacing(path) as temporary:
        draw_gain(gains, [errors[name] for name in old], everything, mean).savefig(temporary, dpi=110, format="png")
    print(f"wrote {path}")


if __name__ == "__main__":
    run_script(main)
