import dataclasses
import json
import pickle

import numpy as np
import pandas
import pytest
import torch
from conftest import write_jpeg

import cc_layers
import custom
import decision_tree
import examples
import layers
import load_data
import realtime_augmentation as ra
import training
from training_step import Step
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT as BEST


class TestTheBestModel:
    def test_has_the_documented_parameters_in_2014_s_order(self):
        inputs, output = BEST.build_network(16)
        shapes = [tuple(param.shape) for param in layers.all_parameters(output)]
        assert shapes == [
            (2048, 37), (37,),
            (2048, 4096), (4096,),
            (8192, 4096), (4096,),
            (128, 3, 3, 128), (128, 4, 4),
            (64, 3, 3, 128), (128, 6, 6),
            (32, 5, 5, 64), (64, 16, 16),
            (3, 6, 6, 32), (32, 40, 40),
        ]  # fmt: skip
        assert sum(np.prod(shape) for shape in shapes) == 42_377_125
        assert [layer.get_output_shape() for layer in inputs] == [(16, 3, 69, 69)] * 2
        assert output.get_output_shape() == (16, 37)

    def test_starts_as_the_documentation_says(self):
        _, output = BEST.build_network(16)
        found = [(l.weights_std, l.init_bias_value, l.dropout) for l in layers.all_layers(output) if l.params]  # noqa: E741
        maxout, convolution = (0.001, 0.01, 0.5), (0.01, 0.1, 0.0)
        assert found == [(0.01, 0.1, 0.5), maxout, maxout, (0.1, 0.1, 0.0), convolution, convolution, convolution]

    def test_follows_the_recipe(self):
        assert (BEST.batch_size, BEST.chunk_size, BEST.num_chunks, BEST.num_chunks_nonorm) == (16, 10000, 2500, 1)
        rates = [BEST.learning_rate(chunk) for chunk in (0, 1799, 1800, 2299, 2300, 2499)]
        assert rates == [0.04, 0.04, 0.004, 0.004, 0.0004, 0.0004]
        assert (BEST.momentum, BEST.weight_decay, BEST.validate_every, BEST.colour_std) == (0.9, 0.0, 20, 0.5)
        assert BEST.augmentation_params == {
            "zoom_range": (1 / 1.3, 1.3),
            "rotation_range": (0, 360),
            "shear_range": (0, 0),
            "translation_range": (-4, 4),
            "do_flip": True,
        }
        turned = np.linalg.inv(BEST.ds_transforms[0].params) @ BEST.ds_transforms[1].params
        np.testing.assert_allclose(turned[:2, :2], np.array([[1, -1], [1, 1]]) / 2**0.5, atol=1e-12)


class TestExperiment:
    def test_a_forgotten_number_is_a_type_error(self):
        fields = {field.name: getattr(BEST, field.name) for field in dataclasses.fields(BEST)}
        for name in fields:
            with pytest.raises(TypeError, match=name):
                training.Experiment(**{k: v for k, v in fields.items() if k != name})

    def test_a_short_run_keeps_the_fractions_of_the_schedule(self):
        short = BEST.shortened(25)
        assert short.learning_rate_schedule == {0: 0.04, 18: 0.004, 23: 0.0004}
        assert (short.num_chunks, short.validate_every) == (25, 1)
        assert BEST.shortened(250).validate_every == 2
        kept = BEST.shortened(25, keep_schedule=True)
        assert kept.learning_rate_schedule == BEST.learning_rate_schedule
        assert kept.validate_every == 20

    def test_one_chunk_has_the_last_rate_at_most_once(self):
        assert BEST.shortened(1).learning_rate(0) in BEST.learning_rate_schedule.values()

    def test_its_numbers_are_plain(self):
        numbers = json.loads(json.dumps(BEST.numbers()))
        assert numbers["learning_rate_schedule"] == {"0": 0.04, "1800": 0.004, "2300": 0.0004}
        assert numbers["processor_class"] == "LoadAndProcess"
        np.testing.assert_array_equal(numbers["ds_transforms"][0], BEST.ds_transforms[0].params)


