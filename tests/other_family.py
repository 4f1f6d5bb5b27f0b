"""A small residual network of one view, for tests: another family than 2014's, declared as any model is.

It stands for a pretrained backbone: batch norm, AdamW, a rate with warm-up, averaged weights, transforms of its own.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

import custom
import layers
import realtime_augmentation as ra
from engine import training
from engine.experiment import Cosine, Experiment
from engine.optimizers import AdamW


class Residual(nn.Module):
    """Two convolutions with batch norm beside a shortcut; halves rows and columns."""

    def __init__(self, n_inputs: int, n_outputs: int):
        super().__init__()
        self.first = nn.Conv2d(n_inputs, n_outputs, 3, stride=2, padding=1, bias=False)
        self.second = nn.Conv2d(n_outputs, n_outputs, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(n_inputs, n_outputs, 1, stride=2, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(n_outputs) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        inner, outer, beside = self.norms
        y = outer(self.second(torch.relu(inner(self.first(x)))))
        return torch.relu(y + beside(self.shortcut(x)))


def build_network(batch_size: int) -> tuple[list[layers.Layer], layers.Layer]:
    """Return the input layer and the output layer."""
    l0 = layers.Input2DLayer(batch_size, 3, 64, 64)
    stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
    features = nn.Sequential(stem, Residual(16, 16), Residual(16, 32), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    l1 = layers.ModuleLayer(l0, features, (batch_size, 32))
    l2 = layers.DenseLayer(l1, 37, weights_std=0.05, init_bias_value=-1.0, nonlinearity=layers.identity, dropout=0.2)
    return [l0], custom.SigmoidGalaxyOutputLayer(l2)


EXPERIMENT = Experiment(
    name=Path(__file__).stem,
    build_network=build_network,
    views=ra.Views(
        ds_transforms=[ra.build_ds_transform(4.0, target_size=(64, 64))],
        target_sizes=[(64, 64)],
        perturbations={
            "zoom_range": (0.8, 1.25),
            "rotation_range": (0, 360),
            "shear_range": (0, 0),
            "translation_range": (-8, 8),
            "do_flip": True,
        },
        colour_std=0.5,
        gamma_std=0.1,
        noise_std=0.01,
        placement=None,
        warp=ra.warp_views,
    ),
    test_transforms=[ra.build_flip_transform(rotation=90 * n, flip=n >= 4) for n in range(8)],
    batch_size=8,
    chunk_size=24,
    num_chunks=4,
    num_steps_nonorm=0,
    make_optimizer=AdamW(betas=(0.9, 0.99), weight_decay=0.05, share=0.5),
    learning_rate=Cosine(peak=0.01, warm_up=0.25),
    norm_constraint=None,
    weight_average=0.9,
    validate_every=2,
    seed=0,
)

if __name__ == "__main__":
    training.main(EXPERIMENT)
