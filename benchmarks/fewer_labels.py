"""How many labels does it take? Lite0 from ImageNet's weights and from random ones, on fewer and fewer galaxies.

    python benchmarks/fewer_labels.py --root DIR --classes classes.csv --class-means class_mean_votes.csv

Each run sees as many examples, drawn from the first 100, 300, ... training galaxies, and is validated on the validation
galaxies, one view each. Results are kept in `fewer_labels.json` as they come: runs that are there are not done again.
The tables are those of `five_class_accuracy.py`.
"""

import dataclasses
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.five_class_accuracy import scorer
from benchmarks.measuring import RESULTS, KeptResults, table
from engine import training
from engine.options import Options
from machine.command_line import positive_int, run_script, script_parser
from survey import images
from survey.folders import use_folders
from survey.predictions import rmse
from try_finetune_efficientnet_lite0 import EXPERIMENT

STARTS = {"2014": "fine-tuned", "random": "from scratch"}


class FewerLabels(training.Run):
    """A run that learns from the first galaxies only."""

    num_galaxies = 0

    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        train, valid = super()._parts()
        return train[: self.num_galaxies], valid


def learn(num_galaxies: int, start: str, seed: int, num_examples: int, options: Options) -> np.ndarray:
    """Return predictions (n, 37) of the validation galaxies after a run."""
    experiment = dataclasses.replace(
        EXPERIMENT, name=f"fewer_labels_{num_galaxies}_{start}_{seed}", seed=seed, validate_every=10**6
    ).resized(max(1, round(num_examples / EXPERIMENT.chunk_size)))
    kind = type("Run", (FewerLabels,), {"num_galaxies": num_galaxies})
    run = kind(experiment, dataclasses.replace(options, initialisation=start))
    run.train()
    run.store.clear()
    return run.predict(run.valid_indices, "train")


def rows_of(results: Sequence[dict]) -> list[list[object]]:
    """Return a row for each number of labels and start: the mean over seeds."""
    rows = []
    for number in sorted({each["labels"] for each in results}):
        for start, words in STARTS.items():
            same = [each for each in results if each["labels"] == number and each["start"] == start]
            if same:
                accuracy, error = (np.mean([each[name] for each in same]) for name in ("accuracy", "rmse"))
                rows.append([number, words, len(same), f"{accuracy:.4f}", f"{error:.4f}"])
    return rows


def draw_figure(results: Sequence[dict]) -> Figure:
    """Draw accuracy and RMSE over the number of labels."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    for ax, name in zip(figure.subplots(1, 2), ("accuracy", "rmse"), strict=True):
        for start, words in STARTS.items():
            of_start = [each for each in results if each["start"] == start]
            numbers = sorted({each["labels"] for each in of_start})
            means = [np.mean([each[name] for each in of_start if each["labels"] == number]) for number in numbers]
            [line] = ax.plot(numbers, means, marker="o", markersize=4, label=words)
            ax.plot(
                [e["labels"] for e in of_start], [e[name] for e in of_start], ".", color=line.get_color(), alpha=0.4
            )
        ax.set(xscale="log", xlabel="labelled galaxies", ylabel=name.replace("rmse", "RMSE"))
        everywhere = sorted({each["labels"] for each in results})
        ax.set_xticks(everywhere, [f"{number:,}" for number in everywhere], minor=False)
        ax.minorticks_off()
        ax.legend(frameon=False)
    return figure


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--classes", required=True, metavar="CSV", help="GalaxyID,class")
    parser.add_argument("--class-means", required=True, metavar="CSV", help="class and 37 columns of mean votes")
    parser.add_argument("--labels", type=positive_int, nargs="+", default=[100, 300, 1000, 3600], metavar="N")
    parser.add_argument("--examples", type=positive_int, default=16000, metavar="N", help="that each run sees")
    parser.add_argument("--seeds", type=positive_int, default=3, metavar="N")
    parser.add_argument("--num-workers", type=positive_int, default=1, metavar="N")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR")
    args = parser.parse_args()
    use_folders(args.root, args.data)
    results = KeptResults(args.output / "fewer_labels.json")
    options = Options(root=args.root, data=args.data, device="cpu", num_workers=args.num_workers)
    is_right = scorer(args.classes, args.class_means)
    labels = images.load_labels()
    _, valid = images.split(len(labels))

    def measured(number: int, start: str, seed: int) -> dict[str, float]:
        predictions = learn(number, start, seed, args.examples, options)
        return {"accuracy": float(is_right(predictions).mean()), "rmse": float(rmse(predictions, labels[valid]))}

    for seed in range(args.seeds):
        for number in args.labels:
            for start in STARTS:
                key = {"labels": number, "start": start, "seed": seed, "examples": args.examples}
                results.add(key, partial(measured, number, start, seed))
    print(table(["labels", "", "seeds", "accuracy", "RMSE"], rows_of(results)))
    figure = results.path.with_suffix(".png")
    draw_figure(results).savefig(figure, dpi=90)
    print(f"wrote {results.path}, {figure}")


if __name__ == "__main__":
    run_script(main)
