"""The best single model on galaxies centred and rescaled by what SExtractor sees (threshold 10).

    python try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense_pysexgen1_dup.py

42,377,125 parameters. Run extract_pysex_params_extra.py first.
Source: documentation of 2014, 2.2.4.
"""

import dataclasses
from pathlib import Path

import realtime_augmentation as ra
from engine import training
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT as BEST

EXPERIMENT = dataclasses.replace(
    BEST,
    name=Path(__file__).stem,
    views=dataclasses.replace(BEST.views, placement=ra.GEN1),
    seed=4,  # of weights, draws and dropout; no other of the seventeen has it
)

if __name__ == "__main__":
    training.main(EXPERIMENT)
