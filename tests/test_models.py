"""The seventeen models hold what 2014 documents of them, and whatever other models there are hold together."""

import dataclasses
import importlib.util
import re

import numpy as np
import pytest
import torch
from tiny import CPU, OPTIONS, ROOT

import layers
import realtime_augmentation as ra
from engine import prediction, training
from engine.checkpoints import Progress
from engine.description import plain
from engine.examples import Examples
from engine.experiment import Experiment, NormConstraint
from engine.network import Network
from engine.optimizers import Nesterov
from engine.steps import Trainer
from galaxy.decision_tree import GALAXY_ZOO_2
from machine.arrays import save_gz
from survey import centering
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT as BEST

PREFIX = "try_convnet_cc_multirotflip_3x69r45_"
FOUND = sorted(path.stem for path in ROOT.glob("try_*.py"))
PREDICTING = sorted(path.stem for path in ROOT.glob("predict_augmented_npy_*.py"))

# name: parameters, placement, the model whose network it has
MODELS = {
    "maxout2048_extradense": (42_377_125, None, None),
    "maxout2048_extradense_dup3": (42_377_125, None, "maxout2048_extradense"),
    "maxout2048_extradense_big256": (76_081_061, None, None),
    "maxout2048_extradense_pysex": (42_377_125, ra.GEN2, "maxout2048_extradense"),
    "maxout2048_extradense_pysexgen1_dup": (42_377_125, ra.GEN1, "maxout2048_extradense"),
    "maxout2048_extradense_pysexgen1_dup2": (42_377_125, ra.GEN1, "maxout2048_extradense"),
    "normconstraint": (42_377_125, None, "maxout2048_extradense"),
    "maxout2048": (33_984_421, None, None),
    "maxout2048_pysex": (33_984_421, ra.GEN2, "maxout2048"),
    "8433n_maxout2048": (33_963_685, None, None),
    "8433n_maxout2048_pysex": (33_963_685, ra.GEN2, "8433n_maxout2048"),
    "8433n_maxout2048_extradense": (42_356_389, None, None),
    "8433n_maxout2048_extradense_pysex": (42_356_389, ra.GEN2, "8433n_maxout2048_extradense"),
    "bigger": (50_912_165, None, None),
    "pysex": (34_060_197, ra.GEN2, None),
    "shareddense": (17_469_861, None, None),
    "shareddense512": (34_509_733, None, None),
}
RECIPE = (
    "test_transforms", "batch_size", "chunk_size", "num_chunks", "num_steps_nonorm", "make_optimizer",
    "learning_rate", "weight_average", "validate_every",
)  # fmt: skip


def experiment(name: str) -> Experiment:
    return importlib.import_module(PREFIX + name).EXPERIMENT


def test_the_seventeen_are_among_the_models():
    assert {PREFIX + name for name in MODELS} <= set(FOUND)
    assert {f"predict_augmented_npy_{name}" for name in MODELS} <= set(PREDICTING)


@pytest.mark.parametrize("script", FOUND)
def test_a_model_has_its_file_s_name_and_a_script_that_predicts_with_it(script):
    chosen = importlib.import_module(script).EXPERIMENT
    assert chosen.name == script
    predicting = [name for name in PREDICTING if importlib.import_module(name).EXPERIMENT.name == chosen.name]
    assert len(predicting) == 1, f"{script} wants a script predict_augmented_npy_*.py that imports its EXPERIMENT"


def test_every_script_that_predicts_does_so_with_a_model():
    assert {importlib.import_module(name).EXPERIMENT.name for name in PREDICTING} == set(FOUND)


def test_all_models_have_names_of_their_own():
    """Their products would overwrite each other's."""
    names = [importlib.import_module(script).EXPERIMENT.name for script in FOUND]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_shares_the_recipe_and_differs_where_the_science_does(name):
    _, placement, shares_network_of = MODELS[name]
    ours, best = experiment(name), experiment("maxout2048_extradense")
    assert ours.name == PREFIX + name
    for field in RECIPE:
        assert plain(getattr(ours, field)) == plain(getattr(best, field)), field
    assert ours.views.placement == placement
    assert plain(dataclasses.replace(ours.views, placement=None)) == plain(best.views)
    if name == "normconstraint":
        assert ours.norm_constraint == NormConstraint(every=10, limits=(0.4, 0.23))
    else:
        assert ours.norm_constraint is None
    if shares_network_of:
        assert ours.build_network is experiment(shares_network_of).build_network
    predicting = importlib.import_module(f"predict_augmented_npy_{name}")
    assert predicting.EXPERIMENT is ours


