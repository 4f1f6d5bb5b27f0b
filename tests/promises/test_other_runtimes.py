"""An exported file computes the same in another runtime, without its quantisation, and for any number of views."""

import copy
import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from other_family import EXPERIMENT as RESIDUAL
from tiny import CPU
from torch import nn

import backbones
import custom
import layers
from catalogue import calibration, card, graph_checks
from catalogue.framing import Frame
from catalogue.model_file import Model
from engine import export
from engine.experiment import Experiment
from engine.export import Exported
from engine.network import Network
from engine.quantisation import quantised
from machine.files import DataError
from machine.onnx_runtime import is_exact, session_options

OUTPUTS = (*graph_checks.OUTPUTS, graph_checks.FEATURES)
CARD = Path(__file__).resolve().parents[2] / "models" / "lite0.json"
# Largest differences from ONNX Runtime: of predictions, and of distances and features (about 1).
LARGEST = {"float32": (1e-4, 2e-4), "float16": (1e-4, 2e-4), "int8": (0.01, 0.15)}


def build_lite(batch_size: int) -> tuple[list[layers.Layer], layers.Layer]:
    """Return a network with the blocks and the output layer of the model in the box."""
    l0 = layers.Input2DLayer(batch_size, 3, 32, 32)
    blocks = [backbones.ConvNorm(3, 16, kernel=3, stride=2), nn.ReLU6()]
    blocks += [backbones.Block(16, 16, kernel=3, stride=1, expansion=6, drop=0.0) for _ in range(3)]
    blocks += [backbones.ConvNorm(16, 48), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    l1 = layers.ModuleLayer(l0, nn.Sequential(*blocks), (batch_size, 48))
    l2 = layers.DenseLayer(l1, 37, weights_std=0.1, init_bias_value=0.0, nonlinearity=layers.identity)
    return [l0], custom.GalaxyOutputLayer(l2)


LITE = dataclasses.replace(
    RESIDUAL,
    build_network=build_lite,
    views=dataclasses.replace(RESIDUAL.views, target_sizes=[(32, 32)]),
)
EXPERIMENTS = {
    "three views": dataclasses.replace(LITE, test_transforms=RESIDUAL.test_transforms[:3]),
    "one view": dataclasses.replace(LITE, test_transforms=RESIDUAL.test_transforms[:1]),
}


def feeds_of(experiment: Experiment, num_views: int) -> dict[str, np.ndarray]:
    """Return views of 40 galaxies: coarse random patterns, so that their features differ."""
    rng = np.random.default_rng(0)
    feeds = {}
    for index, (rows, columns, _) in enumerate(experiment.views.shapes):
        coarse = rng.random((40, num_views, 4, 4, 3), dtype=np.float32)
        fine = coarse.repeat(-(-rows // 4), axis=2).repeat(-(-columns // 4), axis=3)
        feeds[f"pixels_{index}"] = np.ascontiguousarray(fine[:, :, :rows, :columns])
    return feeds


@functools.cache
def exported(name: str) -> tuple[onnx.ModelProto, dict[str, np.ndarray], Exported]:
    """Return the graph of a network with random parameters, views of galaxies, and the network."""
    experiment = EXPERIMENTS[name]
    torch.manual_seed(0)
    network = Network(experiment, CPU)
    layers.reset_variance_preserving(network.output_layer)
    values = layers.get_param_values(network.output_layer)
    values[0] *= 8
    layers.set_param_values(network.output_layer, values)
    wrapped = Exported(experiment, network)
    network.output_layer.eval()
    feeds = feeds_of(experiment, wrapped.num_views)
    with torch.inference_mode():
        _, features = wrapped.answers_and_features(*map(torch.from_numpy, feeds.values()))
    found = calibration.fit_features(features.numpy())
    wrapped.measure_distances(found.mean, found.directions, found.deviations, found.rest, found.weight_of_rest)
    wrapped.set_axes(found.axes)
    return export.to_onnx(wrapped, experiment.views.shapes, OUTPUTS), feeds, wrapped


@functools.cache
def graph_of(name: str, weights: str) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """Return a graph with this type of weights, and views of galaxies."""
    graph, feeds, _ = exported(name)
    if weights == "int8":
        singles = ({pixels: views[[row]] for pixels, views in feeds.items()} for row in range(30))
        return quantised(graph, singles), feeds
    graph = copy.deepcopy(graph)
    if weights == "float16":
        export.halve(graph)
    return graph, feeds


def run(graph: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Compute a graph with ONNX Runtime."""
    options = session_options()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(OUTPUTS, feeds)


def run_openvino(graph: onnx.ModelProto, feeds: dict[str, np.ndarray], static: bool) -> list[np.ndarray]:
    """Compute a graph with OpenVINO in single precision; 8-bit products only where they do not saturate."""
    core = pytest.importorskip("openvino").Core()
    model = core.read_model(graph.SerializeToString())
    if static:
        model.reshape({name: views.shape for name, views in feeds.items()})
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    if not is_exact():
        options["LP_TRANSFORMS_MODE"] = "OFF"
    compiled = core.compile_model(model, "CPU", options)
    return [compiled(feeds)[name] for name in OUTPUTS]


def stripped(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph without pairs of QuantizeLinear and DequantizeLinear; the weights stay rounded."""
    graph = copy.deepcopy(graph)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            values, scale, zero = (constants[name].astype(np.float32) for name in node.input)
            by_channel = (-1, *[1] * (values.ndim - 1)) if scale.ndim else ()
            values = (values - zero.reshape(by_channel)) * scale.reshape(by_channel)
            graph.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), node.output[0]))
        elif node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            renamed[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    del graph.graph.node[:]
    graph.graph.node.extend(kept)
    return graph


def assert_close(ours: list[np.ndarray], expected: list[np.ndarray], weights: str) -> None:
    of_predictions, of_distances = LARGEST[weights]
    for values, right, largest in zip(ours, expected, (*2 * [of_predictions], *2 * [of_distances]), strict=True):
        assert values.shape == right.shape
        np.testing.assert_allclose(values, right, rtol=0, atol=largest)


@pytest.mark.parametrize("static", [False, True], ids=["dynamic", "static"])
@pytest.mark.parametrize("weights", LARGEST)
@pytest.mark.parametrize("name", ["three views", "one view"])
def test_openvino_computes_what_onnx_runtime_does(name: str, weights: str, static: bool):
    graph, feeds = graph_of(name, weights)
    expected = run(graph, feeds)
    assert expected[0].std(axis=0).max() > 0.01
    assert_close(run_openvino(graph, feeds, static), expected, weights)


@pytest.mark.parametrize("name", ["three views", "one view"])
def test_without_quantisation_the_same_is_computed(name: str):
    graph, feeds = graph_of(name, "int8")
    plain = stripped(graph)
    assert not {"QuantizeLinear", "DequantizeLinear"} & {node.op_type for node in plain.graph.node}
    expected = run(graph, feeds)
    assert_close(run(plain, feeds), expected, "int8")
    assert_close(run_openvino(plain, feeds, static=False), expected, "int8")


@pytest.mark.parametrize("num", [1, 2, 3])
def test_a_graph_takes_any_number_of_views(num: int):
    graph, feeds, wrapped = exported("three views")
    fewer = {name: np.ascontiguousarray(views[:, :num]) for name, views in feeds.items()}
    with torch.inference_mode():
        expected = [values.numpy() for values in wrapped(*map(torch.from_numpy, fewer.values()))]
    assert_close(run(graph, fewer), expected, "float32")
    of_views = run(graph, feeds)[1]
    np.testing.assert_allclose(run(graph, fewer)[0], of_views[:, :num].mean(axis=1), atol=1e-6)


def write_model(path: Path, num_views: int, is_fixed: bool = False) -> Path:
    """Write a model of three transforms, with a card that says how many are used."""
    graph = copy.deepcopy(graph_of("three views", "int8")[0])
    if is_fixed:
        for value in (graph.graph.input[0], graph.graph.output[1]):
            value.type.tensor_type.shape.dim[1].dim_value = 3
    values = json.loads(CARD.read_text())
    transforms = [tform.params.tolist() for tform in EXPERIMENTS["three views"].test_transforms]
    scale = EXPERIMENTS["three views"].views.ds_transforms[0].params.tolist()
    values |= {"ds_transforms": [scale], "target_sizes": [[32, 32]], "test_transforms": transforms}
    values |= {"num_averaged": 3, "num_views": num_views}
    graph.metadata_props.add(key=card.KEY, value=json.dumps(values))
    path.write_bytes(graph.SerializeToString())
    return path


def test_a_catalogue_uses_as_many_views_as_the_card_says_or_as_are_asked_for(tmp_path: Path):
    path = write_model(tmp_path / "one.onnx", 1)
    pixels = np.random.default_rng(0).integers(0, 255, (424, 424, 3), np.uint8)
    frame = Frame(pixels, np.eye(3), "sdss", 211.5, 211.5, 50.0, 1.0, 0)
    of_views = Model(path, 1, views=3).predict([frame]).by_transform[0]
    assert of_views.shape == (3, 37)
    for views, num in ((None, 1), (1, 1), (2, 2), (3, 3)):
        model = Model(path, 1, views=views)
        answers = model.predict([frame])
        assert model.num_averaged == num and answers.by_transform.shape == (1, num, 37)
        np.testing.assert_allclose(answers.predictions[0], of_views[:num].mean(axis=0), atol=1e-6)
    with pytest.raises(DataError, match=r"expected --views from 1 to 3 for .*one.onnx, got 4"):
        Model(path, 1, views=4)
    with pytest.raises(DataError, match=r"takes .* views only, got --views 1"):
        Model(write_model(tmp_path / "fixed.onnx", 3, is_fixed=True), 1, views=1)
