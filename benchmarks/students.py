"""A student beside its teachers, and beside the same network without teachers, on galaxies that none of them saw.

    python benchmarks/students.py ROOT --seeds 1 2 3 [--folds 3] [--start-from FILE] [--numbers W,U,C ...]

The root is prepared (`prepare_data.py`). Each seed trains Lite0 on the labels alone. These networks together teach the
students of all seeds, under the script's eight views. They saw the labels of the training galaxies, so they should
teach the test images only: W, the weight of the label, is 1. With `--folds` each student has teachers of its own: a
network without each fold. `--numbers` names label_weight, unlabelled and consistency of a student
(doc/distillation.md). All are scored on the validation galaxies. With `--labelled N` all learn from the labels of the
first N galaxies only, and the labels of all others give the scores.

Results are kept in `ROOT/students`: a run with a result is not repeated. The table has means over the seeds.
"""

import argparse
import dataclasses
import itertools
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from machine.command_line import positive_int, run_script

from benchmarks.measuring import KeptResults, print_environment, table
from engine import prediction, teaching, training
from engine.examples import Examples
from engine.experiment import Distillation, Experiment
from engine.network import Network
from engine.options import Options
from machine.arrays import load_gz, save_gz
from machine.files import DataError
from survey import folds, images
from survey.folders import use_folders
from survey.folds import Fold
from survey.predictions import rmse
from try_distilled_lite0 import EXPERIMENT

CHUNK_SIZE, ALONE = 800, "labels only"
# Indices of the galaxies of which labels are learned, and of those that give the scores.
Split = tuple[np.ndarray, np.ndarray]


def numbers(text: str) -> Distillation:
    """Parse the numbers of a student."""
    label_weight, unlabelled, consistency = map(float, text.split(","))
    return Distillation(label_weight=label_weight, unlabelled=unlabelled, consistency=consistency)


def sized(name: str, distillation: Distillation | None, num_examples: int, seed: int) -> Experiment:
    """Return the student's experiment for so many examples, without validation on the way."""
    changed = EXPERIMENT.resized(round(num_examples / CHUNK_SIZE), CHUNK_SIZE)
    return dataclasses.replace(changed, name=name, distillation=distillation, seed=seed, validate_every=10**6)


def split_after(num_labelled: int | None) -> Split:
    """Split the galaxies after the first `num_labelled`; None: as all scripts do."""
    num_train = len(images.ids_of("train"))
    if num_labelled is None:
        return images.split(num_train)
    if num_labelled >= num_train:
        raise DataError(
            f"expected --labelled below {num_train}, the number of galaxies with labels; got {num_labelled}"
        )
    return np.arange(num_labelled), np.arange(num_labelled, num_train)


def predict_fold(network: Network, examples: Examples, name: str, fold: Fold, scored: np.ndarray) -> float:
    """Write what a network without a fold predicts by eight views; return its RMSE of the last, `scored` galaxies."""
    truth = images.load_labels()
    wanted = {"train": folds.predicted(fold), "test": np.arange(len(images.ids_of("test")))}
    for subset, indices in wanted.items():
        path = folds.product(subset, name + fold.suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_gz(path, prediction.predict(network, examples, indices, subset))
    seen = load_gz(folds.product("train", name + fold.suffix))
    return rmse(seen[-len(scored) :], truth[scored])


def teach(name: str, num_folds: int, num_examples: int, seed: int, options: Options, split: Split) -> dict[str, float]:
    """Train a network without each fold, and write what it predicts; return the scores.

    The scores are the means of one view and of eight over the folds, and that of the folds' mean prediction.
    """
    train, scored = split
    one, eight = [], []
    for fold in (Fold(index, num_folds) for index in range(1, num_folds + 1)):
        own = dataclasses.replace(options, fold=fold)
        experiment = sized(name + fold.suffix, None, num_examples, 10 * seed + fold.index)
        run = training.Run.prepare(experiment, own, split=(fold.trained(train), scored))
        run.train()
        one.append(run.validate())
        run.finish()
        with run.trainer.predicting():
            eight.append(predict_fold(run.network, run.examples, name, fold, scored))
    truth = images.load_labels()
    mean = folds.load_predictions(name, truth.shape[1])[0]
    return {"one": float(np.mean(one)), "eight": float(np.mean(eight)), "all": rmse(mean[scored], truth[scored])}


def learn(experiment: Experiment, options: Options, split: Split) -> dict[str, float]:
    """Train a student; return its scores by one view and by eight, and that of its teachers."""
    run = training.Run.prepare(experiment, options, split=split)
    run.train()
    truth, one = run.labels[run.valid_indices], run.validate()
    with run.trainer.predicting():
        eight = prediction.predict(run.network, run.examples, run.valid_indices, "train")
    run.store.clear()
    teachers = teaching.load(options.teacher).train[run.valid_indices]
    return {"one": one, "eight": rmse(eight, truth), "all": rmse(teachers, truth)}


def main() -> None:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    flags.add_argument("root", type=Path, metavar="ROOT")
    flags.add_argument("--seeds", type=positive_int, nargs="+", required=True, metavar="N")
    flags.add_argument(
        "--only", type=positive_int, nargs="+", metavar="N", help="students of these seeds (default: all)"
    )
    flags.add_argument("--numbers", type=numbers, nargs="+", default=[numbers("1,1,0")], metavar="W,U,C")
    flags.add_argument("--folds", type=positive_int, metavar="N", help="teachers without each of N folds")
    flags.add_argument("--fold-examples", type=positive_int, default=12000, metavar="N", help="default: 12000")
    flags.add_argument("--labelled", type=positive_int, metavar="N", help="learn from the first N labels only")
    flags.add_argument("--examples", type=positive_int, default=20000, metavar="N", help="default: 20000")
    flags.add_argument("--start-from", metavar="FILE", help="weights from which all trainings start")
    args = flags.parse_args()
    if args.folds and args.labelled:
        flags.error("expected --folds or --labelled, got both; leave one out")
    print_environment()
    work, data = args.root / "students", args.root / "data"
    use_folders(work, data)
    split = split_after(args.labelled)
    options = Options(root=work, data=data, device="cpu", num_workers=1, start_from=args.start_from)
    kept = {seed: KeptResults(work / f"seed_{seed}.json") for seed in args.seeds}
    for seed, results in kept.items():
        results.add({"run": ALONE}, partial(teach, f"alone_{seed}", 1, args.examples, seed, options, split))
    for seed in args.only or args.seeds:
        teachers = [f"alone_{each}" for each in args.seeds]
        if args.folds:
            teachers = [f"folds_{seed}"]
            teaching_folds = partial(teach, teachers[0], args.folds, args.fold_examples, seed, options, split)
            kept[seed].add({"run": f"{args.folds} folds"}, teaching_folds)
        taught = dataclasses.replace(options, teacher=tuple(teachers))
        of = f"{args.folds} folds" if args.folds else f"{len(teachers)} networks"
        for each in args.numbers:
            values = ", ".join(f"{field} {value:g}" for field, value in dataclasses.asdict(each).items())
            experiment = sized(f"student_{seed}_{len(kept[seed])}", each, args.examples, seed)
            kept[seed].add({"run": f"teachers: {of}; {values}"}, partial(learn, experiment, taught, split))
    rows = [
        [name, len(same), *(f"{same[column].mean():.4f}" for column in ("one", "eight", "all"))]
        for name, same in pandas.DataFrame(itertools.chain(*kept.values())).groupby("run", sort=False)
    ]
    print(table(["run", "seeds", "one view", "eight views", "its teachers, eight views"], rows))


if __name__ == "__main__":
    run_script(main)
