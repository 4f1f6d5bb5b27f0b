"""Fields with known contents, catalogued: what is found, missed and taken for what it is not, beside photutils.

    python benchmarks/bench_fields.py --model models/lite0.onnx --galaxies DIR
    python benchmarks/bench_fields.py --large 10000 --objects 20000

The first sets real galaxies in Kaggle's layout at known places and scales into a field with noise and stars. The
second makes a large FITS mosaic and a quarter of one, and catalogues them in processes of their own; then the large one
again, killed again and again.
"""

import argparse
import hashlib
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

from benchmarks.field_making import NOISE, STAR_FWHM, make_field
from benchmarks.peers import ROOT, Watched, watched
from catalogue import field_cutouts, field_sources, framing
from catalogue.field_sources import FieldSources, find_sources
from catalogue.field_tiles import CORE
from catalogue.model_file import Model
from galaxy.detection import THRESHOLD
from galaxy.pictures import Picture
from machine.command_line import positive_int, run_script

# A galaxy has a clear signal where its pixels, down to a fifth of the brightest, have so many sigma on average.
CLEAR = 3.0


def matched(x: np.ndarray, y: np.ndarray, truth: pandas.DataFrame, within: np.ndarray | float) -> np.ndarray:
    """Return the object (n,) nearest to each place of a truth, -1 where none is within so many pixels."""
    if not len(x):
        return np.full(len(truth), -1)
    distance = np.hypot(x[:, None] - truth["x"].to_numpy(), y[:, None] - truth["y"].to_numpy())
    return np.where(distance.min(axis=0) < within, distance.argmin(axis=0), -1)


def tell_found(name: str, x: np.ndarray, y: np.ndarray, truth: pandas.DataFrame) -> np.ndarray:
    """Print what of the clear galaxies is found; return the object (n,) of each galaxy, -1 where none is."""
    within = np.maximum(3, 0.3 * truth["radius"].to_numpy())
    objects = matched(x, y, truth, within)
    clear = truth["surface"].to_numpy() > CLEAR
    distance = np.hypot(x[objects] - truth["x"], y[objects] - truth["y"]).to_numpy()
    found = clear & (objects >= 0)
    near = np.hypot(x[:, None] - truth["x"].to_numpy(), y[:, None] - truth["y"].to_numpy())
    apart = (near > truth["radius"].to_numpy()).all(axis=1).sum()
    doubles = ((near < np.maximum(2, 0.15 * truth["radius"].to_numpy())).sum(axis=0) > 1)[clear].sum()
    inside = len(x) - len(np.unique(objects[objects >= 0])) - apart
    print(
        f"{name}: {len(x)} objects; {found.sum()} of {clear.sum()} clear galaxies ({found.sum() / clear.sum():.3f}), "
        f"{(distance[found] < 1).mean():.3f} of them within a pixel, median {np.median(distance[found]):.2f}; "
        f"{doubles} with a second object near the centre; {inside} other objects within galaxies' Petrosian radii"
    )
    return objects


