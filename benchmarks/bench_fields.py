"""Fields with known contents, catalogued: found, missed and misclassified objects, beside photutils.

    python benchmarks/bench_fields.py --model models/lite0.onnx --galaxies DIR
    python benchmarks/bench_fields.py --large 10000 --objects 20000

The first pastes real galaxies in Kaggle's layout at known positions and scales into a field with noise and stars. The
second makes a large FITS mosaic and a quarter of one, and catalogues them in processes of their own; then it catalogues
the large one again and kills the process several times.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pandas
import simplejpeg
from astropy.io import fits

sys.path.insert(0, os.fspath(Path(__file__).resolve().parent.parent))

from machine.command_line import positive_int, run_script

from benchmarks.ensemble_results import load_means, nearest_class
from benchmarks.field_making import NOISE, STAR_FWHM, make_field
from benchmarks.peers import ROOT, Watched, watched
from catalogue import field_cutouts, field_sources, framing
from catalogue.field_sources import FieldSources, find_sources
from catalogue.field_tiles import CORE
from catalogue.model_file import Model
from galaxy.detection import THRESHOLD
from galaxy.pictures import Picture

# A galaxy is clear if its pixels, down to a fifth of the brightest, have on average more sigma than this.
CLEAR = 3.0
KILLS, KILL_AFTER = 3, 60.0  # seconds


def matched(x: np.ndarray, y: np.ndarray, truth: pandas.DataFrame, within: np.ndarray | float) -> np.ndarray:
    """Return the nearest object (n,) to each true position, -1 if none is within so many pixels."""
    if not len(x):
        return np.full(len(truth), -1)
    distance = np.hypot(x[:, None] - truth["x"].to_numpy(), y[:, None] - truth["y"].to_numpy())
    return np.where(distance.min(axis=0) < within, distance.argmin(axis=0), -1)


def print_found(name: str, x: np.ndarray, y: np.ndarray, truth: pandas.DataFrame) -> np.ndarray:
    """Print how many clear galaxies are found; return the object (n,) of each galaxy, -1 for a missed one."""
    radius, clear = truth["radius"].to_numpy(), truth["surface"].to_numpy() > CLEAR
    objects = matched(x, y, truth, np.maximum(3, 0.3 * radius))
    detected = clear & (objects >= 0)
    distance = np.hypot(x[objects] - truth["x"], y[objects] - truth["y"]).to_numpy()[detected]
    near = np.hypot(x[:, None] - truth["x"].to_numpy(), y[:, None] - truth["y"].to_numpy())
    doubles = ((near < np.maximum(2, 0.15 * radius)).sum(axis=0) > 1)[clear].sum()
    inside = len(x) - len(np.unique(objects[objects >= 0])) - (near > radius).all(axis=1).sum()
    share = detected.sum() / clear.sum()
    print(
        f"{name}: {len(x)} objects; {detected.sum()} of {clear.sum()} clear galaxies ({share:.3f}), "
        f"{(distance < 1).mean():.3f} of them within a pixel, median {np.median(distance):.2f}; "
        f"{doubles} with a second object near the centre; {inside} other objects within galaxies' Petrosian radii"
    )
    return objects


def with_photutils(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return windowed centroids (n,) of photutils' detection, with our mesh, kernel and threshold."""
    from astropy.convolution import convolve_fft
    from photutils.background import Background2D, MedianBackground
    from photutils.segmentation import SourceCatalog, SourceFinder, make_2dgaussian_kernel

    image = pixels.astype(np.float64).mean(axis=2)
    background = Background2D(image, (128, 128), filter_size=(3, 3), bkg_estimator=MedianBackground())
    light = image - background.background
    kernel = make_2dgaussian_kernel(3.0, size=7)
    convolved = convolve_fft(light, kernel, allow_huge=True)
    # Our threshold is in sigma of the convolved light.
    threshold = THRESHOLD * background.background_rms * np.sqrt((kernel.array**2).sum())
    segments = SourceFinder(n_pixels=9, n_levels=32, contrast=0.005, progress_bar=False)(convolved, threshold)
    catalogue = SourceCatalog(light, segments, convolved_data=convolved)
    windowed = np.asarray(catalogue.centroid_win)
    # Some faint objects have no windowed centroid.
    return tuple(np.where(np.isfinite(windowed), windowed, catalogue.centroid).T)


