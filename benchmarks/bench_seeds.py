"""What members of an ensemble gain by seeds of their own: pairs of models of one network, blended.

    python benchmarks/bench_seeds.py [--root DIR]

The best model and the same on centred galaxies are trained, each pair once with one seed for both (the same images in
the same order with the same perturbations, from the same weights) and once with a seed of its own for the second.
What is compared is the validation RMSE of the pair's mean.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import measuring
from benchmarks.peers import ROOT, prepared
from machine.command_line import positive_int, run_script
from machine.files import load_pickle
from survey.folders import Folders
from survey.predictions import rmse

FIRST = "try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense"
SECOND = f"{FIRST}_pysex"
# Far from all seeds that scripts declare.
OWN = 1000


def run_one(name: str, *arguments: object) -> None:
    """Run one of the project's scripts."""
    command = [sys.executable, ROOT / f"{name}.py", *arguments]
    subprocess.run([str(each) for each in command], check=True, stdout=subprocess.DEVNULL)


def predictions(folders: Folders, name: str, seed: int, chunks: int, chunk_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Train a model, and return the predictions and the labels (n, 37) of its validation galaxies."""
    run_one(
        name, "--root", folders.root, "--data", folders.data, "--device", "cpu", "--seed", seed,
        "--num-chunks", chunks, "--chunk-size", chunk_size, "--initialisation", "variance-preserving", "--no-resume",
    )  # fmt: skip
    analysis = load_pickle(folders.analysis(name), f"{name}.py")
    return analysis["predictions"], analysis["targets"]


def main() -> None:
    flags = measuring.parser(__doc__)
    flags.add_argument("--root", type=Path, metavar="DIR", help="prepared real galaxies (default: simulated ones)")
    flags.add_argument("--pairs", type=positive_int, default=5, metavar="N", help="default: 5")
    flags.add_argument("--chunks", type=positive_int, default=8, metavar="N", help="of 600 examples, default: 8")
    args = flags.parse_args()
    pairs, chunks, chunk_size = (1, 1, 16) if args.quick else (args.pairs, args.chunks, 600)
    described = measuring.print_environment(examples=f"{chunks * chunk_size} a model")
    rows = []
    with prepared(args.root, 30 if args.quick else 2000) as folders:
        run_one("extract_pysex_params_gen2", "--root", folders.root, "--data", folders.data)
        for seed in range(1, pairs + 1):
            first, labels = predictions(folders, FIRST, seed, chunks, chunk_size)
            shared, _ = predictions(folders, SECOND, seed, chunks, chunk_size)
            own, _ = predictions(folders, SECOND, OWN + seed, chunks, chunk_size)
            blends = [(first + second) / 2 for second in (shared, own)]
            rows.append([f"pair {seed}", *(f"{rmse(each, labels):.5f}" for each in (first, shared, own, *blends))])
            print(rows[-1], flush=True)
    mean = np.array([row[1:] for row in rows], dtype=float).mean(axis=0)
    rows.append(["mean", *(f"{each:.5f}" for each in mean)])
    header = ["validation RMSE", "first", "second, its seed", "second, own seed", "blend, one seed", "blend, own seeds"]
    print(measuring.table(header, rows))
    measuring.save(args.output, "seeds", {"environment": described, "rows": rows})


if __name__ == "__main__":
    run_script(main)
