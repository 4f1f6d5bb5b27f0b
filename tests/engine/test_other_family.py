"""A model of another family is one file like any other: batch norm, AdamW, a warm-up, averaged weights, one view."""

import dataclasses
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import other_family
import pytest
import torch
from other_family import EXPERIMENT as OTHER
from tiny import (
    CPU,
    OPTIONS,
    TINY,
    assert_same_result,
    interrupt_after,
    is_killed_at,
    run,
    write_analysis,
)

import ensemble_predictions_npy
import layers
import load_data
import realtime_augmentation as ra
from engine import prediction, training
from engine.examples import Examples
from engine.network import Network, load_network
from engine.steps import Trainer
from machine.arrays import load_gz, load_pickle
from survey import folders
from survey.predictions import rmse

NAME, STEPS_A_CHUNK = "other_family", 3
TORTURE = bool(os.environ.get("TORTURE"))


def finished() -> training.Run:
    """Train the experiment and return its run."""
    ended = training.Run.prepare(OTHER, OPTIONS)
    ended.train()
    ended.finish()
    return ended


def steps(trainer: Trainer, num: int) -> Iterator[tuple[int, int]]:
    """Take steps on noise; yield the chunk and the step after each."""
    rng = np.random.default_rng(0)
    for index in range(num):
        chunk, step = divmod(index, STEPS_A_CHUNK)
        views = [torch.from_numpy(rng.random((OTHER.batch_size, 64, 64, 3), dtype=np.float32))]
        trainer.take(views, torch.from_numpy(rng.random((OTHER.batch_size, 37), dtype=np.float32)), chunk, step)
        yield chunk, step


def drawn_trainer() -> Trainer:
    torch.manual_seed(0)
    trainer = Trainer(OTHER, Network(OTHER, CPU))
    layers.reset_all_params(trainer.network.output_layer)
    return trainer


def predict(run_main, root: Path, experiment=OTHER) -> None:
    """Predict as an experiment's script does, in this process."""

    class Script:
        __name__ = "predict"

        @staticmethod
        def main() -> None:
            prediction.main(experiment)

    run_main(Script, "--root", root, "--device", "cpu", "--num-workers", 1)


def copies(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    return [each.detach().clone() for each in tensors]


def test_its_file_is_as_short_as_any_model_s():
    assert OTHER.name == NAME
    assert len(Path(other_family.__file__).read_text().splitlines()) <= 80
    network = Network(OTHER, CPU)
    assert [tuple(each.shape) for each in network.parameters[:2]] == [(32, 37), (37,)]
    kinds = [type(each).__name__ for each in layers.all_layers(network.output_layer)]
    assert kinds == ["SigmoidGalaxyOutputLayer", "DenseLayer", "ModuleLayer", "Input2DLayer"]


class TestTraining:
    def test_leaves_the_products_of_any_model(self, prepared_survey, run_main, capsys):
        analysis = run(run_main, prepared_survey, experiment=OTHER)
        assert np.isfinite(analysis["losses_train"]).all()
        assert len(analysis["losses_train"]) == 4
        assert len(analysis["losses_valid"]) == 2
        assert analysis["predictions"].shape == (3, 37)
        assert (folders.current.predictions / f"{NAME}.csv.gz").exists()
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("chunk")]
        rates = [float(line.split("rate ")[1].split()[0]) for line in lines]
        assert rates == pytest.approx([OTHER.learning_rate.at(chunk + 2 / 3, 4) for chunk in range(4)], rel=1e-4)

    def test_follows_the_rate_from_near_zero_and_lower_layers_at_their_share(self):
        trainer, rates = drawn_trainer(), []
        before = copies(trainer.network.parameters)
        for _ in steps(trainer, 12):
            groups = {(group["share"], group["weight_decay"]): group["lr"] for group in trainer.optimizer.param_groups}
            moved = [(a - b).abs().max() for a, b in zip(trainer.network.parameters, before, strict=True)]
            rates.append((groups, max(moved)))
            before = copies(trainer.network.parameters)
        assert len(rates) == 12
        for place, (groups, moved) in enumerate(rates):
            rate = OTHER.learning_rate.at(place / STEPS_A_CHUNK, 4)
            assert set(groups) == {(1.0, 0.05), (1.0, 0.0), (0.5, 0.05), (0.5, 0.0)}
            for (share, _), of_group in groups.items():
                assert of_group == pytest.approx(share * rate)
            assert 0 < moved < 11 * rate  # Adam's steps are hardly larger than its rate
        assert rates[0][1] < 0.01 * rates[3][1]

    def test_learns(self, prepared_survey, run_main):
        longer = dataclasses.replace(OTHER, num_chunks=12, validate_every=12)
        analysis = run(run_main, prepared_survey, experiment=longer)
        assert np.mean(analysis["losses_train"][-3:]) < 0.7 * analysis["losses_train"][0]


