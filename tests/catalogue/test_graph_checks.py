"""Graphs of hostile models are refused in one line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from exported import changed_model
from onnx import TensorProto, helper, numpy_helper

from catalogue import card as cards
from catalogue.model_file import Model
from machine.files import DataError


def card_of(model: onnx.ModelProto) -> dict:
    [found] = [each.value for each in model.metadata_props if each.key == cards.KEY]
    return json.loads(found)


def with_card(**values: object) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        text = json.dumps({**card_of(model), **values})
        del model.metadata_props[:]
        model.metadata_props.add(key=cards.KEY, value=text)

    return change


def external(model: onnx.ModelProto) -> None:
    tensor = next(each for each in model.graph.initializer if each.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")


def external_in_constant(model: onnx.ModelProto) -> None:
    tensor = TensorProto(data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["unused"], value=tensor))


def huge_tensor(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(TensorProto(name="huge", data_type=TensorProto.FLOAT, dims=[2**40, 2**20]))


def huge_within(model: onnx.ModelProto) -> None:
    shape = numpy_helper.from_array(np.array([10**6, 10**6], np.int64), "vast")
    one = numpy_helper.from_array(np.ones((1, 1), np.float32), "one")
    model.graph.initializer.extend([shape, one])
    model.graph.node.insert(0, helper.make_node("Expand", ["one", "vast"], ["all_of_it"]))


def length_of_pixels(model: onnx.ModelProto) -> None:
    """Make a tensor whose length is the largest pixel times 4e8."""
    scalars = [numpy_helper.from_array(np.array(value, np.int64), name) for value, name in ((0, "start"), (1, "step"))]
    model.graph.initializer.extend([*scalars, numpy_helper.from_array(np.array(4e8, np.float32), "much")])
    nodes = [
        helper.make_node("ReduceMax", ["pixels_0"], ["largest"], keepdims=0),
        helper.make_node("Mul", ["largest", "much"], ["product"]),
        helper.make_node("Cast", ["product"], ["length"], to=TensorProto.INT64),
        helper.make_node("Range", ["start", "length", "step"], ["vast"]),
    ]
    model.graph.node.extend(nodes)


def long_work(model: onnx.ModelProto) -> None:
    """Fill many large tensors, one after the other."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([2**24], np.int64), "shape"))
    model.graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), "one"))
    model.graph.node.append(helper.make_node("Expand", ["one", "shape"], ["x0"]))
    for index in range(4000):
        model.graph.node.append(helper.make_node("Erf", [f"x{index}"], [f"x{index + 1}"]))


def loop(model: onnx.ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Identity", ["mean"], ["x"], body=body))


HOSTILE = {
    "it refers to external data, which": external,
    "refers to external data": external_in_constant,
    "a tensor of shape [1099511627776, 1048576]": huge_tensor,
    "a tensor of shape [1000000, 1000000]": huge_within,
    "the size of an output of its operator Range is not known": length_of_pixels,
    "graphs within operators": loop,
    "the operator ConstantOfShape, which is not allowed": lambda m: m.graph.node.append(
        helper.make_node("ConstantOfShape", ["x"], ["y"])
    ),
    "has custom operators": lambda m: m.opset_import.add(domain="com.microsoft", version=1),
    "the operator Evil": lambda m: m.graph.node.append(helper.make_node("Evil", ["x"], ["y"])),
    "the operator Add, which": lambda m: m.graph.node.append(helper.make_node("Add", ["x", "x"], ["y"], domain="evil")),
    "expected inputs": lambda m: m.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1])),
    "expected outputs": lambda m: m.graph.output.pop(0),
    "no card of this project": lambda m: m.ClearField("metadata_props"),
    "expected version 1": with_card(version=2),
    "expected 1 to 256 transforms": with_card(test_transforms=[]),
    "expected views of 1 to 1024": with_card(target_sizes=[[10**6, 10**6], [15, 15]]),
    "within a factor of 100": with_card(ds_transforms=[[[1e6, 0, 0], [0, 1e6, 0], [0, 0, 1]]] * 2),
    "expected affine transforms": with_card(ds_transforms=[[[1, 0, 0], [0, 1, 0], [1, 0, 1]]] * 2),
    "expected numbers of shape": with_card(distances=[1, 2]),
    "expected a framing radius": with_card(framing_radius=1e8),
    "expected a name": with_card(name="a\nb"),
    "expected facts of at most 4 levels": with_card(facts={"a": [[[[1]]]]}),
    "NaN is not a number": with_card(framing_radius=float("nan")),
    "its shapes do not fit": lambda m: m.graph.node[0].ClearField("output"),
}


@pytest.mark.parametrize("says", HOSTILE)
def test_a_hostile_model_is_refused_in_one_line(says: str, tmp_path: Path):
    path = changed_model(tmp_path / "a.onnx", HOSTILE[says])
    with pytest.raises(DataError) as refused:
        Model(path)
    line = str(refused.value)
    assert says in line and "\n" not in line and line.startswith(f"{path} cannot be used")
