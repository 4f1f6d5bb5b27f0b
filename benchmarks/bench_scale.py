"""What many images cost: storage, each stage of prediction, whole runs and their memory. doc/scale.md plans with it.

    python benchmarks/bench_scale.py --images DIR --numbers 1000 10000

`DIR` holds JPEGs, which are linked under as many names as there are to be files. Reading is timed with the pages of the
files dropped from memory before (names and places stay known to the system), and with all in memory.
"""

import argparse
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
from pyarrow import parquet

sys.path.insert(0, os.fspath(Path(__file__).resolve().parent.parent))

from benchmarks.measuring import print_environment, table
from benchmarks.peers import ROOT, watched
from catalogue import framing
from catalogue.inputs import find
from catalogue.model_file import Model
from galaxy.image_files import read
from machine.command_line import positive_int, run_script

FILES_A_FOLDER, ROWS_A_GROUP = 1000, 500
# Of the images whose stages are timed one by one.
NUM_STAGED = 300


def link_images(images: list[Path], folder: Path, number: int) -> Path:
    """Link images under so many names, a thousand a folder."""
    for n in range(number):
        place = folder / f"{n // FILES_A_FOLDER:05d}"
        if n % FILES_A_FOLDER == 0:
            place.mkdir(parents=True)
        (place / f"{n:08d}.jpg").symlink_to(images[n % len(images)])
    return folder


def copy_images(images: list[Path], folder: Path, number: int) -> list[Path]:
    """Copy images under so many names, so that each has bytes of its own on the disk."""
    copies = []
    for n in range(number):
        copies.append(folder / f"{n // FILES_A_FOLDER:05d}" / f"{n:08d}.jpg")
        copies[-1].parent.mkdir(parents=True, exist_ok=True)
        copies[-1].write_bytes(images[n % len(images)].read_bytes())
    return copies


def write_tar(paths: list[Path], path: Path) -> Path:
    """Put files into one tar."""
    with tarfile.open(path, "w") as tar:
        for each in paths:
            tar.add(each, each.name)
    return path


def write_parquet(paths: list[Path], path: Path) -> Path:
    """Put files into one Parquet table of names and bytes, which are compressed already."""
    schema = pa.schema([("file_loc", pa.string()), ("image", pa.binary())])
    with parquet.ParquetWriter(path, schema, compression="none") as writer:
        for start in range(0, len(paths), ROWS_A_GROUP):
            group = paths[start : start + ROWS_A_GROUP]
            writer.write_table(
                pa.table([[each.name for each in group], [each.read_bytes() for each in group]], schema=schema)
            )
    return path


def read_files(paths: list[Path]) -> Iterator[bytes]:
    """Yield the bytes of files."""
    return (path.read_bytes() for path in paths)


def read_tar(path: Path) -> Iterator[bytes]:
    """Yield the bytes of the files in a tar, in order."""
    with tarfile.open(path, "r|") as tar:
        for member in tar:
            yield tar.extractfile(member).read()


def read_parquet(path: Path) -> Iterator[bytes]:
    """Yield the images of a Parquet table, a group of rows in memory at a time."""
    for batch in parquet.ParquetFile(path).iter_batches(ROWS_A_GROUP, columns=["image"]):
        yield from (value.as_py() for value in batch.column(0))


def forget(paths: list[Path]) -> None:
    """Have the system drop what it keeps of the files' pages."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure_storage(images: list[Path], folder: Path, number: int) -> None:
    """Print how fast images are read from loose files, a tar, and a Parquet table."""
    copies = copy_images(images, folder / "loose", number)
    tar, packed = write_tar(copies, folder / "all.tar"), write_parquet(copies, folder / "all.parquet")
    ways: dict[str, tuple[list[Path], Callable[[], Iterator[bytes]]]] = {
        "loose files": (copies, lambda: read_files(copies)),
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
        rates = [f"{number / each:,.0f}" for each in seconds] + [f"{total / seconds[0] / 1e6:.0f} MB/s"]
        rows.append((name, f"{size / 1e6:.1f} MB", f"{512 * blocks / 1e6:.1f} MB", *rates))
    print(table(("storage", "bytes", "on disk", "a second, from disk", "a second, from memory", "from disk"), rows))


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
        picture = timed("read and decode", lambda path=path: read(path))
        found, part = timed("measure", lambda picture=picture: framing.measure(picture))
        frame = timed("frame", lambda: framing.frame_of(picture, found, part, "auto", radius))  # noqa: B023
        views = timed("views", lambda frame=frame: model.views(frame))
        del views
        timed("views and network", lambda frame=frame: model.predict([frame]))
    rows = [(stage, f"{np.median(each):.2f} ms") for stage, each in took.items()]
    print(table(("stage, one thread", "an image"), rows))
    print(f"bytes of an image: {np.mean([path.stat().st_size for path in images]):,.0f}")


def measure_runs(images: list[Path], folder: Path, path: Path, numbers: list[int]) -> None:
    """Print what predict_galaxies.py takes for more and more images."""
    rows = []
    for number in numbers:
        source, output = link_images(images, folder / str(number), number), folder / f"{number}.parquet"
        start = time.process_time()
        found = find([os.fspath(source)])
        listed = time.process_time() - start
        del found
        run = watched(["predict_galaxies.py", source, "--model", path, "--output", output])
        if run.status:
            sys.exit(f"predict_galaxies.py ended with status {run.status}")
        told = f"{number:,}", f"{number / run.seconds:.1f}", f"{1e3 * run.processor_seconds / number:.1f} ms"
        rows.append((*told, f"{run.peak / 1e6:.0f} MB", f"{listed:.2f} s", f"{output.stat().st_size / number:,.0f}"))
        print(rows[-1], flush=True)
    head = ("images", "a second", "processor time an image", "memory at its peak", "listing", "bytes a row")
    print(table(head, rows))


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, metavar="DIR")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "lite0.onnx")
    parser.add_argument("--numbers", type=positive_int, nargs="+", default=[1000, 10_000], help="of images a run")
    parser.add_argument("--stored", type=positive_int, default=10_000, help="images that are stored in three ways")
    parser.add_argument(
        "--scratch", type=Path, metavar="DIR", help="where files are made (default: a temporary folder)"
    )
    parser.add_argument("what", nargs="*", default=["storage", "stages", "runs"])
    args = parser.parse_args()
    images = sorted(args.images.resolve().glob("*.jpg"))
    if not images:
        parser.error(f"expected *.jpg in {args.images}, found none")
    print_environment()
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        if "storage" in args.what:
            measure_storage(images, Path(folder, "storage"), args.stored)
        if "stages" in args.what:
            measure_stages(images, Model(args.model, 1))
        if "runs" in args.what:
            measure_runs(images, Path(folder, "runs"), args.model, args.numbers)


if __name__ == "__main__":
    run_script(main)
