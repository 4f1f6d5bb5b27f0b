"""Training and the sixty-transform prediction of the best single model, beside plain PyTorch.

    python benchmarks/bench_training.py [--root DIR]

1. Examples a second of training, and galaxies a second of prediction: ours, from JPEGs and from the decoded cache,
   against the same network in a plain loop with a `DataLoader` and scikit-image (`benchmarks/plain.py`), and against
   the plain network's step alone, on tensors that are there already.
2. Linear cost: seconds a chunk from first to last, seconds a galaxy and transform.
3. The hours that the full recipe would take here, beside the 67 of 2014.

Each runs in a process of its own, in turns. Without `--root`, simulated galaxies are used.
"""

import argparse
import dataclasses
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import decoded_cache
import layers
import load_data
import prediction
import realtime_augmentation as ra
import training
from benchmarks import measuring, peers, plain
from benchmarks.survey import Work, survey
from chunk_workers import default_num_workers
from examples import Examples, add_flags
from experiment import Experiment, Network, find_device
from training_step import make_step
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT

FULL_RECIPE_HOURS_2014 = 67


def options_for(device: torch.device | str, chunk_size: int | None = None, **others: object) -> argparse.Namespace:
    """Return the run-time choices that training and prediction ask for, at their defaults but for those given."""
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return parser.parse_args([], argparse.Namespace(device=str(device), chunk_size=chunk_size, **others))


def train(
    experiment: Experiment, device: torch.device, graphs: bool = True, rate: float | None = None, **options: object
) -> Iterator[float]:
    """Train from variance-preserving weights; yield each chunk's error, the next chunk being under way."""
    torch.manual_seed(experiment.seed)
    choices = options_for(device, **options)
    network = Network(experiment, device, choices.precision)
    layers.reset_variance_preserving(network.output_layer)
    optimizer = training.make_optimizer(experiment, network)
    step = make_step(network, optimizer, normalisation=True, graphs=graphs)
    optimizer.set_rate(rate or experiment.learning_rate(0))
    chunks = Examples(experiment, choices, device).training(0)
    upcoming = next(chunks)
    while upcoming is not None:
        (*views, targets), _ = upcoming
        errors = training.train_chunk(step, views, targets, experiment.norm_constraint)
        upcoming = next(chunks, None)
        yield sum(training.read_errors(errors)) / len(targets)


def train_ours(work: Work, device: str, steps: int) -> Callable[[], float]:
    """Return what trains one chunk of ours."""
    work.paths()
    endless = dataclasses.replace(EXPERIMENT, num_chunks=10**6, chunk_size=steps * EXPERIMENT.batch_size)
    chunks = train(endless, find_device(device), rate=1e-4)
    return lambda: next(chunks)


def train_plain(work: Work, device: str, steps: int, preloaded: bool) -> Callable[[], None]:
    """Return what trains the plain network for so many steps, its examples from a DataLoader or there already."""
    paths, batch_size, on = work.paths(), EXPERIMENT.batch_size, find_device(device)
    network = plain.PlainNetwork().to(on)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9, nesterov=True)
    if preloaded:
        batch = [torch.rand(batch_size, 3, 69, 69, device=on) for _ in range(2)]
        batches = itertools.repeat([*batch, torch.rand(batch_size, 37, device=on)])
    else:
        batches = _forever(lambda: plain.loader(EXPERIMENT, paths, batch_size, default_num_workers()))
    return lambda: plain.train(network, optimizer, itertools.islice(batches, steps), on)


def _forever(make: Callable[[], Iterator]) -> Iterator:
    while True:
        yield from make()


def predict_ours(work: Work, device: str, galaxies: int) -> Callable[[], np.ndarray]:
    """Return what predicts so many galaxies under the sixty transforms."""
    work.paths()
    network = Network(EXPERIMENT, find_device(device))
    examples = Examples(EXPERIMENT, options_for(device), network.device)
    return lambda: prediction.predict(network, examples, np.arange(galaxies), "train")


def predict_plain(work: Work, device: str, galaxies: int) -> Callable[[], None]:
    """Return what predicts with the plain network, a view set a transform."""
    paths, on = work.paths()[:galaxies], find_device(device)
    network = plain.PlainNetwork().to(on).eval()

    @torch.inference_mode()
    def run() -> None:
        batches = plain.loader(EXPERIMENT, paths, 60, default_num_workers(), ra.sixty_transforms())
        for *views, _ in batches:
            network([view.to(on) for view in views]).mean(dim=0)

    return run


