"""The search for a rare class by labels, and what a network learns from these labels (doc/rare_galaxies.md).

    python benchmarks/rare_galaxies.py --root DIR --classes classes.csv [--start-from FILE] [--train] [CLASS ...]

One class is thinned to 2 % of the sample. One of its galaxies is the example, and 50 labels follow, always of the
galaxy that ranks highest. The features are those of ImageNet's weights, or of a file: a network that did not learn the
class. With `--train` Lite0 then learns these labels, from the same weights, and ranks all other galaxies. `--others`
adds random galaxies without a label, which count as not wanted: of a rare class few of them are.

Results are kept in `rare_galaxies.json`: a run with a result is not repeated.
"""

import dataclasses
import itertools
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas
from scipy.stats import rankdata

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from machine.command_line import natural_int, positive_int, run_script, script_parser

from benchmarks.choices import features_of
from benchmarks.ensemble_results import load_classes
from benchmarks.measuring import RESULTS, KeptResults, table
from benchmarks.peers import run_command
from catalogue import label_fit
from catalogue.calibration import fit_features
from catalogue.columns import as_stored
from engine import training
from engine.options import Options
from survey import folders, images
from survey.folders import adopt, use_folders
from try_finetune_efficientnet_lite0 import EXPERIMENT

# Share of the thinned class, and the number of labels beside the example.
RARE, NUM_LABELS = 0.02, 50
# Examples of a network that learns the labels.
CHUNK_SIZE, NUM_CHUNKS = 480, 6


@dataclasses.dataclass(frozen=True)
class Sample:
    """A sample with a thinned class: galaxies (n,), whether each is wanted (n,), and the rows with a label."""

    galaxies: np.ndarray
    wanted: np.ndarray
    labelled: list[int]

    @property
    def rest(self) -> np.ndarray:
        """The rows without a label."""
        return np.setdiff1d(np.arange(len(self.galaxies)), self.labelled)

    def auroc(self, scores: np.ndarray) -> float:
        """Return the area below the ROC curve of `scores` of the rest; NaN if nothing wanted is left."""
        wanted = self.wanted[self.rest]
        num = wanted.sum()
        return float((rankdata(scores)[wanted].mean() - (num + 1) / 2) / (len(scores) - num)) if num else np.nan


def whole_features(options: Options) -> np.ndarray:
    """Return whole features (n, 64) of one view of each galaxy."""
    run = training.Run.prepare(dataclasses.replace(EXPERIMENT, name="rare"), options)
    features = features_of(run, np.arange(len(run.labels))).numpy()
    statistics = fit_features(features)
    return as_stored((features - statistics.mean) @ statistics.axes)


def find_rare(stored: np.ndarray, is_rare: np.ndarray, seed: int, num_labels: int) -> tuple[Sample, dict[str, float]]:
    """Search a thinned class by labels of the galaxy that ranks highest; `stored` (n, k) are whole features.

    Returns the sample, and how many were found, how many random labels would find, and the AUROC of the last ranking.
    """
    others, rare = np.flatnonzero(~is_rare), np.random.default_rng(seed).permutation(np.flatnonzero(is_rare))
    rare = rare[: round(len(others) * RARE / (1 - RARE))]
    rows = np.concatenate([rare, others])
    sample = Sample(rows, np.arange(len(rows)) < len(rare), [0])
    features, wanted, labelled = stored[rows].astype(float), sample.wanted, sample.labelled
    for label in range(num_labels + 1):
        if wanted[labelled].all():
            away = [np.square(features - features[row]).sum(1) for row in labelled]
            scores = -np.min(away, axis=0)
        else:
            scores = label_fit.fit(features[labelled], wanted[labelled]).scores(features)
        if label < num_labels:
            rest = sample.rest
            labelled.append(int(rest[scores[rest].argmax()]))
    found = int(wanted[labelled[1:]].sum())
    random = num_labels * len(rare) / len(rows)
    return sample, {"rare": len(rare), "found": found, "random": random, "auroc": sample.auroc(scores[sample.rest])}


