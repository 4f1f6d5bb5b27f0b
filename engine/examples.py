"""The examples of a run, made by worker processes or by the accelerator itself.

Both make the same examples from the same seed (`survey.chunk_workers`, `device_augmentation`).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from skimage.transform import AffineTransform

from engine import device_augmentation
from engine.experiment import Experiment
from engine.options import Options
from engine.teaching import Teachers, mixed_targets
from galaxy.affine import tform_identity
from machine.files import DataError
from survey import bad_images, chunk_workers, images, label_weights, vote_counts
from survey.folders import SUBSETS
from survey.mixed_draws import MixedViews

# Examples per chunk in inference: bounds the memory beside training's two chunks.
INFERENCE_CHUNK_SIZE = 512

Arrays = list[np.ndarray] | list[torch.Tensor]


class Examples:
    """The examples of an experiment for a network on a device.

    `bad` maps each subset to its images that are left out: index -> reason.
    """

    def __init__(
        self, experiment: Experiment, options: Options, device: torch.device, teachers: Teachers | None = None
    ):
        """Check all images; raises DataError for images that cannot be read, unless the options leave them out.

        With `teachers`, training examples are labelled and unlabelled (`survey.mixed_draws`).
        """
        self.teachers = teachers
        self.experiment, self.options, self.device = experiment, options, device
        # Whether the targets of training contain counts of votes.
        self.with_counts = False
        self.bad = {
            subset: bad_images.check_images(subset, options.on_bad_image, options.num_workers) for subset in SUBSETS
        }
        self.on_device = options.augment_on == "device" or (options.augment_on == "auto" and device.type != "cpu")
        if self.on_device and not experiment.views.only_affine:
            if options.augment_on == "device":
                raise DataError(
                    f"--augment-on device: the views of {experiment.name} have gamma noise, pixel noise or their own "
                    "warp, which only worker processes can make; use --augment-on cpu"
                )
            self.on_device = False
        if self.on_device and teachers:
            if options.augment_on == "device":
                raise DataError(
                    "--augment-on device: only worker processes mix labelled and unlabelled images; use "
                    "--augment-on cpu"
                )
            self.on_device = False
        self._images: dict[str, device_augmentation.Images] = {}

    def good(self, indices: np.ndarray, subset: str) -> np.ndarray:
        """Return the indices of the images that are not left out."""
        return indices[~np.isin(indices, list(self.bad[subset]))]

    def split(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices of the galaxies for training and for validation, without bad images.

        With `all_galaxies` there is no validation. Raises DataError if either has no good image.
        """
        train, valid = (self.good(part, "train") for part in images.split(len(images.ids_of("train"))))
        if self.options.fold:
            train = self.good(self.options.fold.trained(images.split(len(images.ids_of("train")))[0]), "train")
        if self.options.all_galaxies:
            train, valid = np.concatenate([train, valid]), valid[:0]
        if not len(train) or not (len(valid) or self.options.all_galaxies):
            raise DataError(
                "expected images for training and for validation, but all images of one of them are bad and left out; "
                "replace the bad images"
            )
        return train, valid

    def with_bad(self, predictions: np.ndarray, indices: np.ndarray, subset: str) -> np.ndarray:
        """Return predictions (n, answers) of all images (n,), from the predictions of the good ones.

        An image that is left out gets the mean labels of the training galaxies.
        """
        train_indices, _ = images.split(len(images.ids_of("train")))
        rows = np.tile(images.load_labels()[train_indices].mean(axis=0), (len(indices), 1))
        rows[np.isin(indices, self.good(indices, subset))] = predictions
        return rows

    def left_out(self) -> dict[str, dict[str, str]]:
        """Return the images that are left out, subset -> id -> reason, for the run record."""
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

    def targets(self, indices: np.ndarray) -> np.ndarray:
        """Return the labels (num_train, answers), one more column if the galaxies `indices` have weights, and counts.

        Counts of votes, one column per question, are there if the error needs them (`with_counts`).
        """
        parts = [images.load_labels(), label_weights.normalised(indices)]
        parts.append(vote_counts.needed_counts() if self.with_counts else None)
        known = [values for values in parts if values is not None]
        return known[0] if len(known) == 1 else np.hstack(known)

    def training(self, first_chunk: int, indices: np.ndarray) -> Iterator[tuple[Arrays, np.ndarray | torch.Tensor]]:
        """Yield views and labels of a run's chunks from `first_chunk` on, drawn from the galaxies `indices`.

        A chunk is the same for any `first_chunk`. Labels are those of `targets`.
        """
        experiment, views = self.experiment, self.experiment.views
        chunks = range(first_chunk, experiment.num_chunks)
        if self.teachers:
            yield from self._taught(chunks, indices)
            return
        draws = (views.draw(indices, experiment.chunk_size, experiment.seed, chunk) for chunk in chunks)
        labels = self.targets(indices)
        if self.on_device:
            labels = torch.from_numpy(labels).to(self.device)
            source = self._images_of("train")
            for arrays, drawn in device_augmentation.drawn_chunks(source, views, draws, experiment.chunk_size):
                yield arrays, labels[drawn]
        else:
            for arrays, draw in chunk_workers.drawn_chunks(views, draws, experiment.chunk_size, self._workers):
                yield arrays, labels[draw.indices]

    @property
    def unlabelled(self) -> np.ndarray:
        """The indices of the test images that a run with teachers learns from."""
        if not self.teachers or not self.experiment.distillation.unlabelled:
            return np.empty(0, int)
        return self.good(np.arange(len(images.ids_of("test"))), "test")

    def _taught(self, chunks: range, indices: np.ndarray) -> Iterator[tuple[Arrays, np.ndarray]]:
        """Yield views and targets of chunks with teachers; with a consistency term, the second views follow."""
        experiment, distillation = self.experiment, self.experiment.distillation
        mixed = MixedViews(
            experiment.views, self.unlabelled, distillation.unlabelled, 1 + bool(distillation.consistency)
        )
        size = experiment.chunk_size
        draws = (mixed.draw(indices, size, experiment.seed, chunk, experiment.num_chunks) for chunk in chunks)
        train, test = mixed_targets(self.targets(indices), self.teachers, distillation.label_weight)
        for arrays, draw in chunk_workers.drawn_chunks(mixed, draws, size, self._workers):
            targets = np.empty((len(draw), train.shape[1]), np.float32)
            targets[~draw.unlabelled] = train[draw.indices[~draw.unlabelled]]
            targets[draw.unlabelled] = test[draw.indices[draw.unlabelled]]
            yield arrays, targets

    def fixed(
        self,
        indices: np.ndarray,
        subset: str,
        transforms: Sequence[AffineTransform] = (tform_identity,),
        chunk_size: int = INFERENCE_CHUNK_SIZE,
    ) -> Iterator[Arrays]:
        """Yield the views of images under fixed transforms in chunks; all transforms of an image are together."""
        views = self.experiment.views
        if not len(indices):
            return
        chunk_size = min(max(chunk_size, len(transforms)), len(indices) * len(transforms))
        if self.on_device:
            # Test images are used once, so they do not stay on the device; training images may be there already.
            source = self._images_of(subset, resident=False)
            chunks = device_augmentation.fixed_chunks(source, views, indices, transforms, chunk_size)
        else:
            chunks = chunk_workers.fixed_chunks(views, indices, subset, transforms, chunk_size, self._workers)
        for arrays, num_rows in chunks:
            yield [array[:num_rows] for array in arrays]
