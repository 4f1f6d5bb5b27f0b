"""Where the survey lies on disk, and how it becomes arrays: ids, labels, the split, JPEGs, `.npy.gz`, buffers.

The documented attributes `train_ids`, `test_ids`, `num_train` and `num_test` are read on first use from the folders
that `use_folders` named (the current one by default), so that importing this module reads nothing.

Source: documentation of 2014, 3.1 (paths) and 3.2.1 (this module).
"""

import argparse
import functools
import sys
from collections.abc import Callable, Iterable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import decision_tree
import jpeg
from buffering import buffered_gen_mp, exit_with_parent, threaded_gen
from jpeg import IMAGE_SHAPE
from lazy_modules import names_of
from storage import (
    DataError,
    duplicate,
    first_line,
    load_array,
    load_gz,
    load_pickle,
    load_predictions,
    replacing,
    save_array,
    save_gz,
    write_submission,
)

# What 2014 documents as this module's, and what its users need beside it.
__all__ = [
    "IMAGE_SHAPE",
    "DataError",
    "buffered_gen_mp",
    "exit_with_parent",
    "first_line",
    "load_array",
    "load_gz",
    "load_pickle",
    "load_predictions",
    "replacing",
    "save_array",
    "save_gz",
    "threaded_gen",
    "write_submission",
]

SUBSETS = ("train", "test")


@dataclass(frozen=True)
class Folders:
    """The working folders: `data` is read, `analysis` and `predictions` are written."""

    root: Path = Path(".")
    data_override: Path | None = None
    ram: Path = Path("/dev/shm")

    @property
    def data(self) -> Path:
        return self.data_override or self.root / "data"

    @property
    def solutions_csv(self) -> Path:
        return self.data / "raw" / "training_solutions_rev1.csv"

    @property
    def predictions(self) -> Path:
        return self.root / "predictions" / "final"

    @functools.cache  # noqa: B019 (of the few folders of a process; to join paths takes longer than to read a small file)
    def images(self, subset: str, from_ram: bool = False) -> Path:
        """Return the folder of a subset's JPEGs."""
        if subset not in SUBSETS:
            raise ValueError(f"subset is one of {SUBSETS}, not {subset!r}")
        return (self.ram if from_ram else self.data / "raw") / f"images_{subset}_rev1"

    def analysis(self, name: str) -> Path:
        """Return the analysis pickle of an experiment."""
        return self.root / "analysis" / "final" / f"{name}.pkl"

    def checkpoints(self, name: str) -> Path:
        """Return the folder of an experiment's checkpoints."""
        return self.root / "analysis" / "checkpoints" / name

    def augmented(self, subset: str, name: str) -> Path:
        """Return an experiment's predictions averaged over transforms; `subset` is 'valid' or 'test'."""
        return self.predictions / "augmented" / subset / f"{name}.npy.gz"


folders = Folders()


def use_folders(root: str | Path = ".", data: str | Path | None = None) -> Folders:
    """Read and write below `root` from now on; `data` names another data folder."""
    for flag, folder in (("--root", root), ("--data", data)):
        if folder is not None and Path(folder).exists() and not Path(folder).is_dir():
            raise DataError(f"{flag} is to be a folder, but {folder} is a file")
    return adopt(Folders(Path(root), Path(data) if data is not None else None))


def adopt(new_folders: Folders) -> Folders:
    """Read and write in these folders from now on, and forget what was read from others."""
    global folders
    folders = new_folders
    for name in _LAZY:
        globals().pop(name, None)
    return folders


