"""What an augmented example costs: two 69x69 views of a galaxy, perturbed at random, with colour noise.

    python benchmarks/bench_augmentation.py [--root DIR]

1. Images a second and core: ours, from JPEGs and from the decoded cache, against the way of 2014 (scikit-image or PIL
   reading, division by 255, `skimage.transform.warp`), `torch.nn.functional.grid_sample`, and albumentations.
2. Workers: how two (and as many as there are cores) scale, and what the chunk generator keeps of their pace.
3. Peak memory of the generator's consumer as its chunks grow.

Peers sample the same matrices and agree to 1e-4 away from the border, but for albumentations, which can not be given a
matrix. Without `--root`, simulated galaxies are used.
"""

import dataclasses
import itertools
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
import numpy as np
import skimage.io
import torch
from matplotlib.figure import Figure
from PIL import Image
from skimage.transform import AffineTransform, warp
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import measuring, peers
from benchmarks.peers import Work, prepared
from machine.cores import available_cores
from machine.memory import keep_freed_memory
from survey import decoded_cache, images
from survey.chunk_workers import Workers, drawn_chunks
from survey.draws import Draw
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT

VIEWS = EXPERIMENT.views
DS_TRANSFORMS, SIZES = VIEWS.ds_transforms, VIEWS.target_sizes
Round = Callable[[], np.ndarray]


def draw(num: int) -> Draw:
    """Draw perturbations and colour noise of the first `num` galaxies."""
    return dataclasses.replace(VIEWS.draw(np.arange(num), num, seed=0, chunk=0), indices=np.arange(num))


