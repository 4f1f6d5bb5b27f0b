"""Checks of a trained network's graph before it runs: operators, inputs and outputs, shapes, memory, multiplications.

A graph from any source has no external data, only operators of this project's networks, and tensors whose sizes follow
from the shapes of the inputs alone.

Source: ONNX.
"""

import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from catalogue import card as cards
from catalogue.card import Card
from machine.files import DataError, first_line

# Limits: elements of any tensor within the network, for one image; operators.
MAX_ELEMENTS, MAX_NODES = 2**27, 20_000
_MAX_ROUNDS, _MAX_SHAPE_VALUES = 100, 1024
# Operators that compute lengths, and the types of lengths.
_FOLDED = ("Gather", "Mul", "Add", "Sub", "Div", "Concat", "Cast", "Squeeze", "Unsqueeze", "Slice", "Reshape")
_FOLDED += ("Identity", "Constant", "Expand")
_INTEGERS = (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
# Multiplications of convolutions and matrix products, for one image: some twenty seconds of one processor.
MAX_PRODUCTS = 2**39
_OPERATORS = """
Abs Add AveragePool BatchNormalization Cast CastLike Clip Concat Constant Conv Div Erf Exp Expand Flatten Gather Gelu
Gemm GlobalAveragePool HardSigmoid HardSwish Identity LeakyRelu Log MatMul Max MaxPool Min Mul Neg Pad Pow
Range Reciprocal ReduceMax ReduceMean ReduceSum ReduceSumSquare Relu Reshape Shape Sigmoid Slice Softmax Softplus
Split Sqrt Squeeze Sub Sum Tanh Transpose Unsqueeze Where DequantizeLinear QuantizeLinear
"""
OPERATORS = frozenset(_OPERATORS.split())
OUTPUTS = ("predictions", "by_transform", "distance")
# Models of earlier versions do not have this output.
FEATURES, MAX_FEATURES = "features", 256
# Models of counts of votes have the concentrations of Dirichlet distributions.
CONCENTRATIONS = "concentrations"
HINT = "name another model, or export it again (export_model.py)"


def validate(content: bytes) -> Card:
    """Validate a model's content and return its card; raises DataError."""
    try:
        model = onnx.load_model_from_string(content)
    except Exception:  # the text of protobuf's exception does not help
        raise DataError(f"it is not an ONNX file; {HINT}") from None
    texts = {each.key: each.value for each in model.metadata_props}
    if cards.KEY not in texts:
        raise DataError(f"it has no card of this project; {HINT}")
    if model.functions or model.training_info or any(each.domain not in ("", "ai.onnx") for each in model.opset_import):
        raise DataError(f"it has custom operators, which are not allowed; {HINT}")
    graph = model.graph
    if len(graph.node) > MAX_NODES:
        raise DataError(f"it has {len(graph.node):,} operators, expected at most {MAX_NODES:,}; {HINT}")
    tensors = list(graph.initializer)
    for node in graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            raise DataError(f"it has the operator {first_line(Exception(node.op_type))}, which is not allowed; {HINT}")
        for attribute in node.attribute:
            if attribute.graphs or attribute.HasField("g") or attribute.sparse_tensors:
                raise DataError(f"it has graphs within operators, which are not allowed; {HINT}")
            tensors += [attribute.t] if attribute.HasField("t") else []
            tensors += attribute.tensors
    if graph.sparse_initializer:
        raise DataError(f"it has sparse tensors, which are not allowed; {HINT}")
    for tensor in tensors:
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise DataError(f"it refers to external data, which is not allowed; {HINT}")
        _check_size(list(tensor.dims))
    card = cards.from_json(texts[cards.KEY])
    _check_ends(graph, card)
    for value in graph.input:
        if _shape(value)[:2] == [None, None]:
            value.type.tensor_type.shape.dim[1].dim_value = len(card.test_transforms)
    _check_shapes(model)
    return card


def _check_size(shape: list[int]) -> None:
    if any(length < 0 for length in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise DataError(f"it has a tensor of shape {shape}, expected at most {MAX_ELEMENTS:,} elements; {HINT}")


def _shape(value: onnx.ValueInfoProto) -> list[int | None]:
    dims = value.type.tensor_type.shape.dim
    return [each.dim_value if each.HasField("dim_value") else None for each in dims]


def _check_ends(graph: onnx.GraphProto, card: Card) -> None:
    """Raise DataError unless inputs and outputs match the card; a graph may take any number of transforms."""
    outputs = {each.name: _shape(each) for each in graph.output}
    is_free = outputs.get("by_transform", [])[1:2] == [None] and card.num_averaged == len(card.test_transforms)
    num, num_averaged = (None, None) if is_free else (len(card.test_transforms), card.num_averaged)
    if not is_free and card.num_views != len(card.test_transforms):
        raise DataError(f"expected a graph that takes {card.num_views} views, got one for {num}; {HINT}")
    expected = {f"pixels_{n}": [None, num, *size, 3] for n, size in enumerate(card.target_sizes)}
    initialised = {each.name for each in graph.initializer}
    got = {each.name: _shape(each) for each in graph.input if each.name not in initialised}
    if got != expected or any(each.type.tensor_type.elem_type != onnx.TensorProto.FLOAT for each in graph.input):
        raise DataError(f"expected inputs {expected}, got {str(got)[:200]}; {HINT}")
    num_answers = card.tree.num_answers
    output_shapes = [[None, num_answers], [None, num_averaged, num_answers], [None]]
    features = outputs.get(FEATURES, [])
    if len(features) == 2 and features[0] is None and features[1] in range(1, MAX_FEATURES + 1):
        output_shapes.append(features)
    expected_outputs = dict(zip((*OUTPUTS, FEATURES), output_shapes, strict=False))
    if CONCENTRATIONS in outputs:
        expected_outputs[CONCENTRATIONS] = [None, num_answers]
    if outputs != expected_outputs:
        raise DataError(f"expected outputs {', '.join(OUTPUTS)}, got {str(outputs)[:200]}; {HINT}")


def _check_shapes(model: onnx.ModelProto) -> None:
    """Raise DataError unless all tensors within the network have known shapes for one image, and fit the limits."""
    shapes, graph = _inferred_shapes(model), model.graph
    for node in graph.node:
        for name in filter(None, node.output):
            shape = shapes.get(name)
            # An output whose size depends on values, as of Range, could take any memory.
            if shape is None or None in shape:
                raise DataError(f"the size of an output of its operator {node.op_type} is not known; {HINT}")
            _check_size(shape)
    _check_memory(graph, {name: math.prod(shape) for name, shape in shapes.items() if None not in shape})
    _check_products(graph, shapes)


def _inferred_shapes(model: onnx.ModelProto) -> dict[str, list[int | None]]:
    """Return the shapes of all tensors for one image, None for a length that is not known.

    What the file itself says of shapes within the network is not used.
    """
    del model.graph.value_info[:]
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    outputs = {value.name: value.type.tensor_type for value in model.graph.output}
    for tensor_type in outputs.values():
        tensor_type.ClearField("shape")
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) > _MAX_SHAPE_VALUES:  # weights; shapes depend on short tensors only
            tensor.ClearField("raw_data")
    for _ in range(_MAX_ROUNDS):
        try:
            inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        except Exception as error:
            raise DataError(f"its shapes do not fit ({first_line(error)}); {HINT}") from None
        values = [*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output]
        types = {value.name: value.type.tensor_type for value in values if value.type.tensor_type.HasField("shape")}
        shapes = {value.name: _shape(value) for value in values if value.name in types}
        shapes |= {tensor.name: list(tensor.dims) for tensor in inferred.graph.initializer}
        is_folded = _fold(model, shapes)
        # Inference does not know that a reshaped tensor keeps its number of elements.
        reshaped = {}
        for node in model.graph.node:
            whole, shape = shapes.get(node.input[0]) if node.input else None, shapes.get(node.output[0])
            if node.op_type == "Reshape" and whole and shape and None not in whole and shape.count(None) == 1:
                rest = math.prod(length for length in shape if length is not None)
                if rest and math.prod(whole) % rest == 0:
                    full = [math.prod(whole) // rest if length is None else length for length in shape]
                    reshaped[node.output[0]] = full
        if not reshaped and not is_folded:
            break
        for name, shape in reshaped.items():
            value = onnx.helper.make_tensor_value_info(name, types[name].elem_type, shape)
            if name in outputs:
                outputs[name].CopyFrom(value.type.tensor_type)
            else:
                model.graph.value_info.append(value)
    return shapes


def _fold(model: onnx.ModelProto, shapes: dict[str, list[int | None]]) -> bool:
    """Replace operators that compute lengths from known shapes by their values; return whether there were any."""
    graph = model.graph
    values = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if tensor.data_type in _INTEGERS and math.prod(tensor.dims) <= _MAX_SHAPE_VALUES
    }
    kept, num_known = [], len(values)
    for node in graph.node:
        value = _value(node, values, shapes, model.opset_import)
        if value is None:
            kept.append(node)
        else:
            values[node.output[0]] = value
            graph.initializer.append(onnx.numpy_helper.from_array(value, node.output[0]))
    if len(values) > num_known:
        del graph.node[:]
        graph.node.extend(kept)
    return len(values) > num_known


def _value(
    node: onnx.NodeProto,
    values: dict[str, np.ndarray],
    shapes: dict[str, list[int | None]],
    opsets: Sequence[onnx.OperatorSetIdProto],
) -> np.ndarray | None:
    """Return the whole numbers that an operator computes from `values` or from a shape; None if it has others."""
    if len(node.output) != 1:
        return None
    if node.op_type == "Shape":
        shape = shapes.get(node.input[0])
        if shape is None or None in shape:
            return None
        ends = {attribute.name: attribute.i for attribute in node.attribute}
        return np.array(shape[ends.get("start", 0) : ends.get("end")], np.int64)
    if node.op_type not in _FOLDED or not all(name in values for name in node.input):
        return None
    if node.op_type == "Expand" and math.prod(map(int, values[node.input[1]].ravel())) > _MAX_SHAPE_VALUES:
        return None
    inputs = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, None) for name in node.input]
    output = onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.INT64, None)
    single = onnx.helper.make_model(onnx.helper.make_graph([node], "one", inputs, [output]), opset_imports=opsets)
    try:
        [value] = ReferenceEvaluator(single).run(None, {name: values[name] for name in node.input})
    except Exception:  # an operator that does not fit its inputs; ONNX Runtime tells why
        return None
    value = np.asarray(value)
    return value if value.dtype.kind in "iub" and value.size <= _MAX_SHAPE_VALUES else None


