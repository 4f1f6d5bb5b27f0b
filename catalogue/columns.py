"""The columns of a catalogue: names, types, units, descriptions, and the values of the answers.

Source: documentation of 2014, 2.4.1 (averages over transforms) and 3.3.3 (over models).
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from catalogue import answer_columns
from catalogue.calibration import FAR_FROM, LEVELS, NO_FEATURES
from catalogue.flags import FIELD_FLAGS, FLAGS, NOT_JUDGED, OK, UNREADABLE, UNTRUSTED
from catalogue.likely_path import PathRule, path_rule
from catalogue.model_file import Answers, Model
from galaxy.decision_tree import GALAXY_ZOO_2
from galaxy.tree import CONVENTIONS, Tree, from_plain
from machine import tables
from machine.files import DataError
from machine.version import VERSION


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the columns of a catalogue are, and how images become views."""

    framing: str = "auto"
    stretch: str | None = None
    weighted: bool = False
    full: bool = False
    detect: bool = False
    features: bool = False

    @property
    def flags(self) -> dict[int, str]:
        """Bits of the column `flag`, and their meaning."""
        return FLAGS | FIELD_FLAGS if self.detect else FLAGS

    @property
    def basis(self) -> str:
        """What the fractions are fractions of."""
        return "weighted by the answers that lead to the question" if self.weighted else "of those asked"


class Column(NamedTuple):
    """A column; one with `{answer}` in its name stands for one per answer. `when`: in which catalogues it is."""

    name: str
    type: pa.DataType
    unit: str
    description: str
    when: str = "always"


TEXT, FLAG, SINGLE, DOUBLE = pa.string(), pa.int32(), pa.float32(), pa.float64()
# Columns of the user's own table follow these.
INPUT = (
    Column("id_str", TEXT, "", "identifier"),
    Column("file_loc", TEXT, "", "the file"),
)
# fmt: off
RESULTS = (
    Column("status", TEXT, "", f"{OK}, or {UNREADABLE}", "files"),
    Column("status", TEXT, "", f"{OK}, {NOT_JUDGED}, or {UNREADABLE}", "fields"),
    Column("reason", TEXT, "", "why a file could not be read, or what of it was not read", "files"),
    Column("reason", TEXT, "", "why an object was not judged, a file not read, or what of it was not read", "fields"),
    # Measured when objects are detected, before they are framed.
    Column("ra", DOUBLE, "deg", "right ascension (ICRS), where the header tells", "fields"),
    Column("dec", DOUBLE, "deg", "declination (ICRS), where the header tells", "fields"),
    Column("object", TEXT, "", "galaxy, star, or tiny: too small to have a visible shape", "fields"),
    Column("a", SINGLE, "pix", "semi-major axis of the light's second moments", "fields"),
    Column("b", SINGLE, "pix", "semi-minor axis", "fields"),
    Column("theta", SINGLE, "deg", "of the semi-major axis, from x towards y", "fields"),
    Column("flux", DOUBLE, "", "within the Kron ellipse, mean of the bands, units of the file", "fields"),
    Column("signal", SINGLE, "", "light of the object's pixels over their noise", "fields"),
    Column("half_light_radius", SINGLE, "pix", "of the circle with half of the flux", "fields"),
    Column("{answer}_fraction", SINGLE, "", "{question} (fraction {basis})"),
    Column("{answer}{alpha}", SINGLE, "", "concentration of a Dirichlet distribution of fractions", "concentrations"),
    Column("most_likely_path", TEXT, "", "most likely answers along the decision tree, as far as the models know them"),
    Column("most_likely_path_fraction", SINGLE, "", "{path_fraction}"),
    Column("flag", FLAG, "", "sum of: {flags}"),
    Column("distance", SINGLE, "", "distance to the training images in features; about 1 for a typical one"),
    Column("farther_than", SINGLE, "", "part of the validation galaxies that is nearer to the training images"),
    Column("framing", TEXT, "", "how the image was framed"),
    # Fields have up to 100,000 pixels a side.
    Column("x", SINGLE, "pix", "centre, columns counted from 0", "files"),
    Column("x", DOUBLE, "pix", "centre, columns counted from 0", "fields"),
    Column("y", SINGLE, "pix", "centre, rows counted from 0 as the file stores them", "files"),
    Column("y", DOUBLE, "pix", "centre, rows counted from 0 as the file stores them", "fields"),
    Column("petrosian_radius", SINGLE, "pix", "of the object in the middle"),
    Column("axis_ratio", SINGLE, "", "b/a of the second moments of the object in the middle"),
    Column("frame_scale", SINGLE, "", "pixels of the network's frame (of 424) a pixel of the file"),
    Column("{answer}_spread_transforms", SINGLE, "", "standard deviation over transforms", "full"),
    Column("{answer}_spread_models", SINGLE, "", "standard deviation over models", "full"),
    *(Column(f"{{answer}}_{side}{level}", SINGLE, "", f"{end} end of the interval of {level} % of {{labels}}", "full")
      for level in LEVELS for side, end in (("low", "lower"), ("high", "upper"))),
)
# fmt: on
# What intervals contain, for models of votes and of classes.
LABELS = {
    False: "the votes of validation galaxies with similar predictions, widened to the fraction",
    True: "the class averages of validation galaxies with similar predictions, widened to the fraction",
}
# The column of features: whole numbers of 1 / FEATURE_SCALE, at most MAX_FEATURE.
FEATURE_COLUMN, FEATURE_SCALE, MAX_FEATURE = "features", 24, 127


