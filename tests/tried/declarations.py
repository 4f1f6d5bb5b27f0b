"""What 2014 tried and left out, each declared as a script would: `DECLARATIONS`, by the names of doc/tried.md.

They are the tests' tiny experiment, in which one thing is another. The page quotes the lines that matter, and a test
compares them. Views keep the sizes that a real model of the kind has; networks are narrow.
"""

import dataclasses
from collections.abc import Callable
from functools import partial

from tiny import TINY as BASE

import cc_layers
import custom
import layers
from engine.experiment import Experiment, Steps
from engine.optimizers import SGD, Adadelta, Adagrad, Nesterov, RMSprop
from tried import augmentation
from tried.cc_layers import (
    CudaConvnetAveragePooling2DLayer,
    CudaConvnetCircularConv2DLayer,
    CudaConvnetLpPooling2DLayer,
    CudaConvnetProbMaxPooling2DLayer,
    CudaConvnetStochasticPooling2DLayer,
)
from tried.layers import OutputLayer

# A layer made of the one below.
Make = Callable[[layers.Layer], layers.Layer]
Network = tuple[list[layers.Layer], layers.Layer]


def declare(name: str, **changes: object) -> Experiment:
    return dataclasses.replace(BASE, name=name.replace(" ", "_"), **changes)


def convolution(x: layers.Layer) -> layers.Layer:
    return cc_layers.CudaConvnetConv2DLayer(x, n_filters=4, filter_size=4, weights_std=0.1, init_bias_value=0.1)


def max_pooling(x: layers.Layer) -> layers.Layer:
    return cc_layers.CudaConvnetPooling2DLayer(x, pool_size=2)


def build_network(
    batch_size: int,
    convolve: Make = convolution,
    pool: Make = max_pooling,
    finish: Make = custom.OptimisedDivGalaxyOutputLayer,
    size: int = 15,
    part_size: int = 9,
) -> Network:
    """Return two views of `size` pixels, cut into parts, and one layer of each kind above them."""
    inputs = [layers.Input2DLayer(batch_size, 3, size, size) for _ in range(2)]
    x = layers.MultiRotSliceLayer(inputs, part_size, include_flip=True)
    x = pool(convolve(cc_layers.ShuffleBC01ToC01BLayer(x)))
    return inputs, finish(dense(layers.MultiRotMergeLayer(cc_layers.ShuffleC01BToBC01Layer(x), num_views=4)))


def dense(x: layers.Layer) -> layers.Layer:
    return layers.DenseLayer(x, 37, weights_std=0.01, init_bias_value=0.1, nonlinearity=layers.identity, dropout=0.5)


def overlapping(x: layers.Layer) -> layers.Layer:
    return cc_layers.CudaConvnetPooling2DLayer(x, pool_size=3, stride=2)


def stochastic(x: layers.Layer) -> layers.Layer:
    return CudaConvnetStochasticPooling2DLayer(x, pool_size=2)


def average(x: layers.Layer) -> layers.Layer:
    return CudaConvnetAveragePooling2DLayer(x, pool_size=2)


def lp(x: layers.Layer) -> layers.Layer:
    return CudaConvnetLpPooling2DLayer(x, pool_size=2, p=2.0)


def probabilistic(x: layers.Layer) -> layers.Layer:
    return CudaConvnetProbMaxPooling2DLayer(x, pool_size=2)


def strided(x: layers.Layer) -> layers.Layer:
    x = cc_layers.CudaConvnetConv2DLayer(x, 4, filter_size=12, stride=2, weights_std=0.01, init_bias_value=0.1)
    return cc_layers.CudaConvnetPooling2DLayer(x, pool_size=4)


def maxout(x: layers.Layer) -> layers.Layer:
    x = cc_layers.CudaConvnetConv2DLayer(x, 8, 4, 0.1, 0.1, nonlinearity=layers.identity, untie_biases=True)
    return layers.FeatureMaxPoolingLayer(x, pool_size=2, feature_dim=0)


