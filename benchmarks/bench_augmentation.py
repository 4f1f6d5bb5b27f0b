"""The cost of an augmented example: two 69x69 views of a galaxy, perturbed at random, with colour noise.

    python benchmarks/bench_augmentation.py [--root DIR]

1. Images per second and core: ours, from JPEGs and from the decoded cache, against the way of 2014 (scikit-image or PIL
   reading, division by 255, `skimage.transform.warp`), `torch.nn.functional.grid_sample`, and albumentations.
2. Workers: the scaling from one worker to two and to all cores, and how much of it the chunk generator keeps.
3. Peak memory of the generator's consumer for growing chunks.

Peers sample the same matrices and agree to 1e-4 away from the border. Only albumentations does not take a matrix.
"""

import dataclasses
import importlib.util
import itertools
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
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
from benchmarks.peers import Work, with_and_without_cache
from machine.cores import available_cores
from machine.memory import keep_freed_memory
from survey import images
from survey.chunk_workers import Workers, drawn_chunks
from survey.draws import Draw
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT

VIEWS = EXPERIMENT.views
Round = Callable[[], np.ndarray]


def draw(num: int) -> Draw:
    """Draw perturbations and colour noise of the first `num` galaxies."""
    return dataclasses.replace(VIEWS.draw(np.arange(num), num, seed=0, chunk=0), indices=np.arange(num))


def per_image(work: Work, views_of: Callable[[Path, np.ndarray, np.ndarray], object]) -> Round:
    """Return a round of views (2, n, 69, 69, 3), each pair made from a path, a perturbation (3, 3), a noise (3,)."""
    paths = work.paths()

    def run() -> np.ndarray:
        drawn, views = draw(work.num), np.empty((2, work.num, 69, 69, 3), np.float32)
        for row, (path, matrix, noise) in enumerate(zip(paths, drawn.perturbations[:, 0], drawn.colour, strict=True)):
            views[:, row] = views_of(path, matrix, noise)
        return views

    return run


def read_pil(path: Path) -> np.ndarray:
    """Read an image (424, 424, 3) uint8 with PIL."""
    with Image.open(path) as image:
        return np.asarray(image)


def the_way_of_2014(work: Work, reader: Callable[[Path], np.ndarray]) -> Round:
    """Return a round that warps each view with scikit-image, in float64 as in 2014."""

    def views_of(path: Path, matrix: np.ndarray, noise: np.ndarray) -> np.ndarray:
        image, tform = reader(path) / 255.0, AffineTransform(matrix=matrix)
        pairs = zip(VIEWS.ds_transforms, VIEWS.target_sizes, strict=True)
        warped = [warp(image, tform_ds + tform, output_shape=size, mode="reflect") for tform_ds, size in pairs]
        return np.clip(warped + noise, 0, 1)

    return per_image(work, views_of)


def with_grid_sample(work: Work) -> Round:
    """Return a round that samples both views of an image with PyTorch, in today's usual way."""
    y, x = torch.meshgrid(torch.arange(69.0), torch.arange(69.0), indexing="ij")
    grid = torch.stack([x, y, torch.ones_like(x)], dim=-1)

    def views_of(path: Path, matrix: np.ndarray, noise: np.ndarray) -> torch.Tensor:
        image = torch.from_numpy(read_pil(path).copy()).permute(2, 0, 1).float().div(255)
        matrices = np.stack([matrix @ tform.params for tform in VIEWS.ds_transforms])[:, :2]
        positions = grid @ torch.from_numpy(matrices.astype(np.float32)).transpose(1, 2).unsqueeze(1)
        sampled = functional.grid_sample(
            image.expand(2, -1, -1, -1), positions / 211.5 - 1, padding_mode="reflection", align_corners=True
        )
        return (sampled.permute(0, 2, 3, 1) + torch.from_numpy(noise)).clamp(0, 1)

    return per_image(work, views_of)


