"""Hostile models, drawn from a seed: valid cards around graphs that ask for memory, time or files."""

import json
import random
from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from catalogue import card as cards
from catalogue.request import MODELS

Change = Callable[[random.Random, onnx.ModelProto], bytes | None]
NODE = helper.make_node


def small_model() -> onnx.ModelProto:
    """Return a valid model of some nodes, with the card of the model that comes with the project."""
    [path] = MODELS.glob("*.onnx")
    [text] = [each.value for each in onnx.load(path).metadata_props if each.key == cards.KEY]
    card = cards.from_json(text)
    num, averaged = len(card.test_transforms), card.num_averaged
    pixels = [
        helper.make_tensor_value_info(f"pixels_{index}", TensorProto.FLOAT, ["n", num, *size, 3])
        for index, size in enumerate(card.target_sizes)
    ]
    shapes = {"predictions": ["n", 37], "by_transform": ["n", averaged, 37], "distance": ["n"]}
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    nodes = [
        NODE("ReduceMean", ["pixels_0", "axes"], ["mean"], keepdims=0),
        NODE("Unsqueeze", ["mean", "one"], ["column"]),
        NODE("Mul", ["column", "row"], ["predictions"]),
        NODE("Unsqueeze", ["column", "one"], ["cube"]),
        NODE("Mul", ["cube", "rows"], ["by_transform"]),
        NODE("Identity", ["mean"], ["first_distance"]),
    ]
    constants = {
        "axes": np.arange(1, 5),
        "one": np.array([1]),
        "row": np.ones((1, 37), np.float32),
        "rows": np.ones((1, averaged, 37), np.float32),
    }
    graph = helper.make_graph(nodes, "small", pixels, outputs, tensors(**constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    model.metadata_props.add(key=cards.KEY, value=text)
    return model


def tensors(**values: np.ndarray) -> list[TensorProto]:
    return [numpy_helper.from_array(value, name) for name, value in values.items()]


def needed(model: onnx.ModelProto, name: str | None) -> None:
    """Let the distance depend on a tensor."""
    if name is None:
        model.graph.node.append(NODE("Identity", ["first_distance"], ["distance"]))
        return
    model.graph.node.append(NODE("Cast", [name], ["as_float"], to=TensorProto.FLOAT))
    model.graph.node.append(NODE("ReduceMax", ["as_float"], ["largest"], keepdims=0))
    model.graph.node.append(NODE("Add", ["first_distance", "largest"], ["distance"]))


def length_of_pixels(model: onnx.ModelProto, most: float) -> None:
    """Compute a length, `length`, from the pixels."""
    model.graph.initializer.extend(tensors(most=np.array(most, np.float32), zero=np.array(0), step=np.array(1)))
    model.graph.node.append(NODE("ReduceMax", ["pixels_0"], ["brightest"], keepdims=0))
    model.graph.node.append(NODE("Exp", ["brightest"], ["at_least_one"]))
    model.graph.node.append(NODE("Mul", ["at_least_one", "most"], ["product"]))
    model.graph.node.append(NODE("Cast", ["product"], ["scalar_length"], to=TensorProto.INT64))
    model.graph.node.append(NODE("Unsqueeze", ["scalar_length", "zeros"], ["length"]))
    model.graph.initializer.extend(tensors(zeros=np.array([0])))


def size_of_values(rng: random.Random, model: onnx.ModelProto) -> None:
    """Use an operator whose output has a size that depends on pixels, or is vast."""
    length_of_pixels(model, 10 ** rng.uniform(7, 12))
    if rng.random() < 0.4:
        model.graph.initializer.extend(tensors(fixed=np.array([int(10 ** rng.uniform(8, 17))])))
    length = "fixed" if len(model.graph.initializer) == 9 else "length"
    operators = {
        "Range": (["zero", "scalar_length", "step"], {}),
        "Expand": (["brightest", length], {}),
        "Tile": (["mean", length], {}),
        "ConstantOfShape": ([length], {}),
        "Resize": (["column", "", "", length], {}),
        "Pad": (["mean", "pads"], {}),
        "NonZero": (["pixels_0"], {}),
        "OneHot": (["axes", "scalar_length", "brightest"], {}),
        "Reshape": (["mean", length], {}),
        "RandomNormal": ([], {"shape": [10**9]}),
        "EyeLike": (["by_transform"], {}),
        "CumSum": (["mean", "zero"], {}),
        "Compress": (["mean", "mean"], {}),
        "Unique": (["mean"], {}),
    }
    name = rng.choice([*list(operators)[:7], *operators])
    model.graph.node.append(NODE("Concat", [length, length], ["pads"], axis=0))
    inputs, attributes = operators[name]
    model.graph.node.append(NODE(name, inputs, ["vast"], **attributes))
    needed(model, "vast")


def many_large(rng: random.Random, model: onnx.ModelProto) -> None:
    """Keep several large tensors at one time."""
    side, count = 2 ** rng.randint(10, 13), rng.randint(1, 12)
    model.graph.initializer.extend(
        tensors(down=np.ones((side, 1), np.float32), right=np.ones((1, side), np.float32)),
    )
    model.graph.node.append(NODE("ReduceMax", ["pixels_0"], ["brightest"], keepdims=0))
    model.graph.node.append(NODE("Mul", ["down", "brightest"], ["bright"]))
    model.graph.node.append(NODE("MatMul", ["bright", "right"], ["large0"]))
    for index in range(count):
        model.graph.node.append(NODE(rng.choice(["Erf", "Tanh", "Exp"]), [f"large{index}"], [f"large{index + 1}"]))
    model.graph.node.append(NODE("Sum", [f"large{index}" for index in range(count + 1)], ["vast"]))
    needed(model, "vast")


def long_work(rng: random.Random, model: onnx.ModelProto) -> None:
    """Compute for minutes."""
    side, count = 2 ** rng.randint(9, 12), rng.randint(1000, 15_000)
    operator = rng.choice(["Erf", "Softmax", "MatMul", "Tanh"])
    model.graph.initializer.extend(
        tensors(down=np.ones((side, 1), np.float32), right=np.ones((1, side), np.float32)),
    )
    model.graph.node.append(NODE("ReduceMax", ["pixels_0"], ["brightest"], keepdims=0))
    model.graph.node.append(NODE("Mul", ["down", "brightest"], ["bright"]))
    model.graph.node.append(NODE("MatMul", ["bright", "right"], ["large0"]))
    for index in range(count):
        inputs = [f"large{index}"] * (2 if operator == "MatMul" else 1)
        model.graph.node.append(NODE(operator, inputs, [f"large{index + 1}"]))
    needed(model, f"large{count}")


def nested(rng: random.Random, model: onnx.ModelProto) -> None:
    """Hide an operator in a graph within an operator, or in a function."""
    body = helper.make_graph([NODE("ConstantOfShape", ["x"], ["y"])], "body", [], [])
    for _ in range(rng.choice([1, 5, 60])):
        body = helper.make_graph([NODE("If", ["c"], ["y"], then_branch=body, else_branch=body)], "body", [], [])
        if len(body.SerializeToString()) > 2**20:
            break
    operator = rng.choice(["Loop", "If", "Scan", "Identity", "SequenceMap"])
    if rng.random() < 0.3:
        opsets = [helper.make_opsetid("", 18)]
        model.functions.append(helper.make_function("own", "f", ["x"], ["y"], [NODE("Exp", ["x"], ["y"])], opsets))
    model.graph.node.append(NODE(operator, ["mean"], ["vast"], body=body))
    needed(model, "vast")


def false_sizes(rng: random.Random, model: onnx.ModelProto) -> None:
    """State sizes of a tensor that its bytes do not have."""
    dims = [rng.choice([0, -1, 2**31, 2**40, 2**62, 10**9, 3]) for _ in range(rng.randint(1, 4))]
    types = [TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING, TensorProto.BOOL, 77]
    tensor = TensorProto(name="false", data_type=rng.choice(types), dims=dims, raw_data=bytes(rng.randint(0, 64)))
    if rng.random() < 0.3:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=rng.choice(["/dev/zero", "../../etc/passwd"]))
    if rng.random() < 0.5:
        model.graph.node.append(NODE("Constant", [], ["false"], value=tensor))
    else:
        model.graph.initializer.append(tensor)
    needed(model, "false")


def odd_attributes(rng: random.Random, model: onnx.ModelProto) -> None:
    """Give operators attributes and inputs that no network has."""
    vast = rng.choice([10**9, 2**62, -1, 0, -(2**63)])
    model.graph.initializer.extend(
        tensors(
            image=np.ones((1, 1, 8, 8), np.float32),
            filters=np.ones((1, 1, 3, 3), np.float32),
            indices=np.array([vast]),
            scale=np.ones(1, np.float32),
            point=np.zeros(1, np.uint8),
        )
    )
    nodes = [
        NODE("MaxPool", ["image"], ["vast"], kernel_shape=[3, 3], pads=[vast] * 4),
        NODE("MaxPool", ["image"], ["vast"], kernel_shape=[vast, vast]),
        NODE("AveragePool", ["image"], ["vast"], kernel_shape=[1, 1], strides=[vast, vast], ceil_mode=1),
        NODE("Conv", ["image", "filters"], ["vast"], pads=[vast] * 4),
        NODE("Conv", ["image", "filters"], ["vast"], dilations=[vast] * 2, group=vast),
        NODE("Split", ["image"], ["vast", "rest"], num_outputs=vast),
        NODE("Transpose", ["image"], ["vast"], perm=[vast, 0, 1, 2]),
        NODE("Gather", ["image", "indices"], ["vast"], axis=vast),
        NODE("Gather", ["image", "indices"], ["vast"], axis=0),
        NODE("Slice", ["image", "indices", "indices", "axes", "indices"], ["vast"]),
        NODE("Pad", ["image", "indices"], ["vast"]),
        NODE("Concat", ["image"] * 5000, ["vast"], axis=3),
        NODE("DequantizeLinear", ["point", "scale", "point"], ["vast"], axis=vast),
        NODE("Unsqueeze", ["image", "indices"], ["vast"]),
        NODE("Flatten", ["image"], ["vast"], axis=vast),
        NODE("BatchNormalization", ["image", "scale", "scale", "scale"], ["vast"]),
        NODE("Softmax", ["image"], ["vast"], axis=vast),
        NODE("Reshape", ["image", "indices"], ["vast"], allowzero=1),
        NODE("Expand", ["image", "indices"], ["vast"]),
    ]
    model.graph.node.append(rng.choice(nodes))
    needed(model, "vast")


def many_pieces(rng: random.Random, model: onnx.ModelProto) -> bytes:
    """Repeat small pieces of a file, which are large in memory."""
    needed(model, None)
    pieces = {
        "nodes": b"\x3a\x02\x0a\x00",  # graph.node
        "tensors": b"\x3a\x02\x2a\x00",  # graph.initializer
        "inputs": b"\x3a\x02\x5a\x00",
        "notes": b"\x72\x00",  # metadata_props
        "functions": b"\xca\x01\x00",
        "opsets": b"\x42\x00",
        "unknown": b"\xf8\x07\x01",
    }
    return model.SerializeToString() + pieces[rng.choice(list(pieces))] * rng.choice([10_000, 200_000, 700_000])


def deep_pieces(rng: random.Random, model: onnx.ModelProto) -> bytes:
    """Nest messages."""
    needed(model, None)
    content = b""
    for _ in range(rng.choice([50, 99, 5000])):
        content = b"\x0a" + _varint(len(content) + 0) + content  # node in graph, graph in attribute: wire types agree
    return model.SerializeToString() + b"\x3a" + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    digits = []
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


def odd_card(rng: random.Random, model: onnx.ModelProto) -> None:
    """Change values of the card to other types, depths and sizes."""
    needed(model, None)
    [note] = model.metadata_props
    values = json.loads(note.value)
    odd = [None, True, -1, 1e308, 10**400, "", "x" * 10**5, [], {}, [[]] * 1000, [[[[[[]]]]]], {"a": {"b": {"c": {}}}}]
    keys = [*values, "intervals.weighted", "facts.a"]
    for key in rng.sample(keys, rng.randint(1, 3)):
        first, _, second = key.partition(".")
        inner = values[first] if second else values
        if isinstance(inner, dict):
            inner[second or first] = rng.choice(odd)
    note.value = json.dumps(values)
    if rng.random() < 0.3:
        note.value = rng.choice(["[" * 10**5, '{"a":' * 10**5, note.value[:-1], note.value + "}", "\x00", "1" * 10**6])
    if rng.random() < 0.2:
        model.metadata_props.add(key=cards.KEY, value="{}")


def odd_graph(rng: random.Random, model: onnx.ModelProto) -> None:
    """Make cycles, names that are there twice or not at all, other versions."""
    nodes = [
        [NODE("Add", ["a", "mean"], ["b"]), NODE("Exp", ["b"], ["a"])],
        [NODE("Exp", ["mean"], ["a"]), NODE("Tanh", ["mean"], ["a"])],
        [NODE("Exp", ["nothing"], ["a"])],
        [NODE("Exp", ["a"], ["a"])],
        [NODE("Exp", [], ["a"])],
        [NODE("Exp", ["mean"] * 10_000, ["a"])],
        [NODE("", ["mean"], ["a"])],
        [NODE("Exp", ["mean"], ["a"], domain="ai.onnx.ml")],
    ]
    model.graph.node.extend(rng.choice(nodes))
    needed(model, "a")
    model.ir_version = rng.choice([9, 9, 0, 2**62])
    model.opset_import[0].version = rng.choice([18, 18, 0, 10**9])
    if rng.random() < 0.2:
        model.graph.output[0].name = "mean"


def damaged(rng: random.Random, model: onnx.ModelProto) -> bytes:
    """Change bytes, or cut the file."""
    needed(model, None)
    content = bytearray(model.SerializeToString())
    for _ in range(rng.randint(1, 20)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content[: rng.randint(1, len(content))]) if rng.random() < 0.4 else bytes(content)


CHANGES: list[Change] = [
    *(size_of_values, many_large, long_work, nested, false_sizes, odd_attributes),
    *(many_pieces, deep_pieces, odd_card, odd_graph, damaged),
]


def hostile_model(index: int, seed: int) -> tuple[str, bytes]:
    """Return the name and the content of the model with an index."""
    change = CHANGES[index % len(CHANGES)]
    rng, model = random.Random(f"{seed} {index}"), small_model()
    content = change(rng, model)
    return change.__name__, model.SerializeToString() if content is None else content