def with_photutils(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return windowed centroids (n,) of photutils' detection and deblending, at our mesh, kernel and threshold."""
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
    # Of some faint objects there is none.
    found = np.where(np.isfinite(windowed), windowed, catalogue.centroid)
    return found[:, 0], found[:, 1]


def classes(predictions: np.ndarray, means: np.ndarray) -> int:
    """Return the class whose mean votes (classes, 37) are nearest to a prediction (37,)."""
    return int(((predictions - means) ** 2).sum(axis=1).argmin())


def tell_answers(model: Model, sources: FieldSources, objects: np.ndarray, truth: pandas.DataFrame, args) -> None:
    """Print how often galaxies of the field are called what their cutouts are, neighbours taken out and left in."""
    means = pandas.read_csv(args.galaxies / "class_mean_votes.csv").filter(regex=r"^Class\d").to_numpy()
    places = field_sources.field_objects(sources)
    rows = []
    for number, (index, row) in enumerate(zip(objects, truth.itertuples(), strict=True)):
        if index < 0 or row.surface <= CLEAR or sources.classes[index] != "galaxy":
            continue
        pixels = simplejpeg.decode_jpeg((args.galaxies / f"data/raw/images_train_rev1/{row.GalaxyID}.jpg").read_bytes())
        whole = Picture(pixels, (pixels == 255).any(axis=2), "JPEG", pixels.shape[:2])
        expected = classes(
            model.predict([framing.frame(whole, "auto", model.card.framing_radius)]).predictions[0], means
        )
        for masked in (True, False):
            frame = field_cutouts.frame_object(places[index], None, model.card.framing_radius, masked)
            got = classes(model.predict([frame]).predictions[0], means)
            crowd = np.hypot(truth["x"] - row.x, truth["y"] - row.y) < 1.2 * (truth["radius"] + row.radius)
            rows.append((number, masked, row.radius, crowd.sum() > 1, expected, got, frame.radius / row.radius))
    table = pandas.DataFrame(rows, columns=["galaxy", "masked", "radius", "crowded", "expected", "got", "ratio"])
    table["same"] = table["expected"] == table["got"]
    for masked, part in table.groupby("masked"):
        words = "taken out" if masked else "left in"
        bins = pandas.cut(part["radius"], [0, 20, 30, 45, 90, 1000])
        print(
            f"neighbours {words}: {part['same'].mean():.3f} of {len(part)} are called what their cutouts are; ", end=""
        )
        print(f"in crowds {part.loc[part['crowded'], 'same'].mean():.3f} of {part['crowded'].sum()}")
        print(
            "  by Petrosian radius:",
            part.groupby(bins, observed=True)["same"].agg(["mean", "size"]).round(3).to_dict("index"),
        )
    ratio = table.loc[table["masked"], "ratio"]
    print(f"radius over the true one: {ratio.quantile([0.05, 0.5, 0.95]).round(2).tolist()} (5, 50, 95 %)")


def tell_others(sources: FieldSources, objects: np.ndarray, truth: pandas.DataFrame, stars: pandas.DataFrame) -> None:
    """Print what stars and noise are taken for."""
    of_star = matched(sources.objects["x"], sources.objects["y"], stars, 3.0)
    seen = np.setdiff1d(of_star[of_star >= 0], objects)
    galaxies = sources.classes == "galaxy"
    of_galaxy = np.zeros(len(galaxies), bool)
    of_galaxy[objects[objects >= 0]] = True
    distance = np.hypot(
        sources.objects["x"][:, None] - truth["x"].to_numpy(), sources.objects["y"][:, None] - truth["y"].to_numpy()
    )
    fragments = galaxies & ~of_galaxy & (distance < 1.2 * truth["radius"].to_numpy()).any(axis=1)
    fragments[seen] = False
    noise = galaxies & ~of_galaxy & ~fragments
    noise[seen] = False
    called = of_galaxy & (sources.classes == "star")
    print(f"stars: {len(seen)} of {len(stars)} found, {galaxies[seen].sum()} of them called galaxies, ", end="")
    print(f"{called.sum()} galaxies called stars; of {galaxies.sum()} that are called galaxies ", end="")
    print(f"{fragments.sum()} lie within galaxies (companions in their images, or pieces), {noise.sum()} are noise")
    wrong = galaxies[seen].sum() + noise.sum()
    print(f"stars and noise among what is called a galaxy: {wrong / max(1, galaxies.sum()):.3f}")


def measure_known(args: argparse.Namespace) -> None:
    """Make the field of bar 1, and print what becomes of it."""
    pixels, truth, stars = make_field(
        args.galaxies, args.side, args.number, 2 * args.number, np.random.default_rng(args.seed), CORE
    )
    empty = np.clip(np.rint(12 + np.random.default_rng(9).normal(0, NOISE, (1500, 1500, 3))), 0, 255).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "field.png")
        cv2.imwrite(str(path), pixels[..., ::-1])
        start = time.process_time()
        found = find_sources(path, Path(folder, "parts"), 0)
        print(
            f"field of {args.side} x {args.side}: detection took {time.process_time() - start:.1f} s of processor time"
        )
        objects = tell_found("here", found.objects["x"], found.objects["y"], truth)
        missed = truth[(objects < 0) & (truth["surface"] > CLEAR)]
        print("missed:", missed[["GalaxyID", "x", "y", "radius", "surface"]].round(1).to_dict("records"))
        tell_others(found, objects, truth, stars)
        cv2.imwrite(str(Path(folder, "empty.png")), empty)
        print("objects in noise alone:", len(find_sources(Path(folder, "empty.png"), Path(folder, "none"), 0).objects))
        if not args.without_photutils:
            theirs = tell_found("photutils", *with_photutils(pixels), truth)
            print(f"found here alone {((objects >= 0) & (theirs < 0)).sum()}, by photutils alone ", end="")
            print(((objects < 0) & (theirs >= 0)).sum())
        tell_answers(Model(args.model, 1), found, objects, truth, args)


