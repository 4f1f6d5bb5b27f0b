"""Predict with maxout2048_extradense_pysex, averaged over sixty transforms."""

from engine import prediction
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense_pysex import EXPERIMENT

if __name__ == "__main__":
    prediction.main(EXPERIMENT)
