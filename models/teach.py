"""Write what the teachers of the model in the box predict, for `try_distilled_lite0.py --teacher class_and_votes`.

    python models/teach.py --root VOTES --classes CLASSES

VOTES has galaxies with votes ('train'), galaxies of which only a class is known ('test'), and the predictions of
try_finetune_efficientnet_lite0 by its folds. CLASSES has the same network, trained on class averages. The prediction is
the mean of two:

- the networks of the folds, which started from that of CLASSES and learned the votes;
- a ridge regression of the votes on features of several layers, of the network of CLASSES and of ImageNet's. A galaxy
  with votes is predicted by a fit to the other folds.

A prediction that contradicts a galaxy's class moves toward the mean votes of the class until it does not.
Source: Xie et al. 2020 (self-training, arXiv 1911.04252); Hoerl & Kennard 1970 (ridge regression).
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from machine.command_line import run_script

import layers
from catalogue.likely_path import classes_of
from engine.examples import Examples
from engine.network import Network, draw_network, find_device, load_network
from engine.options import Options, shared_parser
from galaxy.decision_tree import GALAXY_ZOO_2
from machine.arrays import save_gz
from machine.files import DataError
from survey import folders, images
from survey.folds import Fold, load_predictions, predicted, product
from survey.predictions import rmse
from try_finetune_efficientnet_lite0 import EXPERIMENT

NAME, NUM_FOLDS = "class_and_votes", 5
# Weights of the kernels of the network of classes: its last features, and its blocks 10 and 15 of 16; of ImageNet's
# network: block 14; and the penalty. The best of a few dozen choices in the same cross-validation on 500 galaxies:
# RMSE 0.1034, the last features alone 0.1072.
KERNELS, PENALTY = {(0, "last"): 0.5, (0, 10): 0.5, (0, 15): 1.0, (1, 14): 0.25}, 1.5
BLOCKS = (10, 14, 15)
# Views of a galaxy with votes, and of one without: the first, and one that is turned by 135 degrees.
VIEWS = {"train": tuple(range(8)), "test": (0, 3)}


class Features:
    """The features of a network: those below its top layer, and means, deviations and maxima of some blocks' maps."""

    def __init__(self, network: Network):
        self.network, self.maps = network, {}
        network.output_layer.eval()
        (backbone,) = (layer for layer in layers.all_layers(network.output_layer) if hasattr(layer, "module"))
        self.backbone = backbone
        for block in BLOCKS:
            backbone.module.blocks[block].register_forward_hook(
                lambda module, inputs, maps, block=block: self.maps.update({block: maps})
            )

    def __call__(self, views: Sequence[np.ndarray]) -> dict[int | str, np.ndarray]:
        """Return features (views, features) by block."""
        inputs = self.network.inputs([torch.as_tensor(view) for view in views])
        features = {"last": self.backbone.output(inputs, dropout_active=False)}
        for block, maps in self.maps.items():
            features[block] = torch.cat([maps.mean((2, 3)), maps.std((2, 3)), maps.amax((2, 3))], 1)
        return {block: values.numpy() for block, values in features.items()}


@torch.inference_mode()
def measure(networks: Sequence[Features], examples: Examples, subset: str) -> dict[tuple[int, int | str], np.ndarray]:
    """Return the features (n, features) of all images of a subset, by network and block, averaged over views."""
    transforms = [EXPERIMENT.test_transforms[view] for view in VIEWS[subset]]
    rows: dict[tuple[int, int | str], list[np.ndarray]] = {key: [] for key in KERNELS}
    for chunk in examples.fixed(np.arange(len(images.ids_of(subset))), subset, transforms, 64 * len(transforms)):
        for num, network in enumerate(networks):
            for block, values in network(chunk).items():
                if (num, block) in rows:
                    rows[num, block].append(values.reshape(-1, len(transforms), values.shape[1]).mean(1))
    return {key: np.concatenate(values) for key, values in rows.items()}


