"""The survey that a benchmark runs on: the user's own, or one that is simulated for the occasion."""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from survey import folders, images
from survey.folders import Folders, adopt, use_folders

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Work:
    """The first `num` training galaxies of a survey, which peers in other processes look at."""

    folders: Folders
    num: int

    def paths(self) -> list[Path]:
        """Use the folders in this process and return the JPEGs."""
        folder = adopt(self.folders).images("train")
        return [Path(images.image_path(folder, id)) for id in images.ids_of("train")[: self.num]]


@contextlib.contextmanager
def prepared(root: Path | None, num_train: int, num_test: int = 8) -> Iterator[Folders]:
    """Use a prepared survey, or simulate one of that size and prepare it; it vanishes afterwards."""
    before = folders.current
    with tempfile.TemporaryDirectory() as temporary:
        if root is None:
            root = Path(temporary)
            print(f"simulating {num_train + num_test} galaxies", flush=True)
            steps = [
                ["simulate_galaxies.py", "--num-train", num_train, "--num-test", num_test],
                ["create_train_ids_file.py"],
                ["create_test_ids_file.py"],
                ["convert_training_labels_to_npy.py"],
            ]
            for step in steps:
                command = [sys.executable, ROOT / step[0], *step[1:], "--root", root]
                subprocess.run([str(each) for each in command], check=True, stdout=subprocess.DEVNULL)
        try:
            yield use_folders(root)
        finally:
            adopt(before)
