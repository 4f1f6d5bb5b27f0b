"""Where the examples of a run come from: worker processes, or the accelerator itself.

Both make the same examples for the same seed (`survey.chunk_workers`, `device_augmentation`).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from skimage.transform import AffineTransform

from engine import device_augmentation
from engine.experiment import Experiment
from engine.options import Options
from galaxy.affine import tform_identity
from machine.files import DataError
from survey import bad_images, chunk_workers, images
from survey.folders import SUBSETS

# Examples at a time in inference, which bounds the memory beside training's two chunks.
INFERENCE_CHUNK_SIZE = 512

Arrays = list[np.ndarray] | list[torch.Tensor]


class Examples:
    """The examples of an experiment, made where the options say, for a network on a device.

    `bad` holds, for each subset, the images that are left out: the reason by index.
    """

    def __init__(self, experiment: Experiment, options: Options, device: torch.device):
        """Look at all images first; raises DataError for those that can not be read, unless they are to be left out."""
        self.experiment, self.options, self.device = experiment, options, device
        self.bad = {
            subset: bad_images.check_images(subset, options.on_bad_image, options.num_workers) for subset in SUBSETS
        }
        self.on_device = options.augment_on == "device" or (options.augment_on == "auto" and device.type != "cpu")
        if self.on_device and not experiment.views.only_affine:
            if options.augment_on == "device":
                raise DataError(
                    f"--augment-on device: the views of {experiment.name} have gamma or pixel noise, or a warp of "
                    "their own, which only worker processes make; use --augment-on cpu"
                )
            self.on_device = False
        self._images: dict[str, device_augmentation.Images] = {}

    def good(self, indices: np.ndarray, subset: str) -> np.ndarray:
        """Return the indices of images that are not left out."""
        return indices[~np.isin(indices, list(self.bad[subset]))]

    def with_bad(self, predictions: np.ndarray, indices: np.ndarray, subset: str) -> np.ndarray:
        """Return predictions (n, 37) of all indices (n,), given those of the good ones.

        An image that is left out gets the mean votes of the training galaxies, the best that is known of it.
        """
        train_indices, _ = images.split(len(images.ids_of("train")))
        rows = np.tile(images.load_labels()[train_indices].mean(axis=0), (len(indices), 1))
        rows[np.isin(indices, self.good(indices, subset))] = predictions
        return rows

    def left_out(self) -> dict[str, dict[str, str]]:
        """Return what is left out by subset and id, for the run record."""
        return {
            subset: {str(images.ids_of(subset)[index]): reason for index, reason in bad.items()}
            for subset, bad in self.bad.items()
        }

    @property
    def _workers(self) -> chunk_workers.Workers:
        return chunk_workers.Workers(self.options.num_workers, reuse_buffers=True)

    def _images_of(self, subset: str, resident: bool | None = None) -> device_augmentation.Images:
        if subset not in self._images:
            self._images[subset] = device_augmentation.Images(
                subset, self.device, self.options.num_workers, resident, self.bad[subset]
            )
        return self._images[subset]

    def training(self, first_chunk: int, indices: np.ndarray) -> Iterator[tuple[Arrays, np.ndarray | torch.Tensor]]:
        """Yield the chunks of a run from `first_chunk` on, the same ones wherever it starts: views and labels.

        Their examples are drawn from the training galaxies `indices`.
        """
        experiment, views = self.experiment, self.experiment.views
        numbers = range(first_chunk, experiment.num_chunks)
        draws = (views.draw(indices, experiment.chunk_size, experiment.seed, chunk) for chunk in numbers)
        labels = images.load_labels()
        if self.on_device:
            labels = torch.from_numpy(labels).to(self.device)
            source = self._images_of("train")
            for arrays, drawn in device_augmentation.drawn_chunks(source, views, draws, experiment.chunk_size):
                yield arrays, labels[drawn]
        else:
            for arrays, draw in chunk_workers.drawn_chunks(views, draws, experiment.chunk_size, self._workers):
                yield arrays, labels[draw.indices]

    def fixed(
        self,
        indices: np.ndarray,
        subset: str,
        transforms: Sequence[AffineTransform] = (tform_identity,),
        chunk_size: int = INFERENCE_CHUNK_SIZE,
    ) -> Iterator[Arrays]:
        """Yield the views of images under fixed transforms, some images at a time; all transforms of one together."""
        views = self.experiment.views
        if not len(indices):
            return
        chunk_size = min(max(chunk_size, len(transforms)), len(indices) * len(transforms))
        if self.on_device:
            # Each test image is looked at but once: it need not stay. Training images that stay already do.
            source = self._images_of(subset, resident=False)
            chunks = device_augmentation.fixed_chunks(source, views, indices, transforms, chunk_size)
        else:
            chunks = chunk_workers.fixed_chunks(views, indices, subset, transforms, chunk_size, self._workers)
        for arrays, num_rows in chunks:
            yield [array[:num_rows] for array in arrays]
