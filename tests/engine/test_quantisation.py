"""A graph in whole numbers answers nearly as before, wherever it runs."""

import logging
from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from catalogue.graph_checks import OPERATORS
from engine.quantisation import quantised
from machine import onnx_runtime
from machine.files import DataError


def graph_of(convolutions: int) -> onnx.ModelProto:
    """Return a network of so many convolutions of 8 channels and a dense layer of 5: (n, 3, 24, 24) -> (n, 5)."""
    rng = np.random.default_rng(0)
    nodes, tensors, name, channels = [], [], "pixels", 3
    for number in range(convolutions):
        weights = rng.normal(size=(8, channels, 3, 3)) * np.sqrt(2 / (9 * channels))
        tensors.append(numpy_helper.from_array(weights.astype(np.float32), f"w{number}"))
        nodes.append(helper.make_node("Conv", [name, f"w{number}"], [f"c{number}"], f"conv{number}"))
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"r{number}"], f"relu{number}"))
        name, channels = f"r{number}", 8
    tensors.append(numpy_helper.from_array(rng.normal(size=(8, 5)).astype(np.float32), "dense"))
    nodes.append(helper.make_node("GlobalAveragePool", [name], ["pooled"], "pool"))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["features"], "flatten"))
    nodes.append(helper.make_node("MatMul", ["features", "dense"], ["answers"], "dense"))
    ends = [
        helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, 24, 24]),
        helper.make_tensor_value_info("answers", TensorProto.FLOAT, ["n", 5]),
    ]
    graph = helper.make_graph(nodes, "network", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def feeds(number: int, seed: int) -> Iterator[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    for _ in range(number):
        yield {"pixels": rng.random((1, 3, 24, 24), dtype=np.float32)}


def run(model: onnx.ModelProto) -> np.ndarray:
    options = onnx_runtime.session_options()
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, each)[0] for each in feeds(20, seed=2)])


def test_answers_move_by_the_rounding_alone(monkeypatch: pytest.MonkeyPatch):
    plain = graph_of(4)
    made = quantised(plain, feeds(30, seed=1))
    expected, found = run(plain), run(made)
    error = np.sqrt(np.mean((found - expected) ** 2))
    assert 0 < error < 0.02 * expected.std()
    monkeypatch.setattr(onnx_runtime, "is_exact", lambda: False)
    elsewhere = run(made)
    np.testing.assert_allclose(elsewhere, found, atol=0.01 * expected.std())


def test_all_convolutions_but_the_first_have_weights_of_a_byte():
    made = quantised(graph_of(4), feeds(10, seed=1))
    kinds = sorted(each.data_type for each in made.graph.initializer if len(each.dims) == 4)
    assert kinds == sorted([TensorProto.FLOAT, *3 * [TensorProto.INT8]])


def test_the_graph_has_only_operators_that_are_run():
    made = quantised(graph_of(3), feeds(10, seed=1))
    assert {node.op_type for node in made.graph.node} <= OPERATORS
    assert [(each.domain, each.version) for each in made.opset_import] == [("", 18)]


def test_no_line_is_logged_and_logging_goes_on(caplog: pytest.LogCaptureFixture):
    before = logging.root.manager.disable
    quantised(graph_of(2), feeds(5, seed=1))
    assert not caplog.records and logging.root.manager.disable == before


def test_a_network_of_one_convolution_is_refused():
    with pytest.raises(DataError, match="fewer than two convolutions"):
        quantised(graph_of(1), feeds(5, seed=1))
