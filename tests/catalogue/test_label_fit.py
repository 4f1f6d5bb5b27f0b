"""The fit to labels separates what differs, is exact in any batch, and gives honest probabilities."""

import numpy as np
import pytest
import similar
from scipy.optimize import minimize

from catalogue import label_fit
from catalogue.columns import FEATURE_SCALE


def test_the_fit_minimises_the_balanced_cross_entropy():
    features = similar.features(40, 12)
    wanted = np.arange(40) < 12
    fitted = label_fit.fit(features, wanted)
    inputs = np.column_stack([features / FEATURE_SCALE, np.ones(40)])
    importance = np.where(wanted, 40 / 24, 40 / 56)
    penalty = np.append(np.ones(16), 1e-3)

    def loss(solution: np.ndarray) -> float:
        logit = inputs @ solution
        return importance @ (np.logaddexp(0, logit) - wanted * logit) + penalty @ solution**2 / 2

    expected = minimize(loss, np.zeros(17), tol=1e-12).x
    np.testing.assert_allclose([*fitted.weights, fitted.bias], expected, atol=1e-4)


def test_few_labels_rank_the_rare_first():
    features = similar.features(2000, 100)
    labelled = np.r_[0:6, 100:120]
    scores = label_fit.fit(features[labelled], labelled < 100).scores(features)
    assert (np.argsort(-scores)[:80] < 100).mean() > 0.9


def test_a_score_does_not_depend_on_the_batch():
    features = similar.features(1001, 50)
    fitted = label_fit.fit(features[:200], np.arange(200) < 50)
    together = fitted.scores(features)
    for size in (1, 7, 500):
        parts = [fitted.scores(features[start : start + size]) for start in range(0, 1001, size)]
        np.testing.assert_array_equal(np.concatenate(parts), together)


def test_probabilities_are_those_of_galaxies_that_the_fit_has_not_seen():
    rng = np.random.default_rng(1)
    features = np.clip(np.rint(rng.normal(0, 20, (20000, 16))), -127, 127).astype(np.int8)
    truth = rng.random(20000) < 1 / (1 + np.exp(-(features[:, :2].sum(axis=1) / 12 - 2.0)))
    curve = label_fit.calibrate(features[:400], truth[:400])
    scores = label_fit.fit(features[:400], truth[:400]).scores(features[400:])
    chances, truth = curve.probabilities(scores), truth[400:]
    for low, high in ((0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.01)):
        inside = (chances >= low) & (chances < high)
        assert abs(chances[inside].mean() - truth[inside].mean()) < 0.1


@pytest.mark.parametrize("num_rare", [9, 191])
def test_too_few_labels_of_an_answer_give_no_probability(num_rare: int):
    assert label_fit.calibrate(similar.features(200, num_rare), np.arange(200) < num_rare) is None


def test_equal_and_contradicting_labels_have_finite_scores():
    features = np.zeros((6, 4), np.int8)
    fitted = label_fit.fit(features, np.arange(6) < 3)
    assert np.isfinite(fitted.scores(features)).all()
    extreme = np.where(np.arange(40)[:, None] < 20, 127, -127) * np.ones((1, 64))
    fitted = label_fit.fit(extreme.astype(np.int8), np.arange(40) < 20)
    assert np.isfinite(fitted.weights).all() and fitted.scores(extreme[:1])[0] > 0
