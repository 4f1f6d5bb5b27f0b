"""Quantisation of a graph's convolutions to 8-bit integers: a third of the time, a quarter of the bytes.

Weights have a scale per channel. Each activation has one scale, from its range on training images. The layers before
the second convolution (pixels) and after the last one (answers) stay in single precision.

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

# The operators to quantise: convolutions, and what lies between them.
_BETWEEN = ("Conv", "Relu", "Clip", "Add", "MaxPool")


class _Samples(CalibrationDataReader):
    def __init__(self, feeds: Iterable[dict[str, np.ndarray]]):
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def quantised(model: onnx.ModelProto, feeds: Iterable[dict[str, np.ndarray]]) -> onnx.ModelProto:
    """Return a graph with convolutions in 8-bit integers; `feeds` are the inputs of training images."""
    with tempfile.TemporaryDirectory() as folder:
        plain, made = (os.path.join(folder, name) for name in ("plain.onnx", "quantised.onnx"))
        options = onnxruntime.SessionOptions()
        # Fold constants and norms into the convolutions, without operators of ONNX Runtime's own.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = plain
        options.log_severity_level = 4
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        nodes = onnx.load(plain).graph.node
        convolutions = [index for index, node in enumerate(nodes) if node.op_type == "Conv"]
        if len(convolutions) < 2:
            raise DataError("a network with fewer than two convolutions gains nothing from int8; choose other weights")
        within = range(convolutions[1], convolutions[-1] + 1)
        disabled = logging.root.manager.disable
        logging.disable(logging.WARNING)  # it advises steps that are done above
        try:
            quantize_static(
                plain,
                made,
                _Samples(feeds),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_BETWEEN),
                nodes_to_exclude=[node.name for index, node in enumerate(nodes) if index not in within],
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={"QDQKeepRemovableActivations": True},
            )
        finally:
            logging.disable(disabled)
        result = onnx.load(made)
    # The library lists all of its operator sets; keep those in use.
    used = {node.domain for node in result.graph.node}
    kept = [opset for opset in result.opset_import if opset.domain in used]
    del result.opset_import[:], result.metadata_props[:], result.graph.value_info[:]
    result.opset_import.extend(kept)
    return result
