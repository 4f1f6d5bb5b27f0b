"""A training that starts from trained weights: what fits, what starts anew, what is refused, and how it resumes."""

import dataclasses
import json
import os
import pickle
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from other_family import EXPERIMENT as OTHER
from tiny import CPU, TINY, assert_same_result, interrupt_after, is_killed_at, run, write_analysis
from torch import nn

import custom
import export_model
import layers
from engine import record, starting_weights
from engine.experiment import Adaptation, Steps
from engine.network import Network
from engine.optimizers import LowerRate, Nesterov
from machine import arrays
from machine.arrays import save_named, save_pickle
from machine.files import DataError
from machine.signals import UNFINISHED
from survey import folders
from tried.layers import OutputLayer
from update_rules import set_rate


def drawn(seed: int = 1, experiment=OTHER) -> Network:
    """Return a network with drawn parameters and with statistics of batch norms."""
    torch.manual_seed(seed)
    network = Network(experiment, CPU)
    layers.reset_all_params(network.output_layer)
    for tensor in network.state:
        tensor.fill_(seed + 1 / 3)
    return network


def values_of(network: Network) -> list[np.ndarray]:
    return layers.get_param_values(network.output_layer)


def put(values: list[np.ndarray], network: Network) -> list[str]:
    return starting_weights.StartingWeights(Path("a.pkl"), "", values).put_into(network)


def with_head(num_answers: int, num_hidden: int = 0):
    """Return the other family with another number of answers, and perhaps one more layer."""

    def build(batch_size: int):
        inputs, output = OTHER.build_network(batch_size)
        below = output.input_layer.input_layer
        if num_hidden:
            below = layers.DenseLayer(below, num_hidden, 0.1, 0.0)
        return inputs, OutputLayer(layers.DenseLayer(below, num_answers, 0.1, 0.0))

    return dataclasses.replace(OTHER, build_network=build)


class TestLayersThatFit:
    def test_a_network_takes_its_own_values(self):
        ours, theirs = drawn(1), drawn(2)
        assert put(values_of(theirs), ours) == []
        for a, b in zip(values_of(ours), values_of(theirs), strict=True):
            np.testing.assert_array_equal(a, b)

    @pytest.mark.parametrize(("num_answers", "num_hidden"), [(5, 0), (37, 8), (5, 8)])
    def test_another_head_starts_anew_and_is_named(self, num_answers, num_hidden, capsys):
        theirs = drawn(2)
        ours = drawn(1, with_head(num_answers, num_hidden))
        [new_head, *rest] = [layer for layer in layers.all_layers(ours.output_layer) if layer.params]
        head = new_head.W.detach().clone()
        anew = put(values_of(theirs), ours)
        assert f"DenseLayer {tuple(new_head.W.shape)}" in anew and len(anew) == 1 + bool(num_hidden)
        assert f"anew: {', '.join(anew)}" in capsys.readouterr().out
        assert torch.equal(new_head.W, head)
        [module] = [layer for layer in rest if isinstance(layer, layers.ModuleLayer)]
        [other] = [each for each in layers.all_layers(theirs.output_layer) if isinstance(each, layers.ModuleLayer)]
        for a, b in zip((*module.params, *module.state), (*other.params, *other.state), strict=True):
            assert torch.equal(a, b)

    def test_a_head_with_a_state_of_its_own_starts_anew(self):
        def build(batch_size: int):
            inputs, output = OTHER.build_network(batch_size)
            below = output.input_layer.input_layer
            norm = layers.ModuleLayer(below, nn.BatchNorm1d(32), (batch_size, 32))
            return inputs, custom.SigmoidGalaxyOutputLayer(layers.DenseLayer(norm, 37, 0.1, 0.0))

        anew = put(values_of(drawn(2)), drawn(1, dataclasses.replace(OTHER, build_network=build)))
        assert anew == ["DenseLayer (32, 37)", "BatchNorm1d with 32 outputs"]

    def test_a_network_of_2014_without_state_fits(self):
        theirs = drawn(2, TINY)
        ours = drawn(1, TINY)
        assert put(values_of(theirs), ours) == []

    @pytest.mark.parametrize("values", [[np.zeros(3)], [np.zeros((2, 2), np.int8)] * 50])
    def test_a_network_without_a_layer_that_fits_is_refused(self, values):
        ours = drawn(1)
        before = values_of(ours)
        with pytest.raises(DataError, match="of which none fits"):
            put(values, ours)
        with pytest.raises(DataError, match="of which none fits"):
            put(values_of(drawn(1, TINY)), ours)
        for a, b in zip(values_of(ours), before, strict=True):
            np.testing.assert_array_equal(a, b)

    @pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
    def test_values_that_are_not_finite_are_refused(self, value):
        values = [each.astype(np.float64) for each in values_of(drawn(2))]
        values[0][0, 0] = value
        with pytest.raises(DataError, match="expected finite parameters"):
            put(values, drawn(1))