class TestTheBestModel:
    def test_has_the_documented_parameters_in_2014_s_order(self):
        inputs, output = BEST.build_network(16)
        shapes = [tuple(param.shape) for param in layers.all_parameters(output)]
        assert shapes == [
            (2048, 37), (37,),
            (2048, 4096), (4096,),
            (8192, 4096), (4096,),
            (128, 3, 3, 128), (128, 4, 4),
            (64, 3, 3, 128), (128, 6, 6),
            (32, 5, 5, 64), (64, 16, 16),
            (3, 6, 6, 32), (32, 40, 40),
        ]  # fmt: skip
        assert sum(np.prod(shape) for shape in shapes) == 42_377_125
        assert [layer.get_output_shape() for layer in inputs] == [(16, 3, 69, 69)] * 2
        assert output.get_output_shape() == (16, 37)

    def test_starts_as_the_documentation_says(self):
        _, output = BEST.build_network(16)
        found = [(l.weights_std, l.init_bias_value, l.dropout) for l in layers.all_layers(output) if l.params]  # noqa: E741
        maxout, convolution = (0.001, 0.01, 0.5), (0.01, 0.1, 0.0)
        assert found == [(0.01, 0.1, 0.5), maxout, maxout, (0.1, 0.1, 0.0), convolution, convolution, convolution]

    def test_follows_the_recipe(self):
        assert (BEST.batch_size, BEST.chunk_size, BEST.num_chunks, BEST.num_steps_nonorm) == (16, 10000, 2500, 625)
        rates = [BEST.learning_rate.at(chunk, 2500) for chunk in (0, 1799, 1800, 2299, 2300, 2499)]
        assert rates == [0.04, 0.04, 0.004, 0.004, 0.0004, 0.0004]
        assert (BEST.validate_every, BEST.views.colour_std, BEST.weight_average) == (20, 0.5, None)
        assert BEST.make_optimizer == Nesterov(momentum=0.9, weight_decay=0.0)
        assert BEST.views.perturbations == {
            "zoom_range": (1 / 1.3, 1.3),
            "rotation_range": (0, 360),
            "shear_range": (0, 0),
            "translation_range": (-4, 4),
            "do_flip": True,
        }
        assert (BEST.views.gamma_std, BEST.views.noise_std, BEST.views.placement) == (0.0, 0.0, None)
        assert plain(BEST.test_transforms) == plain(ra.sixty_transforms())
        turned = np.linalg.inv(BEST.views.ds_transforms[0].params) @ BEST.views.ds_transforms[1].params
        np.testing.assert_allclose(turned[:2, :2], np.array([[1, -1], [1, 1]]) / 2**0.5, atol=1e-12)


def test_the_seventeen_have_seeds_of_their_own():
    """An ensemble lives on what differs between its members, reruns most of all."""
    assert len({experiment(name).seed for name in MODELS}) == len(MODELS)


def save_catalogues(num_train: int, num_test: int) -> None:
    """Write what SExtractor would have measured: galaxies a little off the centre, of several sizes."""
    rng = np.random.default_rng(0)
    for catalogue in (centering.EXTRA_PARAMS, centering.GEN2_PARAMS):
        for subset, count in (("train", num_train), ("test", num_test)):
            rows = rng.uniform(20, 40, size=(count, len(catalogue.columns)))
            for name, low, high in (("x", 200, 220), ("y", 200, 220), ("petro_radius", 3.5, 6)):
                rows[:, catalogue.columns.index(name)] = rng.uniform(low, high, size=count)
            save_gz(catalogue.path(subset), rows)