def print_answers(model: Model, sources: FieldSources, objects: np.ndarray, truth: pandas.DataFrame, args) -> None:
    """Print how often galaxies of the field get the class of their cutouts, with neighbours removed and kept."""
    means, radius = load_means(args.galaxies / "class_mean_votes.csv").to_numpy(), model.card.framing_radius
    targets, rows = field_sources.field_objects(sources), []

    def class_of(frame: framing.Frame) -> int:
        return nearest_class(model.predict([frame]).predictions, means)[0]

    for index, row in zip(objects, truth.itertuples(), strict=True):
        if index < 0 or row.surface <= CLEAR or sources.classes[index] != "galaxy":
            continue
        pixels = simplejpeg.decode_jpeg((args.galaxies / f"data/raw/images_train_rev1/{row.GalaxyID}.jpg").read_bytes())
        whole = Picture(pixels, (pixels == 255).any(axis=2), "JPEG", pixels.shape[:2])
        expected = class_of(framing.frame(whole, "auto", radius))
        crowd = np.hypot(truth["x"] - row.x, truth["y"] - row.y) < 1.2 * (truth["radius"] + row.radius)
        for masked in (True, False):
            frame = field_cutouts.frame_object(targets[index], None, radius, masked)
            same = class_of(frame) == expected
            rows.append((masked, row.radius, crowd.sum() > 1, same, frame.radius / row.radius))
    table = pandas.DataFrame(rows, columns=["masked", "radius", "crowded", "same", "ratio"])
    for masked, group in table.groupby("masked"):
        crowded = group.loc[group["crowded"], "same"]
        bins = pandas.cut(group["radius"], [0, 20, 30, 45, 90, 1000])
        by_radius = group.groupby(bins, observed=True)["same"].agg(["mean", "size"]).round(3).to_dict("index")
        print(
            f"neighbours {'removed' if masked else 'kept'}: {group['same'].mean():.3f} of {len(group)} have the class "
            f"of their cutouts; in crowds {crowded.mean():.3f} of {len(crowded)}\n  by Petrosian radius: {by_radius}"
        )
    ratio = table.loc[table["masked"], "ratio"]
    print(f"radius over the true one: {ratio.quantile([0.05, 0.5, 0.95]).round(2).tolist()} (5, 50, 95 %)")


def print_others(sources: FieldSources, objects: np.ndarray, truth: pandas.DataFrame, stars: pandas.DataFrame) -> None:
    """Print the classes of stars and noise."""
    x, y, galaxies = sources.objects["x"], sources.objects["y"], sources.classes == "galaxy"
    of_star = matched(x, y, stars, 3.0)
    seen = np.setdiff1d(of_star[of_star >= 0], objects)
    of_galaxy = np.zeros(len(galaxies), bool)
    of_galaxy[objects[objects >= 0]] = True
    distance = np.hypot(x[:, None] - truth["x"].to_numpy(), y[:, None] - truth["y"].to_numpy())
    others = galaxies & ~of_galaxy
    others[seen] = False
    within = (distance < 1.2 * truth["radius"].to_numpy()).any(axis=1)
    noise = (others & ~within).sum()
    print(
        f"stars: {len(seen)} of {len(stars)} found, {galaxies[seen].sum()} of them called galaxies, "
        f"{(of_galaxy & (sources.classes == 'star')).sum()} galaxies called stars; of {galaxies.sum()} that are called "
        f"galaxies {(others & within).sum()} lie within galaxies (companions or pieces), {noise} are noise\n"
        f"stars and noise among objects called galaxies: {(galaxies[seen].sum() + noise) / max(1, galaxies.sum()):.3f}"
    )


def measure_known(args: argparse.Namespace) -> None:
    """Make a field of known galaxies and stars, and print what is detected and how it is classified."""
    rng = np.random.default_rng(1)
    pixels, truth, stars = make_field(args.galaxies, args.side, args.number, 2 * args.number, rng, CORE)
    empty = np.clip(np.rint(12 + np.random.default_rng(9).normal(0, NOISE, (1500, 1500, 3))), 0, 255).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "field.png")
        cv2.imwrite(str(path), pixels[..., ::-1])
        start = time.process_time()
        sources = find_sources(path, Path(folder, "parts"), 0)
        seconds = time.process_time() - start
        print(f"field of {args.side} x {args.side}: detection took {seconds:.1f} s of processor time")
        objects = print_found("here", sources.objects["x"], sources.objects["y"], truth)
        missed = truth[(objects < 0) & (truth["surface"] > CLEAR)]
        print("missed:", missed[["GalaxyID", "x", "y", "radius", "surface"]].round(1).to_dict("records"))
        print_others(sources, objects, truth, stars)
        cv2.imwrite(str(Path(folder, "empty.png")), empty)
        print("objects in noise alone:", len(find_sources(Path(folder, "empty.png"), Path(folder, "none"), 0).objects))
        theirs = print_found("photutils", *with_photutils(pixels), truth)
        alone = ((objects >= 0) & (theirs < 0)).sum(), ((objects < 0) & (theirs >= 0)).sum()
        print(f"found here alone {alone[0]}, by photutils alone {alone[1]}")
        print_answers(Model(args.model, 1), sources, objects, truth, args)


