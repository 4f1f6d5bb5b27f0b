"""What the checks of `gpu.py` train: the best model at rates that lead nowhere, and its kinds of layers in small.

    python benchmarks/trial.py {train,predict} {best,small} FLAGS

At the recipe's rate a rounding error of 1e-7 grows to one of 1e-2 within thirty steps (tried on a CPU): nothing that
rounds otherwise could be compared there. At these rates it stays below 1e-6, and whatever is done otherwise shows as
1e-4 or more.

Algorithms of cuDNN are the deterministic ones here, so that a run that went on can be compared bit for bit.

Where the environment has TRIAL_ENDS=SIGTERM:2:4, training sends itself that signal in step 4 of chunk 2, both counted
from 0: on a fast device, one that comes from elsewhere never falls within a chunk.
"""

import dataclasses
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

import cc_layers
import custom
import layers
from engine import prediction, training
from engine.experiment import Steps
from engine.steps import Trainer
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT

# Rates that change within chunks and between them, by the chunk.
RATES = Steps({0: 1e-4, 0.5: 1e-5, 1: 1e-4, 2: 1e-5, 2.5: 1e-4})


def build_small_network(batch_size: int) -> tuple[list[layers.Layer], layers.Layer]:
    """Return a network of the best model's kinds of layers that trains in milliseconds."""
    inputs = [layers.Input2DLayer(batch_size, 3, 15, 15) for _ in range(2)]
    parts = layers.MultiRotSliceLayer(inputs, part_size=9)
    conv = cc_layers.CudaConvnetConv2DLayer(cc_layers.ShuffleBC01ToC01BLayer(parts), 8, 4, 0.1, 0.1, untie_biases=True)
    pool = cc_layers.ShuffleC01BToBC01Layer(cc_layers.CudaConvnetPooling2DLayer(conv, pool_size=2))
    merged = layers.MultiRotMergeLayer(pool, num_views=4)
    dense = layers.DenseLayer(merged, 32, 0.05, 0.01, nonlinearity=layers.identity, dropout=0.5)
    maxout = layers.FeatureMaxPoolingLayer(dense, pool_size=2)
    top = layers.DenseLayer(maxout, 37, 0.01, 0.1, nonlinearity=layers.identity, dropout=0.5)
    return inputs, custom.OptimisedDivGalaxyOutputLayer(top)


BEST = dataclasses.replace(
    EXPERIMENT, name="trial_best", chunk_size=640, num_chunks=6, learning_rate=RATES, validate_every=4
)
SMALL = dataclasses.replace(
    BEST,
    name="trial_small",
    build_network=build_small_network,
    views=dataclasses.replace(EXPERIMENT.views, target_sizes=[(15, 15), (15, 15)]),
    batch_size=8,
    chunk_size=80,
)
EXPERIMENTS = {"best": BEST, "small": SMALL}


def end_in_step(name: str, chunk: int, number: int) -> None:
    """Have training send itself a signal in a step."""
    take = Trainer.take

    def ending(self: Trainer, *arguments: object) -> object:
        if arguments[-2:] == (chunk, number):
            os.kill(os.getpid(), getattr(signal, name))
        return take(self, *arguments)

    Trainer.take = ending


if __name__ == "__main__":
    torch.backends.cudnn.deterministic = True
    if ends := os.environ.get("TRIAL_ENDS"):
        of_signal, *place = ends.split(":")
        end_in_step(of_signal, *map(int, place))
    work = {"train": training.main, "predict": prediction.main}[sys.argv.pop(1)]
    work(EXPERIMENTS[sys.argv.pop(1)])
