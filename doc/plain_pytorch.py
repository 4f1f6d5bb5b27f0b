"""The winning network of 2014 in plain PyTorch: the best single model as a user would write it today.

Two views of a galaxy, 69 x 69 pixels, are cut into sixteen parts of 45 x 45: each view as it is and mirrored, each of
those turned by 0, 90, 180 and 270 degrees, and the upper left corner kept, in which the galaxy's centre is the lower
right. Four convolutions see each part alone; two maxout layers see all sixteen; the last layer gives the 37 vote
fractions of the decision tree.

Tests compare this network with the project's own, number by number; benchmarks compare the speed.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import skimage.io
import torch
from skimage.transform import ProjectiveTransform, warp
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from galaxy.affine import random_perturbation_transform
from galaxy.decision_tree import GALAXY_ZOO_2
from survey.draws import colour_channel_weights
from survey.views import Views


class UntiedBias(nn.Module):
    """Add a bias to every pixel of every feature map, not one to each map."""

    def __init__(self, *shape: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


class Maxout(nn.Module):
    """Keep the larger of two linear units."""

    def __init__(self, num_inputs: int, num_units: int):
        super().__init__()
        self.linear = nn.Linear(num_inputs, 2 * num_units)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).unflatten(1, (-1, 2)).amax(2)


class PlainNetwork(nn.Module):
    """Sixteen parts, four convolutions, two maxout layers, 37 answers: 42,377,125 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(  # a part: (3, 45, 45)
            nn.Conv2d(3, 32, 6, bias=False), UntiedBias(32, 40, 40), nn.ReLU(), nn.MaxPool2d(2),  # (32, 20, 20)
            nn.Conv2d(32, 64, 5, bias=False), UntiedBias(64, 16, 16), nn.ReLU(), nn.MaxPool2d(2),  # (64, 8, 8)
            nn.Conv2d(64, 128, 3, bias=False), UntiedBias(128, 6, 6), nn.ReLU(),  # (128, 6, 6)
            nn.Conv2d(128, 128, 3, bias=False), UntiedBias(128, 4, 4), nn.ReLU(), nn.MaxPool2d(2),  # (128, 2, 2)
            nn.Flatten(),  # 512 features of a part
        )  # fmt: skip
        self.dense = nn.Sequential(  # 16 x 512 features of a galaxy
            nn.Dropout(), Maxout(8192, 2048), nn.Dropout(), Maxout(2048, 2048), nn.Dropout(), nn.Linear(2048, 37)
        )
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, views: Sequence[Tensor]) -> Tensor:
        """Map two views (n, 3, 69, 69) to predictions (n, 37)."""
        parts = torch.cat([
            mirrored.rot90(turns, (2, 3))[:, :, :45, :45]
            for view in views for mirrored in (view, view.flip(3)) for turns in range(4)
        ])  # (16n, 3, 45, 45)  # fmt: skip
        features = self.convolutions(parts).unflatten(0, (16, -1)).transpose(0, 1)  # (n, 16, 512)
        return vote_fractions(self.dense(features.flatten(1)))


def vote_fractions(activations: Tensor) -> Tensor:
    """Turn activations (n, 37) into fractions (n, 37) of all volunteers, which obey the decision tree.

    The answers to a question share the fraction of the answer that led to it; questions 1 and 6 share 1.
    """
    positive, fractions = activations.relu(), []
    for question, answers in GALAXY_ZOO_2.slices.items():  # an answer comes before the questions that it leads to
        shares = positive[:, answers] / (positive[:, answers].sum(1, keepdim=True) + 1e-12)
        if scaling := GALAXY_ZOO_2.scaled_by[question]:
            shares = shares * torch.cat(fractions, 1)[:, list(scaling)].sum(1, keepdim=True)
        fractions.append(shares)
    return torch.cat(fractions, 1)


class Galaxies(Dataset):
    """Galaxies read and warped by scikit-image; an item is the views (3, rows, columns) and the labels (37,) of one.

    `paths` are JPEGs, `labels` (n, 37) their vote fractions. Perturbations are random, unless `transforms` lists them:
    then each galaxy has an item for each transform.
    """

    def __init__(self, views: Views, paths: Sequence[Path], labels: np.ndarray, transforms: Sequence | None = None):
        self.views, self.paths, self.labels, self.transforms = views, paths, labels, transforms

    def __len__(self) -> int:
        return len(self.paths) * (1 if self.transforms is None else len(self.transforms))

    def __getitem__(self, item: int) -> tuple[np.ndarray, ...]:
        galaxy, index = divmod(item, 1 if self.transforms is None else len(self.transforms))
        image = self.read(self.paths[galaxy])
        if self.transforms is None:
            tform = random_perturbation_transform(**self.views.perturbations)
            noise = np.random.default_rng().normal(0, self.views.colour_std) * colour_channel_weights
        else:
            tform, noise = self.transforms[index], 0
        views = [
            np.clip(self.warp(image, tform_ds + tform, size) + noise, 0, 1)
            for tform_ds, size in zip(self.views.ds_transforms, self.views.target_sizes, strict=True)
        ]
        return *(view.astype(np.float32).transpose(2, 0, 1) for view in views), self.labels[galaxy]

    def read(self, path: Path) -> np.ndarray:
        """Read an image (rows, columns, 3) from 0 to 1."""
        return skimage.io.imread(path) / 255.0

    def warp(self, image: np.ndarray, tform: ProjectiveTransform, size: tuple[int, int]) -> np.ndarray:
        """Warp an image to a view of a size (rows, columns)."""
        return warp(image, tform, output_shape=size, mode="reflect")


def loader(galaxies: Galaxies, batch_size: int, num_workers: int) -> DataLoader:
    """Return a loader of views (n, 3, rows, columns) and labels (n, 37); random ones are shuffled, in whole batches."""
    shuffle = galaxies.transforms is None
    return DataLoader(galaxies, batch_size, shuffle=shuffle, num_workers=num_workers, drop_last=shuffle)


def train(network: PlainNetwork, optimizer: torch.optim.Optimizer, batches: Iterable, device: torch.device) -> None:
    """Take a step for each batch (view, view, labels)."""
    for *views, labels in batches:
        optimizer.zero_grad()
        predictions = network([view.to(device) for view in views])
        functional.mse_loss(predictions, labels.to(device)).backward()
        optimizer.step()
