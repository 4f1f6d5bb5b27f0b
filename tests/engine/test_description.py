"""An edited script is noticed: what it declares as plain values, the same in every process, and what differs."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from other_family import EXPERIMENT as OTHER
from tiny import ROOT, SIX_CHUNKS, TINY, interrupt_after, run
from torch import nn
from torch.nn import functional

import custom
import layers
import realtime_augmentation as ra
from engine.description import describe, describe_network, describe_optimizer, differences, plain
from engine.experiment import Cosine, Experiment, NormConstraint, Steps
from engine.optimizers import AdamW, Nesterov
from machine.arrays import save_gz
from machine.files import DataError
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT as BEST


def described(experiment: Experiment) -> dict:
    return describe(experiment, experiment.build_network(experiment.batch_size)[1])


def test_an_experiment_s_numbers_are_plain():
    numbers = json.loads(json.dumps(described(BEST)))
    assert numbers["learning_rate"] == {"class": "Steps", "rates": {"0": 0.04, "1800": 0.004, "2300": 0.0004}}
    assert numbers["make_optimizer"] == {
        "class": "Nesterov", "momentum": 0.9, "weight_decay": 0.0, "decay_biases": False,
    }  # fmt: skip
    assert numbers["views"]["placement"] is None
    np.testing.assert_array_equal(numbers["views"]["ds_transforms"][0], BEST.views.ds_transforms[0].params)
    assert set(numbers) == {"network", *(field.name for field in dataclasses.fields(BEST))}


def test_a_network_is_described_layer_by_layer_from_the_top_down():
    found = described(BEST)["network"]
    assert [each["class"] for each in found[:3]] == [
        "OptimisedDivGalaxyOutputLayer", "DenseLayer", "FeatureMaxPoolingLayer",
    ]  # fmt: skip
    top = found[1]
    assert top["shape"] == [16, 37]
    assert top["parameters"] == [[2048, 37], [37]]
    assert (top["weights_std"], top["init_bias_value"], top["dropout"]) == (0.01, 0.1, 0.5)
    assert top["nonlinearity"] == "identity"
    for number, each in enumerate(found):
        assert all(below > number for below in each["reads"])
    assert [each["class"] for each in found if not each["reads"]] == ["Input2DLayer"] * 2


def test_a_description_is_the_same_in_every_process(capsys):
    code = (
        f"import sys\nsys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests')!r}]\n"
        "import json, other_family, tiny_network\nfrom engine.description import describe, plain\n"
        "def held(x):\n"
        "    def add(y): return x + y\n"
        "    return add\n"
        "for each in (tiny_network.TINY, other_family.EXPERIMENT):\n"
        "    print(json.dumps(describe(each, each.build_network(8)[1])))\n"
        "print(plain(held(3)))\n"
    )
    # Another order of hashes than in this process.
    environment = {"PYTHONHASHSEED": "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    exec(code, {"__name__": "__main__"})
    assert capsys.readouterr().out == done.stdout
    assert "0x" not in done.stdout  # no address


def dense_network(batch_size: int, width: int = 16, **options: object) -> tuple[list[layers.Layer], layers.Layer]:
    inputs = [layers.Input2DLayer(batch_size, 3, 15, 15) for _ in range(2)]
    both = layers.ConcatenateLayer([layers.FlattenLayer(each) for each in inputs])
    dense = layers.DenseLayer(both, width, **({"weights_std": 0.05, "init_bias_value": 0.01} | options))
    top = layers.DenseLayer(dense, 37, 0.01, 0.1, nonlinearity=layers.identity)
    return inputs, custom.OptimisedDivGalaxyOutputLayer(top)


def module_network(batch_size: int, module: Callable, load: Callable | None = None) -> tuple[list, layers.Layer]:
    below = layers.Input2DLayer(batch_size, 3, 15, 15)
    layer = layers.ModuleLayer(below, nn.Sequential(module(), nn.Flatten()), (batch_size, 675), load)
    return [below], custom.SigmoidGalaxyOutputLayer(layers.DenseLayer(layer, 37, 0.01, 0.1))


def network_differences(old: Callable, new: Callable) -> list[str]:
    return differences(*(json.loads(json.dumps(describe_network(build(4)[1]))) for build in (old, new)))


class TestNetworks:
    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({"dropout": 0.5}, "2 (DenseLayer).dropout: 0.0, now 0.5"),
            ({"weights_std": 0.1}, "2 (DenseLayer).weights_std: 0.05, now 0.1"),
            ({"init_bias_value": 0.0}, "2 (DenseLayer).init_bias_value: 0.01, now 0.0"),
            ({"nonlinearity": layers.tanh}, "2 (DenseLayer).nonlinearity: relu, now tanh"),
        ],
    )
    def test_an_edited_number_is_the_only_difference(self, change, expected):
        assert network_differences(dense_network, partial(dense_network, **change)) == [expected]

    def test_an_edited_width_shows_in_the_layer_and_in_what_reads_it(self):
        assert network_differences(dense_network, partial(dense_network, width=32)) == [
            "1 (DenseLayer).parameters.0.0: 16, now 32",
            "2 (DenseLayer).shape.1: 16, now 32",
            "2 (DenseLayer).parameters.0.1: 16, now 32",
            "2 (DenseLayer).parameters.1.0: 16, now 32",
        ]

    def test_functions_with_other_values_are_other_nonlinearities(self):
        def leaky(slope: float) -> Callable:
            def leaky_relu(x: torch.Tensor) -> torch.Tensor:
                return functional.leaky_relu(x, slope)

            return leaky_relu

        def shifted(shift: int) -> Callable:
            def shifted_relu(x: torch.Tensor, by: int = shift) -> torch.Tensor:
                return torch.relu(x) + by

            return shifted_relu

        changed = [
            leaky(0.1),
            leaky(0.2),
            torch.relu,
            torch.tanh,
            shifted(1),
            shifted(2),
            partial(functional.leaky_relu, negative_slope=0.1),
            partial(functional.leaky_relu, negative_slope=0.2),
            partial(functional.elu, alpha=0.2),
        ]
        assert len({json.dumps(plain(each)) for each in changed}) == len(changed)
        assert plain(leaky(0.1)) == plain(leaky(0.1))
        [line] = network_differences(*(partial(dense_network, nonlinearity=each) for each in changed[-3:-1]))
        assert line == "2 (DenseLayer).nonlinearity.keywords.negative_slope: 0.1, now 0.2"

    def test_a_lambda_is_refused_with_its_line(self):
        with pytest.raises(DataError, match=rf"got a lambda in line \d+ of {re.escape(__file__)}.*write it with def"):
            network_differences(dense_network, partial(dense_network, nonlinearity=lambda x: torch.relu(x)))

    def test_an_edited_module_and_its_weights_file_are_noticed(self):
        def load(module: nn.Module, path: str) -> None: ...

        old = partial(module_network, module=partial(nn.Dropout, 0.5), load=partial(load, path="a.pt"))
        new = partial(module_network, module=partial(nn.Dropout, 0.2), load=partial(load, path="b.pt"))
        module, loaded = network_differences(old, new)
        assert "Dropout(p=0.5" in module
        assert "now Sequential" in module
        assert loaded == "2 (ModuleLayer).load.keywords.path: a.pt, now b.pt"
        assert network_differences(old, old) == []

    def test_other_inputs_are_noticed(self):
        def crossed(batch_size: int) -> tuple[list[layers.Layer], layers.Layer]:
            inputs, output = dense_network(batch_size)
            both = output.input_layer.input_layer.input_layer
            both.input_layers = nn.ModuleList([both.input_layers[0]] * 2)
            return inputs, output

        assert network_differences(dense_network, crossed)


class TestDifferences:
    @pytest.mark.parametrize(
        ("old", "new", "expected"),
        [
            (1, 1, []),
            ({"a": 1}, {"a": 2}, ["a: 1, now 2"]),
            ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, ["a.b.1: 2, now 3"]),
            ([{"class": "A", "b": 1}], [{"class": "A", "b": 2}], ["0 (A).b: 1, now 2"]),
            ([{"class": "A", "b": 1}], [{"class": "B", "b": 1}], ["0.class: A, now B"]),
            ({"a": [1, 2]}, {"a": [1]}, ["a: [1, 2], now [1]"]),
            ({"a": 1}, {"b": 1}, ["a: 1, now nothing", "b: nothing, now 1"]),
            ({"a": None}, {"a": {"b": 1}}, ["a: None, now {'b': 1}"]),
            ({"a": 1.0}, {"a": True}, []),
            ({"a": "x" * 99}, {"a": 1}, [f"a: {'x' * 57}..., now 1"]),
        ],
    )
    def test_are_named_by_their_place_with_old_and_new(self, old, new, expected):
        assert differences(old, new) == expected


def test_an_optimizer_s_numbers_are_told_whoever_makes_it():
    _, output = dense_network(2)
    params = layers.all_parameters(output)
    old, new = (describe_optimizer(torch.optim.Adam(params, lr=rate, betas=(beta, 0.99))) for rate, beta in
                ((0.1, 0.9), (0.2, 0.8)))  # fmt: skip
    assert differences(old, new, "optimizer") == ["optimizer.0.betas.0: 0.9, now 0.8"]  # the rate is the schedule's
    assert json.loads(json.dumps(old)) == old
    assert [group["number of parameters"] for group in describe_optimizer(Nesterov(0.9, 0.1)(output))] == [2, 2]


def edited_views(**changes: object) -> Callable[[Experiment], Experiment]:
    return lambda old: dataclasses.replace(old, views=dataclasses.replace(old.views, **changes))


def tuned(momentum: float) -> Callable:
    """Return a function that makes an optimizer, as a script may declare one."""

    def make_optimizer(output_layer: layers.Layer) -> torch.optim.Optimizer:
        return torch.optim.SGD(layers.all_parameters(output_layer), lr=1.0, momentum=momentum)

    return make_optimizer


def with_dropout(old: Experiment, layer: int, dropout: float) -> Experiment:
    def build_network(batch_size: int) -> tuple[list[layers.Layer], layers.Layer]:
        inputs, output = old.build_network(batch_size)
        layers.all_layers(output)[layer].dropout = dropout
        return inputs, output

    return dataclasses.replace(old, build_network=partial(build_network))


PLAIN_EDITS = {
    "rate": (lambda old: dataclasses.replace(old, learning_rate=Steps({0: 0.05, 3: 0.004})),
             "learning_rate.rates.0: 0.04, now 0.05"),
    "schedule": (lambda old: dataclasses.replace(old, learning_rate=Cosine(0.04, 0.1)),
                 "learning_rate.class: Steps, now Cosine"),
    "momentum": (lambda old: dataclasses.replace(old, make_optimizer=Nesterov(0.8, 0.0)),
                 "make_optimizer.momentum: 0.9, now 0.8"),
    "optimizer": (lambda old: dataclasses.replace(old, make_optimizer=AdamW((0.9, 0.99), 0.01)),
                  "make_optimizer.class: Nesterov, now AdamW"),
    "batch": (lambda old: dataclasses.replace(old, batch_size=4), "batch_size: 8, now 4"),
    "average": (lambda old: dataclasses.replace(old, weight_average=0.9), "weight_average: None, now 0.9"),
    "constraint": (lambda old: dataclasses.replace(old, norm_constraint=NormConstraint(every=2, limits=(1.0,))),
                   "norm_constraint: None, now {'class': 'NormConstraint', "),
    "transforms": (lambda old: dataclasses.replace(old, test_transforms=[ra.tform_identity]), "test_transforms: [[["),
    "colour": (edited_views(colour_std=0.25), "views.colour_std: 0.5, now 0.25"),
    "noise": (edited_views(noise_std=0.1), "views.noise_std: 0.0, now 0.1"),
    "zoom": (edited_views(perturbations=TINY.views.perturbations | {"zoom_range": (1.0, 1.3)}),
             f"views.perturbations.zoom_range.0: {1 / 1.3}, now 1.0"),
    "crop": (edited_views(ds_transforms=[ra.build_ds_transform(2.0), TINY.views.ds_transforms[1]]),
             "views.ds_transforms.0.0.0: 3.0, now 2.0"),
    "placement": (edited_views(placement=ra.GEN2), "views.placement: None, now {'class': 'Placement', "),
}  # fmt: skip


class TestAnEditedScript:
    """What was edited ends a run that would go on, in one line: field or layer, old, new, and what to do."""

    @pytest.fixture
    def refusal(self, prepared_survey, run_main, monkeypatch) -> Callable[..., str]:
        def run_both(old: Experiment, new: Experiment) -> str:
            with monkeypatch.context() as patch:
                interrupt_after(patch, 4, signal.SIGINT)
                with pytest.raises(SystemExit):
                    run(run_main, prepared_survey, experiment=old)
            with pytest.raises(SystemExit) as ended:
                run(run_main, prepared_survey, experiment=new)
            line = ended.value.code  # a text is printed, and makes the status 1
            assert line.startswith("error: checkpoint ")
            assert "\n" not in line
            assert "run with --no-resume to start anew, or rename the script" in line
            return line

        return run_both

    @pytest.mark.parametrize("edit", PLAIN_EDITS)
    def test_names_the_field(self, refusal, edit, prepared_survey):
        change, expected = PLAIN_EDITS[edit]
        num = len(np.load(prepared_survey.root / "data" / "train_ids.npy"))
        save_gz(prepared_survey.root / "data" / "pysex_params_gen2_train.npy.gz", np.full((num, 6), 100.0))
        assert expected in refusal(SIX_CHUNKS, change(SIX_CHUNKS))

    @pytest.mark.parametrize("dropout", [0.0, 0.25])
    def test_names_the_layer_of_an_edited_dropout(self, refusal, dropout):
        line = refusal(SIX_CHUNKS, with_dropout(SIX_CHUNKS, 1, dropout))
        assert f"network.1 (DenseLayer).dropout: 0.5, now {dropout}" in line

    def test_names_the_layers_of_an_edited_width(self, refusal):
        old, new = (
            dataclasses.replace(SIX_CHUNKS, build_network=build)
            for build in (dense_network, partial(dense_network, width=32))
        )
        line = refusal(old, new)
        assert "network.1 (DenseLayer).parameters.0.0: 16, now 32" in line
        assert "network.2 (DenseLayer).shape.1: 16, now 32" in line

    def test_names_the_number_that_a_function_gives_the_optimizer(self, refusal):
        old, new = (dataclasses.replace(SIX_CHUNKS, make_optimizer=tuned(momentum)) for momentum in (0.9, 0.8))
        assert "optimizer.0.momentum: 0.9, now 0.8" in refusal(old, new)

    def test_of_another_family_is_noticed_too(self, refusal):
        line = refusal(OTHER, with_dropout(OTHER, 1, 0.3))
        assert "network.1 (DenseLayer).dropout: 0.2, now 0.3" in line
