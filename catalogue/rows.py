"""Images in, a catalogue out: files are read and framed once, seen by every model, and told of in one row each.

Source: documentation of 2014, 2.4.1 (averages over transforms) and 3.3.3 (over models).
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from catalogue import answer_columns, calibration
from catalogue.calibration import FAR_FROM, LEVELS
from catalogue.flags import FAR, FIELD_FLAGS, FLAGS, NO_OBJECT, NOT_JUDGED, OK, UNREADABLE
from catalogue.framing import Frame
from catalogue.inputs import Inputs, Rows
from catalogue.model_file import Answers, Model
from catalogue.read_ahead import NotJudged, Recipe, prepared
from catalogue.row_store import Parts
from galaxy.decision_tree import NUM_ANSWERS
from machine import tables
from machine.progress import Bar, showing

VERSION = "1"


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the columns of a catalogue are, and how images become views."""

    framing: str = "auto"
    stretch: str | None = None
    weighted: bool = False
    full: bool = False
    detect: bool = False

    @property
    def flags(self) -> dict[int, str]:
        """Bits of the flag, and what they mean."""
        return FLAGS | FIELD_FLAGS if self.detect else FLAGS


# Of an object of a field: what is known of it before anything judges it.
OBJECT_FIELDS = (
    tables.field("ra", pa.float64(), "right ascension (ICRS), where the header tells", "deg"),
    tables.field("dec", pa.float64(), "declination (ICRS), where the header tells", "deg"),
    tables.field("object", pa.string(), "galaxy, star, or tiny: too small to have a visible shape"),
    tables.field("a", pa.float32(), "semi-major axis of the light's second moments", "pix"),
    tables.field("b", pa.float32(), "semi-minor axis", "pix"),
    tables.field("theta", pa.float32(), "of the semi-major axis, from x towards y", "deg"),
    tables.field("flux", pa.float64(), "within the Kron ellipse, mean of the bands, units of the file"),
    tables.field("signal", pa.float32(), "light of the object's pixels over their noise"),
    tables.field("half_light_radius", pa.float32(), "of the circle with half of the flux", "pix"),
)


def _stem(fraction: str) -> str:
    return fraction.removesuffix("_fraction")


def schema_of(models: Sequence[Model], choices: Choices, passed: Sequence[pa.Field]) -> pa.Schema:
    """Return the columns of a catalogue, with what they mean, and where it comes from."""
    text, real = pa.string(), pa.float32()
    kind = "weighted by the answers that lead to the question" if choices.weighted else "of those asked"
    fields = [
        tables.field("id_str", text, "identifier"),
        tables.field("file_loc", text, "the file"),
        *passed,
        tables.field("status", text, f"{OK}, or {UNREADABLE}"),
        tables.field("reason", text, "why a file could not be read"),
    ]
    if choices.detect:
        fields[-2] = tables.field("status", text, f"{OK}, {NOT_JUDGED}, or {UNREADABLE}")
        fields[-1] = tables.field("reason", text, "why an object was not judged, or a file could not be read")
        fields += OBJECT_FIELDS
    place = pa.float64() if choices.detect else real
    described = list(zip(answer_columns.FRACTIONS, answer_columns.descriptions(), strict=True))
    fields += [tables.field(name, real, f"{of} (fraction {kind})") for name, of in described]
    fields += [
        tables.field("most_likely_path", text, "the likeliest answers along the decision tree"),
        tables.field(
            "flag", pa.int32(), "sum of: " + "; ".join(f"{bit} {meaning}" for bit, meaning in choices.flags.items())
        ),
        tables.field("distance", real, "distance to the training images in features; about 1 for a typical one"),
        tables.field("farther_than", real, "part of the validation galaxies that is nearer to the training images"),
        tables.field("framing", text, "how the image was framed"),
        tables.field("x", place, "centre, columns counted from 0", "pix"),
        tables.field("y", place, "centre, rows counted from 0 as the file stores them", "pix"),
        tables.field("petrosian_radius", real, "of the object in the middle", "pix"),
        tables.field("frame_scale", real, "pixels of the network's frame (of 424) a pixel of the file"),
    ]
    if choices.full:
        for name in map(_stem, answer_columns.FRACTIONS):
            fields.append(tables.field(f"{name}_spread_transforms", real, "standard deviation over transforms"))
            fields.append(tables.field(f"{name}_spread_models", real, "standard deviation over models"))
            for level in LEVELS:
                fields.append(tables.field(f"{name}_low{level}", real, f"lower end of the {level} % interval"))
                fields.append(tables.field(f"{name}_high{level}", real, f"upper end of the {level} % interval"))
    told = {
        "made_by": "predict_galaxies.py",
        "version": VERSION,
        "models": [
            {"name": model.name, "sha256": model.sha256, "transforms": model.card.num_averaged} for model in models
        ],
        "framing": choices.framing,
        "stretch": choices.stretch or "asinh for FITS and floating point",
        "fractions": kind,
        "empty where asked less than": None if choices.weighted else answer_columns.ASKED,
        "flags": {str(bit): meaning for bit, meaning in choices.flags.items()},
        "far from": FAR_FROM,
    }
    return pa.schema(fields, metadata={tables.PROVENANCE: json.dumps(told).encode()})


