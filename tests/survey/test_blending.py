"""Weights of blends against a bound from convexity and an exhaustive search; blends of questions, their sums."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import draw_labels

from galaxy.decision_tree import GALAXY_ZOO_2
from survey import blending
from survey.predictions import rmse as score


def rmse(weights: np.ndarray, gram: np.ndarray) -> float:
    return float(np.sqrt(max(0.0, weights @ gram @ weights)))


def blend_rmse(weights: np.ndarray, grams: np.ndarray) -> float:
    """Return the RMSE over all answers of the blend with weights (37, models), from the Gram matrices of answers."""
    return float(np.sqrt(np.maximum(np.einsum("am,amk,ak->a", weights, grams, weights), 0).mean()))


def gram_of(residuals: np.ndarray) -> np.ndarray:
    return residuals @ residuals.T / residuals.shape[1]


def lower_bound(weights: np.ndarray, residuals: np.ndarray) -> float:
    """Return an RMSE that no blend of residuals (models, n) falls below.

    The mean squared error f is convex, so that f(v) >= f(w) + gradient(w) @ (v - w) for every blend v. The right side
    is least where v is a single model.
    """
    blended = weights @ residuals
    products = residuals @ blended / len(blended)  # half the gradient
    value = np.mean(blended**2)
    return float(np.sqrt(max(0.0, value - 2 * (weights @ products - products.min()))))


def best_rmse_by_enumeration(gram: np.ndarray) -> float:
    """Return the RMSE of the best blend by trying every set of models that might share the weight."""
    best = np.inf
    for size in range(1, len(gram) + 1):
        for chosen in map(list, itertools.combinations(range(len(gram)), size)):
            weights = np.linalg.lstsq(gram[np.ix_(chosen, chosen)], np.ones(size))[0]
            weights /= weights.sum()
            if (weights > -1e-12).all():
                best = min(best, rmse(weights, gram[np.ix_(chosen, chosen)]))
    return best


def check(residuals: np.ndarray) -> np.ndarray:
    """Fit weights and assert all that is promised of them; return them."""
    num_models = len(residuals)
    gram = gram_of(residuals)
    weights = blending.fit_weights(gram)
    assert weights.shape == (num_models,)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    assert rmse(weights, gram) <= rmse(np.full(num_models, 1 / num_models), gram)
    assert rmse(weights, gram) <= lower_bound(weights, residuals) + 1e-6
    return weights


def noise(seed: int, *shape: int) -> np.ndarray:
    return 0.08 * np.random.default_rng(seed).normal(size=shape)


def test_the_best_blend_is_that_of_an_exhaustive_search():
    for seed in range(20):
        residuals = noise(seed, 1, 40) + noise(seed + 100, 5, 40) * np.random.default_rng(seed).random((5, 1))
        gram = gram_of(residuals)
        assert rmse(blending.fit_weights(gram), gram) == pytest.approx(best_rmse_by_enumeration(gram), abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_optimum_inside(seed: int):
    weights = check(noise(seed, 17, 500))
    assert weights.min() > 1e-3


@pytest.mark.parametrize("seed", range(5))
def test_optimum_at_a_corner(seed: int):
    shared = noise(seed, 1, 300)
    residuals = shared * np.linspace(1, 1.5, 6)[:, None] + 0.01 * noise(seed + 50, 6, 300)
    weights = check(residuals)
    assert weights[0] == pytest.approx(1, abs=1e-6)


def test_optimum_on_a_face():
    for seed in (3, 9, 21, 44, 93, 131, 490):
        generator = np.random.default_rng(seed)
        residuals = 0.08 * generator.normal(size=20) + 0.02 * generator.normal(size=(8, 20))
        residuals[1:] += 0.1 * generator.normal(size=(7, 1))
        weights = check(residuals)
        assert 0 in weights
        gram = gram_of(residuals)
        assert rmse(weights, gram) == pytest.approx(best_rmse_by_enumeration(gram), abs=1e-9)


@pytest.mark.parametrize("size", [1e-2, 1e-4, 1e-6, 1e-9])
def test_nearly_collinear_models(size: float):
    residuals = noise(0, 1, 400) + size * noise(1, 8, 400)
    check(residuals)
    check(residuals * np.linspace(1, 1 + size, 8)[:, None])


@pytest.mark.parametrize("num_models", [2, 17])
def test_identical_models_share_the_weight(num_models: int):
    weights = check(np.repeat(noise(3, 1, 100), num_models, axis=0))
    np.testing.assert_allclose(weights, 1 / num_models)


def test_a_single_model():
    np.testing.assert_array_equal(check(noise(4, 1, 100)), [1])


def test_a_perfect_model_and_perfect_models():
    residuals = noise(5, 4, 100)
    residuals[2] = 0
    assert check(residuals)[2] == pytest.approx(1, abs=1e-4)
    check(np.zeros((3, 100)))


def test_models_that_cancel_each_other():
    residuals = noise(6, 5, 100)
    residuals[3] = -residuals[0]
    weights = check(residuals)
    assert rmse(weights, gram_of(residuals)) < 1e-6


def test_models_of_very_different_quality():
    check(noise(7, 9, 100) * np.logspace(-3, 3, 9)[:, None])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_models=st.integers(1, 17),
    num_rows=st.integers(1, 60),
    shared=st.sampled_from([0.0, 1.0, 10.0]),
    unequal=st.sampled_from([0.0, 1.0, 2.0]),
    biased=st.sampled_from([0.0, 1.0]),
)
def test_never_worse_than_uniform(seed, num_models, num_rows, shared, unequal, biased):
    generator = np.random.default_rng(seed)
    sizes = 0.03 * np.exp(unequal * generator.normal(size=(num_models, 1)))
    residuals = sizes * generator.normal(size=(num_models, num_rows))
    residuals += 0.03 * shared * generator.normal(size=num_rows) + 0.03 * biased * generator.normal(
        size=(num_models, 1)
    )
    check(residuals)


def test_gram_matrices_give_the_rmse_of_a_blend():
    generator = np.random.default_rng(8)
    residuals = noise(9, 3, 50, 37).astype(np.float32)
    grams = blending.residual_grams(residuals)
    assert grams.shape == (37, 3, 3)
    weights = generator.dirichlet(np.ones(3), size=37)
    blended = np.zeros((50, 37))
    for answer, galaxy, model in itertools.product(range(37), range(50), range(3)):
        blended[galaxy, answer] += weights[answer, model] * residuals[model, galaxy, answer]
    assert blend_rmse(weights, grams) == pytest.approx(np.sqrt((blended**2).mean()), rel=1e-12)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.permutations(range(8)))
def test_the_order_of_models_does_not_matter(seed, num_models, order):
    residuals = np.random.default_rng(seed).normal(size=(num_models, 40)) * np.linspace(0.05, 0.1, num_models)[:, None]
    order = [model for model in order if model < num_models]
    gram = gram_of(residuals)
    np.testing.assert_allclose(
        blending.fit_weights(gram)[order], blending.fit_weights(gram_of(residuals[order])), atol=1e-3
    )


@settings(max_examples=6, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_blends_are_means_and_finer_weights_fit_no_worse(seed, num_models):
    generator = np.random.default_rng(seed)
    residuals = 0.1 * generator.normal(size=(num_models, 30, 37)) * generator.uniform(0.5, 2, (num_models, 1, 1))
    grams = blending.residual_grams(residuals)
    blends = list(blending.fit_blends(grams, GALAXY_ZOO_2).values())  # uniform, weighted, by question, by answer
    for weights in blends:
        assert weights.shape == (37, num_models) and weights.min() >= 0
        np.testing.assert_allclose(weights.sum(axis=1), 1)
    errors = [blend_rmse(weights, grams) for weights in blends]
    assert all(finer <= coarser + 1e-6 for coarser, finer in itertools.pairwise(errors))


def noisy(labels: np.ndarray, num_models: int, seed: int = 5) -> np.ndarray:
    """Return predictions (models, n, 37) that obey the tree, the first model's the best."""
    generator = np.random.default_rng(seed)
    noise = [labels + 0.05 * (1 + model) * generator.normal(size=labels.shape) for model in range(num_models)]
    return GALAXY_ZOO_2.obey(np.stack(noise).clip(0, 1))


