"""Simulate a survey of galaxies in the layout of Kaggle's Galaxy Challenge, without a download.

Each galaxy is a random set of traits. Its image is rendered from them (`survey.simulated_image`). Then 30 to 60
simulated volunteers walk the decision tree (`survey.simulated_votes`). Galaxy i of a subset depends only on the seed,
the subset and i.
"""

import functools
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from machine.command_line import positive_int, run_script, script_parser

import cv2
import numpy as np
import simplejpeg

from galaxy.decision_tree import GALAXY_ZOO_2, TREES, find_tree
from galaxy.tree import Tree
from machine import products
from machine.cores import available_cores
from machine.files import DataError, open_file, remove_leftovers, replacing, shown
from machine.processes import Start, mapping
from machine.products import Product
from machine.progress import showing
from survey import preparation
from survey.folders import SUBSETS, Folders, adopt, use_folders
from survey.images import read_labels_csv, write_labels_csv
from survey.simulated_image import Traits, render
from survey.simulated_votes import vote
from survey.survey_tree import tree_json, write_tree
from survey.vote_counts import counts_csv, write_counts_csv

JPEG_QUALITY = 75  # with halved colour planes: the quantisation tables of the real images
FIRST_ID, NUM_IDS = 100_000, 900_000
MANIFEST = "simulated_survey.json"
_MAX_MANIFEST_BYTES = 1000


def draw_traits(rng: np.random.Generator) -> Traits:
    """Draw the traits of a galaxy; the fraction of smooth galaxies is about that of Galaxy Zoo 2."""
    family = rng.choice(["spheroid", "disk", "irregular", "star"], p=[0.37, 0.56, 0.05, 0.02])
    common = {
        "resolution": float(np.clip(20 * rng.lognormal(0, 0.35), 12, 46)),
        "brightness": float(0.04 * rng.lognormal(0, 0.4)),
        "angle": float(rng.uniform(0, 180)),
        "merger": _sometimes(rng, 0.035),
        "trail": _sometimes(rng, 0.006),
    }
    if family in ("spheroid", "star"):
        return _draw_spheroid(rng, family == "star", common)
    return _draw_irregular(rng, common) if family == "irregular" else _draw_disk(rng, common)


def _sometimes(rng: np.random.Generator, probability: float) -> float:
    """Draw the strength of a rare trait, 0 or 0.35 to 1; `probability` is that of having it."""
    return float(rng.uniform(0.35, 1)) if rng.random() < probability else 0.0


def _draw_spheroid(rng: np.random.Generator, beside_star: bool, common: dict[str, float]) -> Traits:
    return Traits(
        age=float(rng.normal(0.75, 0.25)),
        bulge_axis_ratio=float(rng.uniform(*[(0.85, 1), (0.4, 0.9), (0.2, 0.4)][rng.choice(3, p=[0.4, 0.5, 0.1])])),
        bulge_index=float(rng.uniform(1.0, 2.2)),
        bulge_size=float(rng.uniform(0.36, 0.5)),
        arc=_sometimes(rng, 0.03),
        ring=_sometimes(rng, 0.02),
        dust=_sometimes(rng, 0.01),
        star=float(rng.uniform(0.5, 1)) if beside_star else 0.0,
        **common,
    )


def _draw_irregular(rng: np.random.Generator, common: dict[str, float]) -> Traits:
    return Traits(
        age=float(rng.normal(0.0, 0.2)),
        inclination=float(rng.uniform(20, 75)),
        disk=float(rng.uniform(0.9, 1)),
        bulge_size=0.12,
        irregular=float(rng.uniform(0.4, 1)),
        clumpiness=float(rng.uniform(0.4, 1)),
        disturbed=_sometimes(rng, 0.3),
        **common,
    )


