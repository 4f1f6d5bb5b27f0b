"""The best single model as a user would write it today: plain PyTorch, a `Dataset`, a `DataLoader`, scikit-image."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import skimage.io
import torch
from skimage.transform import AffineTransform, warp
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

import custom
import layers
from engine.experiment import Experiment
from galaxy.affine import random_perturbation_transform
from survey import images
from survey.draws import colour_channel_weights


class UntiedBias(nn.Module):
    """Adds a bias of its own to every pixel."""

    def __init__(self, *shape: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


class Maxout(nn.Module):
    """The larger of two linear units."""

    def __init__(self, num_inputs: int, num_units: int):
        super().__init__()
        self.linear = nn.Linear(num_inputs, 2 * num_units)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).unflatten(1, (-1, 2)).amax(2)


class PlainNetwork(nn.Module):
    """Sixteen parts, four convolutions, two maxout layers, 37 answers."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(3, 32, 6, bias=False), UntiedBias(32, 40, 40), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 5, bias=False), UntiedBias(64, 16, 16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(64, 128, 3, bias=False), UntiedBias(128, 6, 6), nn.ReLU(),
            nn.Conv2d(128, 128, 3, bias=False), UntiedBias(128, 4, 4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        )  # fmt: skip
        self.dense = nn.Sequential(
            nn.Dropout(), Maxout(8192, 2048), nn.Dropout(), Maxout(2048, 2048), nn.Dropout(), nn.Linear(2048, 37)
        )
        for each in self.modules():
            if isinstance(each, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(each.weight)
        # What turns 37 activations into predictions holds no parameters: it is ours.
        answers = layers.DenseLayer(layers.Input2DLayer(1, 1, 1, 1), 37, 0.01, 0.1)
        self.tree = [custom.OptimisedDivGalaxyOutputLayer(answers)]

    def to(self, device: torch.device) -> "PlainNetwork":
        """Move the network to a device."""
        self.tree[0].to(device)
        return super().to(device)

    def forward(self, views: Sequence[Tensor]) -> Tensor:
        """Map two views (n, 3, 69, 69) to predictions (n, 37)."""
        parts = []
        for view in views:
            for mirrored in (view, view.flip(3)):
                parts += [mirrored.rot90(turns, (2, 3))[:, :, :45, :45] for turns in range(4)]
        features = self.convolutions(torch.cat(parts))
        return self.tree[0](self.dense(features.unflatten(0, (16, -1)).transpose(0, 1).flatten(1)))


class Galaxies(Dataset):
    """Galaxies read and warped by scikit-image, at random or under given transforms, one view set an item."""

    def __init__(self, experiment: Experiment, paths: Sequence[Path], transforms: Sequence[AffineTransform] | None):
        self.recipe, self.paths, self.transforms = experiment.views, paths, transforms
        self.labels = images.load_labels()

    def __len__(self) -> int:
        return len(self.paths) * (1 if self.transforms is None else len(self.transforms))

    def __getitem__(self, item: int) -> tuple[np.ndarray, ...]:
        number, which = divmod(item, 1 if self.transforms is None else len(self.transforms))
        image = skimage.io.imread(self.paths[number]) / 255.0
        if self.transforms is None:
            tform = random_perturbation_transform(**self.recipe.perturbations)
            noise = np.random.default_rng().normal(0, self.recipe.colour_std) * colour_channel_weights
        else:
            tform, noise = self.transforms[which], 0
        views = [
            np.clip(warp(image, each + tform, output_shape=size, mode="reflect") + noise, 0, 1)
            for each, size in zip(self.recipe.ds_transforms, self.recipe.target_sizes, strict=True)
        ]
        return *(view.astype(np.float32).transpose(2, 0, 1) for view in views), self.labels[number]


def loader(
    experiment: Experiment, paths: Sequence[Path], batch_size: int, num_workers: int, transforms: Sequence | None = None
) -> DataLoader:
    """Return a DataLoader of views (n, 3, 69, 69) and labels (n, 37)."""
    galaxies = Galaxies(experiment, paths, transforms)
    return DataLoader(galaxies, batch_size, shuffle=transforms is None, num_workers=num_workers, drop_last=True)


def train(network: PlainNetwork, optimizer: torch.optim.Optimizer, batches: Iterator, device: torch.device) -> None:
    """Take a step for each batch."""
    for *views, labels in batches:
        optimizer.zero_grad()
        predictions = network([view.to(device) for view in views])
        functional.mse_loss(predictions, labels.to(device)).backward()
        optimizer.step()