class TestTraining:
    def test_writes_its_products(self, prepared_survey, run_main, capsys):
        analysis = run(run_main, prepared_survey)
        root = prepared_survey.root
        np.testing.assert_array_equal(analysis["ids"], prepared_survey.train_ids[-3:])
        np.testing.assert_array_equal(analysis["targets"], prepared_survey.votes[-3:].astype(np.float32))
        assert analysis["predictions"].shape == (3, 37)
        assert len(analysis["losses_train"]) == 3
        assert len(analysis["losses_valid"]) == 2  # after the second chunk, and at the end
        assert analysis["mean_train_loss"] == analysis["losses_train"][-1]
        error = np.sqrt(np.mean((analysis["predictions"] - analysis["targets"]) ** 2))
        assert analysis["mean_valid_loss"] == analysis["losses_valid"][-1] == pytest.approx(error, rel=1e-5)
        assert analysis["param_stds"] == pytest.approx([values.std() for values in analysis["param_values"]])
        assert set(analysis) == {
            "ids", "predictions", "targets", "mean_train_loss", "mean_valid_loss", "time_since_start",
            "losses_train", "losses_valid", "param_values", "param_stds",
        }  # fmt: skip

        network = training.Network(TINY, torch.device("cpu"))
        layers.set_param_values(network.output_layer, analysis["param_values"])
        submission = pandas.read_csv(root / "predictions" / "final" / "tiny.csv.gz")
        assert list(submission.GalaxyID) == list(prepared_survey.test_ids)
        options = argparse_namespace()
        [views] = examples.Examples(TINY, options, network.device).fixed(np.arange(8), "test")
        np.testing.assert_allclose(submission.iloc[:, 1:], network.predict(views), rtol=0, atol=1e-6)

        record = json.loads((root / "analysis" / "final" / "tiny.json").read_text())
        assert record["experiment"]["momentum"] == 0.9
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
        votes = np.zeros((30, 37), np.float32)
        votes[:, decision_tree.column(6, 2)] = 1
        votes[::2, [decision_tree.column(1, 1), decision_tree.column(7, 1)]] = 1
        votes[1::2, decision_tree.column(1, 3)] = 1
        load_data.save_array(prepared_survey.root / "data" / "solutions_train.npy", votes)
        for row, img_id in enumerate(prepared_survey.train_ids):
            image = np.full((424, 424, 3), 3 if row % 2 else 200, np.uint8)
            write_jpeg(prepared_survey.raw / "images_train_rev1" / f"{img_id}.jpg", image)
        # The recipe's rate is for layers thousands of units wide
        steady = dataclasses.replace(TINY, num_chunks=60, learning_rate_schedule={0: 0.5}, validate_every=60)
        analysis = run(run_main, prepared_survey, "--initialisation", "variance-preserving", experiment=steady)
        baseline = np.sqrt(np.mean((votes - votes.mean(axis=0)) ** 2))
        assert analysis["losses_train"][0] > 0.9 * baseline
        assert analysis["mean_valid_loss"] < 0.3 * baseline

    def test_flags_shorten_and_initialise(self, prepared_survey, run_main):
        analysis = run(run_main, prepared_survey, "--num-chunks", 1, "--chunk-size", 13)
        assert len(analysis["losses_train"]) == 1
        other = run(run_main, prepared_survey, "--num-chunks", 1, "--initialisation", "variance-preserving")
        assert other["param_stds"][4] > 1.6 * analysis["param_stds"][4]  # of the convolution

    def test_the_first_chunk_is_not_normalised_and_momentum_starts_anew_after_it(self, prepared_survey, monkeypatch):
        seen = []

        def spy(step, views, targets, norm_constraint, errors, stop):
            seen.append((step.normalisation, id(step.optimizer), step.optimizer.param_groups[0]["lr"]))
            keep.append(step.optimizer)
            errors.append(0.25)

        keep: list = []
        monkeypatch.setattr(training, "train_chunk", spy)
        monkeypatch.setattr(training, "is_stuck", lambda network: False)
        training.train(TINY, argparse_namespace())
        assert [(normalised, rate) for normalised, _, rate in seen] == [(False, 0.04), (True, 0.04), (True, 0.004)]
        assert seen[0][1] != seen[1][1] == seen[2][1]

    def test_a_last_partial_minibatch_counts_by_its_size(self):
        network = training.Network(TINY, torch.device("cpu"))
        rng = np.random.default_rng(0)
        views = [rng.random((11, 15, 15, 3)).astype(np.float32) for _ in range(2)]
        targets = rng.random((11, 37)).astype(np.float32)

        class NoStep:
            def zero_grad(self) -> None: ...
            def step(self) -> None: ...

        for layer in layers.all_layers(network.output_layer):
            layer.dropout = 0.0
        errors = training.read_errors(training.train_chunk(Step(network, NoStep(), True), views, targets))
        assert sum(errors) / 11 == pytest.approx(np.mean((network.predict(views) - targets) ** 2), rel=1e-5)

    def test_a_loss_that_is_no_number_ends_the_run_and_leaves_the_last_checkpoint(self, prepared_survey, monkeypatch):
        def spoil(step, views, targets, norm_constraint, errors, stop):
            errors.append(float("nan") if step.normalisation else 1.0)

        monkeypatch.setattr(training, "train_chunk", spoil)
        options = argparse_namespace()
        options.checkpoint_every = 1
        with pytest.raises(
            load_data.DataError, match=r"got nan in chunk 2; the last good checkpoint is .*000001-000000"
        ):
            training.train(TINY, options)
        assert len(list(load_data.folders.checkpoints("tiny").glob("*.pt"))) == 1

    def test_a_dead_network_ends_the_run(self, prepared_survey, monkeypatch):
        def kill(output_layer: layers.Layer) -> None:
            layers.reset_all_params(output_layer)
            with torch.no_grad():
                output_layer.input_layer.b.fill_(-100)  # no answer will ever be above zero

        monkeypatch.setitem(training.INITIALISATIONS, "2014", kill)
        with pytest.raises(
            load_data.DataError, match=r"stuck: all predictions are zero.* end of chunks 1 to 2; there is no"
        ):
            training.train(TINY, argparse_namespace())

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
            (MemoryError(), "memory ran out .*--chunk-size or --num-workers"),
            (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "--chunk-size"),
        ],
    )
    def test_want_of_memory_names_the_flags_that_lower_it(self, prepared_survey, run_main, monkeypatch, error, hint):
        def fail(*_: object) -> None:
            raise error

        monkeypatch.setattr(training, "train_chunk", fail)
        with pytest.raises(SystemExit, match=hint):
            run(run_main, prepared_survey)

    def test_a_processor_that_the_device_does_not_have_is_named(self, prepared_survey, run_main):
        polar = dataclasses.replace(TINY, processor_class=ra.LoadAndProcessPolar)
        with pytest.raises(SystemExit, match=r"LoadAndProcessPolar does more to an image.*--augment-on cpu"):
            run(run_main, prepared_survey, "--augment-on", "device", experiment=polar)

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
        mean = prepared_survey.votes[:27].mean(axis=0)
        np.testing.assert_allclose(submission.iloc[2, 1:], mean, atol=1e-6)
        assert np.abs(submission.iloc[1, 1:] - mean).max() > 1e-3

    def test_without_any_validation_image_there_is_no_run(self, prepared_survey, run_main):
        for img_id in prepared_survey.train_ids[27:]:
            (prepared_survey.raw / "images_train_rev1" / f"{img_id}.jpg").unlink()
        with pytest.raises(SystemExit, match="all of either are left out as bad"):
            run(run_main, prepared_survey, "--on-bad-image", "skip")

    def test_an_unknown_device_is_one_clear_line(self, prepared_survey, run_main):
        with pytest.raises(SystemExit, match="error: --device warp9 can not be used here"):
            run(run_main, prepared_survey, "--device", "warp9")


def test_analysis_pickles_hold_plain_values(tmp_path):
    training.save_analysis(tmp_path / "a.pkl", {"ids": np.arange(3), "losses_train": [0.5]}, {"seconds": 1.0})
    with (tmp_path / "a.pkl").open("rb") as file:
        assert pickle.load(file)["losses_train"] == [0.5]
    assert load_data.load_pickle(tmp_path / "a.pkl", "x.py")["ids"].tolist() == [0, 1, 2]
