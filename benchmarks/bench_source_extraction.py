"""The time of SExtractor's measurements of a galaxy, and their agreement with those of 2014.

    python benchmarks/bench_source_extraction.py
    python benchmarks/bench_source_extraction.py --images DIR --reference sextractor_2014.csv

Times are milliseconds per image on one core, with decoding: the median over repetitions. Debian's `source-extractor`,
if installed, runs on the same images with the same settings; its time includes the start of the program and a FITS
file. Without `--images`, the galaxies are simulated.

`--reference` names a table with columns subset, GalaxyID, gen2_x, ..., gen1_fwhm. All of its images below `--images`
are measured, and each column's agreement is printed.
"""

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
from astropy.io import fits

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from machine.command_line import positive_int, run_script

import simulate_galaxies
from benchmarks import measuring
from survey import images
from survey.centering import EXTRA_PARAMS, GEN2_PARAMS, PysexParams
from survey.pysex_params import measure

CATALOGUES = {"gen2": GEN2_PARAMS, "gen1": EXTRA_PARAMS}
PROGRAM = shutil.which("source-extractor")
# Half of the last digit in the table of 2014, and a margin for binary numbers.
ROUNDING = {"theta": 0.05, "petro_radius": 0.005, "kron_radius": 0.005, "fwhm": 0.005}
PETROSIAN_STEP = 0.66
SHARES = ("identical", "within a step")

# SExtractor's names of columns, in pixels of the image.
OUTPUTS = {name: f"{name.upper()}_IMAGE" for name in ("x", "y", "a", "b", "theta", "fwhm")}
OUTPUTS |= {name: name.upper() for name in ("flux_radius", "kron_radius", "petro_radius")}


def run_program(channel: np.ndarray, catalogue: PysexParams, folder: Path) -> np.ndarray:
    """Measure all objects of an image by `source-extractor` with its defaults: (n, columns).

    Positions start at 1; theta runs from the columns towards the rows.
    """
    fits.PrimaryHDU(channel.astype(np.float32)).writeto(folder / "image.fits", overwrite=True)
    (folder / "default.sex").write_text("")
    (folder / "default.param").write_text("\n".join(OUTPUTS[name] for name in catalogue.columns) + "\n")
    (folder / "default.conv").write_text("CONV NORM\n1 2 1\n2 4 2\n1 2 1\n")
    command = [PROGRAM, "image.fits", "-c", "default.sex", "-DETECT_THRESH", str(catalogue.threshold)]
    command += ["-PARAMETERS_NAME", "default.param", "-FILTER_NAME", "default.conv", "-CATALOG_NAME", "objects.txt"]
    command += ["-CATALOG_TYPE", "ASCII", "-VERBOSE_TYPE", "QUIET"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return np.loadtxt(folder / "objects.txt", ndmin=2)


def compare(measured: np.ndarray, reference: np.ndarray, columns: Sequence[str]) -> dict[str, dict[str, float]]:
    """Compare measurements (n, columns) with a reference: errors of each column.

    Position angles differ by at most 90 degrees; they are compared if a/b exceeds 1.2.
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


def measure_file(catalogue: PysexParams, path: Path) -> np.ndarray:
    return measure(images.read_image(path)[:, :, 1], catalogue)


def measure_by_program(catalogue: PysexParams, folder: Path, path: Path) -> None:
    run_program(images.read_image(path)[:, :, 1].T, catalogue, folder)


def time_an_image(
    measures: Mapping[str, Callable[[Path], object]], paths: Sequence[Path], repeats: int
) -> dict[str, float]:
    """Return the milliseconds per image of each peer's median repetition."""
    peers = {name: lambda measure=measure: list(map(measure, paths)) for name, measure in measures.items()}
    timings = measuring.side_by_side(peers, repeats)
    return {name: timing.median / len(paths) * 1000 for name, timing in timings.items()}


def program_version() -> str:
    if not PROGRAM:
        return "none"
    return subprocess.run([PROGRAM, "--version"], capture_output=True, text=True).stdout.strip()


def write_simulated(folder: Path, num_images: int) -> list[Path]:
    """Write simulated galaxies as JPEGs of the real ones' quality."""
    paths = [folder / f"{index}.jpg" for index in range(num_images)]
    for index, path in enumerate(paths):
        image, *_ = simulate_galaxies.simulate(simulate_galaxies.Survey(1), "train", index)
        quality = simulate_galaxies.JPEG_QUALITY
        path.write_bytes(simplejpeg.encode_jpeg(image, quality=quality, colorspace="RGB", colorsubsampling="420"))
    return paths


def compare_with_table(table: Path, files: dict[int, Path]) -> None:
    """Measure all images of a reference table and print the agreement of each column."""
    reference = pandas.read_csv(table)
    paths = [files[id] for id in reference["GalaxyID"]]
    with ProcessPoolExecutor() as pool:
        for prefix, catalogue in CATALOGUES.items():
            measured = np.array(list(pool.map(partial(measure_file, catalogue), paths, chunksize=16)))
            expected = reference[[f"{prefix}_{name}" for name in catalogue.columns]].to_numpy()
            print(f"{prefix}, threshold {catalogue.threshold}: agreement on {len(paths)} images of {table.name}")
            rows = [
                (name, f"{row['median']:.5f}", *(f"{row[share]:.2%}" for share in SHARES), f"{row['largest']:.3f}")
                for name, row in compare(measured, expected, catalogue.columns).items()
            ]
            print(measuring.table(("column", "median error", *SHARES, "largest error"), rows))


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.add_argument("--images", type=Path, metavar="DIR", help="JPEGs, also in subfolders (default: simulated)")
    parser.add_argument("--num-images", type=positive_int, default=40, metavar="N", help="images that are timed")
    parser.add_argument("--reference", type=Path, metavar="CSV", help="print the agreement with this table as well")
    args = parser.parse_args()
    if args.reference and not args.images:
        parser.error("--reference needs --images, the folder with the images of the table")
    measuring.print_environment(**{"sep": sep.__version__, "source-extractor": program_version()})
    num_images = 2 if args.quick else args.num_images
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.images:
            files = {int(path.stem): path for path in args.images.rglob("*.jpg")}
            if not files:
                parser.error(f"expected JPEGs below {args.images}, got none")
            # Spread over the ids, in any order on disk.
            chosen = np.linspace(0, len(files) - 1, min(num_images, len(files))).astype(int)
            paths = [files[sorted(files)[index]] for index in chosen]
        else:
            paths = write_simulated(folder, num_images)
        source = "real" if args.images else "simulated"
        print(f"{len(paths)} {source} images, median of {args.repeats} repetitions")
        for prefix, catalogue in CATALOGUES.items():
            peers = {"ours": partial(measure_file, catalogue)}
            if PROGRAM:
                peers["source-extractor"] = partial(measure_by_program, catalogue, folder)
            times = time_an_image(peers, paths, args.repeats)
            texts = [f"{name} {milliseconds:6.1f} ms per image" for name, milliseconds in times.items()]
            print(f"{prefix}, threshold {catalogue.threshold:2}: {'; '.join(texts)}", flush=True)
    if args.reference:
        compare_with_table(args.reference, files)


if __name__ == "__main__":
    run_script(main)
