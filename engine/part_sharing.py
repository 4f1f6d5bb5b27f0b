"""Parts of views that several transforms share are convolved once.

A network sees sixteen parts of a galaxy: quarter turns of its views, unmirrored and mirrored. Many of the sixty
transforms differ by quarter turns or a mirror, so they show the same parts in another order. Equal parts are found by
slicing positions instead of pixels; only a fourth of all features is computed, the others are copied. The dense
layers see the parts of each transform in the transform's own order.

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
    """Predicts with a network under many transforms; the `representatives` among them show all different parts.

    `sources` (transforms, parts) is the position of each part among the parts of the representatives, (parts,
    representatives).
    """

    def __init__(self, network: Network, views: Views, transforms: Sequence[AffineTransform]):
        self.network, self.num_transforms, self.representatives = network, len(transforms), list(transforms)
        self.slicing, self.merging = _slicing_and_merging(layers.all_layers(network.output_layer), network.input_layers)
        if self.slicing is not None:
            # The positions of all views' pixels, sliced into parts as pixels would be.
            matrices = view_matrices(views.ds_transforms, [tform.params for tform in transforms], np.eye(3))
            positions = []
            for view, (rows, columns) in enumerate(views.target_sizes):
                x, y = np.meshgrid(np.arange(columns), np.arange(rows))
                grid = np.stack([x, y, np.ones_like(x)]).reshape(3, -1)
                of_view = (matrices[:, view, :2] @ grid).reshape(-1, 2, rows, columns)
                positions.append(torch.from_numpy(of_view).to(network.device))
            chosen, sources = _choose(_labels_of_parts(self.slicing(*positions), len(transforms)))
            self.representatives = [transforms[index] for index in chosen]
            self.sources = torch.from_numpy(sources).to(network.device)

    @torch.inference_mode()
    def predict(self, views: Sequence[np.ndarray | Tensor], images_a_batch: int) -> np.ndarray:
        """Return predictions (n, answers) averaged over the transforms.

        Views are (n * representatives, rows, columns, 3), all representatives of an image together.
        """
        views = [self.network.to_device(view) for view in views]
        num = len(self.representatives)
        batches = zip(*(view.split(images_a_batch * num) for view in views), strict=True)
        averages = [self._predict(batch).mean(dim=1) for batch in batches]
        return torch.cat(averages).cpu().numpy()

    def _predict(self, views: Sequence[Tensor]) -> Tensor:
        """Return predictions (images, transforms, answers)."""
        inputs = self.network.inputs(views)
        if self.slicing is not None:
            features = self.network.output_of(self.merging.input_layer, inputs, dropout_active=False)
            inputs = {self.merging: self.arrange(features)}
        return self.network.predictions(inputs).unflatten(0, (-1, self.num_transforms))

    def arrange(self, features: Tensor) -> Tensor:
        """Arrange features of parts as the merging layer's output for all transforms.

        (parts * images * representatives, ...) -> (images * transforms, parts * features)
        """
        num = len(self.representatives)
        by_image = features.flatten(1).unflatten(0, (self.slicing.num_parts, -1, num)).transpose(0, 1).flatten(1, 2)
        # (images, parts * representatives, features) -> (images, transforms * parts, features)
        arranged = by_image.index_select(1, self.sources.flatten())
        return arranged.unflatten(1, tuple(self.sources.shape)).flatten(0, 1).flatten(1)


def _slicing_and_merging(
    stack: Sequence[layers.Layer], input_layers: Sequence[layers.Layer]
) -> tuple[layers.MultiRotSliceLayer, layers.MultiRotMergeLayer] | tuple[None, None]:
    """Return the layers between which the parts are independent, if the network (all layers) slices its inputs once."""
    slicing = [layer for layer in stack if isinstance(layer, layers.MultiRotSliceLayer)]
    merging = [layer for layer in stack if isinstance(layer, layers.MultiRotMergeLayer)]
    if len(slicing) != 1 or len(merging) != 1 or list(slicing[0].input_layers) != input_layers:
        return None, None
    [slicing], [merging] = slicing, merging
    between = [layer for layer in layers.all_layers(merging) if layer not in layers.all_layers(slicing)]
    alone = slicing in layers.all_layers(merging) and all(len(layer.input_layers) == 1 for layer in between)
    return (slicing, merging) if alone and slicing.num_parts == merging.num_parts else (None, None)


def _labels_of_parts(sliced: Tensor, num_transforms: int) -> np.ndarray:
    """Number the parts (transforms, parts) by their positions (parts * transforms, 2, rows, columns)."""
    corners = sliced.cpu().numpy()[:, :, [0, 0, -1], [0, -1, 0]].reshape(len(sliced), -1)
    _, labels = np.unique(corners.round(6) + 0.0, axis=0, return_inverse=True)
    return labels.reshape(-1, num_transforms).T


def _choose(labels: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Choose transforms that show all parts; return them and the `sources` of all parts (transforms, parts)."""
    where: dict[int, tuple[int, int]] = {}
    chosen: list[int] = []
    for transform, parts in enumerate(labels.tolist()):
        if any(label not in where for label in parts):
            for part, label in enumerate(parts):
                where.setdefault(label, (part, len(chosen)))
            chosen.append(transform)
    sources = [[where[label][0] * len(chosen) + where[label][1] for label in parts] for parts in labels.tolist()]
    return chosen, np.array(sources)
