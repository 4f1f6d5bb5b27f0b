"""A student learns from teachers: its targets, its identity, its resumption, and the term that compares two views."""

import dataclasses
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from other_family import EXPERIMENT as OTHER
from tiny import CPU, OPTIONS, TINY, assert_same_result, interrupt_after, is_killed_at, refused, run

import layers
import try_distilled_lite0
import try_finetune_efficientnet_lite0
from engine import teaching, training
from engine.examples import Examples
from engine.experiment import Distillation
from engine.network import Network
from engine.options import choose, training_parser
from engine.steps import Trainer
from machine.arrays import save_array, save_gz
from machine.signals import UNFINISHED
from survey import folders, folds, images, label_weights
from survey.folds import Fold

TAUGHT = dataclasses.replace(
    OTHER, name="taught", num_chunks=2, distillation=Distillation(label_weight=0.25, unlabelled=1.0, consistency=0.5)
)
FLAGS = ("--teacher", "a", "b")


def write_teachers(*names: str, num_folds: int = 2) -> None:
    """Write predictions of teachers by all their folds."""
    rng = np.random.default_rng(5)
    for name in names:
        for fold in (Fold(index, num_folds) for index in range(1, num_folds + 1)):
            save_gz(
                folds.product("train", name + fold.suffix), rng.random((len(folds.predicted(fold)), 37), np.float32)
            )
            save_gz(folds.product("test", name + fold.suffix), rng.random((8, 37), np.float32))


def test_targets_mix_labels_and_the_mean_of_the_teachers(prepared_survey):
    write_teachers("a", "b")
    teachers = teaching.load(["a", "b.py", "a"])
    both = [folds.load_predictions(name, 37) for name in ("a", "b")]
    np.testing.assert_allclose(teachers.train, (both[0][0] + both[1][0]) / 2, atol=1e-6)
    np.testing.assert_allclose(teachers.test, (both[0][1] + both[1][1]) / 2, atol=1e-6)
    assert list(teachers.checksums) == ["a", "b"]
    labels = images.load_labels()
    train, test = teaching.mixed_targets(labels, teachers, 0.25)
    np.testing.assert_allclose(train, 0.25 * labels + 0.75 * teachers.train, atol=1e-6)
    np.testing.assert_array_equal(test, teachers.test)


def test_examples_have_the_targets_of_their_images(prepared_survey):
    write_teachers("a")
    save_array(label_weights.weights_npy(), np.linspace(0.5, 2, 30))
    teachers, one_view = teaching.load(["a"]), dataclasses.replace(TAUGHT.distillation, consistency=0.0)
    # Without perturbations an image has one view, by which it is known again.
    views = dataclasses.replace(
        OTHER.views, perturbations={key: (1, 1) if key == "zoom_range" else (0, 0) for key in OTHER.views.perturbations}
        | {"do_flip": False}, colour_std=0.0, gamma_std=0.0, noise_std=0.0,
    )  # fmt: skip
    taught = dataclasses.replace(TAUGHT, distillation=one_view, views=views)
    examples = Examples(taught, OPTIONS, CPU, teachers)
    targets = teaching.mixed_targets(examples.targets(np.arange(27)), teachers, 0.25)
    plain = [np.concatenate([v[0] for v in examples.fixed(np.arange(n), s)]) for n, s in ((27, "train"), (8, "test"))]
    [(arrays, made), *_] = list(examples.training(0, np.arange(27)))
    seen = set()
    for view, target in zip(arrays[0], made, strict=True):
        [(which, row)] = [(w, r) for w in (0, 1) for r, each in enumerate(plain[w]) if np.abs(view - each).max() < 1e-5]
        np.testing.assert_array_equal(target, targets[which][row])
        seen.add(which)
    assert seen == {0, 1} and made.shape[1] == 38