def learn(sample: Sample, num_others: int, seed: int, options: Options) -> float:
    """Train Lite0 on the labels of a sample; return the AUROC of its ranking of the rest, by one view each.

    So many random galaxies of the rest also count as not wanted. Both answers have the same total weight.
    """
    before, ids = folders.current, images.load_ids("train")[sample.galaxies]
    others = np.random.default_rng(seed).choice(sample.rest, num_others, replace=False)
    answers = np.where(sample.wanted[sample.labelled], "wanted", "other").tolist() + ["other"] * num_others
    sample = dataclasses.replace(sample, labelled=[*sample.labelled, *others.tolist()])
    counts = pandas.Series(answers).groupby(answers).transform("size")
    table_of_labels = pandas.DataFrame({"id_str": ids[sample.labelled], "label": answers, "weight": 1 / counts})
    with tempfile.TemporaryDirectory() as temporary:
        cutouts, labels, root = (Path(temporary, name) for name in ("cutouts", "labels.csv", "root"))
        cutouts.mkdir()
        for id in ids:
            path = images.image_path(before.images("train").resolve(), id)
            (cutouts / f"{id}.jpg").symlink_to(os.path.realpath(path))
        table_of_labels.to_csv(labels, index=False)
        run_command("prepare_data", "--images", cutouts, "--labels", labels, "--root", root)
        try:
            use_folders(root)
            scores = _scores(seed, dataclasses.replace(options, root=root, data=None))
        finally:
            adopt(before)
    return sample.auroc(scores.loc[ids[sample.rest]].to_numpy())


def _scores(seed: int, options: Options) -> pandas.Series:
    """Return what a network that learns all labels of the folders predicts for the other images, by id."""
    experiment = dataclasses.replace(EXPERIMENT.resized(NUM_CHUNKS, CHUNK_SIZE), name="rare", seed=seed)
    run = training.Run.prepare(experiment, options, split=(np.arange(len(images.load_labels())), np.arange(0)))
    run.train()
    ids = images.ids_of("test")
    answer = run.experiment.tree.columns.index("class_wanted")
    return pandas.Series(run.predict(np.arange(len(ids)), "test")[:, answer], ids)


def measure(
    stored: np.ndarray, is_rare: np.ndarray, seed: int, num_others: int, options: Options | None
) -> dict[str, float]:
    """Search one class; with options also train on its labels."""
    sample, result = find_rare(stored, is_rare, seed, NUM_LABELS)
    return result if options is None else {**result, "trained": learn(sample, num_others, seed, options)}


def main() -> None:
    flags = script_parser(__doc__)
    flags.add_argument("--classes", required=True, metavar="CSV", help="GalaxyID,class")
    flags.add_argument("--start-from", metavar="FILE", help="trained weights (default: ImageNet's)")
    flags.add_argument("--train", action="store_true", help="also train on the labels")
    flags.add_argument("--others", type=natural_int, default=0, metavar="N", help="with --train: not wanted")
    flags.add_argument("--seeds", type=positive_int, default=10, metavar="N", help="default: %(default)s")
    flags.add_argument("--num-workers", type=positive_int, default=1, metavar="N")
    flags.add_argument("--output", type=Path, default=RESULTS, metavar="DIR", help="default: %(default)s")
    flags.add_argument("names", nargs="*", metavar="CLASS", help="default: all")
    args = flags.parse_args()
    use_folders(args.root, args.data)
    results = KeptResults(args.output / "rare_galaxies.json")
    options = Options(
        root=args.root, data=args.data, device="cpu", num_workers=args.num_workers, start_from=args.start_from
    )
    classes = load_classes(args.classes, images.load_ids("train"))
    stored, trains = whole_features(options), options if args.train else None
    start = {"start": args.start_from or "ImageNet", "train": args.train, "others": args.others}
    for name, seed in itertools.product(args.names or dict.fromkeys(classes), range(args.seeds)):
        search = partial(measure, stored, classes == name, seed, args.others, trains)
        results.add({"class": name, "seed": seed, **start}, search)
    kept = pandas.DataFrame(each for each in results if start.items() <= each.items())
    columns = ["rare", "found", "random", "auroc", *(["trained"] if args.train else [])]
    rows = [
        [name, len(same), *(f"{same[column].mean():.3f}" for column in columns)]
        for name, same in kept.groupby("class", sort=False)
    ]
    print(table(["class", "seeds", "rare", "found", "random", "AUROC", "AUROC, trained"][: len(columns) + 2], rows))


if __name__ == "__main__":
    run_script(main)
