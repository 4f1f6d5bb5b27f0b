"""Training and the sixty-transform prediction of the best single model, beside plain PyTorch.

    python benchmarks/bench_training.py [--root DIR]

1. Examples per second of training, and galaxies per second of prediction: ours, from JPEGs and from the decoded cache,
   against the same network in a plain loop with a `DataLoader` and scikit-image (`doc/plain_pytorch.py`), and against
   the step of the plain network alone, on tensors in memory.
2. Linear cost: seconds per chunk from first to last, seconds per galaxy and transform.
3. The hours of the full recipe on this machine, beside the 67 of 2014.

Each peer runs in a process of its own, in turns. Without `--root`, simulated galaxies are used.
"""

import dataclasses
import itertools
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import layers
from benchmarks import measuring, peers
from benchmarks.peers import Work, repeated, with_and_without_cache
from doc import plain_pytorch
from engine import prediction, training
from engine.checkpoints import Progress
from engine.examples import Examples
from engine.experiment import Experiment, Steps
from engine.network import Network, find_device
from engine.options import Options
from engine.steps import Trainer
from galaxy.affine import build_augmentation_transform, sixty_transforms
from machine.cores import available_cores
from survey import images
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT

FULL_RECIPE_HOURS_2014 = 67


def train(
    experiment: Experiment, options: Options, reset: Callable[[layers.Layer], None] = layers.reset_variance_preserving
) -> Iterator[float]:
    """Train from weights that `reset` draws; yield the error of each chunk while the next one is made."""
    device = find_device(options.device)
    torch.manual_seed(experiment.seed)
    normalised = dataclasses.replace(experiment, num_steps_nonorm=0)
    trainer = Trainer(normalised, Network(normalised, device, options.precision))
    reset(trainer.network.output_layer)
    indices, _ = images.split(len(images.ids_of("train")))
    chunks = Examples(normalised, options, device).training(0, indices)
    progress, upcoming = Progress(), next(chunks)
    while upcoming is not None:
        views, labels = upcoming
        training.train_chunk(trainer, views, labels, progress)
        upcoming = next(chunks, None)
        yield sum(training.read_errors(progress.errors)) / len(labels)
        progress = Progress(chunk=progress.chunk + 1)


def at_a_low_rate(num_chunks: int, steps: int) -> Experiment:
    """Return the best model in chunks of so many steps, at a low rate: only the time is measured."""
    return dataclasses.replace(
        EXPERIMENT,
        num_chunks=num_chunks,
        chunk_size=steps * EXPERIMENT.batch_size,
        learning_rate=Steps({0: 1e-4}),
    )


def train_ours(work: Work, device: str, steps: int) -> Callable[[], float]:
    """Return a round that trains one chunk of ours."""
    work.paths()
    chunks = train(at_a_low_rate(10**6, steps), Options(device=device))
    return lambda: next(chunks)


def train_plain(work: Work, device: str, steps: int, preloaded: bool) -> Callable[[], None]:
    """Return a round of so many steps of the plain network, on examples of a DataLoader or in memory."""
    paths, batch_size, on = work.paths(), EXPERIMENT.batch_size, find_device(device)
    network = plain_pytorch.PlainNetwork().to(on)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9, nesterov=True)
    if preloaded:
        batch = [torch.rand(batch_size, 3, 69, 69, device=on) for _ in range(2)]
        batches = itertools.repeat([*batch, torch.rand(batch_size, 37, device=on)])
    else:
        galaxies = plain_pytorch.Galaxies(EXPERIMENT.views, paths, images.load_labels())
        batches = repeated(lambda: plain_pytorch.loader(galaxies, batch_size, available_cores()))
    return lambda: plain_pytorch.train(network, optimizer, itertools.islice(batches, steps), on)


def predict_ours(work: Work, device: str, galaxies: int) -> Callable[[], np.ndarray]:
    """Return a round that predicts so many galaxies under the sixty transforms."""
    work.paths()
    network = Network(EXPERIMENT, find_device(device))
    examples = Examples(EXPERIMENT, Options(device=device), network.device)
    return lambda: prediction.predict(network, examples, np.arange(galaxies), "train")


def predict_plain(work: Work, device: str, galaxies: int) -> Callable[[], None]:
    """Return a round that predicts with the plain network, one set of views per transform."""
    paths, on = work.paths()[:galaxies], find_device(device)
    network = plain_pytorch.PlainNetwork().to(on).eval()

    @torch.inference_mode()
    def run() -> None:
        sets = plain_pytorch.Galaxies(EXPERIMENT.views, paths, images.load_labels(), sixty_transforms())
        for *views, _ in plain_pytorch.loader(sets, 60, available_cores()):
            network([view.to(on) for view in views]).mean(dim=0)

    return run