def test_a_run_resumes_to_the_same_bits_and_knows_its_teachers(prepared_survey, run_main, monkeypatch):
    write_teachers("a", "b")
    whole = run(run_main, prepared_survey, *FLAGS, experiment=TAUGHT)
    path = folders.current.analysis("taught")
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["teachers"] == teaching.load(["a", "b"]).checksums
    path.unlink()
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        interrupt_after(patch, 3, signal.SIGTERM)
        run(run_main, prepared_survey, *FLAGS, experiment=TAUGHT)
    assert ended.value.code == UNFINISHED
    script = type("Script", (), {"__name__": "taught", "main": staticmethod(lambda: training.main(TAUGHT))})
    flags = ("--device", "cpu", "--num-workers", 1)
    assert "teachers" in refused(run_main, prepared_survey.root, script, *flags, "--teacher", "a")
    assert_same_result(run(run_main, prepared_survey, *FLAGS, experiment=TAUGHT), whole)


LONG = dataclasses.replace(TAUGHT, name="long", num_chunks=12)


@pytest.mark.skipif("TORTURE" not in os.environ, reason="ten runs in processes of their own; make torture")
def test_a_run_that_is_killed_ten_times_ends_the_same(prepared_survey, run_main, tmp_path, one_thread):
    write_teachers("a", "b")
    script = tmp_path / "long.py"
    script.write_text(
        f"import sys\nsys.path.append({str(Path(__file__).parent)!r})\n"
        "import test_teaching\nfrom engine import training\ntraining.main(test_teaching.LONG)\n"
    )
    whole = run(run_main, prepared_survey, *FLAGS, experiment=LONG)
    folders.current.analysis("long").unlink()
    for kill in range(1, 11):
        assert is_killed_at(f"chunk {kill}/", script, *FLAGS)
    assert_same_result(run(run_main, prepared_survey, *FLAGS, experiment=LONG), whole)


class TestConsistency:
    def test_the_error_compares_with_the_average_of_weights_on_the_second_views(self):
        torch.manual_seed(0)
        network = Network(TAUGHT, CPU)
        layers.reset_all_params(network.output_layer)
        trainer = Trainer(TAUGHT, network)
        first, second = (torch.rand(8, 64, 64, 3) for _ in range(2))
        labels = torch.rand(8, 37)
        for chunk in range(2):
            trainer.take([first, second], labels, chunk, 0)
        with trainer.predicting():
            others = torch.from_numpy(network.predict([second]))
        state = torch.random.get_rng_state()
        error = trainer.error([first, second], labels, True).item()
        torch.random.set_rng_state(state)
        predictions = network.output_layer(network.activations([first]))
        expected = (predictions - labels).square().mean() + 0.5 * (predictions - others).square().mean()
        assert error == pytest.approx(expected.item(), rel=1e-5)

    def test_it_needs_an_average(self, prepared_survey, run_main):
        write_teachers("a")
        lonely = dataclasses.replace(TAUGHT, weight_average=None)
        script = type("Script", (), {"__name__": "taught", "main": staticmethod(lambda: training.main(lonely))})
        line = refused(run_main, prepared_survey.root, script, "--device", "cpu", "--teacher", "a")
        assert "compares with the average of weights" in line


def test_teachers_need_a_script_with_their_numbers(prepared_survey, run_main):
    script = type("Script", (), {"__name__": "tiny", "main": staticmethod(lambda: training.main(TINY))})
    line = refused(run_main, prepared_survey.root, script, "--device", "cpu", "--teacher", "a")
    assert "tiny declares no distillation" in line
    script = type("Script", (), {"__name__": "taught", "main": staticmethod(lambda: training.main(TAUGHT))})
    line = refused(run_main, prepared_survey.root, script, "--device", "cpu", "--teacher", "a")
    assert "expected predictions of all folds of a" in line


def test_epochs_count_labelled_examples(prepared_survey):
    parser = training_parser(TAUGHT)
    assert choose(TAUGHT, parser.parse_args(["--epochs", "8"])).num_chunks == 9  # 8 * 27 / 24
    assert choose(TAUGHT, parser.parse_args(["--epochs", "8", "--teacher", "a"])).num_chunks == 18
    assert choose(TAUGHT, parser.parse_args(["--epochs", "8", "--fold", "1/3"])).num_chunks == 6


def test_the_script_differs_from_lite0_in_few_numbers():
    ours, base = try_distilled_lite0.EXPERIMENT, try_finetune_efficientnet_lite0.EXPERIMENT
    differing = [
        field.name for field in dataclasses.fields(ours) if getattr(ours, field.name) != getattr(base, field.name)
    ]
    assert differing == ["name", "seed", "distillation"]
