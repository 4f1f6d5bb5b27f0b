"""All that there is to measure on an accelerator, in one call.

    python benchmarks/gpu.py [--root DIR]

1. The full recipe of the best model (2,500 chunks of 10,000, minibatch 16) projected from whole chunks, in TF32,
   float32 and bf16, with and without CUDA graphs; and how busy the device was.
2. The sixty transforms of 79,975 galaxies, projected from fewer.
3. Do CPU and device, float32 and bf16, learn the same from the same chunks?

Images are resident on the device. Without `--root`, simulated galaxies are used; their number does not matter to the
pace, since a chunk draws its examples from all there are. `--quick` runs the same code in small, on a CPU too.
"""

import dataclasses
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import measuring
from benchmarks.bench_training import FULL_RECIPE_HOURS_2014, train
from benchmarks.surveys import prepared
from engine import prediction
from engine.examples import Examples
from engine.flags import Options
from engine.network import Network, find_device
from machine.command_line import positive_int, run_script
from machine.files import DataError
from survey import images
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT

NUM_TEST_GALAXIES = 79_975


def busy(run: Iterator[float], device: torch.device) -> float:
    """Return the part of a chunk's time in which the device had work."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        next(run)
        torch.cuda.synchronize(device)
        wall = time.perf_counter() - start
    spans = [(e.time_range.start, e.time_range.end) for e in profiler.events() if e.device_type.name == "CUDA"]
    return covered(spans) / 1e6 / wall


def covered(spans: list[tuple[float, float]]) -> float:
    """Return the length of the union of intervals: kernels may overlap."""
    total, end = 0.0, float("-inf")
    for first, last in sorted(spans):
        total += max(0.0, last - max(first, end))
        end = max(end, last)
    return total


def project(device: torch.device, num_chunks: int, chunk_size: int) -> list[list[object]]:
    """Return rows of precision, graphs, seconds a chunk, minutes of the recipe, last third over first, and busy."""
    rows = []
    cuda = device.type == "cuda"
    for precision, graphs in (
        [("tf32", True), ("tf32", False), ("float32", True), ("bf16", True)] if cuda else [("float32", False)]
    ):
        chosen = dataclasses.replace(EXPERIMENT, num_chunks=num_chunks + 3, chunk_size=chunk_size)
        run = train(chosen, Options(device=str(device), precision=precision), graphs)
        next(run), next(run)
        seconds = [measuring.seconds_a_call(partial(next, run), device=device) for _ in range(num_chunks)]
        share = f"{busy(run, device):.0%}" if cuda else "-"
        run.close()
        a_chunk = float(np.median(seconds)) * EXPERIMENT.chunk_size / chunk_size
        third = max(1, num_chunks // 3)
        drift = np.median(seconds[-third:]) / np.median(seconds[:third])
        minutes = a_chunk * EXPERIMENT.num_chunks / 60
        rows.append([precision, "yes" if graphs else "no", f"{a_chunk:.3f} s", f"{minutes:.1f}", f"{drift:.3f}", share])
    return rows


def predict(device: torch.device, galaxies: int) -> list[object]:
    """Return galaxies, seconds, and minutes for all test galaxies."""
    network = Network(EXPERIMENT, device)
    examples = Examples(EXPERIMENT, Options(device=str(device), chunk_size=15360), device)
    indices = np.resize(np.arange(len(images.ids_of("train"))), galaxies)
    prediction.predict(network, examples, indices[:64], "train")
    seconds = measuring.seconds_a_call(partial(prediction.predict, network, examples, indices, "train"), device=device)
    return [galaxies, f"{seconds:.1f} s", f"{seconds / galaxies * NUM_TEST_GALAXIES / 60:.1f}"]


def curves(device: torch.device, num_chunks: int, chunk_size: int) -> dict[str, list[float]]:
    """Return the training RMSE of each chunk, the same chunks for all; seeds show how far chance goes."""
    chosen = dataclasses.replace(EXPERIMENT, num_chunks=num_chunks, chunk_size=chunk_size)
    other = dataclasses.replace(chosen, seed=1)
    options = partial(Options, device=str(device))
    runs = {
        "tf32": train(chosen, options()),
        "float32": train(chosen, options(precision="float32")),
        "bf16": train(chosen, options(precision="bf16")),
        "tf32, examples made by worker processes": train(chosen, options(augment_on="cpu")),
        "tf32, another seed": train(other, options()),
    }
    if device.type != "cpu":
        runs["float32 on the CPU"] = train(chosen, Options(device="cpu"))
    return {name: [error**0.5 for error in run] for name, run in runs.items()}


def draw_figure(found: dict[str, list[float]]) -> Figure:
    """Draw the curves."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    ax = figure.subplots()
    for name, errors in found.items():
        ax.plot(range(1, len(errors) + 1), errors, label=name, linewidth=1.2)
    ax.set(xlabel="chunk", ylabel="training RMSE")
    ax.legend(fontsize=7)
    return figure


def main() -> None:
    flags = measuring.parser(__doc__)
    flags.add_argument("--root", type=Path, metavar="DIR", help="prepared real galaxies (default: simulated ones)")
    flags.add_argument("--chunks", type=positive_int, default=20, metavar="N", help="measured, of each kind")
    options = flags.parse_args()
    device = find_device(options.device)
    if device.type == "cpu" and not options.quick:
        raise DataError("expected an accelerator, got the CPU; name one with --device, or try --quick")
    described = measuring.print_environment()
    quick = options.quick
    num_chunks, chunk_size = (2, 16) if quick else (options.chunks, EXPERIMENT.chunk_size)
    with prepared(options.root, 40 if quick else 2000):
        rows = project(device, num_chunks, chunk_size)
        print(measuring.table(["precision", "graphs", "a chunk", "recipe, min", "last/first", "busy"], rows))
        print(f"in 2014, on a GTX 680: {FULL_RECIPE_HOURS_2014} hours\n", flush=True)
        predicted = predict(device, 1 if quick else 4096)
        print(measuring.table(["galaxies", "60 transforms", "79,975, min"], [predicted]), "\n", flush=True)
        found = curves(device, *((2, 16) if quick else (12, 320)))
        learnt = [[name, f"{errors[0]:.5f}", f"{errors[-1]:.5f}"] for name, errors in found.items()]
        print(measuring.table(["training RMSE", "first", "last"], learnt), "\n")
    results = {"environment": described, "training": rows, "prediction": predicted, "curves": found}
    measuring.save(options.output, "gpu", results, draw_figure(found))


if __name__ == "__main__":
    run_script(main)