def draw_arrays(num: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the same draws as perturbations (num, 3, 3) and colour noise (num, 3)."""
    drawn = draw(num)
    return drawn.perturbations[:, 0], drawn.colour


def read_pil(path: Path) -> np.ndarray:
    """Read an image (424, 424, 3) uint8 with PIL."""
    with Image.open(path) as image:
        return np.asarray(image)


def the_way_of_2014(work: Work, reader: Callable[[Path], np.ndarray]) -> Round:
    """Return what warps each view with scikit-image, in float64 as then."""
    paths = work.paths()

    def run() -> np.ndarray:
        views = np.empty((2, work.num, 69, 69, 3), np.float32)
        perturbations, noise = draw_arrays(work.num)
        for row, path in enumerate(paths):
            image = reader(path) / 255.0
            tform = AffineTransform(matrix=perturbations[row])
            for view, tform_ds in enumerate(DS_TRANSFORMS):
                views[view, row] = warp(image, tform_ds + tform, output_shape=SIZES[view], mode="reflect")
            views[:, row] = np.clip(views[:, row] + noise[row], 0, 1)
        return views

    return run


def with_grid_sample(work: Work) -> Round:
    """Return what samples each image's two views with PyTorch, as a user would write it today."""
    paths = work.paths()
    y, x = torch.meshgrid(torch.arange(69.0), torch.arange(69.0), indexing="ij")
    grid = torch.stack([x, y, torch.ones_like(x)], dim=-1)

    def run() -> np.ndarray:
        views = torch.empty(2, work.num, 69, 69, 3)
        perturbations, noise = draw_arrays(work.num)
        for row, path in enumerate(paths):
            image = torch.from_numpy(read_pil(path).copy()).permute(2, 0, 1).float().div(255)
            matrices = np.stack([perturbations[row] @ tform.params for tform in DS_TRANSFORMS])[:, :2]
            positions = grid @ torch.from_numpy(matrices.astype(np.float32)).transpose(1, 2).unsqueeze(1)
            sampled = functional.grid_sample(
                image.expand(2, -1, -1, -1), positions / 211.5 - 1, padding_mode="reflection", align_corners=True
            )
            views[:, row] = (sampled.permute(0, 2, 3, 1) + torch.from_numpy(noise[row])).clamp(0, 1)
        return views.numpy()

    return run


def with_albumentations(work: Work) -> Round:
    """Return what makes such views with albumentations: an affine map, a crop and a reduction, twice."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would look for a newer version on the network
    import albumentations

    paths = work.paths()
    affine = partial(albumentations.Affine, border_mode=4, p=1)
    perturb = albumentations.Compose(
        [
            affine(scale=VIEWS.perturbations["zoom_range"], rotate=(-180, 180), translate_px=(-4, 4)),
            albumentations.HorizontalFlip(p=0.5),
        ]
    )
    turn = affine(rotate=(45, 45))
    crop = albumentations.Compose([albumentations.CenterCrop(207, 207), albumentations.Resize(69, 69)])

    def run() -> np.ndarray:
        views = np.empty((2, work.num, 69, 69, 3), np.float32)
        _, noise = draw_arrays(work.num)
        for row, path in enumerate(paths):
            image = perturb(image=read_pil(path))["image"]
            for view, turned in enumerate((image, turn(image=image)["image"])):
                views[view, row] = crop(image=turned)["image"] / np.float32(255)
            views[:, row] = np.clip(views[:, row] + noise[row], 0, 1)
        return views

    return run


def ours(work: Work) -> Round:
    """Return what a worker process of ours does."""
    work.paths()
    keep_freed_memory()
    views = np.empty((2, work.num, 69, 69, 3), np.float32)

    def run() -> np.ndarray:
        drawn = draw(work.num)
        for first in range(0, work.num, 32):
            rows = slice(first, first + 32)
            VIEWS.write_drawn([view[rows] for view in views], drawn[rows])
        return views

    return run


def check(work: Work, cached: Work) -> dict[str, float]:
    """Return each peer's largest difference from scikit-image's warp, away from the border."""
    few, few_cached = (dataclasses.replace(each, num=8) for each in (work, cached))
    expected = the_way_of_2014(few, read_pil)()[:, :, 8:-8, 8:-8]
    found = {}
    for name, make, of in (
        ("grid_sample", with_grid_sample, few),
        ("ours, from JPEGs", ours, few),
        ("ours, from the cache", ours, few_cached),
    ):
        found[name] = float(np.abs(make(of)()[:, :, 8:-8, 8:-8] - expected).max())
        if found[name] > 1e-4:
            raise SystemExit(f"{name} differs from scikit-image's warp by {found[name]:.1e}: expected 1e-4 at most")
    return found


def compare(work: Work, cached: Work, repeats: int) -> dict[str, measuring.Timing]:
    """Time the peers, one thread each."""
    builds = {
        "2014, scikit-image reads": partial(the_way_of_2014, work, skimage.io.imread),
        "2014, PIL reads": partial(the_way_of_2014, work, read_pil),
        "grid_sample": partial(with_grid_sample, work),
        "ours, from JPEGs": partial(ours, work),
        "ours, from the cache": partial(ours, cached),
    }
    try:
        import albumentations  # noqa: F401

        builds["albumentations"] = partial(with_albumentations, work)
    except ImportError:
        print("albumentations is left out: pip install -r requirements-bench.txt")
    return peers.in_turns(builds, work.num, repeats)


def alone(work: Work, num_workers: int, repeats: int) -> float:
    """Return the images a second of so many processes that write views nobody reads."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(num_workers + 1)

    def serve() -> None:
        cv2.setNumThreads(0)
        run = ours(work)
        run()
        for _ in range(repeats):
            barrier.wait()
            run()
            barrier.wait()

    processes = [context.Process(target=serve) for _ in range(num_workers)]
    for process in processes:
        process.start()
    rates = []
    for _ in range(repeats):
        barrier.wait()
        start = time.perf_counter()
        barrier.wait()
        rates.append(num_workers * work.num / (time.perf_counter() - start))
    for process in processes:
        process.join()
    return float(np.median(rates))


def chunks(chunk_size: int, num_workers: int, num_chunks: int | None = None) -> Iterator[tuple[list[np.ndarray], Draw]]:
    """Yield chunks of the training galaxies of the survey in use, as a run's examples are made."""
    indices, _ = images.split(len(images.ids_of("train")))
    numbers = itertools.count() if num_chunks is None else range(num_chunks)
    draws = (VIEWS.draw(indices, chunk_size, seed=0, chunk=chunk) for chunk in numbers)
    return drawn_chunks(VIEWS, draws, chunk_size, Workers(num_workers, reuse_buffers=True))


def generated(work: Work, num_workers: int, repeats: int) -> float:
    """Return the images a second of the chunk generator."""
    work.paths()
    size = 10 * work.num
    gen = chunks(size, num_workers)
    next(gen), next(gen)
    rates = []
    for _ in range(repeats):
        start = time.perf_counter()
        next(gen)
        rates.append(size / (time.perf_counter() - start))
    gen.close()
    return float(np.median(rates))


def scale(work: Work, cached: Work, repeats: int) -> list[list[object]]:
    """Return rows of where images come from, workers, their pace alone and through the generator, and the ratios."""
    rows = []
    for name, each in (("JPEGs", work), ("the cache", cached)):
        one = 0.0
        for count in sorted({1, 2, available_cores()}):
            lone, kept = alone(each, count, repeats), generated(each, count, repeats)
            one = one or kept
            rows.append([name, count, f"{lone:.0f}", f"{kept:.0f}", f"{kept / lone:.2f}", f"{kept / one:.2f}"])
    return rows


def _peak(work: Work, chunk_size: int, connection: Connection) -> None:
    work.paths()
    gen = chunks(chunk_size, num_workers=2, num_chunks=4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for views, _ in gen:
        for view in views:
            view.sum()  # touches every page
    connection.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)


def peak_memory(work: Work, chunk_sizes: list[int]) -> list[list[object]]:
    """Return rows of chunk size, bytes of a chunk, and by how many of them the consumer's memory grew."""
    rows = []
    context = multiprocessing.get_context("spawn")
    for chunk_size in chunk_sizes:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_peak, args=(work, chunk_size, sender))
        process.start()
        grown = receiver.recv()
        process.join()
        chunk = chunk_size * sum(height * width * 3 * 4 for height, width in SIZES)
        rows.append([chunk_size, f"{chunk / 1e6:.0f} MB", f"{grown / 1e6:.0f} MB", f"{grown / chunk:.2f}"])
    return rows