def build_multiscale_network(batch_size: int) -> Network:
    """Return three views, and a network with a column of convolutions for each."""
    inputs = [layers.Input2DLayer(batch_size, 3, 69, 69) for _ in range(3)]
    columns = []
    for view in inputs:
        x = cc_layers.ShuffleBC01ToC01BLayer(view)
        x = cc_layers.CudaConvnetConv2DLayer(x, 4, 6, weights_std=0.1, init_bias_value=0.1)
        x = cc_layers.CudaConvnetPooling2DLayer(x, pool_size=16)
        columns.append(layers.FlattenLayer(cc_layers.ShuffleC01BToBC01Layer(x)))
    return inputs, custom.OptimisedDivGalaxyOutputLayer(dense(layers.ConcatenateLayer(columns)))


def build_polar_network(batch_size: int) -> Network:
    """Return a polar view, and a network whose convolutions go round."""
    view = layers.Input2DLayer(batch_size, 3, 34, 120)
    x = cc_layers.ShuffleBC01ToC01BLayer(view)
    x = CudaConvnetCircularConv2DLayer(x, 4, filter_size=6, stride=2, weights_std=0.1, init_bias_value=0.1)
    x = cc_layers.CudaConvnetPooling2DLayer(x, pool_size=10)
    return [view], custom.OptimisedDivGalaxyOutputLayer(dense(cc_layers.ShuffleC01BToBC01Layer(x)))


EXPERIMENTS = [
    declare("pixel noise", views=dataclasses.replace(BASE.views, noise_std=0.1)),
    declare("gamma", views=dataclasses.replace(BASE.views, gamma_std=0.5, colour_std=0.0)),
    declare(
        "shear",
        views=dataclasses.replace(BASE.views, perturbations={**BASE.views.perturbations, "shear_range": (-20, 20)}),
    ),
    declare("brightness norm", views=dataclasses.replace(BASE.views, warp=augmentation.brightness_norm_views)),
    declare(
        "multiscale",
        views=dataclasses.replace(
            BASE.views,
            ds_transforms=augmentation.ds_transforms_multiscale,
            target_sizes=augmentation.target_sizes_multiscale,
        ),
        build_network=build_multiscale_network,
    ),
    declare(
        "polar views",
        views=dataclasses.replace(
            BASE.views,
            ds_transforms=augmentation.ds_transforms_polar,
            target_sizes=augmentation.target_sizes_polar,
            warp=augmentation.polar_views,
        ),
        build_network=build_polar_network,
    ),
    declare(
        "strided convolution",
        views=dataclasses.replace(
            BASE.views,
            ds_transforms=augmentation.ds_transforms_strided,
            target_sizes=augmentation.target_sizes_strided,
        ),
        build_network=partial(build_network, convolve=strided, size=138, part_size=90),
    ),
    declare("overlapping pooling", build_network=partial(build_network, pool=overlapping)),
    declare("stochastic pooling", build_network=partial(build_network, pool=stochastic)),
    declare("average pooling", build_network=partial(build_network, pool=average)),
    declare("Lp pooling", build_network=partial(build_network, pool=lp)),
    declare("probabilistic max-pooling", build_network=partial(build_network, pool=probabilistic)),
    declare("less overlap of parts", build_network=partial(build_network, part_size=8)),
    declare("maxout of maps", build_network=partial(build_network, convolve=maxout)),
    declare(
        "momentum of 0.99",
        make_optimizer=Nesterov(momentum=0.99, weight_decay=0.0),
        learning_rate=Steps({0: 0.004, 2: 0.0004}),
    ),
    declare("plain SGD", make_optimizer=SGD()),
    declare("Adagrad", make_optimizer=Adagrad(epsilon=1e-6), learning_rate=Steps({0: 0.01})),
    declare("RMSprop", make_optimizer=RMSprop(rho=0.9, epsilon=1e-6), learning_rate=Steps({0: 0.001})),
    declare("Adadelta", make_optimizer=Adadelta(rho=0.95, epsilon=1e-6), learning_rate=Steps({0: 1.0})),
    declare("a softmax per question", build_network=partial(build_network, finish=custom.GalaxyOutputLayer)),
    declare("no tree", build_network=partial(build_network, finish=OutputLayer), num_steps_nonorm=0),
]
DECLARATIONS = {experiment.name.replace("_", " "): experiment for experiment in EXPERIMENTS}