def identity(inputs: Inputs, schema: pa.Schema) -> str:
    """Return a checksum of what the rows depend on: names, sizes and times of files, models, options."""
    digest = hashlib.sha256(schema.metadata[tables.PROVENANCE] + json.dumps(schema.names).encode())
    for name, path in zip(inputs.names, inputs.paths, strict=True):
        digest.update(repr((name, _stamp(path))).encode("utf-8", "surrogatepass"))
    for column in inputs.passed.values():
        digest.update(repr(column.tolist()).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def radius_of(models: Sequence[Model]) -> float:
    """Return the Petrosian radius that images are framed to, the first model's; the others scale their views."""
    return models[0].card.framing_radius


def make_parts(
    inputs: Inputs, models: Sequence[Model], choices: Choices, parts: Parts, schema: pa.Schema, num_workers: int
) -> None:
    """Make the parts of a catalogue that are still missing.

    Of the objects of fields, columns that pass through stand for what their frames tell, and flags for more flags.
    """
    missing = parts.missing
    rows = [parts.rows(number) for number in missing]
    numbers = [np.arange(start, stop) for start, stop in rows]
    paths = Rows(inputs.paths, np.concatenate(numbers) if numbers else np.arange(0))
    recipe = Recipe(choices.stretch, choices.framing, radius_of(models))
    frames = prepared(paths, recipe, num_workers)
    if choices.detect:
        passed = [(schema.field(name), values) for name, values in inputs.passed.items()]
    else:
        passed = tables.passed_fields(inputs.passed, _own_names(schema, inputs))
    with showing(total=len(inputs), initial=len(inputs) - len(paths), unit="image") as bar:
        for number, (start, stop) in zip(missing, rows, strict=True):
            columns = _rows(islice(frames, stop - start), stop - start, models, choices, bar)
            columns["id_str"] = [tables.printable(text) for text in inputs.ids[start:stop]]
            columns["file_loc"] = [tables.printable(text) for text in inputs.names[start:stop]]
            flag = columns["flag"]
            columns |= {each.name: values[start:stop] for each, values in passed}
            columns["flag"] = columns["flag"] | flag
            arrays = [pa.array(columns[each.name], each.type, from_pandas=True) for each in schema]
            parts.save(number, pa.table(arrays, schema=schema))


def _own_names(schema: pa.Schema, inputs: Inputs) -> list[str]:
    """Return the columns that do not pass through, which stand in a table of other inputs too."""
    passed = range(2, 2 + len(inputs.passed))
    return [name for number, name in enumerate(schema.names) if number not in passed]


def _rows(
    results: Iterator[Frame | str], number: int, models: Sequence[Model], choices: Choices, bar: Bar
) -> dict[str, list | np.ndarray]:
    """Return the columns of so many rows, but for those that pass through."""
    unknown = np.full(number, np.nan, np.float32)
    columns: dict[str, list | np.ndarray] = {
        "status": [OK] * number,
        "reason": [""] * number,
        "most_likely_path": [""] * number,
        "framing": [""] * number,
        "flag": np.zeros(number, np.int32),
    }
    for name in ("distance", "farther_than", "x", "y", "petrosian_radius", "frame_scale"):
        columns[name] = unknown.copy()
    for values in _of_answers(np.full((1, NUM_ANSWERS), np.nan), models, None, choices):
        columns |= {name: unknown.copy() for name in values}
    for place, result in enumerate(results):
        if isinstance(result, Frame):
            columns["framing"][place] = result.choice
            columns["flag"][place] = result.flags
            measured = {"x": result.x, "y": result.y, "petrosian_radius": result.radius, "frame_scale": result.scale}
            for name, value in measured.items():
                columns[name][place] = value
            # One at a time: the last digits would tell which galaxies stood beside it.
            _judge(place, result, models, choices, columns)
        else:
            columns["status"][place] = NOT_JUDGED if isinstance(result, NotJudged) else UNREADABLE
            columns["reason"][place] = tables.printable(result)
        bar.update()
    return columns


def _judge(place: int, frame: Frame, models: Sequence[Model], choices: Choices, columns: dict) -> None:
    """Have the models look at a galaxy, and write what they say into its row."""
    found = [model.predict([frame]) for model in models]
    predictions = np.mean([each.predictions for each in found], axis=0, dtype=np.float64)
    for values in _of_answers(predictions, models, found, choices):
        for name, value in values.items():
            columns[name][place] = value[0]
    columns["most_likely_path"][place] = answer_columns.most_likely_path(predictions[0])
    columns["distance"][place] = np.mean([each.distances for each in found])
    ranks = [calibration.rank(each.distances, model.card.distances) for model, each in zip(models, found, strict=True)]
    columns["farther_than"][place] = np.mean(ranks)
    if np.mean(ranks) > FAR_FROM or frame.flags & NO_OBJECT:
        columns["flag"][place] |= FAR


def _of_answers(
    predictions: np.ndarray, models: Sequence[Model], found: Sequence[Answers] | None, choices: Choices
) -> Iterator[dict[str, np.ndarray]]:
    """Yield the columns of the 37 answers, for predictions (n, 37) and what each model found."""

    def chosen(weighted: np.ndarray) -> np.ndarray:
        return weighted if choices.weighted else answer_columns.conditional(weighted)

    fractions = chosen(predictions)
    yield _named("{}_fraction", fractions)
    if not choices.full:
        return
    if found is None:
        over_transforms = over_models = np.full_like(predictions, np.nan)
    else:
        # Of the same rows as the fractions: where almost nobody is asked, spreads mean nothing.
        variances = [
            _variance([chosen(each.by_transform[:, n]) for n in range(each.by_transform.shape[1])]) for each in found
        ]
        over_transforms = np.where(np.isfinite(fractions), np.sqrt(np.mean(variances, axis=0)), np.nan)
        over_models = np.where(
            np.isfinite(fractions), np.sqrt(_variance([chosen(each.predictions) for each in found])), np.nan
        )
        if len(found) == 1:
            over_models = np.full_like(over_models, np.nan)
    yield _named("{}_spread_transforms", over_transforms)
    yield _named("{}_spread_models", over_models)
    kind = "weighted" if choices.weighted else "conditional"
    # Several models have the mean of their intervals.
    ends = [getattr(model.card, kind).around(fractions) for model in models]
    for level in LEVELS:
        for side, name in enumerate(("low", "high")):
            yield _named(f"{{}}_{name}{level}", np.mean([each[level][side] for each in ends], axis=0))


def _variance(values: Sequence[np.ndarray]) -> np.ndarray:
    """Return the variance over several arrays, of what is known in them; 0 where nothing is."""
    stacked = np.stack(values)
    known = np.isfinite(stacked)
    counts = np.maximum(known.sum(axis=0), 1)
    means = np.where(known, stacked, 0).sum(axis=0) / counts
    return (np.where(known, stacked - means, 0) ** 2).sum(axis=0) / counts


def _named(pattern: str, values: np.ndarray) -> dict[str, np.ndarray]:
    return {
        pattern.format(_stem(name)): values[:, number].astype(np.float32)
        for number, name in enumerate(answer_columns.FRACTIONS)
    }