def compare(work: Work, cached: Work, device: str, steps: int, galaxies: int, repeats: int) -> dict[str, dict]:
    """Time training (seconds per example) and prediction (seconds per galaxy)."""
    train_builds = {
        "plain network and DataLoader": partial(train_plain, work, device, steps, False),
        "plain network alone": partial(train_plain, work, device, steps, True),
        "ours, from JPEGs": partial(train_ours, work, device, steps),
        "ours, from the cache": partial(train_ours, cached, device, steps),
    }
    predict_builds = {
        "plain network and DataLoader": partial(predict_plain, work, device, galaxies),
        "ours, from JPEGs": partial(predict_ours, work, device, galaxies),
        "ours, from the cache": partial(predict_ours, cached, device, galaxies),
    }
    threads = torch.get_num_threads()
    return {
        "training": peers.in_turns(train_builds, steps * EXPERIMENT.batch_size, repeats, threads),
        "prediction": peers.in_turns(predict_builds, galaxies, repeats, threads),
    }


def seconds_a_chunk(device: torch.device, steps: int, num_chunks: int) -> list[float]:
    """Return the seconds of each chunk in turn."""
    run = train(at_a_low_rate(num_chunks + 1, steps), Options(device=str(device)))
    next(run)
    return [measuring.seconds_a_call(partial(next, run), device=device) for _ in range(num_chunks)]


def seconds_a_view_set(device: torch.device, galaxies: list[int], repeats: int) -> list[list[object]]:
    """Return rows: galaxies, transforms without common parts, seconds of prediction, seconds per set of views."""
    network, examples = Network(EXPERIMENT, device), Examples(EXPERIMENT, Options(device=str(device)), device)

    def predict(count: int, num: int) -> None:
        transforms = [build_augmentation_transform(rotation=i, zoom=1 + i / 200) for i in range(num)]
        for views in examples.fixed(np.arange(count), "train", transforms):
            network.predict(views)

    sizes = list(itertools.product(galaxies, (20, 60)))
    timings = measuring.side_by_side({size: partial(predict, *size) for size in sizes}, repeats, device=device)
    seconds = {size: each.median for size, each in timings.items()}
    return [
        [*size, f"{seconds[size]:.2f} s", measuring.format_seconds(seconds[size] / np.prod(size))] for size in sizes
    ]


def main() -> None:
    options = measuring.parser(__doc__, survey=True).parse_args()
    steps, galaxies, num_chunks = (1, 1, 2) if options.quick else (8, 8, 20)
    device = find_device(options.device)
    described = measuring.print_environment()
    figure = Figure(figsize=(10, 3), layout="constrained")
    axes = figure.subplots(1, 3)
    with with_and_without_cache(options.root, 40 if options.quick else 200) as (work, cached):
        timings = compare(work, cached, str(device), steps, galaxies, options.repeats)
        for ax, name, item, items in zip(axes, timings, ("example", "galaxy"), ("examples", "galaxies"), strict=False):
            reference = timings[name]["plain network and DataLoader"].median
            print(measuring.rates(name, item, timings[name], reference), "\n")
            measuring.draw_rates(ax, name, items, timings[name])

        work.paths()
        chunks = seconds_a_chunk(device, steps, num_chunks)
        first, second = (np.median(half) for half in np.array_split(chunks, 2))
        print(f"seconds per chunk of {steps} steps: {' '.join(f'{each:.2f}' for each in chunks)}")
        print(f"second half relative to first: {second / first:.3f}\n")
        axes[2].plot(range(1, len(chunks) + 1), chunks, marker="o", markersize=3)
        axes[2].set(xlabel="chunk", ylabel="seconds", ylim=(0, None), title="cost is linear")
        rows = seconds_a_view_set(device, [1, 2] if options.quick else [5, 10, 20], options.repeats)
        print(measuring.table(["galaxies", "transforms", "together", "a view set"], rows), "\n")
        num_steps = EXPERIMENT.num_chunks * EXPERIMENT.chunk_size / EXPERIMENT.batch_size
        hours = np.median(chunks) / steps * num_steps / 3600
        print(f"the full recipe here: {hours:.1f} hours; in 2014, on a GTX 680: {FULL_RECIPE_HOURS_2014}\n")
    results = {"environment": described, **timings, "seconds a chunk": chunks, "linear": rows, "projected hours": hours}
    measuring.save(options.output, "training", results, figure)


if __name__ == "__main__":
    main()
