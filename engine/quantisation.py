"""A graph's convolutions in whole numbers of 8 bits: a third of the time, a quarter of the bytes.

Weights have a scale a channel, activations one each, from the range that they reach on training images. What comes
before the second convolution, which sees pixels, and after the last one, the answers, stays in single precision.

Source: Jacob et al. 2018 (arXiv 1712.05877); ONNX Runtime.
"""

import logging
import os
import tempfile
from collections.abc import Iterable

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from machine.files import DataError

# What stands between convolutions, and can be counted in whole numbers as they are.
_BETWEEN = ("Conv", "Relu", "Clip", "Add", "MaxPool")


class _Samples(CalibrationDataReader):
    def __init__(self, feeds: Iterable[dict[str, np.ndarray]]):
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def quantised(model: onnx.ModelProto, feeds: Iterable[dict[str, np.ndarray]]) -> onnx.ModelProto:
    """Return a graph whose convolutions are computed in whole numbers; `feeds` are inputs of training images."""
    with tempfile.TemporaryDirectory() as folder:
        plain, made = (os.path.join(folder, name) for name in ("plain.onnx", "quantised.onnx"))
        options = onnxruntime.SessionOptions()
        # Constants folded, norms in their convolutions, and nothing that only this library knows.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = plain
        options.log_severity_level = 4
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        nodes = onnx.load(plain).graph.node
        convolutions = [number for number, node in enumerate(nodes) if node.op_type == "Conv"]
        if len(convolutions) < 2:
            raise DataError("a network of less than two convolutions gains nothing from whole numbers; store it whole")
        within = range(convolutions[1], convolutions[-1] + 1)
        disabled = logging.root.manager.disable
        logging.disable(logging.WARNING)  # it advises to do what has been done
        try:
            quantize_static(
                plain,
                made,
                _Samples(feeds),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_BETWEEN),
                nodes_to_exclude=[node.name for number, node in enumerate(nodes) if number not in within],
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
            )
        finally:
            logging.disable(disabled)
        result = onnx.load(made)
    # The library names every set of operators that it has.
    used = {node.domain for node in result.graph.node}
    kept = [each for each in result.opset_import if each.domain in used]
    del result.opset_import[:], result.metadata_props[:], result.graph.value_info[:]
    result.opset_import.extend(kept)
    return result
