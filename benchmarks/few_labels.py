"""The value of labels: Lite0 on a few galaxies with votes, from random weights, ImageNet's, and those of galaxies.

    python benchmarks/few_labels.py --root VOTES --start-from CLASSES/analysis/final/try_finetune_efficientnet_lite0.pkl

Each draw leaves out another fifth of the galaxies, and trains on a random part of the others. A run predicts the
galaxies that its draw left out from one view. The scores are the RMSE, and the share of galaxies for which the largest
answer to the first question is also that of the votes. `--start-from` names weights that never saw these galaxies.

Results are kept in `few_labels.json`: a run with a result is not repeated.
"""

import dataclasses
import itertools
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from machine.command_line import positive_int, run_script, script_parser

from benchmarks.measuring import RESULTS, KeptResults, table
from engine import training
from engine.experiment import Experiment
from engine.options import Options
from survey import images
from survey.folders import use_folders
from survey.predictions import rmse
from try_finetune_efficientnet_lite0 import EXPERIMENT

NUM_DRAWS = 5
# A run has 20 passes over the galaxies, and at least as many examples as for 200 of them.
PASSES, LEAST, CHUNK_SIZE = 20, 200, 320
STARTS = {"galaxies": "galaxies", "2014": "ImageNet", "random": "random weights"}


def split_of(num_galaxies: int, num_labels: int, draw: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of a draw for training, and those of the fifth that it leaves out."""
    out = np.arange(draw, num_galaxies, NUM_DRAWS)
    rest = np.setdiff1d(np.arange(num_galaxies), out)
    return np.sort(np.random.default_rng(draw).permutation(rest)[:num_labels]), out


def sized(name: str, num_labels: int, seed: int) -> Experiment:
    """Return the script's experiment with a length for so many galaxies, without validation on the way."""
    num_examples = PASSES * max(num_labels, LEAST)
    changed = EXPERIMENT.resized(max(1, round(num_examples / CHUNK_SIZE)), CHUNK_SIZE)
    return dataclasses.replace(changed, name=name, seed=seed, validate_every=10**6)


def learn(num_labels: int, start: str, draw: int, options: Options) -> dict[str, float]:
    """Train on the galaxies of a draw; return the scores of those that it leaves out, beside those of mean votes."""
    labels = images.load_labels()
    train, out = split_of(len(labels), num_labels, draw)
    from_galaxies = start == "galaxies"
    options = dataclasses.replace(
        options,
        start_from=options.start_from if from_galaxies else None,
        initialisation="2014" if from_galaxies else start,
    )
    run = training.Run.prepare(sized(f"few_{num_labels}_{start}_{draw}", num_labels, draw), options, split=(train, out))
    run.train()
    run.store.clear()
    predictions = run.predict(out, "train")
    of = EXPERIMENT.tree.slices[1]
    return {
        "rmse": rmse(predictions, labels[out]),
        "first": float((predictions[:, of].argmax(1) == labels[out, of].argmax(1)).mean()),
        "mean votes": rmse(np.broadcast_to(labels[train].mean(0), predictions.shape), labels[out]),
    }


def report(results: pandas.DataFrame, path: Path) -> None:
    """Print a row for each start and number of labels, and draw the errors over the number of labels."""
    rows = [
        [num_labels, STARTS[start], len(same), f"{same['rmse'].mean():.4f}", f"{same['rmse'].sem():.4f}",
         f"{same['first'].mean():.3f}"]
        for (num_labels, start), same in results.groupby(["labels", "start"])
    ]  # fmt: skip
    print(table(["labels", "start", "draws", "RMSE", "its error", "first question"], rows))
    figure = Figure(figsize=(8, 3.3), layout="constrained")
    columns = {"rmse": "RMSE", "first": "first question right"}
    for ax, (name, words) in zip(figure.subplots(1, 2), columns.items(), strict=True):
        for start, group in results.groupby("start"):
            [line] = ax.plot(group.groupby("labels")[name].mean(), marker="o", markersize=4, label=STARTS[start])
            ax.plot(group["labels"], group[name], ".", color=line.get_color(), alpha=0.4)
        if name == "rmse":
            ax.axhline(results["mean votes"].mean(), color="0.5", linestyle="--", label="mean votes")
        ax.set(xscale="log", xlabel="galaxies with votes", ylabel=words)
        numbers = results["labels"].unique()
        ax.set_xticks(numbers, [f"{number:,}" for number in numbers], minor=False)
        ax.minorticks_off()
        ax.legend(frameon=False)
    figure.savefig(path, dpi=90)
    print(f"wrote {path}")


def main() -> None:
    flags = script_parser(__doc__)
    flags.add_argument("--start-from", metavar="FILE", help="weights of a network that never saw these galaxies")
    flags.add_argument("--labels", type=positive_int, nargs="+", default=[25, 50, 100, 200, 400], metavar="N")
    flags.add_argument("--starts", choices=STARTS, nargs="+", default=list(STARTS), help="default: all")
    flags.add_argument("--draws", type=positive_int, default=NUM_DRAWS, metavar="N", help="default: %(default)s")
    flags.add_argument("--num-workers", type=positive_int, default=1, metavar="N")
    flags.add_argument("--output", type=Path, default=RESULTS, metavar="DIR", help="default: %(default)s")
    args = flags.parse_args()
    use_folders(args.root, args.data)
    results = KeptResults(args.output / "few_labels.json")
    options = Options(
        root=args.root, data=args.data, device="cpu", num_workers=args.num_workers, start_from=args.start_from
    )
    starts = [start for start in args.starts if start != "galaxies" or args.start_from]
    for draw, num_labels, start in itertools.product(range(args.draws), args.labels, starts):
        key = {"draw": draw, "labels": num_labels, "start": start}
        results.add(key, partial(learn, num_labels, start, draw, options))
    report(pandas.DataFrame(results), results.path.with_suffix(".png"))


if __name__ == "__main__":
    run_script(main)
