"""Where things lie, and which folders are in use: `folders.current`, the only state that is rebound.

Source: documentation of 2014, 3.1.
"""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path

from machine.files import DataError
from machine.processes import Start
from machine.shared_folders import touch

SUBSETS = ("train", "test")
# Kaggle's zips unpack to the second of the training set's names; 2014's scripts have the first.
_NAMES = {"train": ("images_train_rev1", "images_training_rev1"), "test": ("images_test_rev1",)}


@dataclass(frozen=True, eq=False)
class Folders:
    """The working folders: `data` is read, `analysis` and `predictions` are written.

    With `from_ram`, images are read from the copies that copy_data_to_shm.py made in `ram`. Two objects are never
    equal: what is read from files and kept is kept for as long as one of them is in use.
    """

    root: Path = Path(".")
    data_override: Path | None = None
    ram: Path = Path("/dev/shm")
    from_ram: bool = False

    @property
    def data(self) -> Path:
        return self.data_override or self.root / "data"

    @property
    def labels_csv(self) -> Path:
        """Kaggle's table of training labels."""
        return self.data / "raw" / "training_solutions_rev1.csv"

    @property
    def predictions(self) -> Path:
        return self.root / "predictions" / "final"

    def images(self, subset: str) -> Path:
        """Return the folder whose JPEGs of 'train' or 'test' are read."""
        return self.ram_images(subset) if self.from_ram else self.raw_images(subset)

    def ram_images(self, subset: str) -> Path:
        """Return the folder of the copies in memory."""
        return self.ram / _names(subset)[0]

    @functools.cache  # noqa: B019 (few objects; to look takes longer than to read a small file)
    def raw_images(self, subset: str) -> Path:
        """Return the folder of the originals, under whichever of its names is there."""
        candidates = [self.data / "raw" / name for name in _names(subset)]
        return next((path for path in candidates if path.is_dir()), candidates[0])

    def scan(self, subset: str) -> Path:
        """Return what is remembered of the last look at all images."""
        return self.root / "analysis" / f"images_{subset}{'_ram' if self.from_ram else ''}.json"

    def analysis(self, name: str) -> Path:
        """Return the analysis pickle of an experiment."""
        return self.root / "analysis" / "final" / f"{name}.pkl"

    def checkpoints(self, name: str) -> Path:
        """Return the folder of an experiment's checkpoints."""
        return self.root / "analysis" / "checkpoints" / name

    def lock(self, name: str, work: str) -> Path:
        """Return the lock that a process holds while it does such work ('train', 'predict') on an experiment."""
        return self.root / "analysis" / "locks" / f"{name}.{work}"

    def augmented(self, part: str, name: str) -> Path:
        """Return an experiment's predictions averaged over transforms, for the part 'valid' or for 'test'."""
        return self.predictions / "augmented" / part / f"{name}.npy.gz"


def _names(subset: str) -> tuple[str, ...]:
    if subset not in SUBSETS:
        raise ValueError(f"subset is one of {SUBSETS}, not {subset!r}")
    return _NAMES[subset]


current = Folders()


def use_folders(root: str | Path = ".", data: str | Path | None = None, ram: str | Path | None = None) -> Folders:
    """Read and write below `root` from now on; `data` names another data folder, `ram` copies to read images from."""
    for flag, folder in (("--root", root), ("--data", data)):
        if folder is None:
            continue
        touch(Path(folder))
        if Path(folder).exists() and not Path(folder).is_dir():
            raise DataError(f"{flag} is to be a folder, but {folder} is a file")
    chosen = Folders(Path(root), Path(data) if data is not None else None)
    return adopt(chosen if ram is None else dataclasses.replace(chosen, ram=Path(ram), from_ram=True))


def adopt(folders: Folders) -> Folders:
    """Read and write in these folders from now on."""
    global current
    current = folders
    return folders


def worker_start() -> Start:
    """Return how worker processes begin that read where this one does."""
    return Start(adopt, (current,))