class TestFiles:
    def test_written_weights_are_read_with_their_rounding(self, tmp_path):
        theirs, path = drawn(2), tmp_path / "own.npz"
        starting_weights.write(path, "other", theirs, {"licence": "none"})
        weights = starting_weights.read(path)
        for ours, value in zip(weights.values, values_of(theirs), strict=True):
            if value.ndim > 1:
                assert ours.dtype == np.float16
                np.testing.assert_allclose(ours, value, rtol=1e-3, atol=1e-7)
            else:
                np.testing.assert_array_equal(ours, value)
        card = json.loads(path.with_suffix(".json").read_text())
        assert card["sha256"] == weights.sha256 and card["layers"][0] == "DenseLayer (32, 37)"
        page = path.with_suffix(".md").read_text()
        assert weights.sha256 in page and "Licence: none" in page
        assert weights.put_into(drawn(1)) == []

    def test_a_matrix_beyond_16_bits_keeps_32(self):
        large = np.full((2, 2), 1e6, np.float32)
        assert starting_weights.compact(large).dtype == np.float32

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (b"", "is not a file of arrays"),
            (b"PK\x03\x04 no zip", "is not a file of arrays"),
            (b"GIF89a", "is not a file of arrays"),
        ],
    )
    def test_a_foreign_file_is_refused(self, content, says, tmp_path):
        path = tmp_path / "own.npz"
        path.write_bytes(content)
        with pytest.raises(DataError, match=says):
            starting_weights.read(path)

    def test_a_changed_byte_is_found(self, tmp_path):
        path = tmp_path / "own.npz"
        starting_weights.write(path, "other", drawn(2), {})
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(DataError, match="expected the SHA-256 of its card"):
            starting_weights.read(path)
        path.with_suffix(".json").unlink()
        with pytest.raises(DataError, match="is not a file of arrays"):
            starting_weights.read(path)

    def test_a_bomb_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr(arrays, "MAX_ARRAY_BYTES", 2**10)
        path = tmp_path / "bomb.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("0.npy", bytes(2**11))
        with pytest.raises(DataError, match="expected at most"):
            starting_weights.read(path)

    def test_an_array_of_objects_is_not_built(self, tmp_path):
        path = tmp_path / "own.npz"
        save_named(path, a=np.array([print, {}], object))
        with pytest.raises(DataError, match="expected numbers"):
            starting_weights.read(path)

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ([1, 2], "got none"),
            ({"param_values": []}, "got none"),
            ({"param_values": "abc"}, "got none"),
            ({"param_values": [[1.0, 2.0], "x"]}, "expected arrays of numbers"),
        ],
    )
    def test_a_pickle_without_parameters_is_refused(self, content, says, tmp_path):
        path = tmp_path / "own.pkl"
        save_pickle(path, content)
        with pytest.raises(DataError, match=says):
            starting_weights.read(path)

    def test_a_hostile_pickle_is_not_executed(self, tmp_path):
        class Hostile:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "made"),)

        path = tmp_path / "own.pkl"
        path.write_bytes(pickle.dumps({"param_values": [Hostile()]}))
        with pytest.raises(DataError, match="cannot be read"):
            starting_weights.read(path)
        assert not (tmp_path / "made").exists()

    def test_a_name_is_a_trained_experiment_or_weights_in_the_box(self, survey, monkeypatch, tmp_path):
        monkeypatch.setattr(starting_weights, "MODELS", tmp_path)
        with pytest.raises(DataError, match=r"expected a trained experiment, but .*try_a\.pkl is missing"):
            starting_weights.find("try_a")
        (tmp_path / "lite0_start.npz").touch()
        assert starting_weights.find("lite0") == tmp_path / "lite0_start.npz"
        with pytest.raises(DataError, match=r"\(lite0\)"):
            starting_weights.find("lite1")
        analysis = folders.current.analysis("try_a")
        record.save_analysis(analysis, {}, {})
        assert starting_weights.find("try_a") == starting_weights.find("try_a.py") == analysis
        assert starting_weights.find("some/file.pkl") == Path("some/file.pkl")


def start_of(survey, tmp_path: Path) -> Path:
    """Write an analysis pickle of the tiny experiment elsewhere and return its path."""
    write_analysis()
    path = tmp_path / "earlier.pkl"
    folders.current.analysis("tiny").rename(path)
    return path


ADAPTED = dataclasses.replace(TINY, adaptation=Adaptation(learning_rate=Steps({0: 0.01}), lower_rate=0.5))


LONG = dataclasses.replace(OTHER, name="long", num_chunks=12, adaptation=Adaptation(OTHER.learning_rate, 0.5))


