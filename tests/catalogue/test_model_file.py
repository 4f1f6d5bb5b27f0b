"""Model files are read with suspicion, and predict the same for every batch."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import exported
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny import draw_blob

from catalogue import card as cards
from catalogue import model_file
from catalogue.framing import frame
from catalogue.model_file import Model
from galaxy.pictures import Picture
from machine.files import DataError


def frames(number: int) -> list:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(number):
        pixels = draw_blob(rng)
        found.append(frame(Picture(pixels, pixels[..., 0] == 255, "JPEG", (424, 424)), "sdss", 160.0))
    return found


def test_its_threads_are_the_processors_that_may_be_used(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(model_file, "available_cores", lambda: 3)
    threads = [
        Model(exported.tiny_model(), number)._session.get_session_options().intra_op_num_threads for number in (None, 2)
    ]
    assert threads == [3, 2]


def test_a_galaxy_s_prediction_does_not_depend_on_those_beside_it():
    model = Model(exported.tiny_model(), threads=1)
    three = frames(3)
    together = model.predict(three)
    for number, each in enumerate(three):
        alone = model.predict([each])
        np.testing.assert_allclose(alone.predictions[0], together.predictions[number], atol=1e-6)
        np.testing.assert_allclose(alone.distances[0], together.distances[number], rtol=1e-4)
    np.testing.assert_allclose(together.by_transform.mean(axis=1), together.predictions, atol=1e-6)
    assert together.predictions.shape == (3, 37) and together.by_transform.shape == (3, 60, 37)
    assert np.ptp(together.predictions, axis=0).max() > 1e-3


def changed(path: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    model = onnx.load(exported.tiny_model())
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def card_of(model: onnx.ModelProto) -> dict:
    [found] = [each.value for each in model.metadata_props if each.key == cards.KEY]
    return json.loads(found)


def with_card(**values: object) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        text = json.dumps({**card_of(model), **values})
        del model.metadata_props[:]
        model.metadata_props.add(key=cards.KEY, value=text)

    return change


def external(model: onnx.ModelProto) -> None:
    tensor = next(each for each in model.graph.initializer if each.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")


def external_in_constant(model: onnx.ModelProto) -> None:
    tensor = TensorProto(data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["unused"], value=tensor))


def huge_tensor(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(TensorProto(name="huge", data_type=TensorProto.FLOAT, dims=[2**40, 2**20]))


def huge_within(model: onnx.ModelProto) -> None:
    shape = numpy_helper.from_array(np.array([10**6, 10**6], np.int64), "vast")
    one = numpy_helper.from_array(np.ones((1, 1), np.float32), "one")
    model.graph.initializer.extend([shape, one])
    model.graph.node.insert(0, helper.make_node("Expand", ["one", "vast"], ["all_of_it"]))


def loop(model: onnx.ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Identity", ["mean"], ["x"], body=body))


HOSTILE = {
    "it refers to external data, which": external,
    "refers to external data": external_in_constant,
    "a tensor of shape [1099511627776, 1048576]": huge_tensor,
    "a tensor of shape [1000000, 1000000]": huge_within,
    "graphs within operators": loop,
    "the operator ConstantOfShape, which is not allowed": lambda m: m.graph.node.append(
        helper.make_node("ConstantOfShape", ["x"], ["y"])
    ),
    "has custom operators": lambda m: m.opset_import.add(domain="com.microsoft", version=1),
    "the operator Evil": lambda m: m.graph.node.append(helper.make_node("Evil", ["x"], ["y"])),
    "the operator Add, which": lambda m: m.graph.node.append(helper.make_node("Add", ["x", "x"], ["y"], domain="evil")),
    "expected inputs": lambda m: m.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1])),
    "expected outputs": lambda m: m.graph.output.pop(),
    "no card of this project": lambda m: m.ClearField("metadata_props"),
    "expected version 1": with_card(version=2),
    "expected 1 to 256 transforms": with_card(test_transforms=[]),
    "expected views of 1 to 1024": with_card(target_sizes=[[10**6, 10**6], [15, 15]]),
    "within a factor of 100": with_card(ds_transforms=[[[1e6, 0, 0], [0, 1e6, 0], [0, 0, 1]]] * 2),
    "expected affine transforms": with_card(ds_transforms=[[[1, 0, 0], [0, 1, 0], [1, 0, 1]]] * 2),
    "expected numbers of shape": with_card(distances=[1, 2]),
    "expected a framing radius": with_card(framing_radius=1e8),
    "expected a name": with_card(name="a\nb"),
    "NaN is not a number": with_card(framing_radius=float("nan")),
    "its shapes do not fit": lambda m: m.graph.node[0].ClearField("output"),
}


@pytest.mark.parametrize("says", HOSTILE)
def test_a_hostile_model_is_refused_in_one_line(says: str, tmp_path: Path):
    path = changed(tmp_path / "a.onnx", HOSTILE[says])
    with pytest.raises(DataError) as refused:
        Model(path)
    line = str(refused.value)
    assert says in line and "\n" not in line and line.startswith(f"{path} cannot be used")


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x07" * 1000, b"\xff" * 100], ids=str)
def test_what_is_no_model_is_refused_in_one_line(content: bytes, tmp_path: Path):
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(DataError) as refused:
        Model(tmp_path / "a.onnx")
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_the_one_that_was_exported_is_refused(tmp_path: Path):
    path = changed(tmp_path / "a.onnx", with_card(name="another"))
    assert Model(path).name == "another"
    shutil.copy(exported.tiny_model().with_suffix(".json"), tmp_path / "a.json")
    with pytest.raises(DataError, match=r"expected the checksum in a\.json"):
        Model(path)
