"""Targets in, rows out: each target is framed once, every model predicts it, and it becomes one row."""

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from catalogue import calibration
from catalogue.calibration import FAR_FROM, NO_FEATURES
from catalogue.columns import FEATURE_COLUMN, Choices, answer_values, as_stored
from catalogue.flags import FAR, NO_OBJECT, OK, SHAPE, UNREADABLE, contradicts
from catalogue.framing import Frame
from catalogue.inputs import Inputs, Selection
from catalogue.likely_path import PathRule, path_rule
from catalogue.model_file import Answers, Model
from catalogue.read_ahead import framed_ahead
from catalogue.row_store import RowStore
from catalogue.targets import Recipe, Rejected
from galaxy import thumbnails
from galaxy.image_names import parse
from machine import seals, tables
from machine.files import DataError, first_line
from machine.passed_columns import arrow_array
from machine.progress import showing


def identity(inputs: Inputs, schema: pa.Schema) -> str:
    """Return a checksum of all that the rows depend on: names, sizes and times of files, models, options."""
    digest = hashlib.sha256(schema.metadata[tables.PROVENANCE] + json.dumps(schema.names).encode())
    for name, target in zip(inputs.names, inputs.targets, strict=True):
        digest.update(repr((name, _stamp(parse(target.path).path))).encode("utf-8", "surrogatepass"))
    for column in inputs.known.values():
        digest.update(repr(column.tolist()).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def source_of(inputs: Inputs, schema: pa.Schema) -> str:
    """Return the source of a catalogue's seal: models, options, columns, and names and sizes of the files.

    Unlike `identity` it has no times: a copy of the images gives the same table.
    """
    digest = hashlib.sha256(schema.metadata[tables.PROVENANCE] + json.dumps(schema.names).encode())
    for name, target in zip(inputs.names, inputs.targets, strict=True):
        stamp = _stamp(parse(target.path).path)
        digest.update(repr((name, stamp and stamp[0])).encode("utf-8", "surrogatepass"))
    for column in inputs.known.values():
        digest.update(repr(column.tolist()).encode("utf-8", "surrogatepass"))
    return seals.source_of(digest.digest())


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def make_rows(
    inputs: Inputs,
    models: Sequence[Model],
    choices: Choices,
    schema: pa.Schema,
    store: RowStore,
    num_workers: int,
    max_picture_bytes: int,
) -> None:
    """Make the parts that `store` has not yet: rows, and small pictures of `max_picture_bytes` where it keeps them.

    A known column of the inputs replaces what the frame says. Flags are OR-ed.
    """
    missing = store.missing
    ranges = [store.rows(index) for index in missing]
    rows = np.concatenate([np.arange(0), *(np.arange(*each) for each in ranges)])
    # The first model's radius frames the images; the others scale their views.
    rule = path_rule([model.card for model in models])
    reach = max(model.reach(models[0].card.framing_radius) for model in models)
    reach = max(reach, thumbnails.REACH) if store.with_pictures else reach
    recipe = Recipe(choices.stretch, choices.framing, models[0].card.framing_radius, reach)
    results = framed_ahead(Selection(inputs.targets, rows), recipe, num_workers)
    with showing(total=len(inputs), initial=len(inputs) - len(rows), unit="image") as bar:
        for index, (start, stop) in zip(missing, ranges, strict=True):
            columns, pictures = _blank(schema, stop - start), []
            columns["id_str"][:] = [tables.printable(text) for text in inputs.ids[start:stop]]
            columns["file_loc"][:] = [tables.printable(text) for text in inputs.names[start:stop]]
            answered: dict[int, list[Answers]] = {}
            for row, result in enumerate(islice(results, stop - start)):
                values, answers = _row_or_reason(result, models, rule)
                for name, value in values.items():
                    columns[name][row] = value
                if answers:
                    answered[row] = answers
                if store.with_pictures:
                    pictures.append(_picture(result, max_picture_bytes))
                bar.update()
            _set_answers(columns, answered, models, choices)
            flags = columns["flag"]
            columns |= {name: values[start:stop] for name, values in inputs.known.items()}
            columns["flag"] = columns["flag"] | flags
            if "flag" in inputs.known:  # objects of fields
                columns["flag"] |= _contradicted_at_detection(columns)
            arrays = [arrow_array(columns[column.name], column.type) for column in schema]
            store.save(index, pa.table(arrays, schema=schema), pictures)


def _blank(schema: pa.Schema, num_rows: int) -> dict[str, np.ndarray]:
    """Return columns without values: empty texts, zero flags, NaN; None for a text that a row may lack."""
    blank = {pa.string(): ("", object), pa.int32(): (0, np.int32)}
    columns = {column.name: np.full(num_rows, *blank.get(column.type, (np.nan, np.float32))) for column in schema}
    if FEATURE_COLUMN in schema.names:
        shape = num_rows, schema.field(FEATURE_COLUMN).type.list_size
        columns[FEATURE_COLUMN] = np.full(shape, NO_FEATURES, np.int8)
    return columns | {name: np.full(num_rows, None) for name in ("reason", "most_likely_path")}


def _set_answers(
    columns: dict[str, np.ndarray], answered: dict[int, list[Answers]], models: Sequence[Model], choices: Choices
) -> None:
    """Set the columns of the answers, where `answered` has the answers of each model by row."""
    if not answered:
        return
    rows = list(answered)
    answers = [Answers.concatenated(of_model) for of_model in zip(*answered.values(), strict=True)]
    for name, values in answer_values(_mean(answers), answers, models, choices).items():
        columns[name][rows] = values
    if choices.features:
        columns[FEATURE_COLUMN][rows] = as_stored(answers[0].features)


def _mean(answers: Sequence[Answers]) -> np.ndarray:
    """Return the mean of the predictions of models, (n, answers)."""
    return np.mean([each.predictions for each in answers], axis=0, dtype=np.float64)


def _row_or_reason(
    result: Frame | Rejected, models: Sequence[Model], rule: PathRule
) -> tuple[dict[str, object], list[Answers]]:
    """Return the values of a row and the answers of the models; the reason where its prediction fails."""
    try:
        return _row(result, models, rule)
    except DataError:  # the model's fault
        raise
    except Exception as error:  # a runtime can raise anything; the other rows must not be lost
        reason = f"cannot be predicted ({type(error).__name__}: {first_line(error)})"
        return _row(Rejected(UNREADABLE, reason), models, rule)


def _row(result: Frame | Rejected, models: Sequence[Model], rule: PathRule) -> tuple[dict[str, object], list[Answers]]:
    """Return the values of a row that are not answers, and the answers of the models.

    A rejected target has a reason, and no answers.
    """
    if isinstance(result, Rejected):
        return {"status": result.status, "reason": tables.printable(result.reason)}, []
    # One galaxy at a time: in a batch, the last digits would depend on its neighbours.
    answers = [model.predict([result]) for model in models]
    ranks = [
        calibration.rank(each.distances, model.card.distances) for model, each in zip(models, answers, strict=True)
    ]
    farther_than = np.mean(ranks)
    path, fraction = rule.most_likely(_mean(answers)[0])
    flags = result.flags
    if farther_than > FAR_FROM or flags & NO_OBJECT:
        flags |= FAR
    if contradicts(path, result.axis_ratio):
        flags |= SHAPE
    values = {
        "status": OK,
        "reason": tables.printable(result.note) or None,
        "most_likely_path": path,
        "most_likely_path_fraction": fraction,
        "flag": flags,
        "distance": np.mean([each.distances for each in answers]),
        "farther_than": farther_than,
        "framing": result.choice,
        "x": result.x,
        "y": result.y,
        "petrosian_radius": result.radius,
        "axis_ratio": result.axis_ratio,
        "frame_scale": result.scale,
    }
    return values, answers


def _contradicted_at_detection(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return SHAPE (n,) where an answer contradicts the axis ratio at the detection in a field, 0 elsewhere.

    The axis ratio of the frame is a second measurement: both must allow the answer.
    """
    paths = columns["most_likely_path"]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = columns["b"] / columns["a"]
    return SHAPE * np.array([contradicts(path or "", ratio) for path, ratio in zip(paths, ratios, strict=True)], int)


def _picture(result: Frame | Rejected, max_bytes: int) -> bytes | None:
    """Return a small picture (WebP) of the middle of a frame, its highest row first."""
    if isinstance(result, Rejected):
        return None
    with contextlib.suppress(Exception):  # a row without a picture is better than no table
        shown = thumbnails.middle(result.pixels, result.frame_to_image)
        return thumbnails.encode(shown[::-1] if result.upward else shown, max_bytes)
