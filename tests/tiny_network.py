"""A network that trains in milliseconds, with the kinds of layers of the best model; an experiment with it."""

import dataclasses

import cc_layers
import custom
import layers
from engine.experiment import Steps
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT as BEST


def build_tiny_network(batch_size: int) -> tuple[list[layers.Layer], layers.Layer]:
    """Return the input layers and the output layer."""
    inputs = [layers.Input2DLayer(batch_size, 3, 15, 15) for _ in range(2)]
    parts = layers.MultiRotSliceLayer(inputs, part_size=9)  # (4n, 3, 9, 9)
    conv = cc_layers.CudaConvnetConv2DLayer(cc_layers.ShuffleBC01ToC01BLayer(parts), 4, 4, 0.1, 0.1, untie_biases=True)
    pool = cc_layers.ShuffleC01BToBC01Layer(cc_layers.CudaConvnetPooling2DLayer(conv, pool_size=2))  # (4n, 4, 3, 3)
    merged = layers.MultiRotMergeLayer(pool, num_views=4)
    dense = layers.DenseLayer(merged, 16, 0.05, 0.01, nonlinearity=layers.identity, dropout=0.5)
    maxout = layers.FeatureMaxPoolingLayer(dense, pool_size=2)
    top = layers.DenseLayer(maxout, 37, 0.01, 0.1, nonlinearity=layers.identity, dropout=0.5)
    return inputs, custom.OptimisedDivGalaxyOutputLayer(top)


TINY = dataclasses.replace(
    BEST,
    name="tiny",
    build_network=build_tiny_network,
    views=dataclasses.replace(BEST.views, target_sizes=[(15, 15), (15, 15)]),
    batch_size=8,
    chunk_size=24,
    num_chunks=3,
    num_steps_nonorm=3,
    learning_rate=Steps({0: 0.04, 2: 0.004}),
    validate_every=2,
    seed=0,
)
