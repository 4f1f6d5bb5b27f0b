"""The cost of many images, long runs and large blends, for doc/scale.md and doc/speed.md.

    python benchmarks/bench_scale.py storage stages runs --images DIR --numbers 1000 10000
    python benchmarks/bench_scale.py memory --chunks 500
    python benchmarks/bench_scale.py blending --models 20

`storage`, `stages` and `runs` measure files, the stages of prediction, and whole runs. `DIR` holds JPEGs, which are
linked under new names if more are needed. Files are read from disk (without cached pages) and from memory.

`memory` tests that a long training keeps its memory: resident memory of the parent and its workers over many small
chunks, with validation and checkpoints, on a simulated survey and a network of milliseconds. It fails if memory grows
by more than 2 % after the first tenth of the chunks. It reads Linux's /proc.

`blending` measures the memory of ensemble_predictions_npy.py with made-up predictions of the real survey's 61,578
training galaxies, a tenth of which is validated, and 79,975 test galaxies. It fails above a gigabyte.
"""

import argparse
import dataclasses
import multiprocessing
import os
import resource
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
from pyarrow import parquet

sys.path.insert(0, os.fspath(Path(__file__).resolve().parent.parent))

from machine.command_line import positive_int, run_script

from benchmarks import measuring
from benchmarks.measuring import table
from benchmarks.peers import ROOT, prepared, watched
from catalogue import framing
from catalogue.inputs import find
from catalogue.model_file import Model
from engine.checkpoints import Progress
from engine.experiment import Experiment, Steps
from engine.options import Options
from engine.training import Run
from galaxy.decision_tree import GALAXY_ZOO_2
from galaxy.image_files import read
from machine.arrays import save_array, save_gz
from survey import images as survey_images
from survey.folders import use_folders
from tests.tiny_network import TINY

FILES_A_FOLDER, ROWS_A_GROUP = 1000, 500
NUM_STAGED = 300  # images, for the stages


def spread(images: list[Path], folder: Path, num_files: int, make: Callable[[Path, Path], object]) -> list[Path]:
    """Copy or link images with `make(new, image)` under so many names, a thousand per folder; return the paths."""
    paths = [folder / f"{n // FILES_A_FOLDER:05d}" / f"{n:08d}.jpg" for n in range(num_files)]
    for n, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path, images[n % len(images)])
    return paths


def write_tar(paths: list[Path], path: Path) -> Path:
    """Write files to a tar."""
    with tarfile.open(path, "w") as tar:
        for each in paths:
            tar.add(each, each.name)
    return path


def write_parquet(paths: list[Path], path: Path) -> Path:
    """Write files to a Parquet table of names and bytes, without further compression."""
    schema = pa.schema([("file_loc", pa.string()), ("image", pa.binary())])
    with parquet.ParquetWriter(path, schema, compression="none") as writer:
        for start in range(0, len(paths), ROWS_A_GROUP):
            group = paths[start : start + ROWS_A_GROUP]
            columns = [[each.name for each in group], [each.read_bytes() for each in group]]
            writer.write_table(pa.table(columns, schema=schema))
    return path


def read_tar(path: Path) -> Iterator[bytes]:
    """Yield the bytes of the files in a tar, in order."""
    with tarfile.open(path, "r|") as tar:
        for member in tar:
            yield tar.extractfile(member).read()


def read_parquet(path: Path) -> Iterator[bytes]:
    """Yield the images of a Parquet table, group by group."""
    for batch in parquet.ParquetFile(path).iter_batches(ROWS_A_GROUP, columns=["image"]):
        yield from (value.as_py() for value in batch.column(0))