def _check_memory(graph: onnx.GraphProto, sizes: dict[str, int]) -> None:
    """Raise DataError if the tensors that live at one time have more than MAX_ELEMENTS; `sizes` are their elements."""
    last = {name: index for index, node in enumerate(graph.node) for name in node.input}
    living = sum(sizes.get(value.name, 0) for value in graph.input)
    ending: dict[int, int] = {}
    for index, node in enumerate(graph.node):
        for name in filter(None, node.output):
            living += sizes[name]
            end = last.get(name, index)
            ending[end] = ending.get(end, 0) + sizes[name]
        if living > MAX_ELEMENTS:
            raise DataError(f"it holds {living:,} numbers at a time, expected at most {MAX_ELEMENTS:,}; {HINT}")
        living -= ending.pop(index, 0)


def _check_products(graph: onnx.GraphProto, shapes: dict[str, list[int]]) -> None:
    """Raise DataError if convolutions and matrix products take more than MAX_PRODUCTS multiplications."""
    total = 0
    for node in graph.node:
        if node.op_type in ("Conv", "MatMul", "Gemm") and len(node.input) > 1:
            weights = shapes.get(node.input[1]) or [1]
            is_convolution = node.op_type == "Conv"
            inner = math.prod(weights[1:]) if is_convolution else max(shapes.get(node.input[0]) or [1])
            total += math.prod(shapes[node.output[0]]) * inner
    if total > MAX_PRODUCTS:
        raise DataError(f"it takes {total:,} multiplications for an image, expected at most {MAX_PRODUCTS:,}; {HINT}")