def ridge(known: dict, labels: np.ndarray, wanted: dict) -> np.ndarray:
    """Return predictions (n, 37) for the features `wanted`, fitted to the features `known` and labels (m, 37)."""
    kernel, cross = 0.0, 0.0
    for key, weight in KERNELS.items():
        mean, std = known[key].mean(0), known[key].std(0) + 1e-6
        fitted, new = (np.clip((features[key] - mean) / std, -5, 5) for features in (known, wanted))
        kernel = kernel + weight * fitted @ fitted.T / len(std)
        cross = cross + weight * new @ fitted.T / len(std)
    mean = labels.mean(0)
    fit = np.linalg.solve(kernel + PENALTY * np.eye(len(labels)), labels - mean)
    return GALAXY_ZOO_2.obey(np.clip(mean + cross @ fit, 0, 1))


def keep_class(predictions: np.ndarray, classes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Move predictions (n, 37) toward the mean votes `classes` (c, 37) until the class `known` (n,) is the nearest.

    A class of -1 is unknown: the prediction stays.
    """
    moved = predictions.copy()
    for step in np.linspace(0, 1, 41):
        nearest = ((moved[:, None] - classes) ** 2).sum(-1).argmin(1)
        wrong = (known >= 0) & (nearest != known)
        moved[wrong] = (predictions + step * (classes[known] - predictions))[wrong]
    return moved


def main() -> None:
    """Run the script."""
    parser = shared_parser(__doc__.split("\n\n")[0], examples=())
    parser.add_argument("--classes", type=Path, required=True, help="root of the network of classes")
    args = parser.parse_args()
    options = Options.from_args(args)

    def run() -> None:
        device = find_device("cpu")
        folders.use_folders(args.classes)
        networks = [Features(load_network(EXPERIMENT, device, "float32"))]
        networks += [Features(draw_network(EXPERIMENT, device, "float32", "2014"))]
        class_labels, class_ids = images.load_labels(), list(images.ids_of("train"))
        options.use_folders()
        labels, examples = images.load_labels().astype(np.float64), Examples(EXPERIMENT, options, device)
        known, wanted = (measure(networks, examples, subset) for subset in ("train", "test"))
        held_out = np.zeros_like(labels)
        for index in range(NUM_FOLDS):
            out = np.arange(len(labels)) % NUM_FOLDS == index
            inside, outside = ({key: values[rows] for key, values in known.items()} for rows in (~out, out))
            held_out[out] = ridge(inside, labels[~out], outside)
        tuned_train, tuned_test = load_predictions(EXPERIMENT.name, labels.shape[1])
        train, test = (held_out + tuned_train) / 2, (ridge(known, labels, wanted) + tuned_test) / 2
        print(
            f"RMSE: ridge {rmse(held_out, labels):.4f}, networks {rmse(tuned_train, labels):.4f}, "
            f"mean {rmse(train, labels):.4f}"
        )
        if not len(classes := classes_of(class_labels)):
            raise DataError(f"{args.classes}: expected labels that are class averages")
        row = {id: index for index, id in enumerate(class_ids)}
        nearest = ((class_labels[:, None] - classes) ** 2).sum(-1).argmin(1)
        known_class = np.array([nearest[row[id]] if id in row else -1 for id in images.ids_of("test")])
        test = keep_class(test, classes, known_class)
        for fold in (Fold(index, NUM_FOLDS) for index in range(1, NUM_FOLDS + 1)):
            for subset, values in (("train", train[predicted(fold)]), ("test", test)):
                path = product(subset, NAME + fold.suffix)
                path.parent.mkdir(parents=True, exist_ok=True)
                save_gz(path, values.astype(np.float32))
        print(f"wrote predictions of {NAME} to {product('train', '').parent.parent}")

    run_script(run)


if __name__ == "__main__":
    main()
