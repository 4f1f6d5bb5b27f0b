"""EfficientNet-Lite0 that learns from teachers, on labelled and unlabelled images; the model in the box.

    python try_distilled_lite0.py --teacher try_finetune_efficientnet_lite0 --epochs 18

3,418,405 parameters. The teachers' predictions come from their folds (doc/distillation.md). Without --teacher it is
try_finetune_efficientnet_lite0.py. All numbers but those below are that script's. Two views predict nearly what eight
do: `export_model.py --views 2` makes a file that is fast, and `predict_galaxies.py --views 8` asks for all.
Source: Hinton et al. 2015 (arXiv 1503.02531); Tarvainen & Valpola 2017 (arXiv 1703.01780).
"""

import dataclasses
from pathlib import Path

from engine import training
from engine.experiment import Distillation
from try_finetune_efficientnet_lite0 import EXPERIMENT as BASE

EXPERIMENT = dataclasses.replace(
    BASE,
    name=Path(__file__).stem,
    distillation=Distillation(
        label_weight=0.75,  # of the label in the target of a labelled galaxy; the rest is the teachers' mean
        unlabelled=4.0,  # test images per training image; few labels, many images
        consistency=0.0,  # weight of the squared difference from the averaged network on another view
    ),
    seed=3,
)

if __name__ == "__main__":
    training.main(EXPERIMENT)