def test_a_question_s_weights_are_those_of_its_answers_alone():
    labels = draw_labels(60, np.random.default_rng(3))
    residuals = noisy(labels, 3) - labels
    weights = blending.by_question(blending.residual_grams(residuals), GALAXY_ZOO_2)
    for answers in GALAXY_ZOO_2.slices.values():
        expected = blending.fit_weights(gram_of(residuals[:, :, answers].reshape(3, -1)))
        np.testing.assert_allclose(weights[answers], np.tile(expected, (answers.stop - answers.start, 1)), atol=1e-4)


@pytest.mark.parametrize("name", blending.BLENDS)
def test_sums_of_a_blend_are_restored_on_request(name):
    labels = draw_labels(80, np.random.default_rng(1))
    predictions = noisy(labels, 4)
    weights = blending.BLENDS[name](blending.residual_grams(predictions - labels), GALAXY_ZOO_2)
    blended = blending.blend(weights, predictions)
    totals, expected = GALAXY_ZOO_2.question_totals(GALAXY_ZOO_2.obey(blended))
    assert np.abs(totals - expected).max() < 1e-6
    totals, expected = GALAXY_ZOO_2.question_totals(blended)
    # What all answers share keeps the sums by itself; what they do not share breaks them.
    assert (np.abs(totals - expected).max() < 1e-6) == (name in ("blended_predictions_uniform", "blended_predictions"))


