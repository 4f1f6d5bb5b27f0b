"""The status of the data folder: which inputs of training are ready, and how to get the others."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from galaxy.decision_tree import TOLERANCE
from machine.files import DataError
from survey import bad_images, folders, images, label_weights, preparation
from survey.centering import EXTRA_PARAMS, GEN2_PARAMS, PysexParams
from survey.folders import SUBSETS

CATALOGUES = (GEN2_PARAMS, EXTRA_PARAMS)
_WORDS = {"train": "training", "test": "test"}


@dataclass(frozen=True)
class Row:
    """One input of the scripts: its state, its location, and the remedy if it is not ready."""

    what: str
    state: str
    location: Path | str
    remedy: str | None = None
    needed: bool = True


def look(check_images: bool = False, num_workers: int | None = None) -> list[Row]:
    """Return the status of all inputs in the folders in use; `check_images` decodes all images."""
    rows = [_images(subset, check_images, num_workers) for subset in SUBSETS]
    rows += [_table(), *(_ids(subset) for subset in SUBSETS), _labels()]
    if label_weights.weights_npy().exists():
        rows.append(_weights())
    if folders.current.labels_csv.exists():
        rows.append(_constraints())
    return rows + [_catalogue(catalogue) for catalogue in CATALOGUES]


def _images(subset: str, check_images: bool, num_workers: int | None) -> Row:
    folder, what = folders.current.raw_images(subset), f"{_WORDS[subset]} images"
    stems = set()
    if folder.is_dir():
        with os.scandir(folder) as entries:
            stems = {Path(entry.name).stem for entry in entries if images.is_image(entry.name)}
    if not stems:
        name = {"train": "images_training_rev1.zip", "test": "images_test_rev1.zip"}[subset]
        return Row(what, "none", folder, f"download {name} from Kaggle, and run this again")
    ids = known_ids(subset)
    if absent := [id for id in ids.tolist() if str(id) not in stems]:
        state = f"{len(stems):,}, {len(absent):,} missing"
        return Row(what, state, folder, f"download them again, {absent[0]}.jpg first, and run this again")
    if check_images and len(ids) and (bad := bad_images.find_bad(subset, num_workers)):
        remedy = f"{bad_images.describe(subset, ids, bad)}; download them again, or train with --on-bad-image skip"
        return Row(what, f"{len(bad):,} bad", folder, remedy)
    return Row(what, f"{len(stems):,}{', all decoded' * check_images}", folder)


def known_ids(subset: str) -> np.ndarray:
    """Return the ids of 'train' or 'test'; an empty array if their file is missing or damaged."""
    try:
        return images.load_ids(subset)
    except DataError:
        return np.zeros(0, np.int64)


def _ids(subset: str) -> Row:
    path, what = folders.current.data / f"{subset}_ids.npy", f"{_WORDS[subset]} ids"
    try:
        return Row(what, f"{len(images.load_ids(subset)):,}", path)
    except DataError as error:
        return Row(what, "none", path, str(error))


def _table() -> Row:
    path, what = folders.current.labels_csv, "table of votes"
    if path.exists():
        return Row(what, "found", path)
    return Row(what, "none", path, "download training_solutions_rev1.zip from Kaggle, and run this again")


def _labels() -> Row:
    path = folders.current.data / "solutions_train.npy"
    try:
        labels = images.load_labels()
        images.split(len(labels))
        return Row("labels", f"{len(labels):,} x {labels.shape[1]}", path)
    except DataError as error:
        return Row("labels", "none", path, str(error))


def _weights() -> Row:
    path = label_weights.weights_npy()
    try:
        return Row("weights", f"{len(label_weights.load()):,}", path)
    except DataError as error:
        return Row("weights", "damaged", path, str(error))


def _constraints() -> Row:
    deviations = preparation.measure_deviations()
    complaint = deviations.complaint(TOLERANCE)
    return Row("decision tree", "violated" if complaint else "obeyed", folders.current.labels_csv, complaint)


def _catalogue(catalogue: PysexParams) -> Row:
    paths = [catalogue.path(subset) for subset in SUBSETS]
    what = f"catalogue {catalogue.name}"
    if all(path.exists() for path in paths):
        return Row(what, "measured", str(paths[0].parent), needed=False)
    hint = f"{catalogue.script}, for models with pysex in their names"
    return Row(what, "not measured", f"run {hint}", hint, needed=False)


def describe(rows: list[Row]) -> str:
    """Return the rows as a table of three columns."""
    first, second = (max(len(text) for text in texts) for texts in zip(*((r.what, r.state) for r in rows), strict=True))
    return "\n".join(f"{row.what:{first}}  {row.state:{second}}  {row.location}" for row in rows)
