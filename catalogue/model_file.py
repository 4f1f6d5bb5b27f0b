"""Load, validate and run a trained network as an ONNX file, without the library that trained it.

A file from any source is validated first: no external data, only operators of this project's networks, inputs and
outputs that match its card, bounded sizes.

Source: ONNX; ONNX Runtime.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from catalogue import card as cards
from catalogue.card import Card
from catalogue.framing import Frame
from galaxy.affine import CENTRE, place_matrices
from galaxy.decision_tree import NUM_ANSWERS
from galaxy.warping import touched_parts, warp_views
from machine.cores import available_cores
from machine.files import DataError, first_line, open_file
from machine.onnx_runtime import session_options

MAX_BYTES = 2**30
# Limits: elements of any tensor within the network, for one image; operators.
MAX_ELEMENTS, MAX_NODES = 2**27, 20_000
_OPERATORS = """
Abs Add AveragePool BatchNormalization Cast CastLike Clip Concat Constant Conv Div Erf Exp Expand Flatten Gather Gelu
Gemm GlobalAveragePool HardSigmoid HardSwish Identity LeakyRelu Log MatMul Max MaxPool Min Mul Neg Pad Pow
Range Reciprocal ReduceMax ReduceMean ReduceSum ReduceSumSquare Relu Reshape Shape Sigmoid Slice Softmax Softplus
Split Sqrt Squeeze Sub Sum Tanh Transpose Unsqueeze Where DequantizeLinear QuantizeLinear
"""
OPERATORS = frozenset(_OPERATORS.split())
OUTPUTS = ("predictions", "by_transform", "distance")
_HINT = "name another model, or export it again (export_model.py)"


@dataclass(frozen=True)
class Answers:
    """Weighted votes (n, 37), those of each transform (n, transforms, 37), distances to the training images (n,)."""

    predictions: np.ndarray
    by_transform: np.ndarray
    distances: np.ndarray


class Model:
    """A validated model file, ready to predict."""

    def __init__(self, path: Path, threads: int | None = None):
        """Load a file and its card; raises DataError, in one line, unless it is a model of this project."""
        self.path = path
        with open_file(path, _HINT) as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise DataError(f"{path}: expected at most {MAX_BYTES:,} bytes; {_HINT}")
        self.sha256 = hashlib.sha256(content).hexdigest()
        self._compare_with_sidecar()
        try:
            self.card = _validate(content)
            options = session_options()
            options.log_severity_level = 4
            options.intra_op_num_threads = threads or available_cores()
            options.inter_op_num_threads = 1
            # Waiting threads yield the cores to the processes that read images.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except DataError as error:
            raise DataError(f"{path} cannot be used: {error}") from None
        except Exception as error:  # ONNX Runtime has no common exception
            raise DataError(f"{path} cannot be used ({first_line(error)}); {_HINT}") from None

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self.card.name

    def _compare_with_sidecar(self) -> None:
        beside = self.path.with_suffix(".json")
        try:
            noted = json.loads(beside.read_text()).get("sha256") if beside.is_file() else None
        except (OSError, ValueError, AttributeError):
            noted = None
        if noted is not None and noted != self.sha256:
            raise DataError(f"{self.path}: expected the checksum in {beside.name}, got another; {_HINT}")

    def views(self, frame: Frame) -> list[np.ndarray]:
        """Return the views of a framed galaxy: arrays (transforms, rows, columns, 3) of the card's sizes."""
        card, frame_to_image = self.card, frame.frame_to_image
        if np.isfinite(frame.target_radius):
            # Several models share a frame, which has the radius of the first one.
            rescaling = place_matrices(CENTRE, CENTRE, card.framing_radius / frame.target_radius)
            frame_to_image = frame_to_image @ rescaling
        matrices = (frame_to_image @ card.test_transforms)[:, None] @ card.ds_transforms
        [region] = touched_parts(matrices[None], card.target_sizes, frame.pixels.shape)
        outs = [np.empty((len(card.test_transforms), *size, 3), np.float32) for size in card.target_sizes]
        warp_views(frame.pixels, region.tolist(), matrices, outs)
        return outs

    def predict(self, frames: list[Frame]) -> Answers:
        """Predict framed galaxies in one call of the network; raises DataError if the network fails."""
        views = [np.stack(batch) for batch in zip(*map(self.views, frames), strict=True)]
        feeds = {f"pixels_{index}": view for index, view in enumerate(views)}
        try:
            return Answers(*self._session.run(OUTPUTS, feeds))
        except Exception as error:
            raise DataError(f"{self.path} cannot predict ({first_line(error)}); {_HINT}") from None


