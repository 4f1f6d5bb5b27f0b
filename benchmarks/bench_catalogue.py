"""How far catalogues of own images can be trusted, and what they cost: framing, intervals, far images, throughput.

    python benchmarks/bench_catalogue.py --model models/lite0.onnx --galaxies DIR

The galaxies are in Kaggle's layout, with `class_mean_votes.csv` beside; those of the validation part are used, which no
network learnt from. Half of them calibrate the intervals that the other half is compared with.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pandas
import simplejpeg
from skimage import data as photographs

sys.path.insert(0, os.fspath(Path(__file__).resolve().parent.parent))

from benchmarks.peers import ROOT
from catalogue import calibration, framing
from catalogue.calibration import FAR_FROM, fit_intervals
from catalogue.framing import Frame
from catalogue.model_file import Answers, Model
from galaxy.image_files import read
from galaxy.pictures import Picture
from machine.command_line import positive_int, run_script
from survey import folders, images
from survey.folders import use_folders


def picture(pixels: np.ndarray) -> Picture:
    """Return pixels (rows, columns, 3) uint8 as a picture."""
    pixels = np.ascontiguousarray(pixels)
    return Picture(pixels, (pixels == 255).any(axis=2), "PNG", pixels.shape[:2])


def predict(model: Model, frames: list[Frame]) -> Answers:
    """Predict frames one at a time, as predict_galaxies.py does."""
    found = [model.predict([each]) for each in frames]
    return Answers(*(np.concatenate([getattr(each, name) for each in found]) for name in Answers.__annotations__))


def classes(predictions: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Return the class (n,) whose mean votes (classes, 37) are nearest to each prediction (n, 37)."""
    return ((predictions[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)


def moved(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an image shrunk or enlarged (0.3 to 3), shifted by up to 20 %, and half the time padded."""
    scale, shift = np.exp(rng.uniform(np.log(0.3), np.log(3))), rng.uniform(-0.2, 0.2, 2)
    side = round(len(pixels) * scale)
    image = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    matrix = np.float32([[1, 0, shift[0] * side], [0, 1, shift[1] * side]])
    padded = rng.random() < 0.5
    image = cv2.warpAffine(
        image, matrix, (side, side), borderMode=cv2.BORDER_CONSTANT if padded else cv2.BORDER_REFLECT_101
    )
    margin = int(side * rng.uniform(0, 0.3)) if padded else 0
    return np.pad(image, ((margin, margin), (margin, margin), (0, 0)))


def measure_framing(model: Model, paths: list[Path], means: np.ndarray) -> None:
    """Print how often the class of a moved image is that of the untouched one, with framing and without."""
    rng, radius = np.random.default_rng(0), model.card.framing_radius
    untouched = [simplejpeg.decode_jpeg(path.read_bytes()) for path in paths]
    shifted = [picture(moved(pixels, rng)) for pixels in untouched]
    found = {}
    for choice in framing.CHOICES:
        found[choice, "untouched"] = classes(
            predict(model, [framing.frame(picture(each), choice, radius) for each in untouched]).predictions, means
        )
        found[choice, "moved"] = classes(
            predict(model, [framing.frame(each, choice, radius) for each in shifted]).predictions, means
        )
    for choice, of in (("auto", "auto"), ("auto", "sdss"), ("sdss", "sdss")):
        agree = (found[choice, "moved"] == found[of, "untouched"]).mean()
        print(f"framing {choice}: of {len(paths)} moved images {agree:.3f} are called what the untouched are ({of})")
    agree = (found["auto", "untouched"] == found["sdss", "untouched"]).mean()
    print(f"untouched images: {agree:.3f} are called the same with both framings")


def no_galaxies(rng: np.random.Generator, paths: list[Path], num_images: int) -> dict[str, list[np.ndarray]]:
    """Return images that are no galaxies, by kind."""
    found: dict[str, list[np.ndarray]] = {"noise": [], "text": [], "photographs": [], "inverted": []}
    photos = [photographs.astronaut(), photographs.chelsea(), photographs.coffee(), photographs.rocket()]
    photos += [np.repeat(each[..., None], 3, axis=2) for each in (photographs.camera(), photographs.coins())]
    page = np.repeat(photographs.page()[..., None], 3, axis=2)
    for n in range(num_images):
        side = int(rng.integers(200, 425))
        noise = rng.normal(rng.uniform(20, 128), rng.uniform(5, 60), (side, side, 3 if n % 2 else 1))
        found["noise"].append(np.broadcast_to(noise, (side, side, 3)).clip(0, 255).astype(np.uint8))
        text = np.full((424, 424, 3), rng.choice((0, 255)), np.uint8)
        colour = 255 - int(text[0, 0, 0])
        for line in range(12):
            words = " ".join("".join(rng.choice(list("abcdefghijklmnop"), rng.integers(2, 9))) for _ in range(6))
            cv2.putText(text, words, (5, 30 + 34 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (colour,) * 3, 2)
        found["text"].append(text if n % 4 else page)
        photo = photos[n % len(photos)]
        size = int(min(photo.shape[:2]) * rng.uniform(0.5, 1))
        top, left = (int(rng.integers(0, length - size + 1)) for length in photo.shape[:2])
        found["photographs"].append(photo[top : top + size, left : left + size])
        found["inverted"].append(255 - simplejpeg.decode_jpeg(paths[n].read_bytes()))
    return found


def measure_trust(model: Model, paths: list[Path], labels: np.ndarray) -> None:
    """Print how much intervals cover, and how many images are called far from training."""
    rng, radius = np.random.default_rng(1), model.card.framing_radius
    for choice in framing.CHOICES:
        answers = predict(model, [framing.frame(read(path), choice, radius) for path in paths])
        order = rng.permutation(len(paths))
        fitted, held_out = order[: len(order) // 2], order[len(order) // 2 :]
        intervals = fit_intervals(answers.predictions[fitted], labels[fitted])
        for level, (low, high) in intervals.around(answers.predictions[held_out]).items():
            covered = (low <= labels[held_out]) & (labels[held_out] <= high)
            print(
                f"framing {choice}: nominal {level} % covers {100 * covered.mean():.1f} % of {len(held_out)} galaxies"
            )
        # The card's quantiles are of these galaxies as they are; half of them set the threshold for the other half.
        levels = np.quantile(answers.distances[fitted], np.linspace(0, 1, 201))
        far = (calibration.rank(answers.distances[held_out], levels) > FAR_FROM).mean()
        print(f"framing {choice}: far of held-out galaxies {far:.3f}; by the card ", end="")
        print(f"{(calibration.rank(answers.distances, model.card.distances) > FAR_FROM).mean():.3f}")
        for kind, examples in no_galaxies(rng, paths, min(48, len(paths))).items():
            frames = [framing.frame(picture(each), choice, radius) for each in examples]
            distances = predict(model, frames).distances
            flagged = [bool(each.flags & framing.NO_OBJECT) for each in frames]
            far = calibration.rank(distances, model.card.distances) > FAR_FROM
            print(
                f"framing {choice}: {kind}: far {far.mean():.3f}, far or without an object {(far | flagged).mean():.3f}"
            )


def plain_loop(model: Model, paths: list[Path], script: str | None) -> float:
    """Return images a second of a loop that reads, frames and predicts, with torch where a script is named."""
    network = None
    if script is not None:
        from engine.network import find_device, load_network
        from export_model import find_experiment

        network = load_network(find_experiment(script), find_device("cpu"), "float32")
    start = time.perf_counter()
    for path in paths:
        frame = framing.frame(read(path), "auto", model.card.framing_radius)
        if network is None:
            model.predict([frame])
        else:
            network.predict(model.views(frame)).mean(axis=0)
    return len(paths) / (time.perf_counter() - start)


def measure_speed(path: Path, paths: list[Path], num_images: int, script: str | None) -> None:
    """Print images a second of predict_galaxies.py, and of a plain loop with the same network and views."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "in")
        source.mkdir()
        for n in range(num_images):
            (source / f"{n}.jpg").symlink_to(paths[n % len(paths)].resolve())
        plain = plain_loop(Model(path), sorted(source.iterdir())[: max(1, num_images // 10)], script)
        command = [sys.executable, "predict_galaxies.py", source, "--model", path, "--output", f"{folder}/c.parquet"]
        start = time.perf_counter()
        subprocess.run(list(map(str, command)), check=True, cwd=ROOT)
        ours = num_images / (time.perf_counter() - start)
    print(
        f"{num_images} images: {ours:.1f} a second with its start, a plain loop {plain:.1f}, {ours / plain:.2f} times"
    )


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "lite0.onnx")
    parser.add_argument("--galaxies", type=Path, default=Path(), metavar="DIR", help="holds class_mean_votes.csv")
    parser.add_argument("--root", default=".", help="holds data/ with train_ids.npy and solutions_train.npy")
    parser.add_argument("--number", type=positive_int, default=400)
    parser.add_argument("--script", help="the try_*.py of the model: the plain loop predicts with torch")
    parser.add_argument("what", nargs="*", default=["framing", "trust", "speed"])
    args = parser.parse_args()
    use_folders(args.root)
    labels = images.load_labels()
    _, valid = images.split(len(labels))
    valid = valid[: args.number]
    folder, ids = folders.current.images("train"), images.ids_of("train")
    paths = [Path(images.image_path(folder, ids[index])) for index in valid]
    means = pandas.read_csv(args.galaxies / "class_mean_votes.csv").filter(regex=r"^Class\d").to_numpy()
    model = Model(args.model)
    if "framing" in args.what:
        measure_framing(model, paths, means)
    if "trust" in args.what:
        measure_trust(model, paths, labels[valid])
    if "speed" in args.what:
        measure_speed(args.model, paths, 2 * args.number, args.script)


if __name__ == "__main__":
    run_script(main)
