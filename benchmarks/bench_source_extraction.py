"""How long SExtractor's measurements of a galaxy take, and how near they come to those of 2014.

    python benchmarks/bench_source_extraction.py
    python benchmarks/bench_source_extraction.py --images DIR --reference sextractor_2014.csv

Times are milliseconds an image on one core, decoding included: the median over repetitions. Where Debian's
`source-extractor` is installed, it runs on the same images with the same settings; its time includes the program's
start and the writing of the image, without which it can not be had. Without `--images`, the galaxies are simulated.

`--reference` names a table with columns subset, GalaxyID, gen2_x, ..., gen1_fwhm. All of its images below `--images`
are measured, and each column's agreement is printed.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas
import sep
import simplejpeg

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import simulate_galaxies
from benchmarks import measuring
from machine.command_line import positive_int, run_script
from survey import images
from survey.centering import EXTRA_PARAMS, GEN2_PARAMS, PysexParams
from survey.pysex_params import measure

CATALOGUES = {"gen2": GEN2_PARAMS, "gen1": EXTRA_PARAMS}
PROGRAM = shutil.which("source-extractor")
# Half of the last digit that the table of 2014 has, and a little for the digits of binary numbers.
ROUNDING = {"theta": 0.05, "petro_radius": 0.005, "kron_radius": 0.005, "fwhm": 0.005}
PETROSIAN_STEP = 0.66

# SExtractor's names of what it counts in pixels of the image.
OUTPUTS = {
    "x": "X_IMAGE",
    "y": "Y_IMAGE",
    "a": "A_IMAGE",
    "b": "B_IMAGE",
    "theta": "THETA_IMAGE",
    "flux_radius": "FLUX_RADIUS",
    "kron_radius": "KRON_RADIUS",
    "petro_radius": "PETRO_RADIUS",
    "fwhm": "FWHM_IMAGE",
}


def write_fits(path: Path, image: np.ndarray) -> None:
    """Write an image (rows, columns) as a FITS file of 32-bit floats."""
    rows, columns = image.shape
    values = {"SIMPLE": "T", "BITPIX": -32, "NAXIS": 2, "NAXIS1": columns, "NAXIS2": rows}
    header = "".join(f"{f'{name:8}= {value:>20}':80}" for name, value in values.items()) + f"{'END':80}"
    data = image.astype(">f4").tobytes()
    path.write_bytes(header.ljust(2880).encode() + data + bytes(-len(data) % 2880))


def run_program(channel: np.ndarray, catalogue: PysexParams, folder: Path) -> np.ndarray:
    """Measure all objects of an image by `source-extractor` with its defaults: (n, columns), positions from 1.

    theta, too, is SExtractor's own: it runs from the image's columns towards its rows.
    """
    write_fits(folder / "image.fits", channel)
    (folder / "default.sex").write_text("")
    (folder / "default.param").write_text("\n".join(OUTPUTS[name] for name in catalogue.columns) + "\n")
    (folder / "default.conv").write_text("CONV NORM\n1 2 1\n2 4 2\n1 2 1\n")
    command = [PROGRAM, "image.fits", "-c", "default.sex", "-DETECT_THRESH", str(catalogue.threshold)]
    command += ["-PARAMETERS_NAME", "default.param", "-FILTER_NAME", "default.conv", "-CATALOG_NAME", "objects.txt"]
    command += ["-CATALOG_TYPE", "ASCII", "-VERBOSE_TYPE", "QUIET"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return np.loadtxt(folder / "objects.txt", ndmin=2)


def compare(measured: np.ndarray, reference: np.ndarray, columns: Sequence[str]) -> dict[str, dict[str, float]]:
    """Compare measurements (n, columns) with those of a reference: for each column, what `print_agreement` prints.

    Position angles differ by 90 degrees at most, and are compared where a/b exceeds 1.2.
    """
    agreement = {}
    for column, name in enumerate(columns):
        errors = np.abs(measured[:, column] - reference[:, column])
        if name == "theta":
            a, b = (reference[:, columns.index(axis)] for axis in "ab")
            errors = np.minimum(errors % 180, 180 - errors % 180)[a > 1.2 * b]
        agreement[name] = {
            "median": float(np.median(errors)),
            "identical": float(np.mean(errors < ROUNDING.get(name, 0.0005) * 1.02)),
            "within a step": float(np.mean(errors < 1.02 * PETROSIAN_STEP)),
            "largest": float(np.max(errors)),
        }
    return agreement


def print_agreement(agreement: dict[str, dict[str, float]]) -> None:
    print(f"    {'':13}{'median error':>14}{'identical':>12}{'within 0.66':>14}{'largest error':>16}")
    for name, row in agreement.items():
        shares = f"{row['identical']:12.2%}{row['within a step']:14.2%}"
        print(f"    {name:13}{row['median']:14.5f}{shares}{row['largest']:16.3f}")


def measure_file(catalogue: PysexParams, path: Path) -> np.ndarray:
    return measure(images.read_image(path)[:, :, 1], catalogue)


def measure_by_program(catalogue: PysexParams, folder: Path, path: Path) -> None:
    run_program(images.read_image(path)[:, :, 1].T, catalogue, folder)


def time_an_image(
    measures: Mapping[str, Callable[[Path], object]], paths: Sequence[Path], repetitions: int
) -> dict[str, float]:
    """Return the milliseconds an image of each peer's median repetition."""

    def measure_all(measure: Callable[[Path], object]) -> None:
        for path in paths:
            measure(path)

    peers = {name: partial(measure_all, measure) for name, measure in measures.items()}
    timings = measuring.side_by_side(peers, repetitions)
    return {name: timing.median / len(paths) * 1000 for name, timing in timings.items()}


