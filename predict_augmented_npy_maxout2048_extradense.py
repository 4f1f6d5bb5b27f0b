"""Predict with the best single model, averaged over sixty transforms (just over 4 hours in 2014)."""

from engine import prediction
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT

if __name__ == "__main__":
    prediction.main(EXPERIMENT)
