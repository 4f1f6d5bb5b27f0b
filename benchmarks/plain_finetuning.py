"""Fine-tuning as a user would write it today: a `Dataset` on OpenCV, a `DataLoader`, the network as it is published."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from skimage.transform import AffineTransform
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

import backbones
import custom
import layers
from engine.experiment import Experiment
from galaxy.affine import random_perturbation_transform
from survey import images
from survey.draws import colour_channel_weights


class PlainConvNorm(backbones.ConvNorm):
    """A convolution, then its norm, in training and in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(self.pad(x)))


class PlainNetwork(nn.Module):
    """EfficientNet-Lite below a linear layer and a softmax a question; its first blocks do not learn."""

    def __init__(self, variant: str, frozen_blocks: int):
        super().__init__()
        self.backbone = backbones.EfficientNetLite(variant)
        for each in self.backbone.modules():
            if isinstance(each, backbones.ConvNorm):
                each.__class__ = PlainConvNorm
        self.backbone.freeze(frozen_blocks)
        self.linear = nn.Linear(backbones.FEATURES, 37)
        # What turns 37 activations into predictions holds no parameters: it is ours.
        answers = layers.DenseLayer(layers.Input2DLayer(1, 1, 1, 1), 37, 0.01, 0.1)
        self.tree = [custom.GalaxyOutputLayer(answers)]

    def forward(self, images: Tensor) -> Tensor:
        return self.tree[0](self.linear(self.backbone(images)))


class Galaxies(Dataset):
    """Galaxies read and warped by OpenCV, at random or under given transforms, one view an item."""

    def __init__(self, experiment: Experiment, paths: Sequence[Path], transforms: Sequence[AffineTransform] | None):
        self.recipe, self.paths, self.transforms = experiment.views, paths, transforms
        self.labels = images.load_labels()

    def __len__(self) -> int:
        return len(self.paths) * (1 if self.transforms is None else len(self.transforms))

    def __getitem__(self, item: int) -> tuple[np.ndarray, np.ndarray]:
        number, which = divmod(item, 1 if self.transforms is None else len(self.transforms))
        image = cv2.cvtColor(cv2.imread(str(self.paths[number])), cv2.COLOR_BGR2RGB).astype(np.float32) / 255
        if self.transforms is None:
            tform = random_perturbation_transform(**self.recipe.perturbations)
            noise = np.float32(np.random.default_rng().normal(0, self.recipe.colour_std)) * colour_channel_weights
        else:
            tform, noise = self.transforms[which], np.float32(0)
        [ds_transform], [(rows, columns)] = self.recipe.ds_transforms, self.recipe.target_sizes
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        matrix = (ds_transform + tform).params[:2]
        view = cv2.warpAffine(image, matrix, (columns, rows), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
        return np.clip(view + noise, 0, 1).transpose(2, 0, 1), self.labels[number]


def loader(
    experiment: Experiment, paths: Sequence[Path], batch_size: int, num_workers: int, transforms: Sequence | None = None
) -> DataLoader:
    """Return a DataLoader of views (n, 3, rows, columns) and labels (n, 37)."""
    galaxies = Galaxies(experiment, paths, transforms)
    return DataLoader(galaxies, batch_size, shuffle=transforms is None, num_workers=num_workers)


class PlainTraining:
    """Steps of AdamW on a plain network, and the average of its weights."""

    def __init__(self, experiment: Experiment, network: PlainNetwork, decay: float):
        self.network = network.train()
        rule = experiment.make_optimizer
        self.optimizer = torch.optim.AdamW(network.parameters(), 1e-4, rule.betas, weight_decay=rule.weight_decay)
        self.average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=False)

    def take(self, batches: Iterator[tuple[Tensor, Tensor]]) -> float:
        """Take a step for each batch; return the root of the mean error."""
        total, number = 0.0, 0
        for views, labels in batches:
            self.optimizer.zero_grad()
            error = functional.mse_loss(self.network(views), labels)
            error.backward()
            self.optimizer.step()
            self.average.update_parameters(self.network)
            total, number = total + error.item(), number + 1
        return math.sqrt(total / number)
