"""Fine-tuning with the same loop as all models: lengths in epochs, frozen blocks, kills, predictions, blends."""

import dataclasses
import os
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import CPU, NUM_TRAIN, OPTIONS, assert_same_result, is_killed_at, run

import backbones
import layers
import realtime_augmentation as ra
import try_finetune_efficientnet_lite0 as lite0
import try_finetune_efficientnet_lite1 as lite1
import try_finetune_efficientnet_lite2 as lite2
from engine import network as networks
from engine import prediction
from engine.examples import Examples
from engine.network import Network, fastest_precision
from engine.options import choose, training_parser
from survey import folders

NUM_CHUNKS = 12 if os.environ.get("TORTURE") else 4
KILLS = 10 if os.environ.get("TORTURE") else 1
SMALL = dataclasses.replace(
    lite0.EXPERIMENT,
    name="small",
    build_network=partial(lite0.build_network, pixels=64),
    views=dataclasses.replace(
        lite0.EXPERIMENT.views,
        ds_transforms=[ra.build_ds_transform(200 / 64, target_size=(64, 64))],
        target_sizes=[(64, 64)],
    ),
    batch_size=4,
    chunk_size=12,
    num_chunks=NUM_CHUNKS,
    validate_every=2,
)


@pytest.mark.parametrize("module", [lite0, lite1, lite2])
def test_a_model_differs_from_lite0_in_its_network_and_seed_alone(module):
    ours, variant = module.EXPERIMENT, module.__name__.removeprefix("try_finetune_efficientnet_")
    differing = ("name", "build_network", "seed")
    same = {name: getattr(lite0.EXPERIMENT, name) for name in differing}
    assert dataclasses.replace(ours, **same) == lite0.EXPERIMENT
    [input_layer], output = ours.build_network(2)
    assert input_layer.get_output_shape() == (2, 3, 128, 128)
    [backbone] = [each for each in layers.all_layers(output) if isinstance(each, layers.ModuleLayer)]
    assert backbone.load.keywords == {"variant": variant, "frozen_blocks": 3}
    described = sum(param.numel() for param in layers.all_parameters(output))
    assert f"{described:,} parameters" in module.__doc__


@pytest.mark.parametrize(
    ("arguments", "num_chunks"),
    [
        (["--epochs", "4"], round(4 * 27 / 12)),
        (["--epochs", "4", "--chunk-size", "27"], 4),
        (["--epochs", "1", "--chunk-size", "900"], 1),
        (["--epochs", "4", "--all-galaxies", "--chunk-size", "30"], 4),
        (["--num-chunks", "7"], 7),
        ([], NUM_CHUNKS),
    ],
)
def test_a_run_is_as_long_as_so_many_passes_over_the_training_galaxies(prepared_survey, arguments, num_chunks):
    assert NUM_TRAIN == 30  # of which a tenth is validated on
    chosen = choose(SMALL, training_parser(SMALL).parse_args(arguments))
    assert chosen.num_chunks == num_chunks
    assert chosen.learning_rate == SMALL.learning_rate  # which follows the fraction of the run


def test_epochs_and_a_number_of_chunks_exclude_each_other(capsys):
    with pytest.raises(SystemExit):
        training_parser(SMALL).parse_args(["--epochs", "3", "--num-chunks", "3"])
    assert "not allowed with argument" in capsys.readouterr().err


def test_fine_tuning_starts_from_the_published_weights_and_leaves_the_frozen_ones(prepared_survey, run_main, capsys):
    analysis = run(run_main, prepared_survey, "--num-chunks", 1, experiment=SMALL)
    network = Network(SMALL, CPU)
    layers.set_param_values(network.output_layer, analysis["param_values"])
    [layer] = [each for each in layers.all_layers(network.output_layer) if isinstance(each, layers.ModuleLayer)]
    assert ", published weights, cpu" in capsys.readouterr().out
    ours, published = layer.module.state_dict(), backbones.read_weights("lite0")
    for name, value in published.items():
        if name.startswith(("stem.", "blocks.0.", "blocks.1.", "blocks.2.")):
            assert torch.equal(ours[name], value), name
    assert not torch.equal(ours["blocks.3.expand.conv.weight"], published["blocks.3.expand.conv.weight"])
    assert np.isfinite(analysis["predictions"]).all()


def test_at_random_all_is_drawn_and_moves(prepared_survey, run_main, monkeypatch):
    monkeypatch.setattr(backbones, "read_weights", None)  # would be called
    flags = ("--num-chunks", 1, "--initialisation", "random", "--no-resume")
    one, other = (run(run_main, prepared_survey, *flags, "--seed", seed, experiment=SMALL) for seed in (1, 2))
    for a, b in zip(one["param_values"], other["param_values"], strict=True):
        # Norms start at ones and zeros; each moves its own way.
        assert not np.array_equal(a, b) or a.size == 1


@pytest.mark.skipif(sys.platform != "linux", reason="sessions")
def test_a_run_that_is_killed_again_and_again_goes_on_to_the_same_result(prepared_survey, run_main, one_thread):
    script = prepared_survey.root / "small.py"
    script.write_text(
        f"import sys\nsys.path.append({str(Path(__file__).parent)!r})\n"
        "import test_finetuning\nfrom engine import training\ntraining.main(test_finetuning.SMALL)\n"
    )

    random = ("--initialisation", "random")
    whole = run(run_main, prepared_survey, *random, experiment=SMALL)
    folders.current.analysis("small").unlink()
    for kill in range(1, KILLS + 1):
        assert is_killed_at(f"chunk {kill}/", script, *random)
    assert_same_result(run(run_main, prepared_survey, *random, experiment=SMALL), whole)


class TestPrecision:
    def test_auto_is_bfloat16_only_where_the_circuits_have_it(self, monkeypatch):
        for avx512, amx, expected in ((True, False, "bf16"), (False, True, "bf16"), (False, False, "tf32")):
            monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx512=avx512: avx512)
            monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx)
            assert fastest_precision(CPU) == expected

    def test_auto_predicts_with_what_is_fastest(self, prepared_survey, monkeypatch):
        seen = []
        monkeypatch.setattr(prediction, "fastest_precision", lambda device: "bf16")
        monkeypatch.setattr(
            prediction, "load_network", lambda *given: seen.append(given[2]) or networks.Network(*given)
        )
        small = dataclasses.replace(SMALL, test_transforms=SMALL.test_transforms[:1])
        prediction.Prediction(small, dataclasses.replace(OPTIONS, precision="auto"))
        assert seen == ["bf16"]

    def test_bfloat16_moves_predictions_by_its_rounding(self, prepared_survey):
        exact, rounded = (Network(SMALL, CPU, precision) for precision in ("float32", "bf16"))
        torch.manual_seed(0)
        layers.reset_all_params(exact.output_layer)
        layers.set_param_values(rounded.output_layer, layers.get_param_values(exact.output_layer))
        examples = Examples(SMALL, OPTIONS, CPU)
        views = next(examples.fixed(np.arange(4), "train"))
        difference = np.abs(exact.predict(views) - rounded.predict(views))
        assert 0 < difference.max() < 0.01
