"""Cards are written and read without loss, and other JSON is refused."""

import json

import numpy as np
import pytest

from catalogue.calibration import MAX_BINS, Intervals
from catalogue.card import DISTANCE_LEVELS, MAX_BYTES, Card, from_json, to_markdown
from galaxy.decision_tree import GALAXY_ZOO_2
from machine.files import DataError


def card() -> Card:
    edges = np.tile(np.concatenate([np.linspace(0.1, 0.8, 8), [np.inf]]), (37, 1))
    offsets = np.tile([-0.1, 0.1, -0.25, 0.25], (37, MAX_BINS, 1))
    intervals = Intervals(edges, offsets)
    return Card(
        "tiny",
        np.stack([np.diag([3.0, 3.0, 1.0]), np.array([[0.0, -3, 424], [3, 0, 0], [0, 0, 1]])]),
        ((69, 69), (45, 69)),
        np.stack([np.eye(3)] * 5),
        10,
        121.5,
        intervals,
        intervals,
        distances=np.linspace(0.5, 4, DISTANCE_LEVELS),
        facts={"licence": "MIT", "scores": {"RMSE": 0.08, "a|b": "c\nd"}},
        path_questions=(1, 2, 7),
        classes=np.full((2, 37), 0.25),
        tree=GALAXY_ZOO_2,
        num_views=2,
    )


def test_a_card_is_read_as_it_was_written():
    again = from_json(card().to_json())
    assert (again.name, again.target_sizes) == ("tiny", ((69, 69), (45, 69)))
    assert (again.num_averaged, again.num_views) == (10, 2)
    assert again.framing_radius == 121.5 and again.facts == card().facts
    for name in ("ds_transforms", "test_transforms", "distances"):
        np.testing.assert_allclose(getattr(again, name), getattr(card(), name), atol=1e-7)
    assert again.path_questions == (1, 2, 7)
    np.testing.assert_array_equal(again.classes, card().classes)
    assert again.to_json() == card().to_json()


def test_an_older_card_knows_all_questions_and_no_classes():
    values = json.loads(card().to_json())
    del values["path_questions"], values["classes"], values["tree"]
    again = from_json(json.dumps(values))
    assert again.path_questions == tuple(range(1, 12)) and again.classes.shape == (0, 37)
    assert again.tree == GALAXY_ZOO_2


def test_intervals_are_the_same_after_the_infinite_edges_of_repeated_bins_are_written_as_two():
    predictions = np.random.default_rng(0).random((50, 37))
    again = from_json(card().to_json()).weighted
    assert again.edges.max() == 2
    for level, ends in card().weighted.around(predictions).items():
        np.testing.assert_allclose(again.around(predictions)[level], ends, atol=1e-6)


def test_distances_of_a_card_never_decrease():
    values = json.loads(card().to_json())
    values["distances"][100] = 0.1
    assert (np.diff(from_json(json.dumps(values)).distances) >= 0).all()


BAD = {
    "expected path questions from 1 to 11": {"path_questions": [1, 12]},
    "expected at most 32 classes": {"classes": [[0.5] * 37] * 33},
    "expected numbers of shape (2, 37)": {"classes": [[0.5] * 36] * 2},
    "expected version 1": {"version": 2},
    "expected 1 to 8 views": {"target_sizes": [[69, 69]] * 9},
    "expected views of 1 to 1024 pixels a side": {"target_sizes": [[0, 69], [45, 69]]},
    "expected 1 to 256 transforms": {"test_transforms": []},
    "expected an average over 1 to 256 transforms": {"num_averaged": 2.0},
    "expected 1 to 5 of the transforms": {"num_views": 6},
    "expected a framing radius between 1 and 1000": {"framing_radius": 0.5},
    "expected a name": {"name": ""},
    "expected facts": {"facts": []},
    "expected numbers of shape (201,)": {"distances": [1, 2]},
    "expected numbers of shape (2, 3, 3)": {"ds_transforms": [np.eye(3).tolist()]},
    "expected affine transforms": {"ds_transforms": [np.ones((3, 3)).tolist()] * 2},
    "within a factor of 100": {"ds_transforms": [np.diag([1e-3, 1e-3, 1]).tolist()] * 2},
    "has no 'edges'": {"intervals": {"weighted": {}}},
}


@pytest.mark.parametrize("reason", BAD)
def test_a_card_with_other_values_is_refused(reason: str):
    with pytest.raises(DataError) as refused:
        from_json(json.dumps(json.loads(card().to_json()) | BAD[reason]))
    assert reason in str(refused.value) and "export the model again" in str(refused.value)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"version": NaN}', "[" * 100_000, " " * (MAX_BYTES + 1)], ids=range(6)
)
def test_what_is_not_a_card_is_refused_in_one_line(text: str):
    with pytest.raises(DataError) as refused:
        from_json(text)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 250


def test_a_card_for_readers_has_its_facts_views_and_checksum():
    page = to_markdown(card(), "ab" * 32)
    assert page.startswith("# tiny\n\nLicence: MIT\n") and "## Scores" in page
    assert "| RMSE | 0.08 |" in page and "| a|b | c d |" in page
    assert "Views per transform: 2 (69 x 69, 45 x 69 pixels)" in page and "the mean over 10 transforms" in page
    assert "121.5 of 424 pixels" in page and f"`{'ab' * 32}`" in page