def forget(paths: list[Path]) -> None:
    """Drop the cached pages of files."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure_storage(images: list[Path], folder: Path, num_files: int) -> None:
    """Print the speed of reading images from loose files, a tar, and a Parquet table."""
    copies = spread(images, folder / "loose", num_files, lambda new, image: new.write_bytes(image.read_bytes()))
    tar, packed = write_tar(copies, folder / "all.tar"), write_parquet(copies, folder / "all.parquet")
    ways: dict[str, tuple[list[Path], Callable[[], Iterator[bytes]]]] = {
        "loose files": (copies, lambda: map(Path.read_bytes, copies)),
        "tar": ([tar], lambda: read_tar(tar)),
        "Parquet": ([packed], lambda: read_parquet(packed)),
    }
    rows = []
    for name, (files, content) in ways.items():
        size, blocks = sum(path.stat().st_size for path in files), sum(path.stat().st_blocks for path in files)
        seconds = []
        for cold in (True, False):
            if cold:
                forget(files)
            start = time.perf_counter()
            total = sum(len(each) for each in content())
            seconds.append(time.perf_counter() - start)
        rates = [f"{num_files / each:,.0f}" for each in seconds] + [f"{total / seconds[0] / 1e6:.0f} MB/s"]
        rows.append((name, f"{size / 1e6:.1f} MB", f"{512 * blocks / 1e6:.1f} MB", *rates))
    print(table(("storage", "bytes", "on disk", "per second, from disk", "per second, from memory", "from disk"), rows))


def measure_stages(images: list[Path], model: Model) -> None:
    """Print the processor time of each stage of an image, one thread."""
    cv2.setNumThreads(1)
    chosen = images[:: max(1, len(images) // NUM_STAGED)][:NUM_STAGED]
    radius = model.card.framing_radius
    took: dict[str, list[float]] = {}

    def timed(stage: str, function: Callable[[], object]) -> object:
        start = time.process_time()
        result = function()
        took.setdefault(stage, []).append(1e3 * (time.process_time() - start))
        return result

    for path in chosen:
        picture = timed("read and decode", partial(read, path))
        segmented, part = timed("measure", partial(framing.measure, picture))
        frame = timed("frame", partial(framing.frame_of, picture, segmented, part, "auto", radius))
        timed("views", partial(model.views, frame))
        timed("views and network", partial(model.predict, [frame]))
    rows = [(stage, f"{np.median(each):.2f} ms") for stage, each in took.items()]
    print(table(("stage, one thread", "an image"), rows))
    print(f"bytes of an image: {np.mean([path.stat().st_size for path in images]):,.0f}")


def measure_runs(images: list[Path], folder: Path, path: Path, numbers: list[int]) -> None:
    """Print time and memory of predict_galaxies.py for more and more images."""
    rows = []
    for number in numbers:
        source, output = folder / str(number), folder / f"{number}.parquet"
        spread(images, source, number, Path.symlink_to)
        start = time.process_time()
        find([os.fspath(source)])
        listed = time.process_time() - start
        run = watched(["predict_galaxies.py", source, "--model", path, "--output", output])
        if run.status:
            sys.exit(f"predict_galaxies.py ended with status {run.status}")
        rates = f"{number:,}", f"{number / run.seconds:.1f}", f"{1e3 * run.processor_seconds / number:.1f} ms"
        rows.append((*rates, f"{run.peak / 1e6:.0f} MB", f"{listed:.2f} s", f"{output.stat().st_size / number:,.0f}"))
        print(rows[-1], flush=True)
    head = ("images", "per second", "processor time per image", "memory at its peak", "listing", "bytes a row")
    print(table(head, rows))


MOST_GROWTH = 0.02
# The proportional share (PSS) depends on other processes with the same libraries: it has no limit.
JUDGED = ("parent RSS", "workers RSS")
LONG_RUN = dataclasses.replace(
    TINY, name="bench_memory", chunk_size=32, learning_rate=Steps({0: 0.004}), validate_every=10
)


def resident_memory(pid: int) -> tuple[int, int]:
    """Return the resident memory of a process and its proportional share, in kB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {name: int(rest.split()[0]) for name, rest in (line.split(":") for line in lines)}
    return sizes["Rss"], sizes["Pss"]


def memory_of_chunks(chosen: Experiment, every: int, last: int) -> dict[int, dict[str, int]]:
    """Train; print and return the memory after every so many chunks up to the last to be measured."""
    measured, strangers = {}, multiprocessing.active_children()

    def look(progress: Progress) -> None:
        workers = [process.pid for process in multiprocessing.active_children() if process not in strangers]
        if progress.chunk % every == 0 and progress.chunk <= last and workers:
            try:
                parent, *rest = map(resident_memory, (os.getpid(), *workers))
            except OSError:  # a worker has ended meanwhile
                return
            row = {"parent RSS": parent[0], "parent PSS": parent[1]}
            row |= {f"workers {kind}": sum(each[i] for each in rest) for i, kind in enumerate(("RSS", "PSS"))}
            measured[progress.chunk] = row
            print(f"memory at chunk {progress.chunk}: " + ", ".join(f"{k} {v} kB" for k, v in row.items()), flush=True)

    run = Run.prepare(chosen, Options(device="cpu", num_workers=2))
    run.on_chunk = look
    run.train()
    return measured