# The networks, and variants with other steps or other placements.
DISTINCT = [name for name, (_, _, shared) in MODELS.items() if not shared] + [
    "normconstraint",
    "maxout2048_extradense_pysexgen1_dup",
]


@pytest.mark.parametrize("name", DISTINCT)
def test_a_model_has_its_parameters_takes_a_step_and_predicts(prepared_survey, name):
    count, *_ = MODELS[name]
    chosen = dataclasses.replace(experiment(name), batch_size=2, chunk_size=2)
    save_catalogues(30, 8)
    options = dataclasses.replace(OPTIONS, chunk_size=60)
    torch.manual_seed(0)
    network = Network(chosen, CPU)
    params = network.parameters
    assert sum(param.numel() for param in params) == count
    assert network.state == []
    layers.reset_variance_preserving(network.output_layer)
    source = Examples(chosen, options, CPU)
    chunks = source.training(0, np.arange(27))
    views, labels = next(chunks)
    chunks.close()
    before = [param.detach().clone() for param in params]
    progress = Progress()
    training.train_chunk(Trainer(chosen, network), views, labels, progress)
    [error] = progress.errors
    assert 0 < error < 2
    assert all(not torch.equal(param, old) for param, old in zip(params, before, strict=True))

    predictions = prediction.predict(network, source, np.array([3]), "test")
    assert predictions.shape == (1, 37)
    totals, expected = GALAXY_ZOO_2.question_totals(predictions)
    # A question that no activation answers under one of the sixty transforms is short of its sum.
    assert (totals <= expected + 1e-5).all()
    assert (predictions >= 0).all()


@pytest.mark.parametrize("name", [name for name, (_, _, shared) in MODELS.items() if shared])
def test_a_variant_has_the_network_of_its_model_and_views_of_its_own(prepared_survey, name):
    count, _, shared = MODELS[name]
    assert count == MODELS[shared][0]
    chosen = dataclasses.replace(experiment(name), batch_size=2, chunk_size=2)
    assert chosen.build_network is experiment(shared).build_network
    save_catalogues(30, 8)
    chunks = Examples(chosen, OPTIONS, CPU).training(0, np.arange(27))
    views, labels = next(chunks)
    chunks.close()
    assert [view.shape for view in views] == [(2, 69, 69, 3)] * 2 and labels.shape == (2, 37)
    assert all(0 <= view.min() < view.max() <= 1 for view in views)


def test_the_norm_constraint_limits_the_columns_of_the_maxout_layers():
    chosen = experiment("normconstraint")
    _, output = chosen.build_network(2)
    top, second, first = [each for each in layers.all_layers(output) if isinstance(each, layers.DenseLayer)]
    with torch.no_grad():
        for layer in (top, second, first):
            layer.W.normal_(0, 0.05)
        before = top.W.clone()
    chosen.norm_constraint.apply(output)
    assert first.W.norm(dim=0).max().item() == pytest.approx(0.4, rel=1e-4)
    assert second.W.norm(dim=0).max().item() == pytest.approx(0.23, rel=1e-4)
    assert torch.equal(top.W, before)


def test_the_documentation_s_table_has_the_models_and_their_parameters():
    page = (ROOT / "doc" / "models.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", page, flags=re.MULTILINE)
    counts = {name: int(count.replace(",", "")) for name, count in rows}
    assert {name: counts.get(name) for name in MODELS} == {name: count for name, (count, _, _) in MODELS.items()}
    shared = dict(re.findall(r"^\| `(\w+)` \|.*\| `(\w+)` \|$", page, flags=re.MULTILINE))
    assert {name: shared.get(name) for name in MODELS} == {name: network for name, (_, _, network) in MODELS.items()}


def test_the_documentation_s_further_models_work(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "doc" / "models.md").read_text(), flags=re.DOTALL)
    assert len(blocks) >= 2
    for number, block in enumerate(blocks):
        path = tmp_path / f"try_further_{number}.py"
        path.write_text(block)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        chosen = dataclasses.replace(module.EXPERIMENT, batch_size=1)
        assert chosen.name == path.stem
        views = [np.zeros((1, *shape), np.float32) for shape in chosen.views.shapes]
        assert Network(chosen, CPU).predict(views).shape == (1, 37)