def script_parser(description: str | None) -> argparse.ArgumentParser:
    """Return the argument parser that every script starts from: `--root` and `--data`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--root", default=".", metavar="DIR", help="holds data, analysis, predictions (default: here)")
    parser.add_argument("--data", metavar="DIR", help="another data folder (default: ROOT/data)")
    return parser


def positive_int(text: str) -> int:
    """Read a whole number of at least 1 from a command line."""
    return _int_from(1, text)


def natural_int(text: str) -> int:
    """Read a whole number of at least 0 from a command line."""
    return _int_from(0, text)


def _int_from(least: int, text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}, got {text}")
    return number


def run_script(main: Callable[[], None]) -> None:
    """Run a script's `main`; bad input ends it with one clear line and exit status 1, never with a stack trace."""
    try:
        main()
    except (DataError, OSError, BrokenProcessPool) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


_LAZY = ("train_ids", "test_ids", "num_train", "num_test")


# 2014's image operations were this module's; they are read when first asked for.
_image_helper = names_of("image_helpers", offered_by=__name__)


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        return _image_helper(name)
    subset = name.replace("num_", "").replace("_ids", "")
    ids = load_ids(subset)
    globals()[f"{subset}_ids"], globals()[f"num_{subset}"] = ids, len(ids)
    return globals()[name]


def load_ids(subset: str) -> np.ndarray:
    """Load the image ids of 'train' or 'test', (n,) integers, in the order of everything else."""
    path, made_by = folders.data / f"{subset}_ids.npy", f"create_{subset}_ids_file.py"
    ids = load_array(path, made_by, (None,), np.integer)
    if len(ids) == 0 or ids.min() < 0:
        raise DataError(f"{path}: expected ids, numbers of at least 0, got {ids[ids < 0][:1]}; run {made_by} again")
    if (twice := duplicate(ids)) is not None:
        raise DataError(f"{path}: expected each id once, got {twice} twice; run {made_by} again")
    return ids


def load_solutions() -> np.ndarray:
    """Load the weighted vote fractions of the training images, (num_train, 37) float32."""
    path, made_by = folders.data / "solutions_train.npy", "convert_training_labels_to_npy.py"
    solutions = load_array(path, made_by, (len(load_ids("train")), decision_tree.NUM_ANSWERS), np.floating)
    if not np.isfinite(solutions).all():
        raise DataError(f"{path}: expected finite numbers, got NaN or infinity; run {made_by} again")
    return solutions.astype(np.float32)


def read_solutions_csv(path: Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read Kaggle's table of training labels: ids (n,) int64 and votes (n, 37) float64, in the decision tree's order.

    Raises DataError for anything else.
    """
    import labels_table  # pandas takes half a second that only the preparation scripts pay

    return labels_table.read(path or folders.solutions_csv)


def split(num_train: int) -> tuple[np.ndarray, np.ndarray]:
    """Split 0..num_train-1 into training indices and validation indices: the last tenth (documentation 2.3.1)."""
    num_valid = num_train // 10
    if num_valid < 1:
        raise DataError(f"expected at least 10 training galaxies, to validate on a tenth of them, got {num_train}")
    indices = np.arange(num_train)
    return indices[:-num_valid], indices[-num_valid:]


def read_image(path: Path | str) -> np.ndarray:
    """Decode one JPEG into (424, 424, 3) uint8: rows, columns, RGB. Raises DataError for anything else."""
    try:
        return jpeg.decode_image(path)
    except ValueError as error:
        raise DataError(f"image {path} {error}; download it again") from None


def load_image(img_id: int, subset: str = "train", normalise: bool = True, from_ram: bool = False) -> np.ndarray:
    """Load a galaxy, (424, 424, 3): float32 in [0, 1], or uint8 where `normalise` is False."""
    image = read_image(f"{folders.images(subset, from_ram)}/{img_id}.jpg")
    return np.divide(image, np.float32(255), dtype=np.float32) if normalise else image


def load_images(
    img_ids: Iterable[int], subset: str = "train", normalise: bool = True, from_ram: bool = False
) -> np.ndarray:
    """Load several galaxies, (n, 424, 424, 3), as `load_image` does."""
    return np.stack([load_image(img_id, subset, normalise, from_ram) for img_id in img_ids])


def hms(seconds: float) -> str:
    """Write a duration as HH:MM:SS."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}"
