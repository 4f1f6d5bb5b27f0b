import argparse
import dataclasses
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import centering
import decision_tree
import examples
import layers
import load_data
import prediction
import realtime_augmentation as ra
import training
import training_step

ROOT = Path(__file__).parent.parent
PREFIX = "try_convnet_cc_multirotflip_3x69r45_"
GEN2 = ra.LoadAndProcessPysexCenteringRescaling, ra.LoadAndProcessFixedPysexCenteringRescaling
GEN1 = ra.LoadAndProcessPysexGen1CenteringRescaling, ra.LoadAndProcessFixedPysexGen1CenteringRescaling
PLAIN = ra.LoadAndProcess, ra.LoadAndProcessFixed

# name: parameters, centring, the model whose network it has
MODELS = {
    "maxout2048_extradense": (42_377_125, PLAIN, None),
    "maxout2048_extradense_dup3": (42_377_125, PLAIN, "maxout2048_extradense"),
    "maxout2048_extradense_big256": (76_081_061, PLAIN, None),
    "maxout2048_extradense_pysex": (42_377_125, GEN2, "maxout2048_extradense"),
    "maxout2048_extradense_pysexgen1_dup": (42_377_125, GEN1, "maxout2048_extradense"),
    "maxout2048_extradense_pysexgen1_dup2": (42_377_125, GEN1, "maxout2048_extradense"),
    "normconstraint": (42_377_125, PLAIN, "maxout2048_extradense"),
    "maxout2048": (33_984_421, PLAIN, None),
    "maxout2048_pysex": (33_984_421, GEN2, "maxout2048"),
    "8433n_maxout2048": (33_963_685, PLAIN, None),
    "8433n_maxout2048_pysex": (33_963_685, GEN2, "8433n_maxout2048"),
    "8433n_maxout2048_extradense": (42_356_389, PLAIN, None),
    "8433n_maxout2048_extradense_pysex": (42_356_389, GEN2, "8433n_maxout2048_extradense"),
    "bigger": (50_912_165, PLAIN, None),
    "pysex": (34_060_197, GEN2, None),
    "shareddense": (17_469_861, PLAIN, None),
    "shareddense512": (34_509_733, PLAIN, None),
}
RECIPE = (
    "ds_transforms", "target_sizes", "augmentation_params", "colour_std", "batch_size", "chunk_size", "num_chunks",
    "num_chunks_nonorm", "learning_rate_schedule", "momentum", "weight_decay", "validate_every",
)  # fmt: skip


def experiment(name: str) -> training.Experiment:
    return importlib.import_module(PREFIX + name).EXPERIMENT


def test_there_are_seventeen_of_each_script():
    assert {path.stem.removeprefix(PREFIX) for path in ROOT.glob("try_*.py")} == set(MODELS)
    predicting = {path.stem.removeprefix("predict_augmented_npy_") for path in ROOT.glob("predict_*.py")}
    assert predicting == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_shares_the_recipe_and_differs_where_the_science_does(name):
    _, processors, shares_network_of = MODELS[name]
    ours, best = experiment(name), experiment("maxout2048_extradense")
    assert ours.name == PREFIX + name
    numbers, expected = ours.numbers(), best.numbers()
    assert {key: numbers[key] for key in RECIPE} == {key: expected[key] for key in RECIPE}
    assert (ours.processor_class, ours.processor_class_fixed) == processors
    if name == "normconstraint":
        assert ours.norm_constraint == training.NormConstraint(every=10, limits=(0.4, 0.23))
    else:
        assert ours.norm_constraint is None
    if shares_network_of:
        assert ours.build_network is experiment(shares_network_of).build_network
    predicting = importlib.import_module(f"predict_augmented_npy_{name}")
    assert predicting.EXPERIMENT is ours


def test_reruns_have_seeds_of_their_own():
    reruns = ("maxout2048_extradense", "maxout2048_extradense_dup3")
    gen1 = ("maxout2048_extradense_pysexgen1_dup", "maxout2048_extradense_pysexgen1_dup2")
    for names in (reruns, gen1):
        assert len({experiment(name).seed for name in names}) == len(names)


def save_catalogues(num_train: int, num_test: int) -> None:
    """Write what SExtractor would have measured: galaxies a little off the centre, of several sizes."""
    rng = np.random.default_rng(0)
    for catalogue in (centering.GEN1, centering.GEN2):
        for subset, count in (("train", num_train), ("test", num_test)):
            rows = rng.uniform(20, 40, size=(count, len(catalogue.columns)))
            for name, low, high in (("x", 200, 220), ("y", 200, 220), ("petro_radius", 3.5, 6)):
                rows[:, catalogue.columns.index(name)] = rng.uniform(low, high, size=count)
            load_data.save_gz(catalogue.path(subset), rows)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_its_parameters_takes_a_step_and_predicts(prepared_survey, name):
    count, *_ = MODELS[name]
    chosen = dataclasses.replace(experiment(name), batch_size=2, chunk_size=2)
    save_catalogues(30, 8)
    options = argparse.Namespace(num_workers=1, from_ram=None, chunk_size=60, augment_on="auto", on_bad_image="fail")
    torch.manual_seed(0)
    network = training.Network(chosen, torch.device("cpu"))
    params = layers.all_parameters(network.output_layer)
    assert sum(param.numel() for param in params) == count
    layers.reset_variance_preserving(network.output_layer)
    source = examples.Examples(chosen, options, network.device)
    chunks = source.training(first_chunk=0)
    (*views, targets), _ = next(chunks)
    chunks.close()
    before = [param.detach().clone() for param in params]
    step = training_step.make_step(network, training.make_optimizer(chosen, network), normalisation=False)
    [error] = training.train_chunk(step, views, targets)
    assert 0 < error < 2
    assert all(not torch.equal(param, old) for param, old in zip(params, before, strict=True))

    predictions = prediction.predict(network, source, np.array([3]), "test")
    assert predictions.shape == (1, 37)
    totals, expected = decision_tree.question_totals(predictions)
    # A question that no activation answers under one of the sixty transforms is short of its sum.
    assert (totals <= expected + 1e-5).all()
    assert (predictions >= 0).all()


@pytest.mark.parametrize("name", [name for name, (_, _, shared) in MODELS.items() if shared])
def test_a_variant_has_as_many_parameters_as_its_network(name):
    count, _, shared = MODELS[name]
    assert count == MODELS[shared][0]


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
    assert {name: int(count.replace(",", "")) for name, count in rows} == {n: m[0] for n, m in MODELS.items()}
    shared = re.findall(r"^\| `(\w+)` \|.*\| `(\w+)` \|$", page, flags=re.MULTILINE)
    assert dict(shared) == {name: network for name, (_, _, network) in MODELS.items() if network}


def test_the_documentation_s_eighteenth_models_work(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "doc" / "models.md").read_text(), flags=re.DOTALL)
    assert len(blocks) == 2
    for number, block in enumerate(blocks):
        path = tmp_path / f"try_eighteenth_{number}.py"
        path.write_text(block)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert module.EXPERIMENT.name == path.stem
        network = training.Network(dataclasses.replace(module.EXPERIMENT, batch_size=1), torch.device("cpu"))
        views = [np.zeros((1, 69, 69, 3), np.float32)] * 2
        assert network.predict(views).shape == (1, 37)
