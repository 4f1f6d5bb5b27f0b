"""What the blend of a whole ensemble takes: the peak of memory of ensemble_predictions_npy.py, of made-up predictions.

    python benchmarks/bench_blending.py --models 20

As many galaxies as the real survey has: 61,578 of the training set, a tenth of which is weighed, and 79,975 of the test
set. Ends with an error where the peak is above a gigabyte.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, os.fspath(Path(__file__).resolve().parent.parent))

from galaxy import decision_tree
from machine.command_line import positive_int
from machine.files import save_array, save_gz
from survey import images
from survey.folders import use_folders

ROOT = Path(__file__).resolve().parent.parent
NUM_TRAIN, NUM_TEST = 61_578, 79_975
MOST_BYTES = 1e9


def write_survey(root: Path, num_models: int) -> None:
    """Write labels, ids and the predictions of so many models, each the truth with noise of its own."""
    folders, rng = use_folders(root), np.random.default_rng(0)

    def draw(num: int) -> np.ndarray:
        fractions = rng.gamma(0.5, size=(num, decision_tree.NUM_ANSWERS))
        for columns in decision_tree.SLICES.values():
            fractions[:, columns] /= fractions[:, columns].sum(axis=1, keepdims=True)
        return decision_tree.weigh(fractions).astype(np.float32)

    labels, test = draw(NUM_TRAIN), draw(NUM_TEST)
    save_array(folders.data / "solutions_train.npy", labels)
    save_array(folders.data / "train_ids.npy", np.arange(NUM_TRAIN))
    save_array(folders.data / "test_ids.npy", np.arange(NUM_TEST))
    _, valid = images.split(NUM_TRAIN)
    for model in range(num_models):
        for part, truth in (("valid", labels[valid]), ("test", test)):
            noise = 0.1 * rng.standard_normal(truth.shape, np.float32)
            save_gz(folders.augmented(part, f"model_{model:02d}"), (truth + noise).clip(0, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=positive_int, default=20, metavar="N", help="default: 20")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        write_survey(Path(root), args.models)
        command = [sys.executable, ROOT / "ensemble_predictions_npy.py", "--root", root]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    shape = f"{args.models} models x {NUM_TEST} x {decision_tree.NUM_ANSWERS}"
    print(f"{shape}: peak {peak / 1e6:.0f} MB, {used.ru_utime:.0f} s of processor time")
    if peak > MOST_BYTES:
        sys.exit(f"expected at most {MOST_BYTES / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
