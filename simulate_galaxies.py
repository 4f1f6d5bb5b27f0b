"""Simulate a survey of galaxies in the layout of Kaggle's Galaxy Challenge, without a download.

Each galaxy is a random set of traits. Its image is rendered from them (`survey.simulated_image`). Then 30 to 60
simulated volunteers walk the decision tree. Their answers depend on the traits that are visible: an arm that the
atmosphere blurs gets no votes. Galaxy i of a subset depends only on the seed, the subset and i.

Source: Willett et al. 2013 (arXiv 1308.3496), figure 1 and table 2, for the tree and how often each answer is given.
"""

import functools
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from galaxy.decision_tree import NUM_ANSWERS, QUESTIONS, SLICES, weigh
from machine.command_line import positive_int, run_script, script_parser
from machine.cores import available_cores
from machine.files import DataError, replacing
from machine.processes import Start, mapping
from machine.progress import showing
from survey.folders import SUBSETS, Folders, adopt, use_folders
from survey.images import read_labels_csv, write_labels_csv
from survey.simulated_image import SEEING, Traits, render

# Questions in an order such that each follows the questions that lead to it.
WALK = (1, 7, 2, 9, 3, 4, 10, 11, 5, 6, 8)
JPEG_QUALITY = 75  # with halved colour planes: the quantisation tables of the real images
FIRST_ID, NUM_IDS = 100_000, 900_000
MANIFEST = "simulated_survey.json"


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


def _sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def _nearest(value: float, centres: tuple[float, ...], width: float) -> np.ndarray:
    """Return the probability of each answer: `centres` are their values on a scale, `width` is the error of seeing."""
    scores = -0.5 * ((value - np.array(centres)) / width) ** 2
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def visible_arms(t: Traits) -> float:
    """Return the visible contrast of the arms, 0..1, after blur, inclination and the bulge's light."""
    spacing = 2 * np.pi * 0.55 * np.sin(np.radians(t.pitch)) / t.num_arms * np.sqrt(t.disk_axis_ratio)
    blur = np.exp(-0.5 * (2 * np.pi * SEEING / t.resolution / spacing) ** 2)
    return float(t.arm_contrast * blur * t.disk * np.clip((t.disk_axis_ratio - 0.2) / 0.25, 0, 1))


def visible_axis_ratio(t: Traits) -> float:
    """Return the axis ratio of the whole galaxy after blurring by the atmosphere."""
    inner = (1 - t.disk) ** 1.5  # a bulge is small beside the outline of the galaxy
    ratio = (1 - inner) * t.disk_axis_ratio + inner * t.bulge_axis_ratio
    blur = SEEING / t.resolution / 0.4
    return float(np.sqrt((ratio**2 + blur**2) / (1 + blur**2)))


def answer_probabilities(t: Traits) -> dict[int, np.ndarray]:
    """Return, by question, the probability of each answer of a volunteer who is asked."""
    arms, ratio, bulge = visible_arms(t), visible_axis_ratio(t), 1 - t.disk
    face_on = np.clip((t.disk_axis_ratio - 0.2) / 0.3, 0, 1)
    bar = t.bar * t.disk * face_on
    edge_on = t.disk * _sigmoid((0.4 - ratio) / 0.04)
    odd = np.array([t.ring, t.arc, t.disturbed, t.irregular, 0, t.merger, t.dust])
    features = _sigmoid(-2.1 + 1.6 * t.disk + 9 * arms + 2 * bar + 4 * edge_on + 2 * odd.max() + t.clumpiness * t.disk)
    artifact = 0.015 + 0.85 * max(t.star, 0.7 * t.trail)
    is_edge_on, has_bar, is_spiral = (
        _sigmoid((0.36 - ratio) / 0.03),
        _sigmoid(-2.6 + 6 * bar),
        _sigmoid(-1.2 + 12 * arms - 2 * t.irregular),
    )
    is_odd = _sigmoid(-2.6 + 5.3 * odd.max())
    cant_tell = 0.1 + 0.5 * np.exp(-5 * arms)
    edge_bulge = _sigmoid((bulge - 0.12) / 0.05)
    which_odd = np.array([0.15, 0.06, 0.09, 0.08, 0.4, 0.18, 0.04]) + 8 * odd**2
    return {
        1: np.array([1 - features, features, 0]) * (1 - artifact) + np.array([0, 0, artifact]),
        2: np.array([is_edge_on, 1 - is_edge_on]),
        3: np.array([has_bar, 1 - has_bar]),
        4: np.array([is_spiral, 1 - is_spiral]),
        5: _nearest(np.sqrt(bulge), (0.05, 0.38, 0.66, 0.9), 0.13),
        6: np.array([is_odd, 1 - is_odd]),
        7: _nearest(ratio, (0.98, 0.65, 0.27), 0.12),
        8: which_odd / which_odd.sum(),
        9: np.array([edge_bulge * (0.95 - 0.75 * t.boxiness), edge_bulge * (0.05 + 0.75 * t.boxiness), 1 - edge_bulge]),
        10: _nearest(t.pitch, (9, 18, 29), 4.5),
        11: np.append((1 - cant_tell) * _nearest(min(t.num_arms, 5), (1, 2, 3, 4, 5), 0.5), cant_tell),
    }


