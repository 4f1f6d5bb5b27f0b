"""Predict with finetune_efficientnet_lite2, averaged over eight transforms."""

from engine import prediction
from try_finetune_efficientnet_lite2 import EXPERIMENT

if __name__ == "__main__":
    prediction.main(EXPERIMENT)