def schema_of(models: Sequence[Model], choices: Choices, passed: Sequence[pa.Field], light_unit: str = "") -> pa.Schema:
    """Return the columns of a catalogue with their meaning, `passed` among them, and its provenance.

    `light_unit` is the unit of the fields' pixels, which `flux` has too; empty if unknown.
    """
    rule = path_rule([model.card for model in models])
    results = [column._replace(unit=light_unit) if column.name == "flux" else column for column in RESULTS]
    fields = [*_fields(INPUT, choices, rule), *passed, *_fields(results, choices, rule, have_concentrations(models))]
    provenance = {
        "made_by": "predict_galaxies.py",
        "version": VERSION,
        "models": [{"name": model.name, "sha256": model.sha256, "transforms": model.num_averaged} for model in models],
        "framing": choices.framing,
        "stretch": choices.stretch or "asinh for FITS and floating point",
        "fractions": choices.basis,
        "empty where asked less than": None if choices.weighted else answer_columns.ASKED,
        "flags": {str(bit): meaning for bit, meaning in choices.flags.items()},
        "untrusted flags": UNTRUSTED,
        "far from": FAR_FROM,
        "path questions": sorted(rule.questions),
        "classes": len(rule.classes),
    }
    if rule.tree != GALAXY_ZOO_2:
        provenance["tree"] = rule.tree.as_plain()
    if choices.features:
        model = models[0]  # directions of different networks cannot be compared
        if not model.num_features:
            raise DataError(f"{model.path} returns no features; name a model that export_model.py has exported anew")
        provenance["features of"] = {"name": model.name, "sha256": model.sha256}
        description = (
            f"features of {model.name} along its main directions, in 1/{FEATURE_SCALE} of the standard deviation along "
            f"the first one over the training images; {NO_FEATURES} in rows without answers"
        )
        fields.append(tables.field(FEATURE_COLUMN, pa.list_(pa.int8(), model.num_features), description))
    return pa.schema(fields, metadata={tables.PROVENANCE: json.dumps(provenance).encode()})


def tree_of(schema: pa.Schema) -> Tree:
    """Return the tree of a catalogue's answers, from its provenance."""
    declared = tables.provenance(schema).get("tree")
    return from_plain(declared) if declared else GALAXY_ZOO_2


