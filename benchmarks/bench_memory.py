"""Show that a long run's memory is flat: resident memory of parent and workers over 500 small chunks of training.

The run is a real one, with worker processes, validation and checkpoints every few chunks, on a made-up survey of forty
galaxies and a network that trains in milliseconds. Ends with status 1 where memory grows by more than 2 % from a tenth
of the chunks on. Reads Linux's /proc.
"""

import argparse
import dataclasses
import multiprocessing
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cc_layers
import custom
import layers
from benchmarks.peers import prepared
from engine.checkpoints import Progress
from engine.experiment import Experiment, Steps
from engine.options import Options
from engine.training import Run
from machine.command_line import positive_int, run_script
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT as BEST

MOST_GROWTH = 0.02
# A share (PSS) also depends on who else has the same libraries open: it is told, not judged.
JUDGED = ("parent RSS", "workers RSS")


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
    views=dataclasses.replace(BEST.views, target_sizes=[(15, 15), (15, 15)]),
    batch_size=8,
    chunk_size=32,
    learning_rate=Steps({0: 0.004}),
    validate_every=10,
)


def resident_memory(pid: int) -> tuple[int, int]:
    """Return a process's resident memory and its proportional share of it, in kB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {name: int(rest.split()[0]) for name, rest in (line.split(":") for line in lines)}
    return sizes["Rss"], sizes["Pss"]


def measure(chosen: Experiment, every: int) -> dict[int, dict[str, int]]:
    """Train, and print the memory after every so many chunks; return it, a row a chunk."""
    measured = {}

    def look(progress: Progress) -> None:
        workers = multiprocessing.active_children()
        if progress.chunk % every == 0 and workers:
            parent, *rest = (resident_memory(pid) for pid in (os.getpid(), *(process.pid for process in workers)))
            row = {"parent RSS": parent[0], "parent PSS": parent[1]}
            row |= {f"workers {kind}": sum(each[i] for each in rest) for i, kind in enumerate(("RSS", "PSS"))}
            measured[progress.chunk] = row
            print(f"memory at chunk {progress.chunk}: " + ", ".join(f"{k} {v} kB" for k, v in row.items()), flush=True)

    run = Run(chosen, Options(device="cpu", num_workers=2))
    run.on_chunk = look
    run.train()
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=positive_int, default=500, metavar="N", help="default: 500")
    num_chunks = parser.parse_args().chunks
    # The workers end when the last chunk is made: two more, so that they still live when memory is read last.
    chosen = dataclasses.replace(EXPERIMENT, num_chunks=num_chunks + 2)
    with prepared(None, 40, 10):
        measured = measure(chosen, max(1, num_chunks // 10))
    first, *_, last = measured
    growth = {kind: measured[last][kind] / measured[first][kind] - 1 for kind in JUDGED}
    print(f"chunk {first} to {last}: " + ", ".join(f"{kind} {value:+.2%}" for kind, value in growth.items()))
    if max(growth.values()) > MOST_GROWTH:
        sys.exit(f"error: expected memory to grow by {MOST_GROWTH:.0%} at most")


if __name__ == "__main__":
    run_script(main)
