"""Columns of a catalogue: which there are, in which order, and their values for known predictions."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from catalogue import answer_columns
from catalogue.answer_columns import answers_of, fractions_of
from catalogue.calibration import LEVELS
from catalogue.columns import Choices, answer_values, schema_of
from catalogue.model_file import Answers
from galaxy.decision_tree import GALAXY_ZOO_2
from machine import tables

FIRST, LAST = (
    ["id_str", "file_loc"],
    ["distance", "farther_than", "framing", "x", "y", "petrosian_radius", "axis_ratio", "frame_scale"],
)
OBJECT = ["ra", "dec", "object", "a", "b", "theta", "flux", "signal", "half_light_radius"]


def test_columns_of_files_and_of_fields_are_in_their_order():
    own = [tables.field("z", pa.float64(), "passed through")]
    answers = [*fractions_of(GALAXY_ZOO_2), "most_likely_path", "most_likely_path_fraction", "flag"]
    assert schema_of([], Choices(), own).names == [*FIRST, "z", "status", "reason", *answers, *LAST]
    schema = schema_of([], Choices(detect=True), [])
    assert schema.names == [*FIRST, "status", "reason", *OBJECT, *answers, *LAST]
    assert schema.field("x").type == pa.float64() and schema_of([], Choices(), []).field("x").type == pa.float32()


def test_a_full_catalogue_has_six_more_columns_per_answer_side_by_side():
    names = schema_of([], Choices(full=True), []).names
    endings = [
        "spread_transforms",
        "spread_models",
        *(f"{side}{level}" for level in LEVELS for side in ("low", "high")),
    ]
    assert names[-6 * 37 :] == [f"{answer}_{ending}" for answer in answers_of(GALAXY_ZOO_2) for ending in endings]


def test_each_column_says_what_it_is():
    for choices in (Choices(), Choices(detect=True, full=True), Choices(weighted=True)):
        for column in schema_of([], choices, []):
            description = column.metadata[b"description"].decode()
            assert description and "{" not in description
    weighted = (
        schema_of([], Choices(weighted=True), []).field(fractions_of(GALAXY_ZOO_2)[0]).metadata[b"description"].decode()
    )
    assert weighted.endswith("(fraction weighted by the answers that lead to the question)")


def made_answers(rng: np.random.Generator, num_transforms: int = 4) -> Answers:
    by_transform = rng.uniform(0.3, 0.7, (1, num_transforms, 37))
    return Answers(by_transform.mean(axis=1), by_transform, np.ones(1))


def model_with_intervals(half_width: float) -> SimpleNamespace:
    intervals = SimpleNamespace(
        around=lambda fractions: dict.fromkeys(LEVELS, (fractions - half_width, fractions + half_width))
    )
    return SimpleNamespace(card=SimpleNamespace(tree=GALAXY_ZOO_2, weighted=intervals, conditional=intervals))


@pytest.mark.parametrize("num_models", [1, 2])
def test_spreads_and_intervals_are_those_of_numpy(num_models: int):
    rng = np.random.default_rng(0)
    answers = [made_answers(rng) for _ in range(num_models)]
    models = [model_with_intervals(0.1 * (n + 1)) for n in range(num_models)]
    predictions = np.mean([each.predictions for each in answers], axis=0)
    values = answer_values(predictions, answers, models, Choices(weighted=True, full=True))
    assert set(values) == {
        name for name in schema_of([], Choices(full=True), []).names if name.startswith(answers_of(GALAXY_ZOO_2))
    }
    index, answer = 7, answers_of(GALAXY_ZOO_2)[7]
    assert values[f"{answer}_fraction"] == pytest.approx(predictions[:, index])
    over_transforms = np.sqrt(np.mean([each.by_transform[0, :, index].var() for each in answers]))
    assert values[f"{answer}_spread_transforms"] == pytest.approx(over_transforms)
    if num_models == 1:
        assert np.isnan(values[f"{answer}_spread_models"]).all()
    else:
        assert values[f"{answer}_spread_models"] == pytest.approx(
            np.std([each.predictions[0, index] for each in answers])
        )
    width = 0.1 if num_models == 1 else 0.15
    assert values[f"{answer}_low95"] == pytest.approx(predictions[:, index] - width)
    assert values[f"{answer}_high68"] == pytest.approx(predictions[:, index] + width)


def test_where_no_volunteer_would_be_asked_all_columns_are_empty():
    predictions = np.zeros((1, 37))
    predictions[0, 0] = 1.0  # smooth: questions about features are not asked
    answers = [Answers(predictions, predictions[:, None].repeat(2, axis=1), np.ones(1))] * 2
    values = answer_values(predictions, answers, [model_with_intervals(0.1)] * 2, Choices(full=True))
    assert np.isnan(answer_columns.conditional(predictions, GALAXY_ZOO_2)[0, 3])
    for ending in ("fraction", "spread_transforms", "spread_models", "low68"):
        assert np.isnan(values[f"{answers_of(GALAXY_ZOO_2)[3]}_{ending}"]).all()
