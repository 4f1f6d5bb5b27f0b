"""Whether this processor multiplies bytes exactly, for networks in whole numbers of 8 bits.

Without instructions made for it (VNNI, AMX), ONNX Runtime adds two products of bytes in 16 bits, which hold no more
than 32,767: sums of large ones come out too small, and nobody is told.

Source: ONNX Runtime, "Quantize ONNX models".
"""

import functools

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

# Large enough for the runtime's usual way, not one for single rows.
_ROWS, _COMMON, _COLUMNS = 16, 64, 32


@functools.cache
def exact() -> bool:
    """Return whether the largest bytes are multiplied and added without loss."""
    node = helper.make_node("MatMulInteger", ["a", "b"], ["product"])
    graph = helper.make_graph(
        [node],
        "bytes",
        [
            helper.make_tensor_value_info("a", TensorProto.UINT8, [_ROWS, _COMMON]),
            helper.make_tensor_value_info("b", TensorProto.INT8, [_COMMON, _COLUMNS]),
        ],
        [helper.make_tensor_value_info("product", TensorProto.INT32, [_ROWS, _COLUMNS])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"a": np.full((_ROWS, _COMMON), 255, np.uint8), "b": np.full((_COMMON, _COLUMNS), 127, np.int8)}
    [product] = session.run(None, feeds)
    return bool((product == 255 * 127 * _COMMON).all())


def session_options() -> onnxruntime.SessionOptions:
    """Return options with which a network in whole numbers is computed as it was meant to be, on any processor."""
    options = onnxruntime.SessionOptions()
    if not exact():
        options.add_session_config_entry("session.disable_quant_qdq", "1")  # the same numbers, made of floats
    return options
