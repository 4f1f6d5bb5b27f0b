"""The peers of the benchmarks of augmentation and training compute what they are compared by."""

import contextlib
import dataclasses
import os
import re
import sys

import numpy as np
import pytest
import torch
from tiny import CPU, TINY, draw_labels

import layers
import load_data
import realtime_augmentation as ra
from benchmarks import bench_augmentation, bench_scale, bench_training, peers
from benchmarks.peers import Work, prepared
from doc import plain_pytorch
from engine.network import Network
from survey import decoded_cache, folders, images
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT as BEST


@pytest.fixture
def work(prepared_survey, tmp_path):
    (tmp_path / "ram").mkdir()
    yield Work(dataclasses.replace(folders.current, ram=tmp_path / "ram"), 4)
    decoded_cache.forget()


def test_augmentation_s_peers_make_the_same_views(work):
    cached = work
    work.paths()
    decoded_cache.build("train", num_workers=1)
    from_jpegs = dataclasses.replace(work, folders=dataclasses.replace(work.folders, ram=work.folders.root))
    differences = bench_augmentation.check(from_jpegs, cached)
    assert set(differences) == {"grid_sample", "ours, from JPEGs", "ours, from the cache"}
    assert max(differences.values()) < 1e-4


def test_the_plain_network_is_ours():
    torch.manual_seed(0)
    ours = Network(BEST, CPU)
    layers.reset_variance_preserving(ours.output_layer)
    with torch.no_grad():
        ours.output_layer.input_layer.b.fill_(1)  # well above zero, so that no rounding decides which answers are
    theirs = plain_pytorch.PlainNetwork().eval()
    assert sum(param.numel() for param in theirs.parameters()) == 42_377_125
    # Ours from the top down, W before b; theirs from the bottom up.
    weights = [p for name, p in theirs.named_parameters() if name.endswith("weight")][::-1]
    biases = [p for name, p in theirs.named_parameters() if name.endswith("bias")][::-1]
    with torch.no_grad():
        for number, values in enumerate(layers.get_param_values(ours.output_layer)):
            values = torch.from_numpy(values)
            if number % 2:
                biases[number // 2].copy_(values)
            else:
                weights[number // 2].copy_(values.T if values.ndim == 2 else values.permute(3, 0, 1, 2))
    views = [torch.rand(2, 69, 69, 3) for _ in range(2)]
    with torch.inference_mode():
        predictions = theirs([view.permute(0, 3, 1, 2) for view in views])
    np.testing.assert_allclose(predictions, ours.predict(views), rtol=0, atol=1e-5)


def test_the_plain_loader_has_the_views_of_the_sixty_transforms(work):
    few = ra.sixty_transforms()[7:10]
    galaxies = plain_pytorch.Galaxies(BEST.views, work.paths()[:1], images.load_labels(), few)
    [(view0, view45, labels)] = list(plain_pytorch.loader(galaxies, 3, 0))
    image = load_data.load_image(load_data.train_ids[0])
    for row, tform in enumerate(few):
        for view, tform_ds in zip((view0, view45), BEST.views.ds_transforms, strict=True):
            expected = ra.fast_warp(image, tform_ds + tform, (69, 69)).transpose(2, 0, 1)
            np.testing.assert_allclose(view[row, :, 8:-8, 8:-8], expected[:, 8:-8, 8:-8], atol=1e-4)
    np.testing.assert_array_equal(labels, np.repeat(images.load_labels()[:1], 3, axis=0))


class Sleepless:
    def __call__(self):
        return lambda: None


def test_peers_run_in_turns_in_processes_of_their_own():
    environment = dict(os.environ)
    timings = peers.in_turns({"a": Sleepless(), "b": Sleepless()}, items=2, repeats=3)
    assert dict(os.environ) == environment
    assert list(timings) == ["a", "b"]
    assert all(0 <= each.lower <= each.median <= each.upper for each in timings.values())


def test_a_survey_is_simulated_where_none_is_named(capfd):
    before = folders.current
    with prepared(None, 12, 2) as simulated:
        assert folders.current is simulated
        assert len(images.load_ids("train")) == 12
        assert len(list(simulated.images("test").glob("*.jpg"))) == 2
    assert not simulated.root.exists()
    assert folders.current is before


def test_cost_is_measured_chunk_by_chunk(prepared_survey, monkeypatch):
    monkeypatch.setattr(bench_training, "EXPERIMENT", TINY)
    assert len(bench_training.seconds_a_chunk(CPU, steps=2, num_chunks=3)) == 3
    rows = bench_training.seconds_a_view_set(CPU, [1, 2], repeats=1)
    assert [row[:2] for row in rows] == [[1, 20], [1, 60], [2, 20], [2, 60]]


def memory(parent: int, workers: int) -> dict[str, int]:
    return {"parent RSS": parent, "parent PSS": 1, "workers RSS": workers, "workers PSS": 10**6}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_measured_and_judged(run_main, monkeypatch, capsys):
    monkeypatch.setattr(bench_scale, "MOST_GROWTH", 100)
    run_main(bench_scale, "memory", "--chunks", 10)
    measured = list(map(int, re.findall(r"memory at chunk (\d+): parent RSS \d+ kB", capsys.readouterr().out)))
    # Workers may end while their memory is read; then a chunk has no row.
    assert len(measured) >= 2 and set(measured) <= set(range(1, 11))
    monkeypatch.setattr(bench_scale, "prepared", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(bench_scale, "memory_of_chunks", lambda *_: {1: memory(100, 200), 9: memory(101, 205)})
    monkeypatch.setattr(bench_scale, "MOST_GROWTH", 0.03)
    run_main(bench_scale, "memory", "--chunks", 10)
    assert "chunk 1 to 9: parent RSS +1.00%, workers RSS +2.50%" in capsys.readouterr().out
    monkeypatch.setattr(bench_scale, "MOST_GROWTH", 0.02)
    with pytest.raises(SystemExit, match="expected memory to grow by 2% at most"):
        run_main(bench_scale, "memory", "--chunks", 10)


def test_a_plain_training_step_lowers_the_error():
    torch.manual_seed(0)
    network = plain_pytorch.PlainNetwork()
    batch = [torch.rand(2, 3, 69, 69) for _ in range(2)]
    labels = torch.from_numpy(draw_labels(2, np.random.default_rng(0))).float()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4)
    before = torch.nn.functional.mse_loss(network.eval()(batch), labels)
    plain_pytorch.train(network, optimizer, [(*batch, labels)] * 3, CPU)
    assert torch.nn.functional.mse_loss(network(batch), labels) < before
