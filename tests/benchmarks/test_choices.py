"""Each choice is a network that can be trained, and is told of in a row."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import CPU

import layers
from benchmarks import choices
from engine.network import Network
from engine.options import Options
from survey.folders import use_folders
from survey.predictions import rmse


@pytest.mark.parametrize("name", choices.CHOICES)
def test_each_choice_is_a_network_that_answers(name: str):
    experiment = dataclasses.replace(choices.CHOICES[name], batch_size=2)
    torch.manual_seed(0)
    network = Network(experiment, CPU)
    views = [torch.rand(2, *shape) for shape in experiment.views.shapes]
    answers = network.predict(views)
    assert answers.shape == (2, 37) and np.isfinite(np.asarray(answers)).all()


def test_two_views_are_seen_by_one_network():
    experiment = dataclasses.replace(choices.seen(rotations=(0, 45)), batch_size=2)
    alone = Network(dataclasses.replace(choices.CHOICES["the script"], batch_size=2), CPU)
    assert sum(map(torch.Tensor.numel, Network(experiment, CPU).parameters)) == sum(
        map(torch.Tensor.numel, alone.parameters)
    )
    assert [tuple(shape) for shape in experiment.views.shapes] == 2 * [(128, 128, 3)]


def test_views_grow_in_training_and_are_whole_in_prediction():
    name = "views that grow: 96, 128, 160 pixels"
    experiment = dataclasses.replace(choices.CHOICES[name], batch_size=2, num_chunks=6)
    network = Network(experiment, CPU)
    run = SimpleNamespace(network=network, experiment=experiment, progress=SimpleNamespace(chunk=1))
    choices.grow(run)
    [layer] = (each for each in layers.all_layers(network.output_layer) if isinstance(each, choices.GrowingLayer))
    image = torch.rand(2, 3, 160, 160)
    sizes = []
    for chunk in range(6):
        run.on_chunk(SimpleNamespace(chunk=chunk))
        sizes.append(layer.forward_dropout(image).shape[-1])
    assert sizes == [96, 96, 128, 128, 160, 160]
    torch.testing.assert_close(layer.forward_dropout(image), image)
    assert layer(image) is image


def test_a_ridge_solution_is_a_head_that_knows_something(prepared_survey):
    small = dataclasses.replace(choices.EXPERIMENT, name="ridge", batch_size=4, chunk_size=8, num_chunks=1)
    use_folders(prepared_survey.root)
    run = choices.training.Run.prepare(small, Options(root=prepared_survey.root, device="cpu", num_workers=1))
    indices = run.train_indices
    before = rmse(run.predict(indices, "train"), run.labels[indices])
    choices.fit_head(run, len(indices))
    # The average of weights is the result, and begins with the first step.
    run.trainer.average.update()
    assert rmse(run.predict(indices, "train"), run.labels[indices]) < 0.7 * before


def test_runs_are_told_of_and_not_done_again(prepared_survey, tables, tmp_path, run_main, monkeypatch, capsys):
    small = dataclasses.replace(choices.EXPERIMENT, batch_size=4, chunk_size=8)
    monkeypatch.setattr(choices, "EXPERIMENT", small)
    monkeypatch.setattr(
        choices, "CHOICES", {"the script": small, "no average": dataclasses.replace(small, weight_average=None)}
    )
    flags = ["--root", prepared_survey.root, *tables, "--examples", 8, "--output", tmp_path / "out"]
    run_main(choices, *flags)
    results = json.loads((tmp_path / "out" / "choices.json").read_text())
    assert [each["choice"] for each in results] == ["the script", "no average"]
    assert all(0 <= each["accuracy, all"] <= 1 and 0 < each["rmse"] < 1 and each["seconds"] > 0 for each in results)
    monkeypatch.setattr(choices, "measured", pytest.fail)
    run_main(choices, *flags, "no average")
    assert capsys.readouterr().out.splitlines()[-1].startswith("| no average")
    assert not list((prepared_survey.root / "analysis").rglob("*.pt"))
    with pytest.raises(SystemExit):
        run_main(choices, *flags, "another")


def test_a_run_that_went_on_has_no_seconds(prepared_survey, tables, tmp_path, run_main, monkeypatch, capsys):
    def fail(run: choices.training.Run) -> None:
        raise OSError("disk full")

    small = dataclasses.replace(choices.EXPERIMENT, batch_size=4, chunk_size=8)
    monkeypatch.setattr(choices, "EXPERIMENT", small)
    monkeypatch.setattr(choices, "CHOICES", {"the script": small})
    flags = ["--root", prepared_survey.root, *tables, "--examples", 16, "--output", tmp_path]
    with monkeypatch.context() as context:
        context.setattr(choices.training.Run, "_report", fail)
        with pytest.raises(OSError, match="disk full"):
            run_main(choices, *flags)
    assert "the work so far is saved in" in capsys.readouterr().out
    run_main(choices, *flags)
    assert capsys.readouterr().out.splitlines()[-1].split()[-2] == "-"
    assert json.loads((tmp_path / "choices.json").read_text())[0]["seconds"] is None