class TestRuns:
    @pytest.mark.skipif("TORTURE" not in os.environ, reason="ten runs in processes of their own; make torture")
    def test_a_run_that_is_killed_ten_times_ends_the_same(self, prepared_survey, run_main, tmp_path, one_thread):
        path = tmp_path / "start.npz"
        starting_weights.write(path, "other", drawn(2), {})
        script = tmp_path / "long.py"
        script.write_text(
            f"import sys\nsys.path.append({str(Path(__file__).parent)!r})\n"
            "import test_starting_weights\nfrom engine import training\ntraining.main(test_starting_weights.LONG)\n"
        )
        whole = run(run_main, prepared_survey, "--start-from", path, experiment=LONG)
        folders.current.analysis("long").unlink()
        for kill in range(1, 11):
            assert is_killed_at(f"chunk {kill}/", script, "--start-from", path)
        assert_same_result(run(run_main, prepared_survey, "--start-from", path, experiment=LONG), whole)

    def test_a_run_starts_there_and_resumes_to_the_same_bits(self, prepared_survey, run_main, tmp_path, monkeypatch):
        path = start_of(prepared_survey, tmp_path)
        flags = ("--start-from", path)
        whole = run(run_main, prepared_survey, *flags, experiment=ADAPTED)
        stated = json.loads(folders.current.analysis("tiny").with_suffix(".json").read_text())
        assert stated["started from"] == {"file": str(path), "sha256": starting_weights.read(path).sha256}
        assert stated["experiment"]["learning_rate"]["rates"] == {"0": 0.01}
        assert stated["experiment"]["make_optimizer"]["share"] == 0.5
        folders.current.analysis("tiny").unlink()
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
            interrupt_after(patch, 4, signal.SIGTERM)
            run(run_main, prepared_survey, *flags, experiment=ADAPTED)
        assert ended.value.code == UNFINISHED
        with pytest.raises(SystemExit) as ended:
            run(run_main, prepared_survey, experiment=ADAPTED)
        assert "started from" in ended.value.code and "\n" not in ended.value.code
        assert_same_result(run(run_main, prepared_survey, *flags, experiment=ADAPTED), whole)

    def test_numbers_that_a_run_does_not_use_are_not_part_of_it(self, prepared_survey, run_main):
        run(run_main, prepared_survey, "--num-chunks", 1, experiment=ADAPTED)
        stated = json.loads(folders.current.analysis("tiny").with_suffix(".json").read_text())
        assert stated["started from"] is None and stated["experiment"]["adaptation"] is None

    def test_a_run_of_no_steps_would_have_the_file_s_parameters(self, prepared_survey, run_main, tmp_path):
        path = start_of(prepared_survey, tmp_path)
        slow = dataclasses.replace(TINY, adaptation=Adaptation(Steps({0: 1e-12}), lower_rate=1.0))
        analysis = run(run_main, prepared_survey, "--start-from", path, "--num-chunks", 1, experiment=slow)
        for ours, value in zip(analysis["param_values"], starting_weights.read(path).values, strict=True):
            np.testing.assert_allclose(ours, value, atol=1e-9)

    def test_an_experiment_does_not_replace_its_own_start(self, prepared_survey, run_main):
        write_analysis()
        with pytest.raises(SystemExit) as ended:
            run(run_main, prepared_survey, "--start-from", "tiny")
        assert "is an input" in ended.value.code

    def test_a_shorter_run_keeps_the_fractions_of_its_own_schedule(self):
        long = dataclasses.replace(TINY, num_chunks=10, adaptation=Adaptation(Steps({0: 0.1, 5: 0.01}), 1.0))
        assert long.resized(4).adapted().learning_rate == Steps({0: 0.1, 2: 0.01})
        assert long.adapted().make_optimizer is long.make_optimizer


def test_lower_layers_learn_at_a_lower_rate():
    network = drawn(1, TINY)
    optimizer = LowerRate(Nesterov(momentum=0.9, weight_decay=0.1), share=0.25)(network.output_layer)
    set_rate(optimizer, 0.4)
    rates = {param: group["lr"] for group in optimizer.param_groups for param in group["params"]}
    top_w, top_b, *rest = network.parameters
    assert rates[top_w] == rates[top_b] == 0.4
    assert {rates[param] for param in rest} == {0.1} and len(rates) == len(network.parameters)


def test_export_writes_starting_weights_alone(
    prepared_survey, run_main: Callable, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    network = write_analysis()
    monkeypatch.setattr(export_model, "find_experiment", lambda name: TINY)
    path = tmp_path / "box" / "tiny_start.npz"
    run_main(export_model, "tiny", "--root", prepared_survey.root, "--starting-weights", path)
    assert sorted(each.name for each in path.parent.iterdir()) == [f"tiny_start.{end}" for end in ("json", "md", "npz")]
    np.testing.assert_allclose(starting_weights.read(path).values[0], values_of(network)[0], rtol=1e-3, atol=1e-7)
    with pytest.raises(SystemExit) as ended:
        run_main(export_model, "tiny", "--root", prepared_survey.root, "--starting-weights", tmp_path / "a.onnx")
    assert "end with .npz" in ended.value.code
