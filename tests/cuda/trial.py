"""Train or predict with the network of the tests of this folder, as a script that a signal can end at a known step.

    python tests/cuda/trial.py {train,predict} {best,small} FLAGS

The learning rates are low: at the recipe's rate a rounding error of 1e-7 grows to 1e-2 within thirty steps (measured on
a CPU), so that no two ways of computing could be compared. At these rates it stays below 1e-6, and a step that differs
shows as 1e-4 or more.

cuDNN's deterministic algorithms are used, so that a resumed run can be compared bit for bit.

TRIAL_ENDS=SIGTERM:2:4 in the environment makes training send itself that signal in step 4 of chunk 2, both counted from
0. On a fast device, a signal from outside would never arrive within a chunk.
"""

import dataclasses
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # tests/
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the project

import torch
from tiny_network import build_tiny_network

from engine import prediction, training
from engine.experiment import Steps
from engine.steps import Trainer
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT

# Rates that change within chunks and between them, by the chunk.
RATES = Steps({0: 1e-4, 0.5: 1e-5, 1: 1e-4, 2: 1e-5, 2.5: 1e-4})
BEST = dataclasses.replace(
    EXPERIMENT, name="trial_best", chunk_size=640, num_chunks=6, learning_rate=RATES, validate_every=4
)
SMALL = dataclasses.replace(
    BEST,
    name="trial_small",
    build_network=build_tiny_network,
    views=dataclasses.replace(EXPERIMENT.views, target_sizes=[(15, 15), (15, 15)]),
    batch_size=8,
    chunk_size=80,
)
EXPERIMENTS = {"best": BEST, "small": SMALL}


def end_in_step(signal_name: str, chunk: int, step: int) -> None:
    """Make training send itself a signal in a step."""
    take = Trainer.take

    def ending(self: Trainer, *arguments: object) -> object:
        if arguments[-2:] == (chunk, step):
            os.kill(os.getpid(), getattr(signal, signal_name))
        return take(self, *arguments)

    Trainer.take = ending


if __name__ == "__main__":
    torch.backends.cudnn.deterministic = True
    if ends := os.environ.get("TRIAL_ENDS"):
        name, chunk, step = ends.split(":")
        end_in_step(name, int(chunk), int(step))
    work = {"train": training.main, "predict": prediction.main}[sys.argv.pop(1)]
    work(EXPERIMENTS[sys.argv.pop(1)])
