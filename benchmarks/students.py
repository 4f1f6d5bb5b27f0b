"""A student beside its teachers, and beside the same network without teachers, on galaxies that none of them saw.

    python benchmarks/students.py ROOT [ROOT ...] --seeds 1 [2 ...] [--start-from FILE] [NUMBERS]

A root is prepared (`prepare_data.py`), and each has its seed. The teachers are Lite0 without one of three folds each,
under the script's eight views. Students with one view learn from their mean, from labelled and from test images. All
are scored on the validation galaxies. `--numbers W,U,C` names label_weight, unlabelled and consistency of a student
(doc/distillation.md). With `--own` the teachers predict the galaxies that they were trained on.

Results are kept in `ROOT/students_SEED`: a run with a result is not repeated. The table has means over the roots.
"""

import argparse
import dataclasses
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from machine.command_line import positive_int, run_script

from benchmarks.measuring import KeptResults, print_environment, table
from benchmarks.peers import run_command
from engine import prediction, training
from engine.experiment import Distillation, Experiment
from engine.options import Options
from machine.arrays import load_array, load_pickle
from survey import folders, folds, images
from survey.folders import use_folders
from survey.folds import Fold
from survey.predictions import rmse
from try_distilled_lite0 import EXPERIMENT

TEACHER = "try_finetune_efficientnet_lite0"
TEACH, PREDICT = TEACHER, "predict_augmented_npy_finetune_efficientnet_lite0"
NUM_FOLDS, CHUNK_SIZE = 3, 800
ALONE = "labels only"


def numbers(text: str) -> Distillation:
    """Parse the numbers of a student."""
    label_weight, unlabelled, consistency = map(float, text.split(","))
    return Distillation(label_weight=label_weight, unlabelled=unlabelled, consistency=consistency)


def teach(num_folds: int, num_examples: int, seed: int, options: Options) -> dict[str, float]:
    """Train and run the network of each fold; return the scores of one view, of eight, and of the mean of all."""
    truth = images.load_labels()
    valid = images.split(len(truth))[1]
    where = ("--root", options.root, "--data", options.data)
    one, eight = [], []
    for fold in (Fold(index, num_folds) for index in range(1, num_folds + 1)):
        fold_flag, start = fold.flag.split(), ("--start-from", options.start_from) if options.start_from else ()
        run_command(
            TEACH, *where, *fold_flag, *start, "--seed", 10 * seed + fold.index, "--device", "cpu",
            "--num-chunks", round(num_examples / CHUNK_SIZE), "--chunk-size", CHUNK_SIZE, "--num-workers", 1,
        )  # fmt: skip
        run_command(PREDICT, *where, *fold_flag, "--device", "cpu", "--num-workers", 1)
        name = TEACHER + fold.suffix
        one.append(rmse(load_pickle(folders.current.analysis(name), name)["predictions"], truth[valid]))
        rows = (len(folds.predicted(fold)), truth.shape[1])
        seen = load_array(folds.product("train", name), PREDICT, rows, np.floating)
        eight.append(rmse(seen[-len(valid) :], truth[valid]))
    mean = folds.load_predictions(TEACHER, truth.shape[1])[0]
    return {"one": float(np.mean(one)), "eight": float(np.mean(eight)), "all": rmse(mean[valid], truth[valid])}


def sized(name: str, distillation: Distillation | None, num_examples: int, seed: int) -> Experiment:
    """Return the student's experiment for so many examples, without validation on the way."""
    changed = EXPERIMENT.resized(round(num_examples / CHUNK_SIZE), CHUNK_SIZE)
    return dataclasses.replace(changed, name=name, distillation=distillation, seed=seed, validate_every=10**6)


def learn(experiment: Experiment, options: Options) -> dict[str, float]:
    """Train the experiment; return its scores by one view and by eight."""
    run = training.Run.prepare(experiment, options)
    run.train()
    truth, one = run.labels[run.valid_indices], run.validate()
    with run.trainer.predicting():
        eight = prediction.predict(run.network, run.examples, run.valid_indices, "train")
    run.finish()
    return {"one": one, "eight": rmse(eight, truth)}


def main() -> None:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    flags.add_argument("roots", type=Path, nargs="+", metavar="ROOT")
    flags.add_argument("--seeds", type=positive_int, nargs="+", required=True, metavar="N", help="one for each root")
    flags.add_argument("--numbers", type=numbers, nargs="+", default=[EXPERIMENT.distillation], metavar="W,U,C")
    flags.add_argument("--own", action="store_true", help="teachers that saw the galaxies that they teach")
    flags.add_argument("--teachers", type=positive_int, default=12000, metavar="N", help="of a fold; default: 12000")
    flags.add_argument("--examples", type=positive_int, default=20000, metavar="N", help="of a student; default: 20000")
    flags.add_argument("--start-from", metavar="FILE", help="weights from which all trainings start")
    args = flags.parse_args()
    print_environment()
    num_folds, kept = 1 if args.own else NUM_FOLDS, []
    for root, seed in zip(args.roots, args.seeds, strict=True):
        work = root / f"students_{seed}" / ("own" if args.own else "folds")
        results = KeptResults(work / "students.json")
        use_folders(work, root / "data")
        options = Options(root=work, data=root / "data", device="cpu", num_workers=1, start_from=args.start_from)
        taught = dataclasses.replace(options, teacher=(TEACHER,))
        runs = {} if args.own else {ALONE: (sized("labels_only", None, args.examples, seed), options)}
        for each in args.numbers:
            name = ", ".join(f"{field} {value:g}" for field, value in dataclasses.asdict(each).items())
            runs[name] = (sized(f"student_{len(results)}", each, args.examples, seed), taught)
        if ALONE in runs:
            results.add({"run": ALONE}, partial(learn, *runs.pop(ALONE)))
        results.add({"run": "teachers"}, partial(teach, num_folds, args.teachers, seed, options))
        for name, run in runs.items():
            results.add({"run": name}, partial(learn, *run))
        kept += results
    rows = [
        [name, len(same), *(f"{same[column].mean():.4f}" for column in ("one", "eight", "all"))]
        for name, same in pandas.DataFrame(kept).groupby("run", sort=False)
    ]
    print(table(["run", "seeds", "one view", "eight views", "eight views, mean of folds"], rows))


if __name__ == "__main__":
    run_script(main)
