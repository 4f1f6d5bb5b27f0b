"""ONNX Runtime: options with which it computes networks in 8 bits exactly on any processor.

Without instructions for 8-bit products (VNNI, AMX), ONNX Runtime adds two products in 16 bits, which saturate at
32,767: large sums come out too small, without an error.

Source: ONNX Runtime, "Quantize ONNX models".
"""

import functools

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

# Large enough for the kernel of general matrices, not the one of single rows.
_ROWS, _INNER, _COLUMNS = 16, 64, 32


@functools.cache
def is_exact() -> bool:
    """Return whether this processor multiplies and adds the largest 8-bit numbers without saturation."""
    node = helper.make_node("MatMulInteger", ["a", "b"], ["product"])
    graph = helper.make_graph(
        [node],
        "bytes",
        [
            helper.make_tensor_value_info("a", TensorProto.UINT8, [_ROWS, _INNER]),
            helper.make_tensor_value_info("b", TensorProto.INT8, [_INNER, _COLUMNS]),
        ],
        [helper.make_tensor_value_info("product", TensorProto.INT32, [_ROWS, _COLUMNS])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"a": np.full((_ROWS, _INNER), 255, np.uint8), "b": np.full((_INNER, _COLUMNS), 127, np.int8)}
    [product] = session.run(None, feeds)
    return bool((product == 255 * 127 * _INNER).all())


def session_options() -> onnxruntime.SessionOptions:
    """Return the options of a session; where 8-bit products saturate, the network is computed in floats."""
    options = onnxruntime.SessionOptions()
    if not is_exact():
        options.add_session_config_entry("session.disable_quant_qdq", "1")  # the same weights, dequantised
    return options
