"""Ids and images as arrays, `.npy.gz` files, and buffered generators.

The documented attributes `train_ids`, `test_ids`, `num_train` and `num_test` are loaded on first use, from the current
folders. So importing this module reads no file.

Source: documentation of 2014, 3.2.1.
"""

from collections.abc import Iterable

import numpy as np

from machine.arrays import load_gz, save_gz
from machine.buffering import buffered_gen_mp, threaded_gen
from survey import folders, images

__all__ = ["buffered_gen_mp", "load_gz", "load_image", "load_images", "save_gz", "threaded_gen"]


def __getattr__(name: str) -> object:
    if name in ("train_ids", "test_ids"):
        return images.ids_of(name.removesuffix("_ids"))
    if name in ("num_train", "num_test"):
        return len(images.ids_of(name.removeprefix("num_")))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_image(img_id: int, subset: str = "train", normalise: bool = True, from_ram: bool = False) -> np.ndarray:
    """Load the image of a galaxy, (424, 424, 3) RGB: float32 in [0, 1], or uint8 if `normalise` is False.

    With `from_ram`, read the copy that copy_data_to_shm.py made. Raises DataError if the image cannot be read.
    """
    current = folders.current
    folder = current.ram_images(subset) if from_ram else current.images(subset)
    remedy = "run copy_data_to_shm.py again" if from_ram or current.from_ram else "download it again"
    image = images.read_image(images.image_path(folder, img_id), remedy)
    return np.divide(image, np.float32(255), dtype=np.float32) if normalise else image


def load_images(
    img_ids: Iterable[int], subset: str = "train", normalise: bool = True, from_ram: bool = False
) -> np.ndarray:
    """Load the images of several galaxies, (n, 424, 424, 3), like `load_image`."""
    return np.stack([load_image(img_id, subset, normalise, from_ram) for img_id in img_ids])
