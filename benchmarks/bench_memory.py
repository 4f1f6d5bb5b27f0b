"""Show that a long run's memory is flat: resident memory of parent and workers over 500 small chunks of training.

The run is a real one, with worker processes, validation and checkpoints every few chunks, on a made-up survey of forty
galaxies and a network that trains in milliseconds. Ends with status 1 where memory grows by more than 2 % from chunk 50
to the last. Reads Linux's /proc.
"""

import argparse
import dataclasses
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cc_layers
import custom
import layers
import load_data
import training
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT as BEST

ROOT = Path(__file__).resolve().parent.parent
NUM_CHUNKS, EVERY = 500, 50
MOST_GROWTH = 0.02


def build_network(batch_size: int) -> tuple[list[layers.Layer], layers.Layer]:
    """Return a small network of the best model's kinds of layers."""
    inputs = [layers.Input2DLayer(batch_size, 3, 15, 15) for _ in range(2)]
    parts = layers.MultiRotSliceLayer(inputs, part_size=9)
    conv = cc_layers.CudaConvnetConv2DLayer(cc_layers.ShuffleBC01ToC01BLayer(parts), 4, 4, 0.1, 0.1, untie_biases=True)
    pool = cc_layers.ShuffleC01BToBC01Layer(cc_layers.CudaConvnetPooling2DLayer(conv, pool_size=2))
    dense = layers.DenseLayer(layers.MultiRotMergeLayer(pool, num_views=4), 16, 0.05, 0.01, dropout=0.5)
    return inputs, custom.OptimisedDivGalaxyOutputLayer(layers.DenseLayer(dense, 37, 0.01, 0.1, dropout=0.5))


EXPERIMENT = dataclasses.replace(
    BEST,
    name="bench_memory",
    build_network=build_network,
    target_sizes=[(15, 15), (15, 15)],
    batch_size=8,
    chunk_size=32,
    num_chunks=NUM_CHUNKS + 2,  # the workers end when the last chunk is made
    learning_rate_schedule={0: 0.004},
    validate_every=10,
)


def resident_memory(pid: int) -> tuple[int, int]:
    """Return a process's resident memory and its proportional share of it, in kB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {name: int(rest.split()[0]) for name, rest in (line.split(":") for line in lines)}
    return sizes["Rss"], sizes["Pss"]


class MeasuredRun(training.Run):
    """A training run that prints its memory every few chunks."""

    measured: dict[int, dict[str, int]]

    def _finish_chunk(self, error: float) -> None:
        super()._finish_chunk(error)
        if self.done.chunk % EVERY == 0:
            parent, *workers = (
                resident_memory(pid)
                for pid in (os.getpid(), *(process.pid for process in multiprocessing.active_children()))
            )
            row = {"parent RSS": parent[0], "parent PSS": parent[1]}
            row |= {f"workers {kind}": sum(w[i] for w in workers) for i, kind in enumerate(("RSS", "PSS"))}
            self.measured[self.done.chunk] = row
            print(f"memory at chunk {self.done.chunk}: " + ", ".join(f"{k} {v} kB" for k, v in row.items()), flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        survey = ("--root", folder)
        commands = [["simulate_galaxies.py", "--num-train", "40", "--num-test", "10"]]
        commands += [["create_train_ids_file.py"], ["create_test_ids_file.py"], ["convert_training_labels_to_npy.py"]]
        for name, *flags in commands:
            subprocess.run([sys.executable, ROOT / name, *survey, *flags], check=True, stdout=subprocess.DEVNULL)
        load_data.use_folders(folder)
        options = argparse.Namespace(
            device="cpu", num_workers=2, chunk_size=None, from_ram=None, augment_on="cpu", precision="tf32",
            initialisation="2014", resume=True, checkpoint_every=10,
        )  # fmt: skip
        run = MeasuredRun(EXPERIMENT, options)
        run.measured = {}
        run.train()
    first, last = run.measured[EVERY], run.measured[NUM_CHUNKS]
    # A share (PSS) also depends on who else has the same libraries open: it is told, not judged.
    growth = {kind: last[kind] / first[kind] - 1 for kind in first if kind.endswith("RSS")}
    print(f"chunk {EVERY} to {NUM_CHUNKS}: " + ", ".join(f"{kind} {value:+.2%}" for kind, value in growth.items()))
    if max(growth.values()) > MOST_GROWTH:
        sys.exit(f"error: expected memory to grow by {MOST_GROWTH:.0%} at most")


if __name__ == "__main__":
    load_data.run_script(main)
