"""An exported network predicts what the trained one does."""

import dataclasses

import exported
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tiny import CPU, OPTIONS, TINY

import layers
from engine import export
from engine.examples import Examples
from engine.export import Exported
from engine.network import Network
from engine.prediction import predict
from machine.files import DataError
from survey.centering import GEN2

NAMES = ["predictions", "by_transform", "distance", "features"]
# Four transforms, which share parts: quarter turns of each other.
EXPERIMENT = dataclasses.replace(TINY, test_transforms=TINY.test_transforms[20:26])


@pytest.fixture(scope="module")
def wrapped() -> Exported:
    torch.manual_seed(3)
    network = Network(EXPERIMENT, CPU)
    layers.reset_variance_preserving(network.output_layer)
    return Exported(EXPERIMENT, network)


@pytest.fixture(scope="module")
def graph(wrapped: Exported) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    size = 8
    directions, _ = np.linalg.qr(rng.normal(size=(size, 3)))
    wrapped.measure_distances(rng.normal(size=size), directions, np.array([3.0, 2.0, 1.0]), 0.5, 3.0)
    wrapped.set_axes(rng.normal(size=(size, 5)))
    return export.to_onnx(wrapped, EXPERIMENT.views.shapes, NAMES)


def views(wrapped: Exported, number: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.random((number, wrapped.num_views, *shape), dtype=np.float32) for shape in EXPERIMENT.views.shapes]


def run(graph: onnx.ModelProto, arrays: list[np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(NAMES, {f"pixels_{number}": each for number, each in enumerate(arrays)})


@pytest.mark.parametrize("number", [1, 2, 5])
def test_the_graph_gives_what_torch_gives_for_any_number_of_images(
    wrapped: Exported, graph: onnx.ModelProto, number: int
):
    arrays = views(wrapped, number)
    with torch.no_grad():
        expected = wrapped(*map(torch.from_numpy, arrays))
    for ours, theirs in zip(run(graph, arrays), expected, strict=True):
        assert ours.shape == tuple(theirs.shape)
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5, rtol=1e-4)


def test_questions_without_any_activation_stay_at_zero(wrapped: Exported, graph: onnx.ModelProto):
    top = wrapped.output_layer.input_layer
    name = next(each.name for each in graph.graph.initializer if list(each.dims) == list(top.b.shape))
    dark = onnx.ModelProto()
    dark.CopyFrom(graph)
    for tensor in dark.graph.initializer:
        if tensor.name == name or list(tensor.dims) == list(top.W.shape):
            values = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(-np.abs(values) * (values.ndim == 1), tensor.name))
    assert (run(dark, views(wrapped, 2))[0] == 0).all()


@pytest.mark.usefixtures("prepared_survey")
def test_predictions_and_parts_are_those_of_the_predict_script(wrapped: Exported):
    examples = Examples(EXPERIMENT, OPTIONS, CPU)
    indices = np.arange(7)
    expected = predict(wrapped.network, examples, indices, "train")
    found, features = wrapped.run(examples, indices, 3)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert features.shape == (7, 8)


def test_distances_and_features_are_those_of_the_calibration(wrapped: Exported, graph: onnx.ModelProto):
    from catalogue.calibration import fit_features

    rng = np.random.default_rng(2)
    statistics = fit_features(rng.normal(size=(40, 8)))
    wrapped.measure_distances(
        statistics.mean, statistics.directions, statistics.deviations, statistics.rest, statistics.weight_of_rest
    )
    arrays = views(wrapped, 4)
    wrapped.set_axes(statistics.axes)
    with torch.no_grad():
        tensors = [torch.from_numpy(each) for each in arrays]
        _, features = wrapped.answers_and_features(*tensors)
        _, _, got, along_axes = wrapped(*tensors)
    np.testing.assert_allclose(got, statistics.distances(features.numpy()), rtol=1e-4)
    expected = (features.numpy() - statistics.mean) @ statistics.axes
    np.testing.assert_allclose(along_axes, expected, rtol=1e-4, atol=1e-4)


def test_half_precision_halves_the_file_and_hardly_moves_the_predictions(wrapped: Exported, graph: onnx.ModelProto):
    halved = onnx.ModelProto()
    halved.CopyFrom(graph)
    export.halve(halved)

    def size(model: onnx.ModelProto) -> int:
        return sum(len(each.raw_data) for each in model.graph.initializer if each.data_type in (1, 10))

    assert size(halved) < 0.6 * size(graph)
    arrays = views(wrapped, 3)
    np.testing.assert_allclose(run(halved, arrays)[0], run(graph, arrays)[0], atol=1e-3)


def test_the_graph_tells_nothing_of_the_machine_that_made_it(graph: onnx.ModelProto):
    content = graph.SerializeToString()
    assert str(exported.__file__).rpartition("/tests/")[0].encode() not in content


def test_views_that_a_catalogue_places_are_not_exported():
    placed = dataclasses.replace(EXPERIMENT, views=dataclasses.replace(EXPERIMENT.views, placement=GEN2))
    with pytest.raises(DataError, match="placed by a catalogue"):
        Exported(placed, Network(placed, CPU))