def write_large(path: Path, side: int, num_objects: int) -> None:
    """Write a mosaic of one band, float32, with stars, smooth galaxies and a WCS, strip by strip."""
    header = fits.Header({"SIMPLE": True, "BITPIX": -32, "NAXIS": 2, "NAXIS1": side, "NAXIS2": side})
    header.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.2})
    header.update({"CRPIX1": side / 2, "CRPIX2": side / 2, "CD1_1": -1e-4, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1e-4})
    rng = np.random.default_rng(4)
    x, y = rng.uniform(0, side, (2, num_objects))
    sizes = rng.lognormal(1.1, 0.5, num_objects).clip(1.5, 12)
    star = rng.random(num_objects) < 0.3
    peaks = 20 * rng.pareto(1.2, num_objects).clip(0, 20) + 10
    axis, angle = rng.uniform(0.3, 1, num_objects), rng.uniform(0, np.pi, num_objects)
    halves = (6 * np.where(star, STAR_FWHM, sizes)).astype(int)
    mosaic = fits.StreamingHDU(path, header)
    for top in range(0, side, 500):
        light = rng.normal(100, 3, (min(500, side - top), side)).astype(np.float32)
        rows = len(light)
        for n in np.flatnonzero((y + halves + 1 > top) & (y - halves - 1 < top + rows)):
            low, high = max(top, int(y[n]) - halves[n]), min(top + rows, int(y[n]) + halves[n] + 1)
            left, right = max(0, int(x[n]) - halves[n]), min(side, int(x[n]) + halves[n] + 1)
            across, down = np.arange(left, right) - x[n], np.arange(low, high)[:, None] - y[n]
            if star[n]:
                profile = (1 + (across**2 + down**2) / 4.0) ** -3.0
            else:
                along = np.cos(angle[n]) * across + np.sin(angle[n]) * down
                beside = (np.cos(angle[n]) * down - np.sin(angle[n]) * across) / axis[n]
                profile = np.exp(-np.sqrt(along**2 + beside**2 + 1) / sizes[n])
            light[low - top : high - top, left:right] += (peaks[n] * profile).astype(np.float32)
        mosaic.write(light)
    mosaic.close()


def catalogue(path: Path, output: Path, model: Path, kill_after: float | None = None) -> Watched:
    """Run predict_galaxies.py and measure it; kill it after so many seconds."""
    command = ["predict_galaxies.py", path, "--detect", "--output", output, "--model", model]
    return watched([*command, "--num-workers", "2", "--threads", "1"], kill_after)


def measure_large(args: argparse.Namespace) -> None:
    """Catalogue a large field and a quarter of it, and the large one again with kills and restarts."""
    with tempfile.TemporaryDirectory() as name:
        folder, seconds = Path(name), []
        for side, number in ((args.large // 2, args.objects // 4), (args.large, args.objects)):
            path, output = folder / f"{side}.fits", folder / f"{side}.parquet"
            write_large(path, side, number)
            run = catalogue(path, output, args.model)
            seconds.append(run.processor_seconds)
            rows = len(pandas.read_parquet(output, columns=["id_str"]))
            print(f"{side} x {side}, {number} objects: {rows} rows, {seconds[-1]:.0f} s of processor time, ", end="")
            print(f"{run.peak / 1e9:.2f} GB at its peak", flush=True)
        print(f"four times the area took {seconds[1] / seconds[0]:.2f} times as long")
        again, kills = folder / "again.parquet", 0
        while not again.exists():
            catalogue(path, again, args.model, KILL_AFTER if kills < KILLS else None)
            kills += not again.exists()
        print(f"killed {kills} times: {'the same' if again.read_bytes() == output.read_bytes() else 'OTHER'} bytes")


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--galaxies", type=Path, default=Path(), metavar="DIR", help="holds data/raw, classes.csv, ...")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "lite0.onnx")
    parser.add_argument("--number", type=positive_int, default=200, help="galaxies of the known field")
    parser.add_argument("--side", type=positive_int, default=5000, help="pixels of its side")
    parser.add_argument(
        "--large", type=positive_int, metavar="SIDE", help="catalogue a mosaic with this side in pixels"
    )
    parser.add_argument("--objects", type=positive_int, default=20_000)
    args = parser.parse_args()
    (measure_large if args.large else measure_known)(args)


if __name__ == "__main__":
    run_script(main)