def test_cross_validation_predicts_each_galaxy_with_weights_of_the_others():
    labels = draw_labels(35, np.random.default_rng(2))
    predictions = noisy(labels, 3)
    crossed = blending.cross_validate(predictions, labels, GALAXY_ZOO_2)
    blended = np.empty(labels.shape)
    for galaxy in range(len(labels)):
        others = np.arange(len(labels)) % 5 != galaxy % 5
        weights = blending.by_answer(blending.residual_grams(predictions[:, others] - labels[others]), GALAXY_ZOO_2)
        blended[galaxy] = blending.blend(weights, predictions[:, galaxy : galaxy + 1])[0]
    assert crossed["blended_predictions_separate"] == pytest.approx(score(blended, labels), rel=1e-6)
    fitted = blending.by_answer(blending.residual_grams(predictions - labels), GALAXY_ZOO_2)
    assert crossed["blended_predictions_separate"] > score(blending.blend(fitted, predictions), labels)


def test_a_model_that_only_harms_is_found():
    labels = draw_labels(50, np.random.default_rng(4))
    predictions = np.concatenate([noisy(labels, 2), labels[None, ::-1]])
    for obey_tree in (True, False):
        found = blending.harmless_removals(predictions, labels, GALAXY_ZOO_2, obey_tree)
        assert list(found) == [2]
        blended = predictions[:2].mean(axis=0)
        expected = score(GALAXY_ZOO_2.obey(blended) if obey_tree else blended, labels)
        assert found[2] == pytest.approx(expected, rel=1e-9)
    assert not blending.harmless_removals(predictions[:1], labels, GALAXY_ZOO_2)


def test_harmless_removals_are_those_of_the_blend_that_is_written():
    labels = draw_labels(50, np.random.default_rng(4))
    # Half of what obeys the tree breaks its sums, until they are restored.
    predictions = np.stack([noisy(labels, 1)[0], 0.5 * labels])
    assert set(blending.harmless_removals(predictions, labels, GALAXY_ZOO_2)) == {1}
    assert 1 not in blending.harmless_removals(predictions, labels, GALAXY_ZOO_2, obey_tree=True)
