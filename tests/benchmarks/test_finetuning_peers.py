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
from benchmarks import bench_finetuning as bench
from benchmarks import ensemble_results
from benchmarks.bench_finetuning import PlainNetwork, PlainTraining
from benchmarks.peers import Work
from doc.plain_pytorch import loader
from engine.examples import Examples
from engine.network import Network
from survey import folders, images


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
