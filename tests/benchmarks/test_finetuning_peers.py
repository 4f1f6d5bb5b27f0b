"""The plain loop that fine-tuning is timed beside computes the same."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.transform import AffineTransform
from tiny import CPU, OPTIONS

import layers
import try_finetune_efficientnet_lite0
from benchmarks import bench_finetuning as bench
from benchmarks import cross_validation, ensemble_results
from benchmarks.bench_finetuning import PlainNetwork, PlainTraining
from benchmarks.peers import Work
from doc.plain_pytorch import loader
from engine.examples import Examples
from engine.network import Network
from machine.arrays import load_gz
from survey import folders, images
from survey.predictions import rmse


@pytest.fixture
def work(prepared_survey) -> Work:
    return Work(folders.current, 6)


def galaxies(paths: Sequence[Path], transforms: Sequence[AffineTransform] | None = None) -> bench.Galaxies:
    return bench.Galaxies(bench.EXPERIMENT.views, paths, images.load_labels(), transforms)


def test_the_plain_network_predicts_what_ours_does():
    torch.manual_seed(0)
    ours, plain = Network(bench.EXPERIMENT, CPU), PlainNetwork("lite0", 3).eval()
    layers.reset_without_loading(ours.output_layer)
    dense, backbone = [each for each in layers.all_layers(ours.output_layer) if each.params]
    plain.backbone.load_state_dict(backbone.module.state_dict())
    with torch.no_grad():
        dense.W.normal_(0, 0.1)
        plain.linear.weight.copy_(dense.W.T)
        plain.linear.bias.copy_(dense.b)
        views = torch.rand(2, 128, 128, 3)
        expected = plain(views.permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(ours.predict([views]), expected, rtol=0, atol=1e-5)


def test_the_plain_loop_sees_the_views_that_ours_does(work):
    [theirs, labels] = next(iter(loader(galaxies(work.paths(), bench.EIGHT), 8, 0)))
    [ours] = next(Examples(bench.EXPERIMENT, OPTIONS, CPU).fixed(np.arange(1), "train", bench.EIGHT))
    np.testing.assert_allclose(theirs.permute(0, 2, 3, 1).numpy(), ours, rtol=0, atol=1e-5)
    np.testing.assert_allclose(labels.numpy(), images.load_labels()[[0] * 8])


def test_a_plain_step_moves_what_ours_moves(work):
    network = PlainNetwork("lite0", 3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    training = PlainTraining(bench.EXPERIMENT, network, 0.9)
    error = training.take(iter(loader(galaxies(work.paths()[:2]), 2, 0)))
    assert 0 < error < 1
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    frozen = ("backbone.stem", "backbone.blocks.0.", "backbone.blocks.1.", "backbone.blocks.2.")
    assert not any(name.startswith(frozen) for name in moved)
    assert {"linear.weight", "backbone.blocks.3.expand.conv.weight", "backbone.head.norm.running_var"} <= moved


def test_each_peer_does_its_round(work, monkeypatch):
    small = dataclasses.replace(bench.EXPERIMENT, batch_size=2)
    monkeypatch.setattr(bench, "EXPERIMENT", small)
    monkeypatch.setattr(bench, "EIGHT", bench.EIGHT[:2])
    train, predict = bench.builds(work, work, steps=1, galaxies=2)
    assert 0 < train["ours, from JPEGs"]()() < 1
    assert predict["ours, from JPEGs"]()().shape == (2, 37)


def test_a_prediction_belongs_to_the_class_whose_mean_votes_are_nearest(tables):
    is_right = ensemble_results.scorer(tables[1], tables[3])
    labels = images.load_labels()
    smooth = labels[:, 0] > np.median(labels[:, 0])
    means = [labels[smooth == each].mean(axis=0) for each in (False, True)]
    of_valid = np.stack([means[int(each)] for each in smooth[-3:]])
    assert is_right(of_valid).all()
    of_valid[1] = means[1 - int(smooth[-2])]
    assert is_right(of_valid).tolist() == [True, False, True]


def test_each_galaxy_is_predicted_by_a_network_that_never_saw_it(
    prepared_survey, tables, tmp_path, run_main, monkeypatch, capsys
):
    small = dataclasses.replace(bench.EXPERIMENT, batch_size=8, chunk_size=16)
    monkeypatch.setattr(try_finetune_efficientnet_lite0, "EXPERIMENT", small)
    flags = ["--root", prepared_survey.root, *tables, "--folds", 2, "--epochs", 1, "--output", tmp_path / "folds"]
    run_main(cross_validation, *flags, bench.EXPERIMENT.name)
    labels = images.load_labels()
    predictions = np.empty((2, *labels.shape))
    for fold in range(2):
        indices = cross_validation.fold_of(len(labels), fold, 2)
        predictions[:, indices] = load_gz(
            tmp_path / "folds" / "cross_validation" / f"{bench.EXPERIMENT.name}_1epochs_fold{fold}of2.npy.gz"
        )
    assert (predictions[0] != predictions[1]).any()
    last = capsys.readouterr().out.splitlines()[-1].split("|")
    assert [cell.strip() for cell in (last[1], last[2], last[4])] == [
        "all",
        f"{rmse(predictions[0], labels):.4f}",
        f"{rmse(predictions[1], labels):.4f}",
    ]
    written = (tmp_path / "folds" / "cross_validation").stat().st_mtime_ns
    run_main(cross_validation, *flags, bench.EXPERIMENT.name)
    assert (tmp_path / "folds" / "cross_validation").stat().st_mtime_ns == written
    assert not list((prepared_survey.root / "analysis").rglob("*.pt"))


def test_folds_share_no_galaxy_and_hold_all():
    train, valid = cross_validation.split_of(30, fold=1, num_folds=3)
    assert valid.tolist() == list(range(1, 30, 3))
    assert sorted([*train, *valid]) == list(range(30))