def measure_memory(num_chunks: int) -> None:
    """Train and print the growth of memory after the first tenth of the chunks; exit with status 1 above the limit."""
    # The workers end after the last chunk: two more chunks keep them alive for the last reading.
    chosen = dataclasses.replace(LONG_RUN, num_chunks=num_chunks + 2)
    with prepared(None, 40, 10):
        measured = memory_of_chunks(chosen, max(1, num_chunks // 10), num_chunks)
    first, *_, last = measured
    growth = {name: measured[last][name] / measured[first][name] - 1 for name in JUDGED}
    print(f"chunk {first} to {last}: " + ", ".join(f"{name} {value:+.2%}" for name, value in growth.items()))
    if max(growth.values()) > MOST_GROWTH:
        sys.exit(f"error: expected memory to grow by {MOST_GROWTH:.0%} at most")


NUM_TRAIN, NUM_TEST = 61_578, 79_975
MOST_BYTES = 1e9


def write_predictions(root: Path, num_models: int) -> None:
    """Write labels, ids and the predictions of so many models: the labels with noise."""
    folders, rng = use_folders(root), np.random.default_rng(0)

    def draw(num: int) -> np.ndarray:
        fractions = rng.gamma(0.5, size=(num, GALAXY_ZOO_2.num_answers))
        for columns in GALAXY_ZOO_2.slices.values():
            fractions[:, columns] /= fractions[:, columns].sum(axis=1, keepdims=True)
        return GALAXY_ZOO_2.weigh(fractions).astype(np.float32)

    labels, test = draw(NUM_TRAIN), draw(NUM_TEST)
    save_array(folders.data / "solutions_train.npy", labels)
    save_array(folders.data / "train_ids.npy", np.arange(NUM_TRAIN))
    save_array(folders.data / "test_ids.npy", np.arange(NUM_TEST))
    _, valid = survey_images.split(NUM_TRAIN)
    for model in range(num_models):
        for part, truth in (("valid", labels[valid]), ("test", test)):
            noise = 0.1 * rng.standard_normal(truth.shape, np.float32)
            save_gz(folders.augmented(part, f"model_{model:02d}"), (truth + noise).clip(0, 1))


def measure_blending(num_models: int) -> None:
    """Blend made-up predictions and print the peak of memory; exit with status 1 above a gigabyte."""
    with tempfile.TemporaryDirectory() as root:
        write_predictions(Path(root), num_models)
        run = watched(["ensemble_predictions_npy.py", "--root", root])
    if run.status:
        sys.exit(f"error: ensemble_predictions_npy.py ended with status {run.status}")
    peak = max(run.peak, 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    shape = f"{num_models} models x {NUM_TEST} x {GALAXY_ZOO_2.num_answers}"
    print(f"{shape}: peak {peak / 1e6:.0f} MB, {run.processor_seconds:.0f} s of processor time")
    if peak > MOST_BYTES:
        sys.exit(f"error: expected at most {MOST_BYTES / 1e6:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "what",
        nargs="*",
        default=["storage", "stages", "runs"],
        help="storage, stages, runs, memory, blending (default: the first three)",
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="JPEGs, for storage, stages and runs")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "lite0.onnx")
    parser.add_argument(
        "--numbers",
        type=positive_int,
        nargs="+",
        default=[1000, 10_000],
        help="of images: of the runs, and the largest for storage",
    )
    parser.add_argument("--chunks", type=positive_int, default=500, metavar="N", help="for memory, default: 500")
    parser.add_argument("--models", type=positive_int, default=20, metavar="N", help="for blending, default: 20")
    args = parser.parse_args()
    images = sorted(args.images.resolve().glob("*.jpg")) if args.images else []
    if not images and {"storage", "stages", "runs"} & set(args.what):
        parser.error(f"expected *.jpg in the folder of --images, got {args.images}")
    measuring.print_environment()
    with tempfile.TemporaryDirectory() as folder:
        measurements = {
            "storage": lambda: measure_storage(images, Path(folder, "storage"), max(args.numbers)),
            "stages": lambda: measure_stages(images, Model(args.model, 1)),
            "runs": lambda: measure_runs(images, Path(folder, "runs"), args.model, args.numbers),
            "memory": lambda: measure_memory(args.chunks),
            "blending": lambda: measure_blending(args.models),
        }
        if strangers := set(args.what) - set(measurements):
            parser.error(f"expected names of {', '.join(measurements)}, got {strangers.pop()}")
        for name in args.what:
            measurements[name]()


if __name__ == "__main__":
    run_script(main)
