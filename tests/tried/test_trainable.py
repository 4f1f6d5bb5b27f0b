"""What 2014 tried and left out can be trained: doc/tried.md says how, and a declaration of each holds it to that."""

import dataclasses
import re
import runpy
import signal

import numpy as np
import pytest
import torch
from declarations import DECLARATIONS
from tiny import CPU, OPTIONS, ROOT, assert_same_result, interrupt_after, run

import layers
from cc_layers import CudaConvnetPooling2DLayer
from engine.examples import Examples
from engine.experiment import Experiment
from engine.network import Network
from engine.prediction import predict
from survey import folders
from tried.cc_layers import CudaConvnetStochasticPooling2DLayer
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT as BEST

PAGE = (ROOT / "doc" / "tried.md").read_text()
ROWS = re.findall(r"^\| ([^|]+?) +\| (`.+?) +\| ([^|]+?) +\|$", PAGE, flags=re.MULTILINE)


def test_the_page_has_a_row_for_each():
    assert [name for name, *_ in ROWS] == list(DECLARATIONS)


def test_the_page_s_lines_are_those_of_the_declarations():
    text = re.sub(r"\s|,(?=\s*\))", "", (ROOT / "tests" / "tried" / "declarations.py").read_text())
    for name, code, _ in ROWS:
        for line in re.findall(r"`([^`]+)`", code):
            assert re.sub(r"\s", "", line) in text, f"{name}: {line}"


def test_the_page_s_script_declares_the_best_network_but_for_its_pooling(tmp_path):
    [script] = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    path = tmp_path / "try_stochastic_pooling.py"
    path.write_text(script)
    experiment = runpy.run_path(str(path))["EXPERIMENT"]
    assert experiment.name == "try_stochastic_pooling"
    ours, best = (layers.all_layers(each.build_network(2)[1]) for each in (experiment, BEST))
    classes = [(type(a), type(b)) for a, b in zip(ours, best, strict=True)]
    differing = [pair for pair in classes if pair[0] is not pair[1]]
    assert differing == [(CudaConvnetStochasticPooling2DLayer, CudaConvnetPooling2DLayer)]
    for a, b in zip(ours, best, strict=True):
        assert a.get_output_shape() == b.get_output_shape()
        assert getattr(a, "weights_std", None) == getattr(b, "weights_std", None)
        assert getattr(a, "init_bias_value", None) == getattr(b, "init_bias_value", None)


def started(experiment: Experiment) -> list[np.ndarray]:
    """Return the parameters that a run of an experiment begins with."""
    torch.manual_seed(experiment.seed)
    network = Network(experiment, CPU)
    layers.reset_all_params(network.output_layer)
    return layers.get_param_values(network.output_layer)


@pytest.mark.parametrize("name", DECLARATIONS)
def test_trains_is_stopped_and_goes_on_to_the_same_result_and_predicts(prepared_survey, run_main, monkeypatch, name):
    experiment = DECLARATIONS[name]
    whole = run(run_main, prepared_survey, experiment=experiment)
    assert np.isfinite(whole["losses_train"]).all()
    for before, after in zip(started(experiment), whole["param_values"], strict=True):
        assert not np.array_equal(before, after)

    folders.current.analysis(experiment.name).unlink()
    with monkeypatch.context() as patch:
        interrupt_after(patch, 5, signal.SIGTERM)
        with pytest.raises(SystemExit) as stop:
            run(run_main, prepared_survey, experiment=experiment)
    assert stop.value.code == 75
    assert len(list(folders.current.checkpoints(experiment.name).glob("*.pt"))) == 1
    assert_same_result(run(run_main, prepared_survey, experiment=experiment), whole)

    few = dataclasses.replace(experiment, test_transforms=experiment.test_transforms[:4])
    network = Network(few, CPU)
    layers.set_param_values(network.output_layer, whole["param_values"])
    predictions = predict(network, Examples(few, OPTIONS, CPU), np.arange(8), "test")
    assert predictions.shape == (8, 37)
    assert np.isfinite(predictions).all()
