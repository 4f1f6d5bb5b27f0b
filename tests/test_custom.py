from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

import custom
import layers
from galaxy.decision_tree import CLASSES, GALAXY_ZOO_2, TREES
from galaxy.tree import Tree
from simulate_galaxies import draw_traits
from survey.simulated_votes import vote

with np.load(Path(__file__).parent / "reference" / "output_layers.npz") as arrays:
    REFERENCE = dict(arrays)


def build(layer_class: type[layers.Layer]) -> tuple[layers.Layer, layers.Layer]:
    below = layers.FlattenLayer(layers.Input2DLayer(32, 37, 1, 1))
    return below.input_layer, layer_class(below)


NORMALISED = [key.removesuffix(".predictions") for key in REFERENCE if key.endswith(".predictions")]
NOT_NORMALISED = [
    key.removesuffix(".predictions_no_normalisation")
    for key in REFERENCE
    if key.endswith(".predictions_no_normalisation")
]


@pytest.mark.parametrize(
    ("name", "suffix"),
    [*((name, "") for name in NORMALISED), *((name, "_no_normalisation") for name in NOT_NORMALISED)],
)
def test_predictions_error_and_gradient_are_the_reference(name, suffix):
    below, output = build(getattr(custom, name))
    activations = torch.from_numpy(REFERENCE["activations"]).reshape(32, 37, 1, 1).requires_grad_()
    targets = torch.from_numpy(REFERENCE["targets"])
    predict = output.predictions_no_normalisation if suffix else output.predictions
    predictions = predict({below: activations})
    assert torch.equal(predictions, output.predictions({below: activations}, normalisation=not suffix))
    error = output.error({below: activations}, targets, normalisation=not suffix)
    (gradient,) = torch.autograd.grad(error, activations)
    np.testing.assert_allclose(predictions.detach(), REFERENCE[f"{name}.predictions{suffix}"], rtol=0, atol=1e-5)
    assert error.item() == pytest.approx(REFERENCE[f"{name}.error{suffix}"], abs=1e-5)
    expected = REFERENCE[f"{name}.gradient{suffix}"]
    np.testing.assert_allclose(gradient.reshape(32, 37), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_normreg_is_the_distance_of_each_question_s_sum_from_one():
    below, output = build(custom.ClippedGalaxyOutputLayer)
    activations = torch.from_numpy(REFERENCE["activations"]).reshape(32, 37, 1, 1)
    clipped = np.clip(REFERENCE["activations"], 0, 1)
    sums = np.stack([clipped[:, s].sum(axis=1) for s in GALAXY_ZOO_2.slices.values()])
    normreg = ((sums - 1) ** 2).mean()
    assert output.normreg({below: activations}).item() == pytest.approx(normreg, rel=1e-5)
    error = output.error_with_normreg({below: activations}, torch.from_numpy(REFERENCE["targets"]), scale=0.3)
    assert error.item() == pytest.approx(REFERENCE["ClippedGalaxyOutputLayer.error"] + 0.3 * normreg, rel=1e-5)


def test_forward_maps_activations_alone():
    _, output = build(custom.OptimisedDivGalaxyOutputLayer)
    activations = torch.from_numpy(REFERENCE["activations"])
    predictions = output(activations).numpy()
    # A question whose activations are all negative is answered by zeros; every other one obeys the tree.
    totals, expected = GALAXY_ZOO_2.question_totals(predictions)
    asked = np.stack([(activations[:, s] > 0).any(dim=1).numpy() for s in GALAXY_ZOO_2.slices.values()], axis=1)
    np.testing.assert_allclose(totals[asked], expected[asked], atol=1e-6)
    assert not totals[~asked].any()
    raw = output.forward_no_normalisation(activations)
    np.testing.assert_array_equal(raw, activations.clamp(0, 1))


def test_weigh_is_the_decision_tree_s():
    fractions = np.random.default_rng(0).random((5, 37))
    weighted = custom.weigh(torch.from_numpy(fractions), custom.tree_levels())
    np.testing.assert_array_equal(weighted, GALAXY_ZOO_2.weigh(fractions))
    # A product of matrices, as in an exported file, and sums of products, as on CUDA, agree to the bit.
    singles = torch.from_numpy(fractions.astype(np.float32))
    np.testing.assert_array_equal(custom.weigh(singles, custom.tree_levels()), GALAXY_ZOO_2.weigh(singles.numpy()))


def test_sigmoid_predictions_lie_between_0_and_1_and_need_not_obey_the_tree():
    below, output = build(custom.SigmoidGalaxyOutputLayer)
    activations = torch.from_numpy(REFERENCE["activations"])
    expected = 1 / (1 + np.exp(-REFERENCE["activations"].astype(float)))
    np.testing.assert_allclose(output(activations), expected, rtol=1e-5)
    assert torch.equal(output.forward_no_normalisation(activations), output(activations))
    totals, asked = GALAXY_ZOO_2.question_totals(output(activations).numpy())
    assert np.abs(totals - asked).max() > 0.1
    given, targets = {below: activations.reshape(32, 37, 1, 1)}, torch.from_numpy(REFERENCE["targets"])
    error = np.mean((expected - REFERENCE["targets"]) ** 2)
    for normalisation in (True, False):
        assert output.error(given, targets, normalisation).item() == pytest.approx(error, rel=1e-5)


def test_a_layer_of_another_width_is_refused():
    with pytest.raises(ValueError, match="with 37 outputs"):
        custom.OptimisedDivGalaxyOutputLayer(layers.FlattenLayer(layers.Input2DLayer(2, 36, 1, 1)))


def counted(output: custom.GalaxyOutput, galaxies: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return activations, votes and their counts for an output layer of Galaxy Zoo 2."""
    rng = np.random.default_rng(4)
    votes, counts = zip(*(vote(draw_traits(rng), rng, GALAXY_ZOO_2, 12) for _ in range(galaxies)), strict=True)
    activations = torch.randn(galaxies, 37, generator=torch.Generator().manual_seed(0))
    return activations, torch.tensor(np.array(votes)), torch.tensor(np.array(counts), dtype=torch.float64)


def test_weighted_squares_are_plain_ones_for_many_votes_and_vanish_without_votes():
    output = custom.CountWeightedDivGalaxyOutputLayer(layers.InputBase(6, 37), n0=10)
    activations, votes, counts = counted(output)
    plain = output.error_of(activations, votes)
    torch.testing.assert_close(output.error_of(activations, votes, counts=torch.full_like(counts, 1e12)), plain)
    torch.testing.assert_close(output.error_of(activations, votes, counts=torch.full_like(counts, 10)), plain / 2)
    assert output.error_of(activations, votes, counts=torch.zeros_like(counts)) == 0
    ones = torch.ones(6, 1)
    torch.testing.assert_close(output.error_of(activations, votes, weights=2 * ones), 2 * plain)


def test_the_dirichlet_error_is_scipy_s_likelihood():
    output = custom.DirichletGalaxyOutputLayer(layers.InputBase(6, 37))
    activations, votes, counts = counted(output)
    alpha = output.concentrations(activations.double()).numpy()
    surprise = 0.0
    for galaxy in range(6):
        for n, own in GALAXY_ZOO_2.slices.items():
            asked = int(counts[galaxy, n - 1])
            if asked and votes[galaxy, own].sum() > 0:
                of_answers = np.round((votes[galaxy, own] / votes[galaxy, own].sum() * asked).numpy()).astype(int)
                surprise -= stats.dirichlet_multinomial.logpmf(of_answers, alpha[galaxy, own], asked)
    error = output.error_of(activations.double(), votes, counts=counts)
    assert float(error) == pytest.approx(surprise / 6, rel=1e-6)
    totals, expected = GALAXY_ZOO_2.question_totals(output(activations).numpy())
    np.testing.assert_allclose(totals, expected, atol=1e-5)
    with pytest.raises(ValueError, match="counts of votes"):
        output.error_of(activations, votes)


@pytest.mark.parametrize("tree", [*TREES.values(), CLASSES(["a", "b", "c"])], ids=lambda tree: tree.name)
def test_output_layers_weigh_any_tree_as_numpy_does(tree: Tree):
    fractions = np.random.default_rng(1).random((4, tree.num_answers))
    weighted = custom.weigh(torch.from_numpy(fractions), custom.tree_levels(tree))
    np.testing.assert_allclose(weighted, tree.weigh(fractions), rtol=1e-12)
    with pytest.raises(ValueError, match=f"one per answer of the tree {tree.name}"):
        custom.GalaxyOutputLayer(layers.InputBase(4, 5), tree)