def _draw_disk(rng: np.random.Generator, common: dict[str, float]) -> Traits:
    bulge = float(rng.beta(1.2, 3.2))
    inclination = float(np.degrees(np.arccos(rng.random())))
    return Traits(
        age=float(np.clip(rng.normal(0.2 + 0.7 * bulge, 0.2), -0.2, 1.0)) + 0.25 * (inclination > 78),
        inclination=inclination,
        disk=1 - bulge,
        bulge_axis_ratio=float(rng.uniform(0.7, 0.95)),
        bulge_index=float(rng.uniform(1, 2.5)),
        bulge_size=float(rng.uniform(0.09, 0.15) + 0.12 * bulge),
        boxiness=_sometimes(rng, 0.2),
        bar=_sometimes(rng, 0.3),
        num_arms=int(rng.choice([1, 2, 3, 4, 5, 6], p=[0.07, 0.6, 0.14, 0.08, 0.06, 0.05])),
        arm_contrast=float(rng.beta(2, 1)),
        pitch=float(rng.uniform(8, 32)),
        clumpiness=float(rng.beta(1.2, 2)),
        ring=_sometimes(rng, 0.08),
        disturbed=_sometimes(rng, 0.06),
        dust=_sometimes(rng, 0.45) if inclination > 76 else 0.0,
        **common,
    )


@dataclass(frozen=True)
class Survey:
    """What a simulated survey depends on: the seed, the questions, and volunteers per galaxy (None: 30 to 60)."""

    seed: int
    tree: Tree = GALAXY_ZOO_2
    votes_per_galaxy: int | None = None

    def manifest(self, counts: dict[str, int]) -> dict[str, object]:
        """Return the survey as plain values; `counts` galaxies per subset."""
        plain = {"seed": self.seed, **{f"num_{subset}": counts[subset] for subset in SUBSETS}}
        if self.tree != GALAXY_ZOO_2:
            plain["tree"] = self.tree.checksum
        return plain | ({"votes_per_galaxy": self.votes_per_galaxy} if self.votes_per_galaxy else {})


