"""The most likely path ends where the model knows no more; its fraction is a product of votes or a probability."""

from types import SimpleNamespace

import numpy as np
import pytest
from tiny import draw_labels

from catalogue.answer_columns import conditional
from catalogue.likely_path import PathRule, answers_of, classes_of, known_questions, mixture, path_rule
from galaxy.decision_tree import GALAXY_ZOO_2

NONE = np.empty((0, 37))
ALL = PathRule(GALAXY_ZOO_2, frozenset(GALAXY_ZOO_2.numbers), NONE)


@pytest.mark.parametrize(
    ("likely", "words"),
    [
        ({1: 1, 7: 2, 6: 2}, "smooth, in between"),
        ({1: 2, 2: 1, 9: 1, 6: 1, 8: 7}, "features or disk, edge-on, rounded bulge, odd, dust lane"),
        ({1: 2, 2: 2, 3: 2, 4: 1, 10: 3, 11: 2, 5: 3, 6: 2},
         "features or disk, not edge-on, no bar, spiral, loose, 2 arms, bulge obvious"),
        ({1: 2, 2: 2, 3: 1, 4: 2, 5: 4, 6: 1, 8: 1},
         "features or disk, not edge-on, bar, no spiral, bulge dominant, odd, ring"),
        ({1: 3}, "star or artifact"),
    ],
)  # fmt: skip
def test_the_most_likely_path_is_in_the_words_of_the_tree(likely: dict[int, int], words: str):
    fractions = np.zeros(37)
    for question, of_question in GALAXY_ZOO_2.slices.items():
        fractions[of_question] = 0.1
        if question in likely:
            fractions[of_question.start + likely[question] - 1] = 0.6
    path, fraction = ALL.most_likely(GALAXY_ZOO_2.weigh(fractions))
    assert path == words
    parts = [
        f / fractions[GALAXY_ZOO_2.slices[q]].sum()
        for q, a in likely.items()
        for f in [fractions[GALAXY_ZOO_2.slices[q]][a - 1]]
    ]
    assert fraction == pytest.approx(np.prod(parts))


def spiral() -> np.ndarray:
    fractions = np.full(37, 0.1)
    for question, answer in {1: 2, 2: 2, 3: 2, 4: 1, 10: 3, 11: 2, 5: 3, 6: 2}.items():
        fractions[GALAXY_ZOO_2.slices[question].start + answer - 1] = 0.8
    return GALAXY_ZOO_2.weigh(fractions)


def test_a_path_ends_before_the_first_question_that_the_model_does_not_know():
    assert (
        PathRule(GALAXY_ZOO_2, frozenset(GALAXY_ZOO_2.numbers) - {3}, NONE).most_likely(spiral())[0]
        == "features or disk, not edge-on"
    )
    words = "features or disk, not edge-on, no bar, spiral"
    assert PathRule(GALAXY_ZOO_2, frozenset({1, 2, 3, 4, 6}), NONE).most_likely(spiral())[0] == words
    assert PathRule(GALAXY_ZOO_2, frozenset({2}), NONE).most_likely(spiral())[0] == "features or disk"


def test_mixtures_give_the_probabilities_of_classes():
    classes = draw_labels(5, np.random.default_rng(0))
    weights = np.array([0.5, 0.0, 0.3, 0.2, 0.0])
    np.testing.assert_allclose(mixture(weights @ classes, classes), weights, atol=1e-6)
    assert mixture(np.zeros(37), classes).sum() == pytest.approx(1)


def test_the_fraction_of_a_class_is_the_probability_of_all_classes_with_its_path():
    smooth, disk, other = np.zeros((3, 37))
    smooth[[GALAXY_ZOO_2.column(1, 1), GALAXY_ZOO_2.column(7, 1), GALAXY_ZOO_2.column(6, 2)]] = 1
    disk[
        [GALAXY_ZOO_2.column(1, 2), GALAXY_ZOO_2.column(2, 2), GALAXY_ZOO_2.column(3, 1), GALAXY_ZOO_2.column(4, 1)]
    ] = 1
    other[
        [GALAXY_ZOO_2.column(1, 2), GALAXY_ZOO_2.column(2, 2), GALAXY_ZOO_2.column(3, 2), GALAXY_ZOO_2.column(4, 2)]
    ] = 1
    rule = PathRule(GALAXY_ZOO_2, frozenset({1, 2, 7}), np.stack([smooth, disk, other]))
    path, fraction = rule.most_likely(0.4 * smooth + 0.25 * disk + 0.35 * other)
    assert (path, fraction) == ("features or disk, not edge-on", pytest.approx(0.6))
    assert "probability" in rule.meaning and "volunteers" in ALL.meaning


def test_several_models_know_what_all_of_them_know():
    one = SimpleNamespace(tree=GALAXY_ZOO_2, path_questions=(1, 2, 7), classes=np.eye(37)[:2])
    two = SimpleNamespace(tree=GALAXY_ZOO_2, path_questions=(1, 2, 3), classes=NONE)
    assert path_rule([one, two]).questions == {1, 2} and not path_rule([one, two]).of_classes
    assert path_rule([one, one]).of_classes
    assert path_rule([]).questions == set(GALAXY_ZOO_2.numbers)


def test_a_question_is_known_if_the_spread_of_predictions_exceeds_their_error():
    rng = np.random.default_rng(1)
    labels = draw_labels(600, rng)
    fractions = np.nan_to_num(conditional(labels, GALAXY_ZOO_2), nan=0.5)
    noisy = fractions + rng.normal(0, 0.01, fractions.shape)
    # Question 1 is always known; of question 7 only the average; of question 2 nothing but noise.
    noisy[:, GALAXY_ZOO_2.slices[7]] = fractions[:, GALAXY_ZOO_2.slices[7]].mean(axis=0)
    noisy[:, GALAXY_ZOO_2.slices[2]] = rng.uniform(0, 1, (600, 2))
    known = known_questions(GALAXY_ZOO_2.weigh(np.clip(noisy, 0.001, 1)), labels, NONE, GALAXY_ZOO_2)
    assert 1 in known and 3 in known and not {2, 7} & set(known)


def test_labels_of_few_classes_are_class_averages_and_their_common_answers_are_not_known():
    rng = np.random.default_rng(2)
    classes = draw_labels(4, rng)
    labels = classes[rng.integers(0, 4, 400)]
    assert len(classes_of(labels)) == 4 and len(classes_of(labels[:100])) == 0
    assert len(classes_of(draw_labels(400, rng))) == 0
    classes[:, GALAXY_ZOO_2.slices[6]] = 0.2, 0.8
    assert 6 not in known_questions(labels, labels, classes, GALAXY_ZOO_2)


def test_words_of_a_path_are_columns_again():
    assert answers_of("features or disk, not edge-on", GALAXY_ZOO_2) == [
        GALAXY_ZOO_2.column(1, 2),
        GALAXY_ZOO_2.column(2, 2),
    ]
    assert answers_of("", GALAXY_ZOO_2) == []
