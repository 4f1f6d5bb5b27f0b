"""Folds of the training galaxies, and the predictions of networks that were trained without them.

Fold I of N is every N-th training galaxy, from the I-th on. A network of `--fold I/N` is not trained on them, and its
prediction script predicts them, the validation galaxies and the test galaxies. So all folds together predict each
training galaxy by a network that never saw its label. Fold 1/1 holds no galaxy out: all are predicted by a network that
was trained on them, which is of use for comparison only.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from machine.arrays import load_array
from machine.files import DataError
from survey import folders, images

_SUFFIX = re.compile(r"_fold([1-9][0-9]*)of([1-9][0-9]*)")


@dataclass(frozen=True)
class Fold:
    """Fold `index` of `num_folds`, counted from 1."""

    index: int
    num_folds: int

    @property
    def suffix(self) -> str:
        """The end of the name of an experiment that is trained without this fold."""
        return f"_fold{self.index}of{self.num_folds}"

    @property
    def flag(self) -> str:
        """The flag of this fold."""
        return f" --fold {self.index}/{self.num_folds}"

    def held_out(self, indices: np.ndarray) -> np.ndarray:
        """Return the training galaxies of the fold, of `indices` (n,)."""
        return indices[self.index - 1 :: self.num_folds]

    def trained(self, indices: np.ndarray) -> np.ndarray:
        """Return the training galaxies of the other folds; of fold 1/1 all."""
        return indices if self.num_folds == 1 else np.setdiff1d(indices, self.held_out(indices))


def of_name(name: str) -> Fold | None:
    """Return the fold in the name of an experiment, None without one."""
    match = _SUFFIX.search(name)
    return match and Fold(int(match[1]), int(match[2]))


def without_fold(name: str) -> str:
    """Return the name of an experiment without its fold."""
    return _SUFFIX.sub("", name)


def predicted(fold: Fold) -> np.ndarray:
    """Return the galaxies of 'train' that the network of a fold predicts: the fold, then the validation galaxies."""
    train, valid = images.split(len(images.ids_of("train")))
    return np.concatenate([fold.held_out(train), valid])


def product(subset: str, name: str) -> Path:
    """Return the file of the predictions of an experiment with a fold in its name, for 'train' or 'test'."""
    return folders.current.predictions / "folds" / subset / f"{name}.npy.gz"


def load_predictions(name: str, num_answers: int) -> tuple[np.ndarray, np.ndarray]:
    """Load the predictions (num_train, answers) and (num_test, answers) by the networks of all folds of an experiment.

    Validation and test galaxies have the mean over the folds. Raises DataError for a missing or damaged file.
    """
    paths = sorted(product("train", "").parent.glob(f"{name}_fold*of*.npy.gz"))
    nums = {of_name(path.name).num_folds for path in paths if of_name(path.name)}
    script = f"{name}.py and its prediction script"
    if len(nums) != 1:
        got = f"folds of {' and '.join(map(str, sorted(nums)))}" if nums else "none"
        raise DataError(
            f"expected predictions of all folds of {name} in {product('train', '').parent}, got {got}; "
            + ("remove all but one" if nums else f"run {script} with --fold 1/5 to --fold 5/5")
        )
    folds = [Fold(index, *nums) for index in range(1, max(nums) + 1)]
    num_train, num_test = len(images.ids_of("train")), len(images.ids_of("test"))
    _, valid = images.split(num_train)
    train, test = (np.zeros((num, num_answers), np.float64) for num in (num_train, num_test))
    for fold in folds:
        indices = predicted(fold)
        for subset, rows, num in (("train", indices, len(indices)), ("test", slice(None), num_test)):
            path = product(subset, name + fold.suffix)
            values = load_array(path, f"{script} with{fold.flag}", (num, num_answers), np.floating)
            if not np.isfinite(values).all():
                raise DataError(f"{path}: expected finite numbers, got NaN or infinity; run {script} with{fold.flag}")
            (train if subset == "train" else test)[rows] += values
    train[valid] /= len(folds)
    return train.astype(np.float32), (test / len(folds)).astype(np.float32)
