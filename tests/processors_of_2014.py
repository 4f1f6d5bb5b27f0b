"""Classes that load and process images as those of 2014 did, for tests; any `processor_class` is like these."""

import threading
from collections.abc import Mapping, Sequence

import numpy as np
from skimage.transform import AffineTransform

import load_data
import realtime_augmentation as ra


class Plain:
    """Knows nothing of ours but the functions that 2014 documents."""

    def __init__(self, ds_transforms: Sequence[AffineTransform], augmentation_params: Mapping, target_sizes: Sequence):
        self.ds_transforms, self.params, self.target_sizes = ds_transforms, augmentation_params, target_sizes

    def __call__(self, img_index: int) -> list[np.ndarray]:
        image = load_data.load_image(load_data.train_ids[img_index])
        return ra.perturb_and_dscrop(image, self.ds_transforms, self.params, self.target_sizes)


class Marked(Plain):
    """Returns views that hold their index, and in a corner what it draws from NumPy's global generator."""

    def __call__(self, img_index: int) -> list[np.ndarray]:
        views = [np.full((*size, 3), float(img_index)) for size in self.target_sizes]
        views[0][0, 0] = np.random.uniform(size=3)  # noqa: NPY002 (as in 2014)
        return views


class Inverted(ra.LoadAndProcess):
    """A class of ours that does more when it is called."""

    def __call__(self, img_index: int) -> list[np.ndarray]:
        return [1 - view for view in super().__call__(img_index)]


class InvertedFixed(ra.LoadAndProcessFixed):
    """Likewise."""

    def __call__(self, img_index: int) -> list[list[np.ndarray]]:
        return [[1 - view for view in views] for views in super().__call__(img_index)]


class MirroredFixed(ra.LoadAndProcessFixed):
    """Made as in 2014, subset first, without the constructor of ours; its call reads the attributes of 2014."""

    def __init__(self, subset: str, ds_transforms: Sequence, augmentation_transforms: Sequence, target_sizes: Sequence):
        self.subset, self.ds_transforms = subset, ds_transforms
        self.augmentation_transforms, self.target_sizes = augmentation_transforms, target_sizes

    def __call__(self, img_index: int) -> list[list[np.ndarray]]:
        made = super().__call__(img_index)
        assert (len(made), len(made[0])) == (len(self.augmentation_transforms), len(self.ds_transforms))
        assert [view.shape[:2] for view in made[0]] == list(self.target_sizes)
        return [[view[:, ::-1] for view in views] for views in made]


class PlainFixed:
    """Made of four arguments and called with an index, as the classes of 2014 for fixed transforms."""

    def __init__(self, subset: str, ds_transforms: Sequence, augmentation_transforms: Sequence, target_sizes: Sequence):
        self.subset, self.rest = subset, (ds_transforms, augmentation_transforms, target_sizes)

    def __call__(self, img_index: int) -> list[list[np.ndarray]]:
        image = load_data.load_image(getattr(load_data, f"{self.subset}_ids")[img_index], self.subset)
        return ra.augment_fixed_and_dscrop(image, *self.rest)


class TooSmall(Plain):
    """Forgets the last column of each view."""

    def __call__(self, img_index: int) -> list[np.ndarray]:
        return [view[:, :-1] for view in super().__call__(img_index)]


class OneView(Plain):
    """Forgets the second view."""

    def __call__(self, img_index: int) -> list[np.ndarray]:
        return super().__call__(img_index)[:1]


class Nothing(Plain):
    """Forgets to return anything."""

    def __call__(self, img_index: int) -> None:
        super().__call__(img_index)


class OneTransform(PlainFixed):
    """Forgets all transforms but the first."""

    def __call__(self, img_index: int) -> list[list[np.ndarray]]:
        return super().__call__(img_index)[:1]


class Locked(Plain):
    """Keeps what can not be sent to another process."""

    def __init__(self, *arguments: object):
        super().__init__(*arguments)
        self.lock = threading.Lock()


class NotCalled:
    """Has no `__call__`."""

    def __init__(self, *arguments: object):
        pass
