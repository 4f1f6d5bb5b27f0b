"""A training run: what it leaves behind, what it refuses, and that it learns."""

import dataclasses
import json
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from tiny import CPU, OPTIONS, ROOT, TINY, files_of, held, run, write_analysis, write_jpeg

import custom
import layers
from engine import device_augmentation, prediction, record, training
from engine.checkpoints import Progress
from engine.examples import Examples
from engine.experiment import Cosine, Steps
from engine.network import Network
from engine.steps import Trainer
from galaxy.decision_tree import GALAXY_ZOO_2
from machine.arrays import load_pickle, save_array
from machine.files import DataError
from survey import folders


class TestTraining:
    def test_writes_its_products(self, prepared_survey, run_main, capsys):
        analysis = run(run_main, prepared_survey)
        root = prepared_survey.root
        np.testing.assert_array_equal(analysis["ids"], prepared_survey.train_ids[-3:])
        np.testing.assert_array_equal(analysis["targets"], prepared_survey.labels[-3:].astype(np.float32))
        assert analysis["predictions"].shape == (3, 37)
        assert len(analysis["losses_train"]) == 3
        assert len(analysis["losses_valid"]) == 2  # after the second chunk, and at the end
        assert analysis["mean_train_loss"] == analysis["losses_train"][-1]
        error = np.sqrt(np.mean((analysis["predictions"] - analysis["targets"]) ** 2))
        assert analysis["mean_valid_loss"] == analysis["losses_valid"][-1] == pytest.approx(error, rel=1e-5)
        assert len(analysis["param_stds"]) == 3  # one list per chunk, as in 2014
        last = [values.std() for values in analysis["param_values"]]
        assert analysis["param_stds"][-1] == pytest.approx(last, rel=1e-5)
        assert analysis["param_stds"][0] != analysis["param_stds"][-1]
        assert set(analysis) == {
            "ids", "predictions", "targets", "mean_train_loss", "mean_valid_loss", "time_since_start",
            "losses_train", "losses_valid", "param_values", "param_stds",
        }  # fmt: skip

        network = Network(TINY, CPU)
        layers.set_param_values(network.output_layer, analysis["param_values"])
        submission = pandas.read_csv(root / "predictions" / "final" / "tiny.csv.gz")
        assert list(submission.GalaxyID) == list(prepared_survey.test_ids)
        [views] = Examples(TINY, OPTIONS, CPU).fixed(np.arange(8), "test")
        np.testing.assert_allclose(submission.iloc[:, 1:], network.predict(views), rtol=0, atol=1e-6)

        record = json.loads((root / "analysis" / "final" / "tiny.json").read_text())
        assert record["experiment"]["make_optimizer"]["momentum"] == 0.9
        assert record["experiment"]["seed"] == 0
        assert record["versions"]["torch"] == torch.__version__
        assert record["losses_train"] == analysis["losses_train"]
        assert list(record["losses_valid"]) == ["2", "3"]
        lines = capsys.readouterr().out.splitlines()
        assert [line.split("  ")[0] for line in lines if line.startswith("chunk")] == [
            "chunk 1/3", "chunk 2/3", "chunk 3/3",
        ]  # fmt: skip

    def test_is_the_same_for_the_same_seed_and_another_for_another(self, prepared_survey, run_main):
        first, again, other = (run(run_main, prepared_survey, *seed) for seed in ((), (), ("--seed", 1)))
        for ours, theirs in zip(first["param_values"], again["param_values"], strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert not np.array_equal(first["param_values"][0], other["param_values"][0])

    def test_learns(self, prepared_survey, run_main):
        # Every second image is made a bright, completely round galaxy, the others stars on a black sky.
        labels = np.zeros((30, 37), np.float32)
        labels[:, GALAXY_ZOO_2.column(6, 2)] = 1
        labels[::2, [GALAXY_ZOO_2.column(1, 1), GALAXY_ZOO_2.column(7, 1)]] = 1
        labels[1::2, GALAXY_ZOO_2.column(1, 3)] = 1
        save_array(prepared_survey.root / "data" / "solutions_train.npy", labels)
        for row, img_id in enumerate(prepared_survey.train_ids):
            image = np.full((424, 424, 3), 3 if row % 2 else 200, np.uint8)
            write_jpeg(prepared_survey.raw / "images_train_rev1" / f"{img_id}.jpg", image)
        # The recipe's rate is for layers thousands of units wide
        steady = dataclasses.replace(TINY, num_chunks=60, learning_rate=Steps({0: 0.5}), validate_every=60)
        analysis = run(run_main, prepared_survey, "--initialisation", "variance-preserving", experiment=steady)
        baseline = np.sqrt(np.mean((labels - labels.mean(axis=0)) ** 2))
        assert analysis["losses_train"][0] > 0.9 * baseline
        assert analysis["mean_valid_loss"] < 0.3 * baseline

    def test_flags_shorten_and_initialise(self, prepared_survey, run_main):
        analysis = run(run_main, prepared_survey, "--num-chunks", 1, "--chunk-size", 13)
        assert len(analysis["losses_train"]) == 1
        other = run(run_main, prepared_survey, "--num-chunks", 1, "--initialisation", "variance-preserving")
        assert other["param_stds"][-1][4] > 1.6 * analysis["param_stds"][-1][4]  # of the convolution

    def test_there_is_no_schedule_to_keep_where_rates_follow_the_fraction_of_a_run(self, prepared_survey, run_main):
        cosine = dataclasses.replace(TINY, learning_rate=Cosine(peak=0.001, warm_up=0.1))
        with pytest.raises(SystemExit, match=r"--keep-schedule: .* there is no schedule to keep"):
            run(run_main, prepared_survey, "--num-chunks", 1, "--keep-schedule", experiment=cosine)

    def test_a_last_partial_minibatch_counts_by_its_size(self):
        at_rest = dataclasses.replace(TINY, learning_rate=Steps({0: 1e-30}))  # moves no float32
        network = Network(at_rest, CPU)
        rng = np.random.default_rng(0)
        views = [rng.random((11, 15, 15, 3)).astype(np.float32) for _ in range(2)]
        targets = rng.random((11, 37)).astype(np.float32)

        for layer in layers.all_layers(network.output_layer):
            layer.dropout = 0.0
        trainer, progress = Trainer(at_rest, network), Progress(chunk=2)  # normalised
        training.train_chunk(trainer, views, targets, progress)
        errors = training.read_errors(progress.errors)
        assert len(errors) == 2
        assert sum(errors) / 11 == pytest.approx(np.mean((network.predict(views) - targets) ** 2), rel=1e-5)

    def test_a_loss_that_is_not_finite_ends_the_run_and_leaves_the_last_checkpoint(self, prepared_survey):
        def spoil(optimizer: torch.optim.Optimizer, *_: object) -> None:
            for param in optimizer.param_groups[0]["params"]:
                param.data.fill_(float("nan"))

        made = []

        def make_optimizer(output_layer: layers.Layer) -> torch.optim.Optimizer:
            """Make an optimizer that spoils the parameters from the first normalised step on, in chunk 2."""
            made.append(torch.optim.SGD(layers.all_parameters(output_layer), lr=1.0))
            if len(made) == 2:
                made[-1].register_step_post_hook(spoil)
            return made[-1]

        options = dataclasses.replace(OPTIONS, checkpoint_every=1)
        with pytest.raises(DataError, match=r"got nan in chunk 2; the last good checkpoint is .*000001-000000"):
            training.train(dataclasses.replace(TINY, make_optimizer=make_optimizer), options)
        assert len(list(folders.current.checkpoints("tiny").glob("*.pt"))) == 1

    def test_a_dead_network_ends_the_run(self, prepared_survey):
        def build_network(batch_size: int) -> tuple[list[layers.Layer], layers.Layer]:
            inputs, output = TINY.build_network(batch_size)
            below = output.input_layer.input_layer
            top = layers.DenseLayer(below, 37, 0.01, init_bias_value=-100, nonlinearity=layers.identity)
            return inputs, custom.OptimisedDivGalaxyOutputLayer(top)  # no activation is ever above zero

        with pytest.raises(DataError, match=r"stuck: all predictions .* zero .* end of chunks 1 to 2; there is no"):
            training.train(dataclasses.replace(TINY, build_network=build_network), OPTIONS)

    def test_a_layer_without_parameters_on_top_does_not_look_dead(self, prepared_survey, run_main):
        def build_network(batch_size: int) -> tuple[list[layers.Layer], layers.Layer]:
            inputs = [layers.Input2DLayer(batch_size, 3, 15, 15) for _ in range(2)]
            both = layers.ConcatenateLayer([layers.FlattenLayer(each) for each in inputs])
            dense = layers.DenseLayer(both, 74, 0.01, 0.1, nonlinearity=layers.identity)
            return inputs, custom.SigmoidGalaxyOutputLayer(layers.FeatureMaxPoolingLayer(dense, pool_size=2))

        experiment = dataclasses.replace(TINY, build_network=build_network, num_chunks=4)
        assert len(run(run_main, prepared_survey, experiment=experiment)["losses_train"]) == 4

    def test_on_the_device_is_the_same_but_for_rounding(self, prepared_survey, run_main):
        ours = run(run_main, prepared_survey, "--augment-on", "device")
        theirs = run(run_main, prepared_survey, "--augment-on", "cpu")
        np.testing.assert_allclose(ours["losses_train"], theirs["losses_train"], rtol=1e-4)
        np.testing.assert_allclose(ours["predictions"], theirs["predictions"], rtol=0, atol=1e-3)

    def test_in_bfloat16_is_nearly_the_same(self, prepared_survey, run_main):
        ours = run(run_main, prepared_survey, "--precision", "bf16")
        theirs = run(run_main, prepared_survey)
        np.testing.assert_allclose(ours["losses_train"], theirs["losses_train"], rtol=0.02)
        assert ours["param_values"][0].dtype == np.float32
        assert not np.array_equal(ours["param_values"][0], theirs["param_values"][0])

    @pytest.mark.parametrize(
        ("error", "hint"),
        [
            (torch.OutOfMemoryError("CUDA out of memory. Tried"), "--augment-on cpu"),
            (MemoryError(), r"memory ran out .*--chunk-size .* or --num-workers"),
            (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "--chunk-size"),
        ],
    )
    def test_an_error_of_memory_names_the_flags_that_lower_its_use(self, prepared_survey, error, hint):
        def fail(_: Progress) -> None:
            raise error

        with pytest.raises(DataError, match=hint):
            training.train(TINY, OPTIONS, on_chunk=fail)

    @pytest.mark.parametrize(
        ("missing", "message"),
        [
            ("data/train_ids.npy", "run create_train_ids_file.py"),
            ("data/test_ids.npy", "run create_test_ids_file.py"),
            ("data/solutions_train.npy", "run convert_training_labels_to_npy.py"),
            ("data/raw/images_test_rev1/1003.jpg", "1 of 8 test images are bad: 1003.jpg is missing"),
        ],
    )
    def test_what_is_missing_is_named_before_training(self, prepared_survey, run_main, capsys, missing, message):
        (prepared_survey.root / missing).unlink()
        with pytest.raises(SystemExit) as stop:
            run(run_main, prepared_survey)
        assert message in str(stop.value)
        assert str(stop.value).startswith("error: ")
        assert "chunk 1" not in capsys.readouterr().out

    def test_bad_images_end_the_run_before_it_starts_or_are_left_out(self, prepared_survey, run_main, capsys):
        bad = {"train": (4, 28), "test": (2,)}  # two to train and to validate on, one to predict
        for subset, positions in bad.items():
            for position in positions:
                img_id = getattr(prepared_survey, f"{subset}_ids")[position]
                (prepared_survey.raw / f"images_{subset}_rev1" / f"{img_id}.jpg").write_bytes(b"no JPEG")
        with pytest.raises(SystemExit, match=r"2 of 30 train images are bad: .*--on-bad-image skip"):
            run(run_main, prepared_survey)
        assert "chunk 1" not in capsys.readouterr().out
        analysis = run(run_main, prepared_survey, "--on-bad-image", "skip")
        np.testing.assert_array_equal(analysis["ids"], prepared_survey.train_ids[[27, 29]])
        assert len(analysis["predictions"]) == len(analysis["targets"]) == 2
        record = json.loads((prepared_survey.root / "analysis" / "final" / "tiny.json").read_text())
        ids = {subset: set(left_out) for subset, left_out in record["images left out"].items()}
        assert ids == {"train": {str(prepared_survey.train_ids[i]) for i in (4, 28)}, "test": {"100"}}
        submission = pandas.read_csv(prepared_survey.root / "predictions" / "final" / "tiny.csv.gz")
        assert list(submission.GalaxyID) == list(prepared_survey.test_ids)
        mean = prepared_survey.labels[:27].mean(axis=0)
        np.testing.assert_allclose(submission.iloc[2, 1:], mean, atol=1e-6)
        assert np.abs(submission.iloc[1, 1:] - mean).max() > 1e-3

    def test_images_that_stay_on_the_device_are_those_that_are_not_left_out(
        self, prepared_survey, run_main, monkeypatch
    ):
        for subset, position in (("train", 4), ("train", 28), ("test", 2)):
            img_id = getattr(prepared_survey, f"{subset}_ids")[position]
            (prepared_survey.raw / f"images_{subset}_rev1" / f"{img_id}.jpg").write_bytes(b"no JPEG")
        theirs = run(run_main, prepared_survey, "--on-bad-image", "skip")
        stayed = []

        class Resident(device_augmentation.Images):
            def __init__(self, subset: str, device: torch.device, num_workers: int, resident: object, left_out: dict):
                super().__init__(subset, device, num_workers, True, left_out)
                stayed.append((subset, set(left_out), self.all is not None))

        monkeypatch.setattr(device_augmentation, "Images", Resident)
        ours = run(run_main, prepared_survey, "--on-bad-image", "skip", "--augment-on", "device")
        assert stayed == [("train", {4, 28}, True), ("test", {2}, True)]
        np.testing.assert_array_equal(ours["ids"], theirs["ids"])
        np.testing.assert_allclose(ours["losses_train"], theirs["losses_train"], rtol=1e-4)
        np.testing.assert_allclose(ours["predictions"], theirs["predictions"], rtol=0, atol=1e-3)

    def test_without_any_validation_image_there_is_no_run(self, prepared_survey, run_main):
        for img_id in prepared_survey.train_ids[27:]:
            (prepared_survey.raw / "images_train_rev1" / f"{img_id}.jpg").unlink()
        with pytest.raises(SystemExit, match="all images of one of them are bad"):
            run(run_main, prepared_survey, "--on-bad-image", "skip")

    def test_an_unknown_device_is_one_clear_line(self, prepared_survey, run_main):
        with pytest.raises(SystemExit, match="error: --device warp9 cannot be used on this machine"):
            run(run_main, prepared_survey, "--device", "warp9")


def ends_at_once(message: str, root: Path, run_it: Callable[[], object]) -> None:
    """Assert that a run ends with one line and leaves all files as they were."""
    before = files_of(root)
    with pytest.raises(SystemExit) as ended:
        run_it()
    line = str(ended.value.code)
    assert line.startswith(f"error: {message}")
    assert "\n" not in line
    assert files_of(root) == before


class TestAnotherRunOfTheSame:
    def test_training_waits_for_no_other(self, prepared_survey, run_main, capsys):
        lock = folders.current.lock("tiny", "train")
        with held(lock) as other:
            message = f"training of tiny is under way already, in process {other.pid} on {socket.gethostname()}; "
            ends_at_once(message, prepared_survey.root, lambda: run(run_main, prepared_survey))
        assert "chunk 1" not in capsys.readouterr().out
        run(run_main, prepared_survey)
        assert not lock.exists()

    def test_predicting_waits_for_no_other(self, prepared_survey, run_main):
        write_analysis()

        class Script:
            __name__ = "predict"

            @staticmethod
            def main() -> None:
                prediction.main(TINY)

        def predict() -> None:
            run_main(Script, "--root", prepared_survey.root, "--device", "cpu", "--num-workers", 1)

        with held(folders.current.lock("tiny", "predict")) as other:
            message = f"prediction of tiny is under way already, in process {other.pid} on {socket.gethostname()}; "
            ends_at_once(message, prepared_survey.root, predict)
        with held(folders.current.lock("tiny", "train")):  # another kind of work
            predict()
        assert folders.current.augmented("test", "tiny").exists()

    def test_training_of_another_experiment_goes_on_beside_it(self, prepared_survey, run_main):
        with held(folders.current.lock("tiny", "train")):
            run(run_main, prepared_survey, experiment=dataclasses.replace(TINY, name="other", num_chunks=1))

    def test_a_run_holds_its_lock_in_its_last_chunk(self, prepared_survey):
        script = prepared_survey.root / "tiny.py"
        script.write_text(
            f"import sys\nsys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests')!r}]\n"
            "from engine import training\nfrom tiny import TINY\n"
            "if __name__ == '__main__':\n    training.main(TINY)\n"
        )
        command = [sys.executable, script, "--root", prepared_survey.root, "--device", "cpu", "--num-workers", "1"]
        started = []

        def run_a_second(progress: Progress) -> None:
            if progress.chunk == TINY.num_chunks:
                started.append(subprocess.run(command, capture_output=True, text=True, timeout=120))

        training.train(TINY, OPTIONS, on_chunk=run_a_second)
        [second] = started
        assert second.returncode == 1
        assert f"in process {os.getpid()} on {socket.gethostname()}" in second.stderr
        assert len(second.stderr.splitlines()) == 1
        assert second.stdout == ""


def test_analysis_pickles_hold_plain_values(tmp_path):
    record.save_analysis(tmp_path / "a.pkl", {"ids": np.arange(3), "losses_train": [0.5]}, {"seconds": 1.0})
    with (tmp_path / "a.pkl").open("rb") as file:
        assert pickle.load(file)["losses_train"] == [0.5]
    assert load_pickle(tmp_path / "a.pkl", "x.py")["ids"].tolist() == [0, 1, 2]