def write_large(path: Path, side: int, num_objects: int) -> None:
    """Write a mosaic of one band, float32, of stars and smooth galaxies, a strip at a time, with a WCS."""
    header = fits.Header({"SIMPLE": True, "BITPIX": -32, "NAXIS": 2, "NAXIS1": side, "NAXIS2": side})
    header.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.2})
    header.update({"CRPIX1": side / 2, "CRPIX2": side / 2, "CD1_1": -1e-4, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1e-4})
    rng = np.random.default_rng(4)
    x, y = rng.uniform(0, side, (2, num_objects))
    sizes = rng.lognormal(1.1, 0.5, num_objects).clip(1.5, 12)
    star = rng.random(num_objects) < 0.3
    peaks = 20 * rng.pareto(1.2, num_objects).clip(0, 20) + 10
    axis, angle = rng.uniform(0.3, 1, num_objects), rng.uniform(0, np.pi, num_objects)
    strip = 500
    with path.open("wb") as file:
        file.write(header.tostring().encode())
        for top in range(0, side, strip):
            light = rng.normal(100, 3, (min(strip, side - top), side)).astype(np.float32)
            rows = len(light)
            for n in np.flatnonzero((y > top - 250) & (y < top + rows + 250)):
                half = int(6 * STAR_FWHM if star[n] else 6 * sizes[n])
                low, high = max(top, int(y[n]) - half), min(top + rows, int(y[n]) + half + 1)
                left, right = max(0, int(x[n]) - half), min(side, int(x[n]) + half + 1)
                if low >= high:
                    continue
                across, down = np.arange(left, right) - x[n], np.arange(low, high)[:, None] - y[n]
                if star[n]:
                    one = peaks[n] * (1 + (across**2 + down**2) / 4.0) ** -3.0
                else:
                    along = np.cos(angle[n]) * across + np.sin(angle[n]) * down
                    beside = (np.cos(angle[n]) * down - np.sin(angle[n]) * across) / axis[n]
                    one = peaks[n] * np.exp(-np.sqrt(along**2 + beside**2 + 1) / sizes[n])
                light[low - top : high - top, left:right] += one.astype(np.float32)
            file.write(light.astype(">f4").tobytes())
        file.write(bytes(-file.tell() % 2880))


def catalogue(path: Path, output: Path, model: Path, kill_after: float | None = None) -> Watched:
    """Run predict_galaxies.py, killed after so many seconds; return what it took."""
    command = ["predict_galaxies.py", path, "--detect", "--output", output, "--model", model]
    return watched([*command, "--num-workers", "2", "--threads", "1"], kill_after)


def measure_large(args: argparse.Namespace) -> None:
    """Catalogue a large field and a quarter of it, and the large one again, killed and begun anew."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        took = {}
        for side, number in ((args.large // 2, args.objects // 4), (args.large, args.objects)):
            write_large(folder / f"{side}.fits", side, number)
            run = catalogue(folder / f"{side}.fits", folder / f"{side}.parquet", args.model)
            took[side] = run.processor_seconds
            rows = len(pandas.read_parquet(folder / f"{side}.parquet", columns=["id_str"]))
            print(f"{side} x {side}, {number} objects: {rows} rows, {took[side]:.0f} s of processor time, ", end="")
            print(f"{run.peak / 1e9:.2f} GB at its peak", flush=True)
        print(f"four times the area took {took[args.large] / took[args.large // 2]:.2f} times as long")
        output, kills = folder / "again.parquet", 0
        wait = args.kill_after
        while not output.exists():
            catalogue(folder / f"{args.large}.fits", output, args.model, wait if kills < args.kills else None)
            kills += not output.exists()
        same = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (output, folder / f"{args.large}.parquet")]
        print(f"killed {kills} times: {'the same bytes' if same[0] == same[1] else 'OTHER BYTES'}")


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--galaxies", type=Path, default=Path(), metavar="DIR", help="holds data/raw, classes.csv, ...")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "lite0.onnx")
    parser.add_argument("--number", type=positive_int, default=200)
    parser.add_argument("--side", type=positive_int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without-photutils", action="store_true")
    parser.add_argument(
        "--large", type=positive_int, metavar="SIDE", help="catalogue a mosaic of so many pixels a side"
    )
    parser.add_argument("--objects", type=positive_int, default=20_000)
    parser.add_argument("--kills", type=positive_int, default=3)
    parser.add_argument("--kill-after", type=float, default=60.0, metavar="SECONDS")
    args = parser.parse_args()
    (measure_large if args.large else measure_known)(args)


if __name__ == "__main__":
    run_script(main)