def compare(work: Work, cached: Work, device: str, steps: int, galaxies: int, repeats: int) -> dict[str, dict]:
    """Time training (seconds an example) and prediction (seconds a galaxy)."""
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
    """Return how long each chunk takes, one after the other."""
    chosen = dataclasses.replace(EXPERIMENT, num_chunks=num_chunks + 1, chunk_size=steps * EXPERIMENT.batch_size)
    run = train(chosen, device, rate=1e-4)
    next(run)
    return [measuring.seconds_a_call(partial(next, run), device=device) for _ in range(num_chunks)]


def seconds_a_view_set(device: torch.device, galaxies: list[int], repeats: int) -> list[list[object]]:
    """Return rows of galaxies, transforms (no two of which have parts in common), and seconds of prediction."""
    network, examples = Network(EXPERIMENT, device), Examples(EXPERIMENT, options_for(device), device)

    def predict(count: int, num: int) -> None:
        transforms = [ra.build_augmentation_transform(rotation=i, zoom=1 + i / 200) for i in range(num)]
        for views in examples.fixed(np.arange(count), "train", transforms):
            network.predict(views)

    sizes = list(itertools.product(galaxies, (20, 60)))
    timings = measuring.side_by_side({size: partial(predict, *size) for size in sizes}, repeats, device=device)
    seconds = {size: each.median for size, each in timings.items()}
    return [
        [*size, f"{seconds[size]:.2f} s", measuring.format_seconds(seconds[size] / np.prod(size))] for size in sizes
    ]


def draw_figure(timings: dict[str, dict[str, measuring.Timing]], chunks: list[float]) -> Figure:
    """Draw what is faster, and the seconds of each chunk."""
    figure = Figure(figsize=(10, 3), layout="constrained")
    axes = figure.subplots(1, 3)
    for ax, name, unit in zip(axes, ("training", "prediction"), ("examples", "galaxies"), strict=False):
        ax.barh(list(timings[name]), [1 / each.median for each in timings[name].values()], color="#4c72b0")
        ax.set(xlabel=f"{unit} a second", title=name)
    axes[2].plot(range(1, len(chunks) + 1), chunks, marker="o", markersize=3)
    axes[2].set(xlabel="chunk", ylabel="seconds", ylim=(0, None), title="cost is linear")
    return figure


def main() -> None:
    flags = measuring.parser(__doc__)
    flags.add_argument("--root", type=Path, metavar="DIR", help="prepared real galaxies (default: simulated ones)")
    options = flags.parse_args()
    steps, galaxies, num_chunks = (1, 1, 2) if options.quick else (8, 8, 20)
    device = find_device(options.device)
    described = measuring.print_environment()
    with survey(options.root, 40 if options.quick else 200) as folders, tempfile.TemporaryDirectory() as ram:
        work = Work(dataclasses.replace(folders, ram=Path(ram) / "none"), int(load_data.num_train))
        cached = dataclasses.replace(work, folders=dataclasses.replace(folders, ram=Path(ram)))
        cached.paths()
        decoded_cache.build("train")
        timings = compare(work, cached, str(device), steps, galaxies, options.repeats)
        for name, unit in (("training", "an example"), ("prediction", "a galaxy")):
            reference = timings[name]["plain network and DataLoader"].median
            rows = [
                [key, each, f"{1 / each.median:.2f}", f"{reference / each.median:.2f}"]
                for key, each in timings[name].items()
            ]
            print(measuring.table([name, unit, "a second", "times plain"], rows), "\n")

        work.paths()
        chunks = seconds_a_chunk(device, steps, num_chunks)
        first, second = (np.median(half) for half in np.array_split(chunks, 2))
        print(f"seconds a chunk of {steps} steps: {' '.join(f'{each:.2f}' for each in chunks)}")
        print(f"second half against first: {second / first:.3f}\n")
        rows = seconds_a_view_set(device, [1, 2] if options.quick else [5, 10, 20], options.repeats)
        print(measuring.table(["galaxies", "transforms", "together", "a view set"], rows), "\n")
        num_steps = EXPERIMENT.num_chunks * EXPERIMENT.chunk_size / EXPERIMENT.batch_size
        hours = np.median(chunks) / steps * num_steps / 3600
        print(f"the full recipe here: {hours:.1f} hours; in 2014, on a GTX 680: {FULL_RECIPE_HOURS_2014}\n")
    results = {"environment": described, **timings, "seconds a chunk": chunks, "linear": rows, "projected hours": hours}
    measuring.save(options.output, "training", results, draw_figure(timings, chunks))


if __name__ == "__main__":
    main()
