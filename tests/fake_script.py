"""A stand-in for the scripts of training and prediction that `benchmarks/gpu_scripts.py` runs, and what it does wrong.

    python fake_script.py FAULT [{train,predict} SIZE] FLAGS

Training is ended by TRIAL_ENDS and goes on from a file; prediction says 0.5 of every galaxy, and mean votes of what is
broken.
"""

import itertools
import os
import pickle
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from machine.files import save_gz


def train(fault: str, root: Path) -> int:
    ends, state = os.environ["TRIAL_ENDS"].partition(":")[0], root / "state"
    went_on = state.exists() and fault != "starts anew"
    if went_on:
        print(f"going on from {state}: {state.read_text()} done")
    if ends:
        root.mkdir(parents=True)
        steps = 5 if ends == "SIGTERM" and fault != "loses steps" else 0
        state.write_text(f"2 chunks and {steps} steps")
        if ends == "SIGKILL":
            os.kill(os.getpid(), signal.SIGKILL)
        return 0 if fault == "hides the signal" else 75
    values = np.ones(1000)
    if went_on and fault == "goes elsewhere":
        values[0] += 1
    if went_on and fault == "rounds otherwise":
        values += 1e-6
    if went_on and fault == "leaves nothing":
        return 1
    path = root / "analysis" / "final" / "any.pkl"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps({"param_values": [values]}, 4))
    return 1 if went_on and fault == "fails later" else 0


def predict(fault: str, root: Path, data: Path, name: str, skips: bool) -> int:
    labels = np.load(data / "solutions_train.npy")
    num_valid, num_test = len(labels) // 10, len(np.load(data / "test_ids.npy"))
    mean = labels[:-num_valid].mean(axis=0)
    for part, num, broken in (("valid", num_valid, num_valid - 1), ("test", num_test, 0)):
        rows = np.full((num, labels.shape[1]), 0.5, np.float32)
        if skips:
            rows[broken] = 0 if fault == "forgets mean votes" else mean
            if fault == "shifts rows" and part == "test":
                rows[1] += 1e-4
        if fault == "predicts too much":
            rows += 0.6
        if fault == "loses a row" and not skips and part == "valid":
            rows = rows[1:]
        if fault == "writes nothing" and part == "test":
            return 1
        save_gz(root / "predictions" / "final" / "augmented" / part / f"{name}.npy.gz", rows)
    return 1 if fault == "fails to skip" and skips else 0


def main() -> None:
    fault, *rest = sys.argv[1:]
    flags = dict(itertools.pairwise(rest))
    root = Path(flags["--root"])
    if rest[0] == "predict":
        sys.exit(predict(fault, root, Path(flags["--data"]), f"trial_{rest[1]}", "--on-bad-image" in flags))
    if rest[0] == "train":
        sys.exit(1 if fault == "fails to train" else 0)
    sys.exit(train(fault, root))


if __name__ == "__main__":
    main()
