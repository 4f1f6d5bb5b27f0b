"""A trained network as an ONNX graph: views of an image in, predictions averaged over the test transforms out.

The graph convolves shared parts once, as prediction does (`engine.part_sharing`). It also measures the distance of an
image from the training images, in the features below the last dense layer.

Source: ONNX; documentation of 2014, 2.4.1.
"""

import importlib.util
import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

import layers
from engine.examples import Examples
from engine.experiment import Experiment
from engine.network import Network
from engine.part_sharing import PartSharing
from galaxy.warping import warp_views
from machine.files import DataError, first_line
from machine.onnx_runtime import session_options

OPSET = 18
# Only tensors of at least this many elements are stored as float16.
_LEAST_HALVED = 256


class Exported(nn.Module):
    """Views (images, representatives, rows, columns, 3) -> predictions (means, by transform), distances, features.

    A network that shares no parts between transforms takes any number of them; statistics are those of `views`.
    `measure_distances` defines the distance, `set_axes` the features; all are 0 until then.
    """

    def __init__(self, experiment: Experiment, network: Network, views: int | None = None):
        """Wrap a network; raises DataError if an exported model cannot make its views, or not so few."""
        super().__init__()
        if experiment.views.placement is not None or experiment.views.warp is not warp_views:
            raise DataError(
                f"the views of {experiment.name} are placed by a catalogue or have their own warp, which only its "
                "predict script can make; export another model"
            )
        self.output_layer, self.network = network.output_layer, network
        self.sharing = PartSharing(network, experiment.views, experiment.test_transforms)
        self.num_transforms = len(experiment.test_transforms)
        self.takes_any_number = self.sharing.slicing is None and self.num_transforms > 1
        least = 1 if self.takes_any_number else self.num_transforms
        if views is not None and not least <= views <= self.num_transforms:
            raise DataError(
                f"expected --views from {least} to {self.num_transforms} for {experiment.name}, got {views}; "
                "choose such a number"
            )
        self.used = self.sharing.representatives[: views if self.takes_any_number else None]
        self.num_views = len(self.used)
        stack = layers.all_layers(self.output_layer)
        weighted = [layer for layer in stack if isinstance(layer, layers.WeightedLayer)]
        if not weighted:
            raise DataError(
                f"{experiment.name} has no dense layer: its input features measure the distance of an image; "
                "export another model"
            )
        self.feature_layer, num_features = weighted[0].input_layer, weighted[0].fan_in
        self.measure_distances(np.zeros(num_features), np.zeros((num_features, 1)), np.ones(1), 1.0, 0.0)
        self.set_axes(np.zeros((num_features, 1)))

    def measure_distances(
        self, mean: np.ndarray, directions: np.ndarray, deviations: np.ndarray, rest: float, weight: float
    ) -> None:
        """Set the statistics of training features: mean (f,), directions (f, kept), deviations (kept,), rest, weight.

        The distance is the root of (|(features - mean) directions / deviations|^2 + weight * outside / rest) /
        (kept + weight); `outside` is the squared length of the residual outside of the directions.
        """
        device = self.network.device
        for name, values in (
            ("feature_mean", mean),
            ("feature_directions", directions),
            ("feature_deviations", deviations),
        ):
            self.register_buffer(name, torch.as_tensor(values, dtype=torch.float32, device=device), persistent=False)
        self.rest, self.weight = rest, weight

    def set_axes(self, axes: np.ndarray) -> None:
        """Set the axes (f, k) along which the graph returns features."""
        values = torch.as_tensor(axes, dtype=torch.float32, device=self.network.device)
        self.register_buffer("feature_axes", values, persistent=False)

    @property
    def has_concentrations(self) -> bool:
        """Whether the graph returns the concentrations of Dirichlet distributions."""
        return hasattr(self.output_layer, "concentrations")

    def answers_and_features(self, *views: Tensor) -> tuple[Tensor, Tensor]:
        """Return predictions (images, transforms, answers) and features (images, features) averaged over transforms."""
        activations, features = self._activations_and_features(*views)
        return self._by_image(self.output_layer(activations), views), features

    def _by_image(self, x: Tensor, views: Sequence[Tensor]) -> Tensor:
        """Return x (images * transforms, ...) as (images, transforms, ...)."""
        return x.unflatten(0, (-1, views[0].shape[1] if self.takes_any_number else self.num_transforms))

    def _activations_and_features(self, *views: Tensor) -> tuple[Tensor, Tensor]:
        inputs = self.network.inputs([view.flatten(0, 1) for view in views])
        sharing = self.sharing
        if sharing.slicing is not None:
            features = sharing.merging.input_layer.output(inputs, dropout_active=False)
            inputs = {sharing.merging: sharing.arrange(features)}
        features = self.feature_layer.output(inputs, dropout_active=False)
        activations = self.output_layer.input_layer.output({self.feature_layer: features}, dropout_active=False)
        # Matrix products: OpenVINO fuses the mean and what follows wrongly, where convolutions are quantised.
        by_image = self._by_image(features.flatten(1), views)
        ones = features.new_ones(1, by_image.shape[1])
        means = (ones @ by_image / (ones @ ones.T)).squeeze(1)
        # In units of their size: noise and text have features that are small, not only others.
        return activations, means / (means.abs() @ means.new_full((means.shape[1], 1), 1 / means.shape[1]) + 1e-6)

    def forward(self, *views: Tensor) -> tuple[Tensor, ...]:
        activations, features = self._activations_and_features(*views)
        predictions = self._by_image(self.output_layer(activations), views)
        centred = features - self.feature_mean
        inside = centred @ self.feature_directions
        outside = (_squared_length(centred) - _squared_length(inside)).clamp(min=0)
        squares = _squared_length(inside / self.feature_deviations) + outside * (self.weight / self.rest)
        distances = (squares / (len(self.feature_deviations) + self.weight)).sqrt()
        returned = predictions.mean(1), predictions, distances, centred @ self.feature_axes
        if not self.has_concentrations:
            return returned
        return *returned, self._by_image(self.output_layer.concentrations(activations), views).mean(1)

    @torch.inference_mode()
    def run(self, examples: Examples, indices: np.ndarray, images_a_batch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return predictions (n, answers) and features (n, features) of images of 'train'."""
        results: list[tuple[np.ndarray, np.ndarray]] = []
        for chunk in examples.fixed(indices, "train", self.used):
            for batch in self._batches(chunk, images_a_batch):
                predictions, features = self.answers_and_features(*batch)
                results.append((predictions.mean(1).cpu().numpy(), features.cpu().numpy()))
        predictions, features = zip(*results, strict=True)
        return np.concatenate(predictions), np.concatenate(features)

    def feeds(self, examples: Examples, indices: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
        """Yield the graph's inputs for each image of 'train'."""
        for chunk in examples.fixed(indices, "train", self.used):
            for batch in self._batches(chunk, images_a_batch=1):
                yield {f"pixels_{index}": view.cpu().numpy() for index, view in enumerate(batch)}

    @torch.inference_mode()
    def differences(self, model: onnx.ModelProto, examples: Examples, indices: np.ndarray) -> np.ndarray:
        """Return the graph's predictions for images of 'train' minus torch's, (n, answers)."""
        session = session_of(model)
        results = []
        for feeds in self.feeds(examples, indices):
            views = [self.network.to_device(torch.as_tensor(view)) for view in feeds.values()]
            expected = self.answers_and_features(*views)[0].mean(1).cpu().numpy()
            results.append(session.run([model.graph.output[0].name], feeds)[0] - expected)
        return np.concatenate(results)

    def _batches(self, chunk: Sequence[np.ndarray | Tensor], images_a_batch: int) -> Iterator[list[Tensor]]:
        views = [self.network.to_device(view).unflatten(0, (-1, self.num_views)) for view in chunk]
        yield from map(list, zip(*(view.split(images_a_batch) for view in views), strict=True))


def _squared_length(x: Tensor) -> Tensor:
    """Return the squared lengths of rows (n, f), as a matrix product: OpenVINO fuses sums of products wrongly."""
    return ((x * x) @ x.new_ones(x.shape[1], 1)).squeeze(1)


def session_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Return a session that runs a graph on the CPU."""
    content = model.SerializeToString()
    return onnxruntime.InferenceSession(content, session_options(), providers=["CPUExecutionProvider"])


def run_graph(model: onnx.ModelProto, feeds: Iterable[dict[str, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return a graph's predictions (n, answers) and distances (n,)."""
    session, names = session_of(model), [output.name for output in model.graph.output]
    predictions, _, distances, *_ = zip(*(session.run(names, inputs) for inputs in feeds), strict=True)
    return np.concatenate(predictions), np.concatenate(distances)


def to_onnx(exported: Exported, shapes: Sequence[tuple[int, int, int]], names: Sequence[str]) -> onnx.ModelProto:
    """Export the graph; `shapes` are the views' (rows, columns, 3), `names` those of the outputs."""
    if importlib.util.find_spec("onnxscript") is None:
        raise DataError("the exporter needs onnxscript, which is not installed; pip install -r requirements-dev.txt")
    device = exported.network.device
    num_views = len(exported.sharing.representatives)
    example = tuple(torch.rand(2, num_views, *shape, device=device) for shape in shapes)
    free = {0: torch.export.Dim("images", min=1, max=4096)}
    if exported.takes_any_number:
        free[1] = torch.export.Dim("transforms", min=1, max=256)
    # The exporter warns about its own libraries and lists unknown operators that this graph does not use.
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    # The exporter reads torch's older precision flags, which raises unless the newer ones have their defaults.
    backends = torch.backends.cudnn.conv, torch.backends.cudnn.rnn
    precisions = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = "tf32"
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                exported.eval(),
                example,
                dynamo=True,
                opset_version=OPSET,
                # The exporter's optimizer removes the 1e-12 that keeps empty questions from 0 / 0.
                # ONNX Runtime folds the constants anyway.
                optimize=False,
                input_names=[f"pixels_{index}" for index in range(len(shapes))],
                output_names=list(names),
                dynamic_shapes=(tuple(free for _ in shapes),),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = first_line(error.__cause__ or error)
        raise DataError(
            f"the network cannot be exported ({reason}); find the layer that ONNX does not support and replace it"
        ) from None
    finally:
        for backend, precision in zip(backends, precisions, strict=True):
            backend.fp32_precision = precision
        logging.disable(disabled)
    model = program.model_proto
    # The exporter's notes about the source contain folders of this machine.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.metadata_props[:], model.graph.value_info[:], model.graph.metadata_props[:]
    return model


def halve(model: onnx.ModelProto) -> None:
    """Store the weights in half precision; loading converts them to single precision."""
    casts = []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _LEAST_HALVED or np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