def _validate(content: bytes) -> Card:
    """Validate a model's content and return its card; raises DataError."""
    try:
        model = onnx.load_model_from_string(content)
    except Exception:  # the text of protobuf's exception does not help
        raise DataError(f"it is not an ONNX file; {_HINT}") from None
    texts = {each.key: each.value for each in model.metadata_props}
    if cards.KEY not in texts:
        raise DataError(f"it has no card of this project; {_HINT}")
    if model.functions or model.training_info or any(each.domain not in ("", "ai.onnx") for each in model.opset_import):
        raise DataError(f"it has custom operators, which are not allowed; {_HINT}")
    graph = model.graph
    if len(graph.node) > MAX_NODES:
        raise DataError(f"it has {len(graph.node):,} operators, expected at most {MAX_NODES:,}; {_HINT}")
    tensors = list(graph.initializer)
    for node in graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            raise DataError(f"it has the operator {first_line(Exception(node.op_type))}, which is not allowed; {_HINT}")
        for attribute in node.attribute:
            if attribute.graphs or attribute.HasField("g") or attribute.sparse_tensors:
                raise DataError(f"it has graphs within operators, which are not allowed; {_HINT}")
            tensors += [attribute.t] if attribute.HasField("t") else []
            tensors += attribute.tensors
    if graph.sparse_initializer:
        raise DataError(f"it has sparse tensors, which are not allowed; {_HINT}")
    for tensor in tensors:
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise DataError(f"it refers to external data, which is not allowed; {_HINT}")
        _check_size(list(tensor.dims))
    card = cards.from_json(texts[cards.KEY])
    _check_ends(graph, card)
    _check_shapes(model)
    return card


def _check_size(shape: list[int]) -> None:
    if any(length < 0 for length in shape) or float(np.prod([float(length) for length in shape])) > MAX_ELEMENTS:
        raise DataError(f"it has a tensor of shape {shape}, expected at most {MAX_ELEMENTS:,} elements; {_HINT}")


def _shape(value: onnx.ValueInfoProto) -> list[int | None]:
    dims = value.type.tensor_type.shape.dim
    return [each.dim_value if each.HasField("dim_value") else None for each in dims]


def _check_ends(graph: onnx.GraphProto, card: Card) -> None:
    """Raise DataError unless inputs and outputs match the card."""
    num = len(card.test_transforms)
    expected = {f"pixels_{n}": [None, num, *size, 3] for n, size in enumerate(card.target_sizes)}
    initialised = {each.name for each in graph.initializer}
    got = {each.name: _shape(each) for each in graph.input if each.name not in initialised}
    if got != expected or any(each.type.tensor_type.elem_type != onnx.TensorProto.FLOAT for each in graph.input):
        raise DataError(f"expected inputs {expected}, got {str(got)[:200]}; {_HINT}")
    output_shapes = [[None, NUM_ANSWERS], [None, card.num_averaged, NUM_ANSWERS], [None]]
    outputs = {each.name: _shape(each) for each in graph.output}
    if outputs != dict(zip(OUTPUTS, output_shapes, strict=True)):
        raise DataError(f"expected outputs {', '.join(OUTPUTS)}, got {str(outputs)[:200]}; {_HINT}")


def _check_shapes(model: onnx.ModelProto) -> None:
    """Raise DataError if a tensor within the network exceeds MAX_ELEMENTS for one image."""
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:
        raise DataError(f"its shapes do not fit ({first_line(error)}); {_HINT}") from None
    for value in inferred.graph.value_info:
        _check_size([length or 1 for length in _shape(value)])
