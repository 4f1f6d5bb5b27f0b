"""The best single model with 256 filters instead of 128 in the last convolution.

    python try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense_big256.py

76,081,061 parameters.
Source: documentation of 2014, 2.2.4.
"""

from functools import partial
from pathlib import Path

import cc_layers
import custom
import layers
import realtime_augmentation as ra
from engine import training
from engine.experiment import Experiment, Steps
from engine.optimizers import Nesterov


def build_network(batch_size: int) -> tuple[list[layers.Layer], layers.Layer]:
    """Return the input layers (the view, and the view turned by 45 degrees) and the output layer."""
    l0 = layers.Input2DLayer(batch_size, 3, 69, 69)  # (n, 3, 69, 69)
    l0_45 = layers.Input2DLayer(batch_size, 3, 69, 69)  # (n, 3, 69, 69)
    l0r = layers.MultiRotSliceLayer([l0, l0_45], part_size=45, include_flip=True)  # (16n, 3, 45, 45)
    l0s = cc_layers.ShuffleBC01ToC01BLayer(l0r)  # (3, 45, 45, 16n)

    # Initial std (2.3.3): 0.1 in the topmost convolution, 0.001 in large dense layers, else 0.01. Dropout: 2.3.4.
    conv = partial(cc_layers.CudaConvnetConv2DLayer, init_bias_value=0.1, untie_biases=True)
    l1a = conv(l0s, n_filters=32, filter_size=6, weights_std=0.01)  # (32, 40, 40, 16n)
    l1 = cc_layers.CudaConvnetPooling2DLayer(l1a, pool_size=2)  # (32, 20, 20, 16n)
    l2a = conv(l1, n_filters=64, filter_size=5, weights_std=0.01)  # (64, 16, 16, 16n)
    l2 = cc_layers.CudaConvnetPooling2DLayer(l2a, pool_size=2)  # (64, 8, 8, 16n)
    l3a = conv(l2, n_filters=128, filter_size=3, weights_std=0.01)  # (128, 6, 6, 16n)
    l3b = conv(l3a, n_filters=256, filter_size=3, weights_std=0.1)  # (256, 4, 4, 16n)
    l3 = cc_layers.CudaConvnetPooling2DLayer(l3b, pool_size=2)  # (256, 2, 2, 16n)
    l3s = cc_layers.ShuffleC01BToBC01Layer(l3)  # (16n, 256, 2, 2)
    j3 = layers.MultiRotMergeLayer(l3s, num_views=4)  # (n, 16384)

    maxout = {"weights_std": 0.001, "init_bias_value": 0.01, "nonlinearity": layers.identity, "dropout": 0.5}
    l4a = layers.DenseLayer(j3, n_outputs=4096, **maxout)  # (n, 4096)
    l4b = layers.FeatureMaxPoolingLayer(l4a, pool_size=2)  # (n, 2048)
    l4c = layers.DenseLayer(l4b, n_outputs=4096, **maxout)  # (n, 4096)
    l4 = layers.FeatureMaxPoolingLayer(l4c, pool_size=2)  # (n, 2048)
    l5 = layers.DenseLayer(
        l4, n_outputs=37, weights_std=0.01, init_bias_value=0.1, nonlinearity=layers.identity, dropout=0.5
    )
    return [l0, l0_45], custom.OptimisedDivGalaxyOutputLayer(l5)


VIEW = ra.build_ds_transform(3.0, target_size=(69, 69))  # the central 207 x 207 pixels, downsampled 3 times (2.1.1)

EXPERIMENT = Experiment(
    name=Path(__file__).stem,
    build_network=build_network,
    views=ra.Views(
        ds_transforms=[VIEW, VIEW + ra.build_augmentation_transform(rotation=45)],  # degrees (2.2.1)
        target_sizes=[(69, 69), (69, 69)],  # pixels, (rows, columns) of each view
        perturbations={
            "zoom_range": (1 / 1.3, 1.3),  # factor, log-uniform (2.1.2)
            "rotation_range": (0, 360),  # degrees, uniform
            "shear_range": (0, 0),  # degrees: shear neither helped nor hurt (6)
            "translation_range": (-4, 4),  # pixels of the image, uniform
            "do_flip": True,  # half of the examples are mirrored
        },
        colour_std=0.5,  # std of the draw along the first colour component (2.1.3)
        gamma_std=0.0,  # std of log(gamma): changes of gamma did not help (6)
        noise_std=0.0,  # std per pixel, pixels in [0, 1]: noise did not help (6)
        placement=None,  # galaxies as they lie in the images
        warp=ra.warp_views,
    ),
    test_transforms=ra.sixty_transforms(),  # 10 rotations x 3 zooms x mirrored or not (2.4.1)
    batch_size=16,  # examples, so 256 parts per step for the convolutions (2.3.2)
    chunk_size=10000,  # examples, loaded into GPU memory at a time (2.3.2)
    num_chunks=2500,  # 25 million examples (2.3.2)
    num_steps_nonorm=625,  # steps: one chunk of 2014 trains without normalisation (2.3.2)
    make_optimizer=Nesterov(momentum=0.9, weight_decay=0.0),  # dropout regularises instead (2.3.4)
    learning_rate=Steps({0: 0.04, 1800: 0.004, 2300: 0.0004}),  # first chunk: rate (2.3.2)
    norm_constraint=None,  # limits of weight norms came last, in two runs only (2.3.4)
    weight_average=None,  # validates and predicts with the last weights
    validate_every=20,  # chunks, as in 2014
    seed=7,  # of weights, draws and dropout; no other of the seventeen has it
)

if __name__ == "__main__":
    training.main(EXPERIMENT)
