"""Predict with 8433n_maxout2048_pysex, averaged over sixty transforms."""

from engine import prediction
from try_convnet_cc_multirotflip_3x69r45_8433n_maxout2048_pysex import EXPERIMENT

if __name__ == "__main__":
    prediction.main(EXPERIMENT)
