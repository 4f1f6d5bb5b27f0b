"""Model files are read with suspicion, and predict the same for every batch."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import exported
import numpy as np
import onnx
import pytest
from exported import add_to_distance, changed_model
from onnx import helper, numpy_helper
from tiny import ROOT, draw_blob

from catalogue import card as cards
from catalogue import model_file
from catalogue.framing import frame
from catalogue.model_file import Model
from catalogue.request import MODELS
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


def test_no_view_reads_farther_than_the_reach_of_a_model():
    model = Model(exported.tiny_model(), threads=1)
    [each] = frames(1)
    inside = 1 + int(np.ceil(model.reach(np.nan)))
    assert inside < 212
    views = model.views(each)
    low, high = int(211.5 - inside), int(211.5 + inside) + 2
    each.pixels[:low] = each.pixels[high:] = each.pixels[:, :low] = each.pixels[:, high:] = 255
    np.testing.assert_equal(model.views(each), views)
    each.pixels[low + 4] = 255
    assert any((now != before).any() for now, before in zip(model.views(each), views, strict=True))


def renamed(model: onnx.ModelProto) -> None:
    [card] = [each for each in model.metadata_props if each.key == cards.KEY]
    card.value = json.dumps({**json.loads(card.value), "name": "another"})


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x07" * 1000, b"\xff" * 100], ids=range(4))
def test_what_is_no_model_is_refused_in_one_line(content: bytes, tmp_path: Path):
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(DataError) as refused:
        Model(tmp_path / "a.onnx")
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_the_one_that_was_exported_is_refused(tmp_path: Path):
    path = changed_model(tmp_path / "a.onnx", renamed)
    assert Model(path).name == "another"
    shutil.copy(exported.tiny_model().with_suffix(".json"), tmp_path / "a.json")
    with pytest.raises(DataError, match=r"expected the checksum in a\.json"):
        Model(path)


def test_a_model_that_takes_too_much_for_one_image_is_refused(tmp_path: Path):
    def add_a_large_tensor(model: onnx.ModelProto) -> None:
        for name, shape in (("column", (2**13, 1)), ("row", (1, 2**12))):
            model.graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float32), name))
        model.graph.node.append(helper.make_node("ReduceMax", ["pixels_0"], ["brightest"], keepdims=0))
        model.graph.node.append(helper.make_node("Mul", ["column", "brightest"], ["bright"]))
        model.graph.node.append(helper.make_node("MatMul", ["bright", "row"], ["large"]))
        add_to_distance(model, "large")

    path = changed_model(tmp_path / "a.onnx", add_a_large_tensor)
    assert Model(path).name == "tiny"
    # Memory that this process has freed is not counted, so a fresh one tries the model.
    code = """
import sys, pathlib
from catalogue import model_file
model_file.TRIAL_BYTES = 2**26
model_file.Model(pathlib.Path(sys.argv[1]))
"""
    done = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True)
    assert re.search(r"DataError: .*cannot be used: for one image it takes more than \d+ MiB of memory", done.stderr)


def test_known_models_are_not_tried(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(model_file, "limited", None)
    [path] = MODELS.glob("*.onnx")
    assert Model(path).card.name
