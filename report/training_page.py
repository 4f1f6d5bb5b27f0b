"""The page of a training root: scores, learning curves, calibration, residuals, best and worst galaxies."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from machine.command_line import hms

import numpy as np

from catalogue.likely_path import in_words
from galaxy import thumbnails
from galaxy.tree import Tree
from machine.files import DataError, read_text
from report import figures, reliability
from report.galaxies import MAX_ROWS, Column, Galaxies, spread_evenly
from report.page import Facts, Gallery, Page, Section, Table
from survey import blending, images
from survey.folders import Folders
from survey.noise_floor import NoiseFloor, errors_by_question, read_floor
from survey.predictions import find_models, load_predictions, rmse, twin_of
from survey.survey_tree import read_tree

NUM_BEST = 12
# Values of a run record that are shown, and levels of nesting that become names, at most.
MAX_FACTS, MAX_DEPTH = 400, 5


@dataclass(frozen=True, eq=False)
class Results:
    """Results of a training root: ids (n,), labels (n, answers) and predictions by model of the validation galaxies.

    `baseline` is the RMSE of the training galaxies' mean votes.
    """

    tree: Tree
    ids: np.ndarray
    labels: np.ndarray
    predictions: dict[str, np.ndarray]
    baseline: float
    floor: NoiseFloor | None = None

    @property
    def scores(self) -> dict[str, float]:
        """Validation RMSE by model."""
        return {name: rmse(each, self.labels) for name, each in self.predictions.items()}


def read(folders: Folders, votes_per_galaxy: int | None = None) -> Results:
    """Read the results of the folders in use; raises DataError if no model has predicted the validation galaxies."""
    labels = images.load_labels()
    train, valid = images.split(len(labels))
    predictions = {name: load_predictions(folders, "valid", name, len(valid)) for name in find_models(folders, "valid")}
    tree, ids = read_tree(folders), images.ids_of("train")[valid]
    baseline = rmse(labels[train].mean(axis=0), labels[valid])
    floor = read_floor(labels, valid, tree, votes_per_galaxy)
    return Results(tree, ids, labels[valid], predictions, baseline, floor)


def read_record(folders: Folders, name: str) -> dict:
    """Return a model's run record; empty if it is missing or unreadable."""
    try:
        record = json.loads(read_text(folders.analysis(twin_of(name)).with_suffix(".json"), "train again"))
    except (DataError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def losses(record: Mapping) -> tuple[list[float], dict[int, float]]:
    """Return a record's RMSE of training and, by chunk, of validation; empty if the record is malformed."""
    try:
        train = [float(each) for each in record.get("losses_train", ())]
        valid = record.get("losses_valid", {})
        if not isinstance(valid, dict):  # older records have a list
            valid = {}
        return train, {int(chunk): float(each) for chunk, each in valid.items()}
    except (TypeError, ValueError):
        return [], {}


def build(folders: Folders, votes_per_galaxy: int | None = None) -> Page:
    """Return the page of a training root; an assumed number of votes gives the noise of the crowd."""
    results = read(folders, votes_per_galaxy)
    scores = results.scores
    best = min(scores, key=scores.__getitem__)
    predictions, labels = np.clip(results.predictions[best], 0, 1), results.labels
    errors = np.sqrt(np.mean((predictions - labels) ** 2, axis=1, dtype=np.float64))
    ranked = np.argsort(errors, kind="stable")
    shown = np.sort(ranked[spread_evenly(len(ranked), MAX_ROWS)])
    galaxies = _galaxies(folders, results.tree, results.ids[shown], predictions[shown], labels[shown], errors[shown])
    lead = (
        f"{len(labels):,} validation galaxies, which no network was trained on; {len(scores)} "
        f"{'model' if len(scores) == 1 else 'models'}. Figures and galaxies show the best single model, {best}."
    )
    text = "Predictions of the model and votes of volunteers. Orange marks are the votes."
    if len(shown) < len(labels):
        text += f" The list has {len(shown):,} of {len(labels):,} galaxies, evenly spread from best to worst."
    return Page(
        title="Results of training",
        lead=lead,
        before=[
            _scores(results, scores),
            *_noise(results, best),
            *_curves(folders, list(scores)),
            *_calibration(predictions, labels, results.tree),
            *_extremes(galaxies, errors[shown]),
        ],
        galaxies=galaxies,
        galaxies_text=text,
        after=_records(folders, list(scores)),
    )


def _scores(results: Results, scores: Mapping[str, float]) -> Section:
    titles = ("", "validation RMSE", "cross-validated")
    rows: list[tuple] = [("mean votes of the training galaxies", results.baseline, "")]
    rows += [(name, value, "") for name, value in sorted(scores.items(), key=lambda item: item[1])]
    if len(scores) > 1:
        stacked = np.stack(list(results.predictions.values()))
        blends = blending.fit_blends(blending.residual_grams(stacked - results.labels), results.tree)
        crossed = blending.cross_validate(stacked, results.labels, results.tree)
        for name, weights in sorted(blends.items(), key=lambda item: crossed[item[0]]):
            rows.append((name, rmse(blending.blend(weights, stacked), results.labels), crossed[name]))
    else:
        titles, rows = titles[:2], [row[:2] for row in rows]
    caption = "Root mean squared error over all galaxies and answers. The first row is the baseline"
    if floor := results.floor:
        titles, rows = (*titles, "noise floor"), [(*row, floor.total) for row in rows]
    if len(scores) > 1:
        caption += (
            f". Models and blends: best first. Best blend by the cross-validated error: {min(crossed, key=crossed.get)}"
        )
    return Section("scores", "Scores", [Table(caption, ("model or blend", *titles[1:]), rows)])


def _noise(results: Results, best: str) -> list[Section]:
    """Return the noise of the crowd, question by question, if the number of votes is known."""
    if (floor := results.floor) is None:
        return []
    errors = errors_by_question(results.predictions[best], results.labels, results.tree)
    rows = [(results.tree.question(n).text, errors[n], floor.by_question[n]) for n in results.tree.numbers]
    table = Table(f"RMSE of {best} by question", ("question", "RMSE", "noise floor"), rows)
    text = (
        f"The error that the crowd's own noise leaves, at {floor.source} per galaxy: that of perfect predictions. It "
        f"is {floor.total:.4f} over all answers."
    )
    return [Section("noise", "Noise of the crowd", [table], text)]


def _curves(folders: Folders, names: Sequence[str]) -> list[Section]:
    runs = {name: losses(read_record(folders, name)) for name in names}
    runs = {name: curves for name, curves in runs.items() if curves[0] or curves[1]}
    if not runs:
        return []
    most = figures.MAX_CURVES
    text = f"The first {most} of {len(runs)} runs." if len(runs) > most else ""
    return [Section("learning", "Learning curves", [figures.learning_curves(runs)], text)]


def _calibration(predictions: np.ndarray, labels: np.ndarray, tree: Tree) -> list[Section]:
    calibration, off = reliability.measure(predictions, labels), predictions - labels
    columns = labels.mean(axis=0), calibration.errors, off.mean(axis=0), np.sqrt((off**2).mean(axis=0))
    names = [f"{column} {answer}" for column, answer in zip(tree.columns, tree.words, strict=True)]
    rows = [(name, *map(float, of_answer)) for name, *of_answer in zip(names, *columns, strict=True)]
    table = Table("Calibration and residuals per answer", ("answer", "mean vote", "ECE", "mean residual", "RMSE"), rows)
    text = (
        "Votes are weighted by the answers that lead to their question, as in the score. The expected calibration "
        f"error has {reliability.BINS} bins. Its mean over the answers is {calibration.errors.mean():.4f}."
    )
    return [
        Section("calibration", "Calibration", [figures.calibration_curves(calibration, tree)], text),
        Section("residuals", "Residuals", [figures.residuals(off, tree)]),
        Section("answers", "All answers in numbers", [table], folded=True),
    ]


def _galaxies(
    folders: Folders, tree: Tree, ids: np.ndarray, predictions: np.ndarray, labels: np.ndarray, errors: np.ndarray
) -> Galaxies:
    most = thumbnails.share(len(ids))
    return Galaxies(
        tree=tree,
        names=[str(id) for id in ids],
        votes=predictions,
        pictures=[_picture(folders, int(id), most) for id in ids],
        paths=[in_words(votes, tree) for votes in predictions],
        columns=[
            Column("error", errors, 4, True, "root mean squared error over all answers"),
            Column("volunteers' path", [in_words(votes, tree) for votes in labels], listed=True),
        ],
        others=labels,
        noun="validation galaxies",
        order=("error", True),
    )


def _picture(folders: Folders, id: int, max_bytes: int) -> bytes | None:
    try:
        pixels = images.read_image(images.image_path(folders.images("train"), id))
    except DataError:
        return None
    return thumbnails.encode(thumbnails.middle(pixels), max_bytes)


def _extremes(galaxies: Galaxies, errors: np.ndarray) -> list[Section]:
    order = np.argsort(errors, kind="stable")
    count = min(NUM_BEST, len(order) // 2)
    if not count:
        return []
    return [
        Section(key, title, [Gallery(rows.tolist(), [f"error {errors[row]:.4f}" for row in rows])])
        for key, title, rows in (("best", "Best", order[:count]), ("worst", "Worst", order[::-1][:count]))
    ]


def _records(folders: Folders, names: Sequence[str]) -> list[Section]:
    sections = []
    for index, name in enumerate(names):
        if record := read_record(folders, name):
            left_out = {"losses_train", "losses_valid"}
            facts = flat({key: value for key, value in record.items() if key not in left_out})
            if isinstance(seconds := record.get("seconds"), (int, float)):
                facts = [("trained for", hms(seconds)), *facts]
            facts = [Facts(facts[:MAX_FACTS])]
            sections.append(Section(f"record{index}", f"Run record of {name}", facts, folded=True))
    return sections


def flat(value: object, prefix: str = "", depth: int = 0) -> list[tuple[str, str]]:
    """Flatten plain values to names ("network 3 class") and texts; deeper levels than MAX_DEPTH are JSON."""
    if depth < MAX_DEPTH and isinstance(value, (dict, list)) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value, 1)
        if isinstance(value, dict) or any(isinstance(each, (dict, list)) for each in value):
            return [pair for key, each in items for pair in flat(each, f"{prefix} {key}".strip(), depth + 1)]
    text = value if isinstance(value, str) else json.dumps(value)
    return [(prefix, text if len(text) <= 300 else f"{text[:299]}…")]