class TestStatistics:
    def test_lie_in_the_pickle_beside_the_weights(self, prepared_survey, run_main):
        analysis = run(run_main, prepared_survey, experiment=OTHER)
        network = Network(OTHER, CPU)
        num = len(network.parameters)
        values = analysis["param_values"]
        assert len(values) == num + len(network.state) == num + 18  # of six norms
        means, variances, counts = (values[num + first :: 3] for first in range(3))
        assert {int(count) for count in counts} == {12}  # a step each
        assert all((mean != 0).any() for mean in means)
        assert all((variance != 1).any() for variance in variances)
        assert {len(stds) for stds in analysis["param_stds"]} == {len(values)}

    def test_are_never_changed_by_evaluation(self, prepared_survey, run_main):
        """Who validates oftener, or predicts in between, ends with the same network."""
        whole = run(run_main, prepared_survey, experiment=OTHER)
        often = run(run_main, prepared_survey, "--validate-every", 1, experiment=OTHER)
        for ours, theirs in zip(often["param_values"], whole["param_values"], strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert often["losses_train"] == whole["losses_train"]
        assert len(often["losses_valid"]) == 4

    def test_are_those_of_training_while_it_predicts(self):
        network = Network(OTHER, CPU)
        views = [np.random.default_rng(0).random((5, 64, 64, 3), dtype=np.float32)]
        before = copies(network.state)
        alone = network.predict([views[0][:1]])
        np.testing.assert_allclose(network.predict(views)[:1], alone, rtol=0, atol=1e-6)  # not of its neighbours
        assert all(map(torch.equal, network.state, before))
        network.error([torch.from_numpy(views[0])], torch.zeros(5, 37), normalisation=True)
        assert not any(map(torch.equal, network.state, before))


class TestAverage:
    def test_is_what_is_validated_and_kept_and_predicted_with(self, prepared_survey):
        ended = finished()
        analysis = load_pickle(folders.current.analysis(NAME), "the test")
        averages = [value.numpy() for value in ended.trainer.average.values]
        last = layers.get_param_values(ended.network.output_layer)
        for value, average in zip(analysis["param_values"], averages, strict=True):
            np.testing.assert_array_equal(value, average)
        floats = [(a, b) for a, b in zip(averages, last, strict=True) if a.dtype == np.float32]
        assert not any(np.array_equal(a, b) for a, b in floats)

        network = load_network(OTHER, CPU)
        [views] = Examples(OTHER, OPTIONS, CPU).fixed(np.arange(27, 30), "train")
        np.testing.assert_array_equal(network.predict(views), analysis["predictions"])
        assert analysis["mean_valid_loss"] == rmse(analysis["predictions"], analysis["targets"])
        assert not np.allclose(ended.network.predict(views), analysis["predictions"], atol=1e-5)

    def test_is_the_running_average_of_the_steps(self):
        trainer = drawn_trainer()
        start = layers.get_param_values(trainer.network.output_layer)
        after = [layers.get_param_values(trainer.network.output_layer) for _ in steps(trainer, 12)]
        expected = [value.astype(float) for value in start]
        for number, values in enumerate(after):
            decay = min(0.9, (1 + number) / (10 + number))
            expected = [decay * old + (1 - decay) * new for old, new in zip(expected, values, strict=True)]
        for value, average in zip(trainer.average.values, expected, strict=True):
            if value.is_floating_point():
                np.testing.assert_allclose(value, average, rtol=1e-4, atol=1e-6)
            else:
                assert value == 12  # integers are copied

    def test_leaves_the_weights_as_they_were(self):
        trainer = Trainer(OTHER, Network(OTHER, CPU))
        layers.reset_all_params(trainer.network.output_layer)
        before = copies([*trainer.network.parameters, *trainer.network.state])
        with pytest.raises(KeyboardInterrupt), trainer.predicting():
            assert not all(map(torch.equal, trainer.network.parameters, before))
            raise KeyboardInterrupt
        assert all(map(torch.equal, [*trainer.network.parameters, *trainer.network.state], before))


class TestPrediction:
    def test_is_the_mean_over_its_own_transforms(self, prepared_survey, run_main):
        run(run_main, prepared_survey, experiment=OTHER)
        predict(run_main, prepared_survey.root)
        network = load_network(OTHER, CPU)
        predictions = load_gz(folders.current.augmented("test", NAME))
        assert predictions.shape == (8, 37)
        [view] = OTHER.views.ds_transforms
        for row, img_id in zip(predictions, load_data.test_ids, strict=True):
            image = load_data.load_image(img_id, "test")
            views = [ra.fast_warp(image, view + tform, (64, 64)) for tform in OTHER.test_transforms]
            assert len(views) == 8
            np.testing.assert_allclose(row, network.predict([np.stack(views)]).mean(axis=0), rtol=0, atol=1e-5)

    def test_says_how_many_transforms_it_takes(self, run_main, capsys):
        class Script:
            __name__ = "predict"

            @staticmethod
            def main() -> None:
                prediction.main(OTHER)

        with pytest.raises(SystemExit):
            run_main(Script, "--help")
        assert "8 transforms of each image" in " ".join(capsys.readouterr().out.split())

    def test_is_blended_with_that_of_a_model_of_2014(self, prepared_survey, run_main, capsys):
        run(run_main, prepared_survey, experiment=OTHER)
        write_analysis()
        for experiment in (OTHER, TINY):
            predict(run_main, prepared_survey.root, experiment)
        run_main(ensemble_predictions_npy, "--root", prepared_survey.root)
        out = capsys.readouterr().out
        assert NAME in out
        blended = load_gz(folders.current.predictions / "blended" / "blended_predictions_uniform.npy.gz")
        ours, theirs = (load_gz(folders.current.augmented("test", name)) for name in (NAME, "tiny"))
        assert not np.allclose(ours, theirs, atol=0.01)
        np.testing.assert_allclose(blended, (ours.astype(float) + theirs) / 2, atol=1e-6)


class TestGoingOn:
    def test_a_checkpoint_holds_weights_statistics_optimizer_and_average(self, prepared_survey, run_main, monkeypatch):
        with monkeypatch.context() as patch:
            interrupt_after(patch, 5, signal.SIGINT)
            with pytest.raises(SystemExit):
                run(run_main, prepared_survey, experiment=OTHER)
        [path] = folders.current.checkpoints(NAME).glob("*.pt")
        state = torch.load(path, weights_only=True)["trainer"]
        network = Network(OTHER, CPU)
        for kept, ours in (("parameters", network.parameters), ("state", network.state)):
            assert [each.shape for each in state[kept]] == [each.shape for each in ours]
        assert {int(each) for each in state["state"] if each.dtype == torch.int64} == {5}
        assert len(state["optimizer"]["state"]) == len(network.parameters)
        assert {name for each in state["optimizer"]["state"].values() for name in each} == {
            "step", "exp_avg", "exp_avg_sq",
        }  # fmt: skip
        assert state["average"]["num_updates"] == 5
        assert len(state["average"]["values"]) == len(network.parameters) + len(network.state)
        last = (*state["parameters"], *state["state"])
        pairs = zip(state["average"]["values"], last, strict=True)
        assert not any(torch.equal(mine, now) for mine, now in pairs if mine.is_floating_point())

    @pytest.mark.parametrize("steps", [1, STEPS_A_CHUNK + 1, 3 * STEPS_A_CHUNK + 2])
    def test_a_stopped_run_goes_on_to_the_same_result(self, prepared_survey, run_main, monkeypatch, steps):
        whole = run(run_main, prepared_survey, experiment=OTHER)
        folders.current.analysis(NAME).unlink()
        with monkeypatch.context() as patch:
            interrupt_after(patch, steps, signal.SIGTERM)
            with pytest.raises(SystemExit) as stop:
                run(run_main, prepared_survey, experiment=OTHER)
        assert stop.value.code == 75
        assert_same_result(run(run_main, prepared_survey, experiment=OTHER), whole)

    @pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
    def test_a_killed_run_goes_on_to_the_same_result(self, prepared_survey, run_main, one_thread):
        whole = run(run_main, prepared_survey, experiment=OTHER)
        folders.current.analysis(NAME).unlink()
        for line in (NAME, "chunk 1/4", "chunk 2/4", "chunk 3/4") if TORTURE else ("chunk 1/4", "chunk 3/4"):
            assert is_killed_at(line, Path(other_family.__file__))
        assert_same_result(run(run_main, prepared_survey, experiment=OTHER), whole)
        assert not folders.current.checkpoints(NAME).exists()
