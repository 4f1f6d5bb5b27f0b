"""The paths of a data set's files, and the folders in use: `folders.current`, the only state that is rebound.

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
# 2014's scripts use the first name of the training set; Kaggle's zips unpack to the second.
_NAMES = {"train": ("images_train_rev1", "images_training_rev1"), "test": ("images_test_rev1",)}


@dataclass(frozen=True, eq=False)
class Folders:
    """The working folders: scripts read `data`, and write `analysis` and `predictions`.

    With `from_ram`, images are read from the copies of copy_data_to_shm.py in `ram`. Two objects never compare equal,
    so that arrays cached for one of them are not used for another.
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
        """Return the folder from which the JPEGs of 'train' or 'test' are read."""
        return self.ram_images(subset) if self.from_ram else self.raw_images(subset)

    def ram_images(self, subset: str) -> Path:
        """Return the folder of the copies in memory."""
        return self.ram / _names(subset)[0]

    @functools.cache  # noqa: B019 (few objects; a lookup takes longer than reading a small file)
    def raw_images(self, subset: str) -> Path:
        """Return the folder of the original JPEGs, under the first of its names that exists."""
        candidates = [self.data / "raw" / name for name in _names(subset)]
        return next((path for path in candidates if path.is_dir()), candidates[0])

    def scan(self, subset: str) -> Path:
        """Return the file with the result of the last scan for bad images."""
        return self.root / "analysis" / f"images_{subset}{'_ram' if self.from_ram else ''}.json"

    def analysis(self, name: str) -> Path:
        """Return the analysis pickle of an experiment."""
        return self.root / "analysis" / "final" / f"{name}.pkl"

    def checkpoints(self, name: str) -> Path:
        """Return the folder of an experiment's checkpoints."""
        return self.root / "analysis" / "checkpoints" / name

    def lock(self, name: str, work: str) -> Path:
        """Return the lock file that a process holds during its work ('train', 'predict') on an experiment."""
        return self.root / "analysis" / "locks" / f"{name}.{work}"

    def data_lock(self, work: str) -> Path:
        """Return the lock file of work on the data folder, which several roots can share."""
        return self.data / f".{work}.lock"

    def augmented(self, part: str, name: str) -> Path:
        """Return the file of an experiment's predictions, averaged over transforms, for 'valid' or 'test'."""
        return self.predictions / "augmented" / part / f"{name}.npy.gz"


def _names(subset: str) -> tuple[str, ...]:
    if subset not in SUBSETS:
        raise ValueError(f"subset is one of {SUBSETS}, not {subset!r}")
    return _NAMES[subset]


current = Folders()


def use_folders(root: str | Path = ".", data: str | Path | None = None, ram: str | Path | None = None) -> Folders:
    """Use the folders below `root`; `data` names another data folder, `ram` a folder with copies of the images."""
    for flag, folder in (("--root", root), ("--data", data)):
        if folder is None:
            continue
        touch(Path(folder))
        if Path(folder).exists() and not Path(folder).is_dir():
            raise DataError(f"{flag}: expected a folder, but {folder} is a file; name a folder")
    chosen = Folders(Path(root), Path(data) if data is not None else None)
    return adopt(chosen if ram is None else dataclasses.replace(chosen, ram=Path(ram), from_ram=True))


def adopt(folders: Folders) -> Folders:
    """Use these folders."""
    global current
    current = folders
    return folders


def worker_start() -> Start:
    """Return the start function of worker processes that use the same folders as this one."""
    return Start(adopt, (current,))