def simulate(survey: Survey, subset: str, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Simulate galaxy `index` of a subset.

    Return the image (424, 424, 3) uint8 RGB, labels (answers,) float64, and counts of votes (questions,).
    """
    rng = np.random.default_rng([survey.seed, SUBSETS.index(subset), index])
    traits = draw_traits(rng)
    labels, counts = vote(traits, rng, survey.tree, survey.votes_per_galaxy)
    return render(traits, rng), labels, counts


def draw_ids(seed: int, counts: dict[str, int]) -> dict[str, np.ndarray]:
    """Draw distinct ids of six digits, ascending in each subset; raises DataError if the counts exceed 900,000."""
    if sum(counts.values()) > NUM_IDS:
        raise DataError(
            f"expected at most {NUM_IDS} galaxies (ids have six digits), got {sum(counts.values())}; choose fewer"
        )
    rng = np.random.default_rng([seed, len(SUBSETS)])
    drawn = FIRST_ID + rng.choice(NUM_IDS, sum(counts.values()), replace=False)
    train, test = np.split(drawn, [counts["train"]])
    return {"train": np.sort(train), "test": np.sort(test)}


def claim_folders(folders: Folders, survey: dict[str, object], ids: dict[str, np.ndarray]) -> None:
    """Write the survey's manifest to the data folder.

    Raises DataError, and changes nothing, if the folder contains files of another survey.
    """
    manifest, table = folders.data / "raw" / MANIFEST, folders.labels_csv
    others = [counts_csv(folders), tree_json(folders)]
    products.check(map(Product, [manifest, table, *others]), overwrite=True)  # a folder, a pipe or a link
    earlier = _read_manifest(manifest)
    claimed = earlier == survey
    for subset in SUBSETS:
        own = {f"{id}.jpg" for id in ids[subset]} if claimed else set()
        folder = folders.raw_images(subset)
        remove_leftovers(folder / "*")
        present = list(folder.iterdir()) if folder.exists() else []
        names = (path.name for path in present if path.name not in own or path.is_symlink() or not path.is_file())
        if (foreign := next((name for name in names if not name.startswith(".")), None)) is not None:
            raise DataError(
                f"{folder} contains {shown(foreign)}, which is not of this survey; choose an empty folder with --data"
            )
    if not claimed and (foreign := next((path for path in others if path.exists()), None)):
        raise DataError(f"{foreign} exists and is not of this survey; choose an empty folder with --data")
    if table.exists() and not (claimed and np.array_equal(read_labels_csv(table)[0], ids["train"])):
        raise DataError(f"{table} exists and is not of this survey; choose an empty folder with --data")
    remove_leftovers(manifest, table, *others)
    with replacing(manifest) as temporary:
        temporary.write_text(json.dumps(survey) + "\n")


def _read_manifest(path: Path) -> dict[str, object] | None:
    """Return a survey's manifest, None without one; raises DataError for another file."""
    if not path.exists():
        return None
    try:
        with open_file(path, "") as file:
            values = json.loads(file.read(_MAX_MANIFEST_BYTES))
    except (ValueError, RecursionError):
        values = None
    keys = {"seed", *(f"num_{subset}" for subset in SUBSETS)}
    if not isinstance(values, dict) or not keys <= values.keys() <= keys | {"tree", "votes_per_galaxy"}:
        raise DataError(f"{path} is not a manifest of a simulated survey; choose an empty folder with --data")
    return values


def write_galaxy(survey: Survey, subset: str, folder: Path, galaxy: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Write the JPEG of a galaxy, given as (index, id); return its labels (answers,) and counts (questions,)."""
    index, id = galaxy
    image, labels, counts = simulate(survey, subset, index)
    jpeg = simplejpeg.encode_jpeg(image, quality=JPEG_QUALITY, colorspace="RGB", colorsubsampling="420")
    with replacing(folder / f"{id}.jpg") as temporary:
        temporary.write_bytes(jpeg)
    return labels, counts


def _start_worker(folders: Folders) -> None:
    adopt(folders)
    cv2.setNumThreads(1)  # one core per worker


def write_survey(folders: Folders, survey: Survey, counts: dict[str, int], num_workers: int) -> None:
    """Write a survey to `folders.data`: images of both subsets, labels and counts of votes of 'train'.

    `counts` are the galaxies per subset.
    """
    ids = draw_ids(survey.seed, counts)
    claim_folders(folders, survey.manifest(counts), ids)
    write_tree(folders, survey.tree)
    votes = {}
    with (
        mapping(num_workers, 8, Start(_start_worker, (folders,))) as map_in_order,
        showing(total=sum(counts.values()), unit="galaxy") as bar,
    ):
        for subset in SUBSETS:
            write = functools.partial(write_galaxy, survey, subset, folders.raw_images(subset))
            votes[subset] = []
            for row in map_in_order(write, enumerate(ids[subset].tolist())):
                votes[subset].append(row)
                bar.update()
    labels, answered = zip(*votes["train"], strict=True)
    write_labels_csv(folders.labels_csv, ids["train"], labels, survey.tree)
    write_counts_csv(counts_csv(folders), ids["train"], np.array(answered), survey.tree)
    if not sys.stderr.isatty():
        print(f"wrote {counts['train']} training and {counts['test']} test galaxies to {folders.data / 'raw'}")


def main() -> None:
    parser = script_parser(
        __doc__,
        examples=("python simulate_galaxies.py --root demo --num-train 1000 --num-test 50",),
        writes=False,  # it replaces no file at all
    )
    parser.group("survey").add_argument(
        "--num-train",
        type=positive_int,
        default=2000,
        metavar="N",
        help="number of training galaxies, at least 1 (default: %(default)s)",
    )
    parser.group("survey").add_argument(
        "--num-test",
        type=positive_int,
        default=500,
        metavar="N",
        help="number of test galaxies, at least 1 (default: %(default)s)",
    )
    parser.group("survey").add_argument(
        "--seed",
        type=positive_int,
        default=1,
        metavar="S",
        help="another seed gives another survey, at least 1 (default: %(default)s)",
    )
    parser.group("survey").add_argument(
        "--tree",
        default=GALAXY_ZOO_2.name,
        metavar="TREE",
        help=f"questions: {', '.join(TREES)}, or a .toml file that declares them (default: %(default)s)",
    )
    parser.group("survey").add_argument(
        "--votes-per-galaxy",
        type=positive_int,
        metavar="N",
        help="number of volunteers who see each galaxy, at least 1 (default: 30 to 60)",
    )
    parser.group("speed").add_argument(
        "--num-workers",
        "--workers",
        type=positive_int,
        default=available_cores(),
        metavar="N",
        help="number of processes, at least 1 (default: all cores)",
    )
    args = parser.parse_args()
    folders = use_folders(args.root, args.data)
    survey = Survey(args.seed, find_tree(args.tree), args.votes_per_galaxy)
    with preparation.alone():
        write_survey(folders, survey, {"train": args.num_train, "test": args.num_test}, args.num_workers)


if __name__ == "__main__":
    run_script(main, "images simulated so far are kept")
