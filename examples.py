"""Where the examples of a run come from: worker processes, or the accelerator itself.

Both make the same examples for the same seed (`realtime_augmentation`, `device_augmentation`); the flags that choose
between them, and all others that training and prediction share, are declared here.
"""

import argparse
import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from skimage.transform import AffineTransform

import decoded_cache
import device_augmentation
import image_check
import load_data
import realtime_augmentation as ra
from experiment import PRECISIONS, Experiment
from load_data import DataError, positive_int

# Examples at a time where none are learnt from, which bounds the memory beside training's two chunks.
_FIXED_CHUNK_SIZE = 512

Views = list[np.ndarray] | list[torch.Tensor]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the run-time choices that training and prediction share."""
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: cuda where there is one)")
    parser.add_argument("--num-workers", type=positive_int, metavar="N", help="augmentation processes (default: cores)")
    parser.add_argument(
        "--chunk-size", type=positive_int, metavar="N", help="examples a chunk, two of which memory holds at a time"
    )
    parser.add_argument(
        "--from-ram", nargs="?", const="/dev/shm", metavar="DIR", help="read what copy_data_to_shm.py copied there"
    )
    parser.add_argument(
        "--on-bad-image",
        choices=image_check.ON_BAD_IMAGE,
        default="fail",
        help="end before any work, naming all images that can not be read (default), or leave them out",
    )
    parser.add_argument(
        "--augment-on",
        choices=("auto", "cpu", "device"),
        default="auto",
        help="make examples with worker processes or on the device (default: there, where it is an accelerator)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="tf32",
        help="of matrix products on an accelerator (default: tf32); bf16 also serves on a CPU that has it",
    )


def use_folders(options: argparse.Namespace) -> None:
    """Read and write where the flags say."""
    folders = load_data.use_folders(options.root, options.data)
    if options.from_ram:
        load_data.adopt(dataclasses.replace(folders, ram=Path(options.from_ram)))


@contextlib.contextmanager
def explain_want_of_memory() -> Iterator[None]:
    """Turn an error for want of memory into one that says what lowers it."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DataError(
            f"the device ran out of memory ({load_data.first_line(error)}); lower --chunk-size, have worker processes "
            "make the examples (--augment-on cpu), or leave the device to this run alone"
        ) from None
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "can't allocate memory" not in str(error):
            raise
        reason = load_data.first_line(error) or "none is left"
        raise DataError(f"memory ran out ({reason}); lower --chunk-size or --num-workers") from None


class Examples:
    """The examples of an experiment, made where the flags say, for a network on a device.

    `bad` holds, for each subset, the images that are left out: the reason by the image's position in the ids.
    """

    def __init__(self, experiment: Experiment, options: argparse.Namespace, device: torch.device):
        """Look at all images first; raises DataError for those that can not be read, unless they are to be left out."""
        self.experiment, self.options, self.device = experiment, options, device
        self.bad = {subset: self._find_bad(subset) for subset in load_data.SUBSETS}
        self.on_device = options.augment_on == "device" or (options.augment_on == "auto" and device.type != "cpu")
        if self.on_device and not device_augmentation.supports(experiment.processor_class):
            if options.augment_on == "device":
                raise DataError(
                    f"--augment-on device: {experiment.processor_class.__name__} does more to an image than to place "
                    "it, which worker processes can only; use --augment-on cpu"
                )
            self.on_device = False
        self._images: dict[str, device_augmentation.Images] = {}

    def _find_bad(self, subset: str) -> dict[int, str]:
        if decoded_cache.find(subset) is not None:  # all could be read when it was built
            return {}
        options = self.options
        return image_check.check_images(subset, options.on_bad_image, bool(options.from_ram), options.num_workers)

    def good(self, indices: np.ndarray, subset: str) -> np.ndarray:
        """Return the indices of images that are not left out."""
        return indices[~np.isin(indices, list(self.bad[subset]))]

    def with_bad(self, predictions: np.ndarray, indices: np.ndarray, subset: str) -> np.ndarray:
        """Return predictions (n, 37) of all indices (n,), given those of the good ones.

        An image that is left out gets the mean votes of the training galaxies, the best that is known of it.
        """
        train_indices, _ = load_data.split(load_data.num_train)
        rows = np.tile(load_data.load_solutions()[train_indices].mean(axis=0), (len(indices), 1))
        rows[np.isin(indices, self.good(indices, subset))] = predictions
        return rows

    def left_out(self) -> dict[str, dict[str, str]]:
        """Return what is left out by subset and id, for the run record."""
        ids = {subset: load_data.load_ids(subset) for subset in load_data.SUBSETS}
        return {
            subset: {str(ids[subset][position]): reason for position, reason in bad.items()}
            for subset, bad in self.bad.items()
        }

    def _on_device(self, subset: str, resident: bool | None = None) -> device_augmentation.Images:
        if subset not in self._images:
            options = self.options
            self._images[subset] = device_augmentation.Images(
                subset, self.device, options.num_workers, bool(options.from_ram), resident
            )
        return self._images[subset]

    def training(self, first_chunk: int, indices: np.ndarray | None = None) -> Iterator[tuple[Views, int]]:
        """Yield the chunks of a run from `first_chunk` on, the same ones wherever it starts: views, then labels."""
        of = self.experiment
        recipe = (
            of.num_chunks - first_chunk,
            of.chunk_size,
            dict(of.augmentation_params),
            of.ds_transforms,
            of.target_sizes,
            of.processor_class,
        )
        draws = {"colour_std": of.colour_std, "seed": of.seed, "first_chunk": first_chunk, "indices": indices}
        if self.on_device:
            return device_augmentation.realtime_augmented_data_gen(self._on_device("train"), *recipe, **draws)
        return ra.realtime_augmented_data_gen(
            *recipe,
            **draws,
            num_workers=self.options.num_workers,
            from_ram=bool(self.options.from_ram),
            reuse_buffers=True,
        )

    def fixed(
        self,
        indices: np.ndarray,
        subset: str,
        transforms: Sequence[AffineTransform] = (ra.tform_identity,),
        chunk_size: int = _FIXED_CHUNK_SIZE,
    ) -> Iterator[Views]:
        """Yield the views of images under fixed transforms, some images at a time; all transforms of one together."""
        of = self.experiment
        if not len(indices):
            return
        chunk_size = min(max(chunk_size, len(transforms)), len(indices) * len(transforms))
        if self.on_device:
            # Each test image is looked at but once: it need not stay.
            images = self._on_device(subset, resident=None if subset == "train" and subset in self._images else False)
            gen = device_augmentation.realtime_fixed_augmented_data_gen(
                images, indices, of.ds_transforms, transforms, chunk_size, of.target_sizes, of.processor_class_fixed
            )
        else:
            gen = ra.realtime_fixed_augmented_data_gen(
                indices,
                subset,
                of.ds_transforms,
                transforms,
                chunk_size,
                of.target_sizes,
                of.processor_class_fixed,
                num_workers=self.options.num_workers,
                from_ram=bool(self.options.from_ram),
                reuse_buffers=True,
            )
        for views, length in gen:
            yield [view[:length] for view in views]
