"""The parts that several transforms of a galaxy have in common are convolved once.

A network looks at sixteen parts of a galaxy: quarter turns of its views, unmirrored and mirrored. Of the sixty
transforms, many differ by quarter turns or a mirror, and so show the same parts in another order. Which ones is found
by slicing not pixels but their positions; the features of equal parts are then taken over, a fourth is computed. The
dense layers see the parts of each transform in its own order, as ever.

Source: documentation of 2014, 2.2.1 and 2.4.1.
"""

from collections.abc import Sequence

import numpy as np
import torch
from skimage.transform import AffineTransform
from torch import Tensor

import layers
from engine.network import Network
from galaxy.affine import view_matrices
from survey.views import Views


class PartSharing:
    """Predicts with a network under many transforms, of which `representatives` show all the parts there are."""

    def __init__(self, network: Network, views: Views, transforms: Sequence[AffineTransform]):
        self.network, self.num_transforms = network, len(transforms)
        self.slicing, self.merging = _slicing_and_merging(network)
        chosen = list(range(len(transforms)))
        if self.slicing is not None:
            chosen, found = _choose(self._same_parts(views, transforms))
            # The part that transform i has in place j is part part_of[i, j] of representative_of[i, j].
            self.part_of, self.representative_of = (torch.from_numpy(each).to(network.device) for each in found)
        self.representatives = [transforms[number] for number in chosen]

    def _same_parts(self, recipe: Views, transforms: Sequence[AffineTransform]) -> np.ndarray:
        """Return a number for each part of each transform, (transforms, parts), equal where the parts are."""
        matrices = view_matrices(recipe.ds_transforms, [tform.params for tform in transforms], np.eye(3))
        positions = []
        for view, (rows, columns) in enumerate(recipe.target_sizes):
            x, y = np.meshgrid(np.arange(columns), np.arange(rows))
            grid = np.stack([x, y, np.ones_like(x)]).reshape(3, -1)
            of_view = (matrices[:, view, :2] @ grid).reshape(-1, 2, rows, columns)
            positions.append(torch.from_numpy(of_view).to(self.network.device))
        sliced = self.slicing(*positions).cpu().numpy()
        corners = sliced[:, :, [0, 0, -1], [0, -1, 0]].reshape(len(sliced), -1)
        _, number = np.unique(corners.round(6) + 0.0, axis=0, return_inverse=True)
        return number.reshape(-1, len(transforms)).T

    @torch.inference_mode()
    def predict(self, views: Sequence[np.ndarray | Tensor], images_a_batch: int) -> np.ndarray:
        """Return predictions (n, 37) averaged over the transforms.

        Each of the views (n * representatives, rows, columns, 3) has the representatives of an image together.
        """
        views = [self.network.to_device(view) for view in views]
        num = len(self.representatives)
        batches = zip(*(view.split(images_a_batch * num) for view in views), strict=True)
        averages = [self._predict(batch, len(batch[0]) // num).mean(dim=1) for batch in batches]
        return torch.cat(averages).cpu().numpy()

    def _predict(self, views: Sequence[Tensor], num_images: int) -> Tensor:
        """Return predictions (images, transforms, 37)."""
        inputs = self.network.inputs(views)
        if self.slicing is not None:
            features = self.network.output_of(self.merging.input_layer, inputs, dropout_active=False)
            features = features.reshape(self.slicing.num_parts, num_images, len(self.representatives), -1)
            # (transforms, parts, images, features)
            arranged = features[self.part_of, :, self.representative_of]
            inputs = {self.merging: arranged.permute(2, 0, 1, 3).flatten(0, 1).flatten(1)}
        return self.network.predictions(inputs).unflatten(0, (num_images, self.num_transforms))


def _slicing_and_merging(
    network: Network,
) -> tuple[layers.MultiRotSliceLayer, layers.MultiRotMergeLayer] | tuple[None, None]:
    """Return the layers between which each part is on its own, where the network has one of each above its inputs."""
    found = layers.all_layers(network.output_layer)
    slicing = [layer for layer in found if isinstance(layer, layers.MultiRotSliceLayer)]
    merging = [layer for layer in found if isinstance(layer, layers.MultiRotMergeLayer)]
    if len(slicing) != 1 or len(merging) != 1 or list(slicing[0].input_layers) != network.input_layers:
        return None, None
    [slicing], [merging] = slicing, merging
    between = [layer for layer in layers.all_layers(merging) if layer not in layers.all_layers(slicing)]
    alone = slicing in layers.all_layers(merging) and all(len(layer.input_layers) == 1 for layer in between)
    return (slicing, merging) if alone and slicing.num_parts == merging.num_parts else (None, None)


def _choose(same: np.ndarray) -> tuple[list[int], tuple[np.ndarray, np.ndarray]]:
    """Choose transforms that have all parts among them, and say which part of which of them each part equals."""
    where: dict[int, tuple[int, int]] = {}
    chosen: list[int] = []
    for number, parts in enumerate(same.tolist()):
        if any(part not in where for part in parts):
            for place, part in enumerate(parts):
                where.setdefault(part, (place, len(chosen)))
            chosen.append(number)
    found = np.array([[where[part] for part in parts] for parts in same.tolist()])
    return chosen, (found[..., 0], found[..., 1])