def with_albumentations(work: Work) -> Round:
    """Return a round that makes such views with albumentations: an affine map, a crop and a reduction, twice."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else it looks for a newer version on the network
    import albumentations

    affine = partial(albumentations.Affine, border_mode=4, p=1)
    zoom_range = VIEWS.perturbations["zoom_range"]
    perturb = albumentations.Compose(
        [affine(scale=zoom_range, rotate=(-180, 180), translate_px=(-4, 4)), albumentations.HorizontalFlip(p=0.5)]
    )
    turn = affine(rotate=(45, 45))
    crop = albumentations.Compose([albumentations.CenterCrop(207, 207), albumentations.Resize(69, 69)])

    def views_of(path: Path, _: np.ndarray, noise: np.ndarray) -> np.ndarray:
        image = perturb(image=read_pil(path))["image"]
        views = [crop(image=each)["image"] / np.float32(255) for each in (image, turn(image=image)["image"])]
        return np.clip(views + noise, 0, 1)

    return per_image(work, views_of)


def ours(work: Work) -> Round:
    """Return a round of our worker process."""
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
    expected, differences = the_way_of_2014(few, read_pil)(), {}
    for name, make, chosen in (
        ("grid_sample", with_grid_sample, few),
        ("ours, from JPEGs", ours, few),
        ("ours, from the cache", ours, few_cached),
    ):
        differences[name] = float(np.abs(make(chosen)() - expected)[:, :, 8:-8, 8:-8].max())
        if differences[name] > 1e-4:
            raise SystemExit(f"expected scikit-image's warp to 1e-4, got {differences[name]:.1e} from {name}")
    return differences


def compare(work: Work, cached: Work, repeats: int) -> dict[str, measuring.Timing]:
    """Time the peers with one thread each."""
    builds = {
        "2014, scikit-image reads": partial(the_way_of_2014, work, skimage.io.imread),
        "2014, PIL reads": partial(the_way_of_2014, work, read_pil),
        "grid_sample": partial(with_grid_sample, work),
        "ours, from JPEGs": partial(ours, work),
        "ours, from the cache": partial(ours, cached),
    }
    if importlib.util.find_spec("albumentations"):
        builds["albumentations"] = partial(with_albumentations, work)
    else:
        print("albumentations is not measured: pip install -r requirements-bench.txt")
    return peers.in_turns(builds, work.num, repeats)


_rounds: list[Round] = []  # of this worker process


def _start(work: Work) -> None:
    cv2.setNumThreads(0)
    _rounds[:] = [ours(work)]


def _do_round(_: int) -> None:
    _rounds[0]()


def alone(work: Work, num_workers: int, repeats: int) -> float:
    """Return the images per second of worker processes whose views are not read."""
    rates = []
    with ProcessPoolExecutor(num_workers, multiprocessing.get_context("fork"), _start, (work,)) as pool:
        for _ in range(1 + repeats):
            start = time.perf_counter()
            list(pool.map(_do_round, range(num_workers)))
            rates.append(num_workers * work.num / (time.perf_counter() - start))
    return float(np.median(rates[1:]))  # without the warm-up


def chunks(chunk_size: int, num_workers: int, num_chunks: int | None = None) -> Iterator[tuple[list[np.ndarray], Draw]]:
    """Yield chunks of the training galaxies as in a run."""
    indices, _ = images.split(len(images.ids_of("train")))
    numbers = itertools.count() if num_chunks is None else range(num_chunks)
    draws = (VIEWS.draw(indices, chunk_size, seed=0, chunk=chunk) for chunk in numbers)
    return drawn_chunks(VIEWS, draws, chunk_size, Workers(num_workers, reuse_buffers=True))


def generated(work: Work, num_workers: int, repeats: int) -> float:
    """Return the images per second of the chunk generator."""
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
    """Return rows: source, workers, images per second of workers alone and of the generator, and their ratios."""
    rows = []
    for name, each in (("JPEGs", work), ("the cache", cached)):
        one = 0.0
        for count in sorted({1, 2, available_cores()}):
            lone, kept = alone(each, count, repeats), generated(each, count, repeats)
            one = one or kept
            rows.append([name, count, f"{lone:.0f}", f"{kept:.0f}", f"{kept / lone:.2f}", f"{kept / one:.2f}"])
    return rows


def _grown(work: Work, chunk_size: int) -> int:
    """Read four chunks; return the bytes by which the peak memory of this process grew."""
    work.paths()
    gen = chunks(chunk_size, num_workers=2, num_chunks=4)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for views, _ in gen:
        for view in views:
            view.sum()  # touches every page
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


def peak_memory(work: Work, chunk_sizes: list[int]) -> list[list[object]]:
    """Return rows: chunk size, its bytes, growth of the consumer's memory in bytes and in chunks."""
    rows = []
    for chunk_size in chunk_sizes:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            grown = pool.submit(_grown, work, chunk_size).result()
        chunk = chunk_size * sum(height * width * 3 * 4 for height, width in VIEWS.target_sizes)
        rows.append([chunk_size, f"{chunk / 1e6:.0f} MB", f"{grown / 1e6:.0f} MB", f"{grown / chunk:.2f}"])
    return rows


def main() -> None:
    options = measuring.parser(__doc__, survey=True).parse_args()
    num = 16 if options.quick else 200
    described = measuring.print_environment()
    # Twice the galaxies, so that enough are left without those of validation.
    with with_and_without_cache(options.root, 2 * num) as works:
        work, cached = (dataclasses.replace(each, num=num) for each in works)
        differences = check(work, cached)
        timings = compare(work, cached, options.repeats)
        digits = {"difference": {name: f"{value:.0e}" for name, value in differences.items()}}
        reference = timings["2014, scikit-image reads"].median
        print(measuring.rates("relative to 2014, scikit-image", "image", timings, reference, **digits), "\n")
        scaling = scale(work, cached, options.repeats)
        header = ["from", "workers", "alone, images/s", "generator, images/s", "kept", "times one worker"]
        print(measuring.table(header, scaling), "\n")
        memory = peak_memory(work, [16, 32] if options.quick else [500, 1000, 2000, 4000])
        print(measuring.table(["chunk size", "a chunk", "peak grew by", "chunks"], memory), "\n")
    figure = Figure(figsize=(7, 3), layout="constrained")
    fastest_first = sorted(timings.items(), key=lambda item: item[1].median)
    measuring.draw_rates(figure.subplots(), "one core", "augmented galaxies", dict(fastest_first))
    results = {"environment": described, "timings": timings, "scaling": scaling, "memory": memory}
    measuring.save(options.output, "augmentation", results, figure)


if __name__ == "__main__":
    main()