def vote(traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """Let the volunteers walk the decision tree; return weighted vote fractions, (37,) float64."""
    probabilities = answer_probabilities(traits)
    asked = dict.fromkeys(QUESTIONS, 0)
    asked[1] = int(rng.integers(30, 61))
    fractions = np.zeros(NUM_ANSWERS)
    for question in WALK:
        # Volunteers answer independently, so one draw of counts per question replaces their single walks.
        counts = rng.multinomial(asked[question], probabilities[question])
        fractions[SLICES[question]] = counts / max(asked[question], 1)
        for count, following in zip(counts, QUESTIONS[question].leads_to, strict=True):
            if following is not None:
                asked[following] += int(count)
    if asked[6] == 0:
        fractions[SLICES[6]] = 0, 1
    return weigh(fractions)


def simulate(seed: int, subset: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Simulate galaxy `index` of a subset: image (424, 424, 3) uint8 RGB and labels (37,) float64."""
    rng = np.random.default_rng([seed, SUBSETS.index(subset), index])
    traits = draw_traits(rng)
    labels = vote(traits, rng)
    return render(traits, rng), labels


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


def claim_folders(folders: Folders, survey: dict[str, int], ids: dict[str, np.ndarray]) -> None:
    """Write the survey's manifest to the data folder.

    Raises DataError, and changes nothing, if the folder contains files of another survey.
    """
    manifest = folders.data / "raw" / MANIFEST
    try:
        claimed = json.loads(manifest.read_text()) == survey
    except FileNotFoundError:
        claimed = False
    except ValueError:
        raise DataError(
            f"{manifest} is not a manifest of a simulated survey; choose an empty folder with --data"
        ) from None
    for subset in SUBSETS:
        own = {f"{id}.jpg" for id in ids[subset]} if claimed else set()
        folder = folders.raw_images(subset)
        present = (path.name for path in folder.iterdir()) if folder.exists() else ()
        if (
            foreign := next((name for name in present if not name.startswith(".") and name not in own), None)
        ) is not None:
            raise DataError(
                f"{folder} contains {foreign}, which is not of this survey; choose an empty folder with --data"
            )
    table = folders.labels_csv
    if table.exists() and not (claimed and np.array_equal(read_labels_csv(table)[0], ids["train"])):
        raise DataError(f"{table} exists and is not of this survey; choose an empty folder with --data")
    with replacing(manifest) as temporary:
        temporary.write_text(json.dumps(survey) + "\n")


def write_galaxy(seed: int, subset: str, folder: Path, galaxy: tuple[int, int]) -> np.ndarray:
    """Write the JPEG of a galaxy, given as (index, id); return its labels (37,)."""
    index, id = galaxy
    image, labels = simulate(seed, subset, index)
    jpeg = simplejpeg.encode_jpeg(image, quality=JPEG_QUALITY, colorspace="RGB", colorsubsampling="420")
    with replacing(folder / f"{id}.jpg") as temporary:
        temporary.write_bytes(jpeg)
    return labels


def _start_worker(folders: Folders) -> None:
    adopt(folders)
    cv2.setNumThreads(1)  # one core per worker


def write_survey(folders: Folders, seed: int, counts: dict[str, int], num_workers: int) -> None:
    """Write a survey to `folders.data`: images of both subsets, labels of 'train'; `counts` galaxies per subset."""
    ids = draw_ids(seed, counts)
    claim_folders(folders, {"seed": seed, **{f"num_{subset}": counts[subset] for subset in SUBSETS}}, ids)
    labels = {}
    with (
        mapping(num_workers, 8, Start(_start_worker, (folders,))) as map_in_order,
        showing(total=sum(counts.values()), unit="galaxy") as bar,
    ):
        for subset in SUBSETS:
            write = functools.partial(write_galaxy, seed, subset, folders.raw_images(subset))
            labels[subset] = []
            for row in map_in_order(write, enumerate(ids[subset].tolist())):
                labels[subset].append(row)
                bar.update()
    write_labels_csv(folders.labels_csv, ids["train"], labels["train"])
    if not sys.stderr.isatty():
        print(f"wrote {counts['train']} training and {counts['test']} test galaxies to {folders.data / 'raw'}")


def main() -> None:
    parser = script_parser(
        __doc__, examples=("python simulate_galaxies.py --root demo --num-train 1000 --num-test 50",)
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
    write_survey(folders, args.seed, {"train": args.num_train, "test": args.num_test}, args.num_workers)


if __name__ == "__main__":
    run_script(main, "images simulated so far are kept")