def draw_figure(timings: dict[str, measuring.Timing]) -> Figure:
    """Draw images a second and core."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    ax = figure.subplots()
    names = sorted(timings, key=lambda name: -timings[name].median)
    ax.barh(names, [1 / timings[name].median for name in names], color="#4c72b0")
    ax.set_xlabel("augmented galaxies a second and core")
    return figure


def main() -> None:
    flags = measuring.parser(__doc__)
    flags.add_argument("--root", type=Path, metavar="DIR", help="prepared real galaxies (default: simulated ones)")
    options = flags.parse_args()
    num = 16 if options.quick else 200
    described = measuring.print_environment()
    with prepared(options.root, 2 * num) as folders, tempfile.TemporaryDirectory() as ram:
        work = Work(dataclasses.replace(folders, ram=Path(ram) / "none"), num)
        cached = Work(dataclasses.replace(folders, ram=Path(ram)), num)
        cached.paths()
        decoded_cache.build("train")
        differences = check(work, cached)
        timings = compare(work, cached, options.repeats)
        reference = timings["2014, scikit-image reads"].median
        rows = [
            [
                name,
                each,
                f"{1 / each.median:.0f}",
                f"{reference / each.median:.1f}",
                f"{differences[name]:.0e}" if name in differences else "",
            ]
            for name, each in timings.items()
        ]
        print(measuring.table(["", "an image", "images/s", "times 2014", "differs by"], rows), "\n")
        scaling = scale(work, cached, options.repeats)
        header = ["from", "workers", "alone, images/s", "generator, images/s", "kept", "times one worker"]
        print(measuring.table(header, scaling), "\n")
        memory = peak_memory(work, [16, 32] if options.quick else [500, 1000, 2000, 4000])
        print(measuring.table(["chunk size", "a chunk", "peak grew by", "chunks"], memory), "\n")
    results = {"environment": described, "timings": timings, "scaling": scaling, "memory": memory}
    measuring.save(options.output, "augmentation", results, draw_figure(timings))


if __name__ == "__main__":
    main()
