"""The tiny experiment as a model file, made once for all tests that predict with it."""

import functools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tiny import CPU, TINY, draw_blob, draw_labels, write_csv, write_jpeg

import layers
from engine import record
from engine.experiment import Experiment
from engine.network import Network
from machine.arrays import save_array
from survey import folders
from survey.folders import use_folders


def write_survey(root: Path, num_train: int) -> np.ndarray:
    """Write a prepared survey of so many training galaxies; return their labels."""
    rng = np.random.default_rng(7)
    ids, labels = 500 + np.arange(num_train), draw_labels(num_train, rng).round(6)
    for number in ids:
        write_jpeg(root / "data" / "raw" / "images_train_rev1" / f"{number}.jpg", draw_blob(rng))
    write_jpeg(root / "data" / "raw" / "images_test_rev1" / "7.jpg", draw_blob(rng))
    write_csv(root / "data" / "raw" / "training_solutions_rev1.csv", ids, labels)
    save_array(root / "data" / "train_ids.npy", ids)
    save_array(root / "data" / "test_ids.npy", np.array([7]))
    save_array(root / "data" / "solutions_train.npy", labels.astype(np.float32))
    return labels


def write_tiny_analysis(name: str = "tiny", seed: int = 3, experiment: Experiment = TINY) -> Network:
    """Write an analysis pickle of a tiny network with some parameters, whose answers differ between galaxies."""
    torch.manual_seed(seed)
    network = Network(experiment, CPU)
    layers.reset_variance_preserving(network.output_layer)
    values = layers.get_param_values(network.output_layer)
    values[0] *= 20
    layers.set_param_values(network.output_layer, values)
    record.save_analysis(folders.current.analysis(name), {"param_values": values}, {})
    return network


@functools.cache
def tiny_model() -> Path:
    """Return the model file of the tiny experiment, made as export_model.py does."""
    import sys

    import export_model

    root = Path(tempfile.mkdtemp(prefix="tiny_model_"))
    write_survey(root, 60)
    use_folders(root)
    write_tiny_analysis()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_model, "find_experiment", lambda name: TINY)
        patch.setattr(sys, "argv", ["export_model.py", "tiny", "--root", str(root), "--num-workers", "1"])
        export_model.main()
    use_folders(".")
    return root / "models" / "tiny.onnx"


@functools.cache
def other_model() -> Path:
    """Return a model file with other weights, and framed to another radius."""
    model = onnx.load(tiny_model())
    tensor = next(each for each in model.graph.initializer if list(each.dims) == [8, 37])
    values = onnx.numpy_helper.to_array(tensor)
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.roll(values, 5, axis=1), tensor.name))
    [card] = [each for each in model.metadata_props if each.key == "galaxy_card"]
    changed = json.loads(card.value)
    card.value = json.dumps({**changed, "name": "other", "framing_radius": changed["framing_radius"] * 1.1})
    path = tiny_model().with_name("other.onnx")
    path.write_bytes(model.SerializeToString())
    return path


def changed_model(path: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    """Write the tiny model file with a change, and return its path."""
    model = onnx.load(tiny_model())
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def add_to_distance(model: onnx.ModelProto, name: str) -> None:
    """Add the largest element of a tensor to the distance, so that the graph needs the tensor."""
    for node in model.graph.node:
        for index, output in enumerate(node.output):
            node.output[index] = "first_distance" if output == "distance" else output
    add = onnx.helper.make_node
    model.graph.node.append(add("Cast", [name], ["as_float"], to=onnx.TensorProto.FLOAT))
    model.graph.node.append(add("ReduceMax", ["as_float"], ["largest"], keepdims=0))
    model.graph.node.append(add("Add", ["first_distance", "largest"], ["distance"]))
