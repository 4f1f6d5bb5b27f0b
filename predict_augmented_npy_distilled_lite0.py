"""Predict with distilled_lite0, averaged over eight transforms."""

from engine import prediction
from try_distilled_lite0 import EXPERIMENT

if __name__ == "__main__":
    prediction.main(EXPERIMENT)