def program_version() -> str:
    if not PROGRAM:
        return "none"
    return subprocess.run([PROGRAM, "--version"], capture_output=True, text=True).stdout.strip()


def write_simulated(folder: Path, num_images: int) -> list[Path]:
    """Write simulated galaxies as JPEGs of the real ones' quality."""
    paths = [folder / f"{index}.jpg" for index in range(num_images)]
    for index, path in enumerate(paths):
        image, _ = simulate_galaxies.simulate(1, "train", index)
        quality = simulate_galaxies.JPEG_QUALITY
        path.write_bytes(simplejpeg.encode_jpeg(image, quality=quality, colorspace="RGB", colorsubsampling="420"))
    return paths


def compare_with_table(table: Path, files: dict[int, Path], num_workers: int | None) -> None:
    """Measure all images of a table of reference and print how well the columns agree."""
    reference = pandas.read_csv(table)
    paths = [files[id] for id in reference["GalaxyID"]]
    with ProcessPoolExecutor(num_workers) as pool:
        for prefix, catalogue in CATALOGUES.items():
            measured = np.array(list(pool.map(partial(measure_file, catalogue), paths, chunksize=16)))
            expected = reference[[f"{prefix}_{name}" for name in catalogue.columns]].to_numpy()
            print(f"{prefix}, threshold {catalogue.threshold}: agreement on {len(paths)} images of {table.name}")
            print_agreement(compare(measured, expected, catalogue.columns))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, metavar="DIR", help="JPEGs somewhere below here (default: simulated)")
    parser.add_argument("--num-images", type=positive_int, default=40, metavar="N", help="images that are timed")
    parser.add_argument("--repetitions", type=positive_int, default=5, metavar="N", help="of each measurement")
    parser.add_argument("--reference", type=Path, metavar="CSV", help="print the agreement with this table as well")
    parser.add_argument("--num-workers", type=positive_int, metavar="N", help="for --reference (default: cores)")
    args = parser.parse_args()
    if args.reference and not args.images:
        parser.error("--reference needs --images, the folder with the images of the table")
    measuring.print_environment(**{"sep": sep.__version__, "source-extractor": program_version()})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.images:
            files = {int(path.stem): path for path in args.images.rglob("*.jpg")}
            if not files:
                parser.error(f"expected JPEGs below {args.images}, but there is none")
            # Spread over the ids, whatever their order on disk.
            chosen = np.linspace(0, len(files) - 1, min(args.num_images, len(files))).astype(int)
            paths = [files[sorted(files)[index]] for index in chosen]
        else:
            paths = write_simulated(folder, args.num_images)
        kind = "real" if args.images else "simulated"
        print(f"{len(paths)} {kind} images, median of {args.repetitions} repetitions")
        for prefix, catalogue in CATALOGUES.items():
            peers = {"ours": partial(measure_file, catalogue)}
            if PROGRAM:
                peers["source-extractor"] = partial(measure_by_program, catalogue, folder)
            times = time_an_image(peers, paths, args.repetitions)
            texts = [f"{name} {milliseconds:6.1f} ms an image" for name, milliseconds in times.items()]
            print(f"{prefix}, threshold {catalogue.threshold:2}: {'; '.join(texts)}", flush=True)
    if args.reference:
        compare_with_table(args.reference, files, args.num_workers)


if __name__ == "__main__":
    run_script(main)