def have_concentrations(models: Sequence[Model]) -> bool:
    """Return whether all models return concentrations; a catalogue has their mean."""
    return bool(models) and all(getattr(model, "has_concentrations", False) for model in models)


def _fields(
    columns: Sequence[Column], choices: Choices, rule: PathRule, concentrations: bool = False
) -> Iterator[pa.Field]:
    """Yield columns with their descriptions filled in."""
    present = {"always", "fields" if choices.detect else "files", *(["full"] if choices.full else [])}
    present |= {"concentrations"} if concentrations else set()
    alpha = CONVENTIONS[rule.tree.convention][1]
    columns = [column for column in columns if column.when in present]
    flags = "; ".join(f"{bit} {meaning}" for bit, meaning in choices.flags.items())
    notes = {"basis": choices.basis, "flags": flags, "labels": LABELS[rule.of_classes], "path_fraction": rule.meaning}
    # Neighbouring columns of answers stand together, answer by answer.
    for is_answer, group in groupby(columns, lambda column: "{answer}" in column.name):
        block = list(group)
        names, questions = answer_columns.answers_of(rule.tree), answer_columns.descriptions(rule.tree)
        for answer, question in zip(names, questions, strict=True) if is_answer else [("", "")]:
            for column in block:
                description = column.description.format(question=question, **notes)
                yield tables.field(
                    column.name.format(answer=answer, alpha=alpha), column.type, description, column.unit
                )


def answer_values(
    predictions: np.ndarray, answers: Sequence[Answers], models: Sequence[Model], choices: Choices
) -> dict[str, np.ndarray]:
    """Return the columns of the answers by name, for mean predictions (n, answers) and the answers of each model."""

    tree = models[0].card.tree

    def chosen(weighted: np.ndarray) -> np.ndarray:
        return weighted if choices.weighted else answer_columns.conditional(weighted, tree)

    fractions = chosen(predictions)
    values = {"{}_fraction": fractions}
    if have_concentrations(models):
        ending = CONVENTIONS[tree.convention][1]
        values[f"{{}}{ending}"] = np.mean([each.concentrations for each in answers], axis=0)
    if choices.full:
        # Spreads have no meaning where almost no volunteer would be asked: where the fraction is empty.
        asked = np.isfinite(fractions)
        variances = [
            _variance([chosen(each.by_transform[:, n]) for n in range(each.by_transform.shape[1])]) for each in answers
        ]
        values["{}_spread_transforms"] = np.where(asked, np.sqrt(np.mean(variances, axis=0)), np.nan)
        over_models = np.sqrt(_variance([chosen(each.predictions) for each in answers]))
        values["{}_spread_models"] = np.where(asked & (len(answers) > 1), over_models, np.nan)
        # Several models have the mean of their intervals.
        basis = "weighted" if choices.weighted else "conditional"
        intervals = [getattr(model.card, basis).around(fractions) for model in models]
        for level in LEVELS:
            for end, name in enumerate(("low", "high")):
                values[f"{{}}_{name}{level}"] = np.mean([ends[level][end] for ends in intervals], axis=0)
    return {
        pattern.format(answer): column.astype(np.float32)
        for pattern, columns in values.items()
        for answer, column in zip(answer_columns.answers_of(tree), columns.T, strict=True)
    }


def as_stored(features: np.ndarray) -> np.ndarray:
    """Return features (n, k) as the whole numbers of the column, int8; each is cut at 127 / FEATURE_SCALE."""
    return np.clip(np.rint(np.nan_to_num(features) * FEATURE_SCALE), -MAX_FEATURE, MAX_FEATURE).astype(np.int8)


def _variance(values: Sequence[np.ndarray]) -> np.ndarray:
    """Return the variance over several arrays, of their finite values; 0 where they have none."""
    stacked = np.stack(values)
    known = np.isfinite(stacked)
    counts = np.maximum(known.sum(axis=0), 1)
    means = np.where(known, stacked, 0).sum(axis=0) / counts
    return (np.where(known, stacked - means, 0) ** 2).sum(axis=0) / counts
