"""The reliability and the cost of catalogues of own images: framing, intervals, far images, throughput.

    python benchmarks/bench_catalogue.py --model models/lite0.onnx --galaxies DIR

The galaxies are in Kaggle's layout, with `class_mean_votes.csv` beside them. The validation galaxies are used, on which
no network was trained. Half of them calibrate intervals, the other half tests them.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from skimage import data as photographs

sys.path.insert(0, os.fspath(Path(__file__).resolve().parent.parent))

from machine.command_line import positive_int, run_script

from benchmarks.ensemble_results import load_means, nearest_class
from benchmarks.peers import ROOT, run_command
from catalogue import calibration, framing
from catalogue.calibration import FAR_FROM, fit_intervals
from catalogue.framing import Frame
from catalogue.model_file import Answers, Model
from engine.network import Network, find_device
from engine.prediction import load_network
from export_model import find_experiment
from galaxy.image_files import read
from galaxy.pictures import Picture
from survey import folders, images
from survey.folders import use_folders


def picture(pixels: np.ndarray) -> Picture:
    """Return pixels (rows, columns, 3) uint8 as a picture."""
    pixels = np.ascontiguousarray(pixels)
    return Picture(pixels, (pixels == 255).any(axis=2), "PNG", pixels.shape[:2])


def predict(model: Model, frames: list[Frame]) -> Answers:
    """Predict frames one at a time, as predict_galaxies.py does."""
    answers = [model.predict([each]) for each in frames]
    names = [name for name in Answers.__annotations__ if getattr(answers[0], name) is not None]
    return Answers(**{name: np.concatenate([getattr(each, name) for each in answers]) for name in names})


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
    """Print how often a moved image gets the class of the untouched one, with framing and without."""
    rng, radius = np.random.default_rng(0), model.card.framing_radius
    untouched = [simplejpeg.decode_jpeg(path.read_bytes()) for path in paths]
    inputs = {"untouched": untouched, "moved": [moved(pixels, rng) for pixels in untouched]}
    classes = {}
    for choice in framing.CHOICES:
        for name, pixels in inputs.items():
            frames = [framing.frame(picture(each), choice, radius) for each in pixels]
            classes[choice, name] = nearest_class(predict(model, frames).predictions, means)
    for choice, reference in (("auto", "auto"), ("auto", "sdss"), ("sdss", "sdss")):
        agree = (classes[choice, "moved"] == classes[reference, "untouched"]).mean()
        print(
            f"framing {choice}: {agree:.3f} of {len(paths)} moved images have the class of the untouched ({reference})"
        )
    agree = (classes["auto", "untouched"] == classes["sdss", "untouched"]).mean()
    print(f"untouched images: {agree:.3f} have the same class with both framings")


def no_galaxies(rng: np.random.Generator, paths: list[Path], num_images: int) -> dict[str, list[np.ndarray]]:
    """Return images that are not of galaxies: noise, text, photographs, inverted galaxies."""
    examples: dict[str, list[np.ndarray]] = {"noise": [], "text": [], "photographs": [], "inverted": []}
    photos = [photographs.astronaut(), photographs.chelsea(), photographs.coffee(), photographs.rocket()]
    photos += [np.repeat(each[..., None], 3, axis=2) for each in (photographs.camera(), photographs.coins())]
    page = np.repeat(photographs.page()[..., None], 3, axis=2)
    for n in range(num_images):
        side = int(rng.integers(200, 425))
        noise = rng.normal(rng.uniform(20, 128), rng.uniform(5, 60), (side, side, 3 if n % 2 else 1))
        examples["noise"].append(np.broadcast_to(noise, (side, side, 3)).clip(0, 255).astype(np.uint8))
        text = np.full((424, 424, 3), rng.choice((0, 255)), np.uint8)
        colour = 255 - int(text[0, 0, 0])
        for line in range(12):
            words = " ".join("".join(rng.choice(list("abcdefghijklmnop"), rng.integers(2, 9))) for _ in range(6))
            cv2.putText(text, words, (5, 30 + 34 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (colour,) * 3, 2)
        examples["text"].append(text if n % 4 else page)
        photo = photos[n % len(photos)]
        size = int(min(photo.shape[:2]) * rng.uniform(0.5, 1))
        top, left = (int(rng.integers(0, length - size + 1)) for length in photo.shape[:2])
        examples["photographs"].append(photo[top : top + size, left : left + size])
        examples["inverted"].append(255 - simplejpeg.decode_jpeg(paths[n].read_bytes()))
    return examples


def measure_trust(model: Model, paths: list[Path], labels: np.ndarray) -> None:
    """Print the coverage of intervals, and the share of images that are far from training."""
    rng, radius = np.random.default_rng(1), model.card.framing_radius

    def is_far(distances: np.ndarray, levels: np.ndarray = model.card.distances) -> np.ndarray:
        return calibration.rank(distances, levels) > FAR_FROM

    for choice in framing.CHOICES:
        answers = predict(model, [framing.frame(read(path), choice, radius) for path in paths])
        order = rng.permutation(len(paths))
        fitted, held_out = order[: len(order) // 2], order[len(order) // 2 :]
        intervals = fit_intervals(answers.predictions[fitted], labels[fitted])
        for level, (low, high) in intervals.around(answers.predictions[held_out]).items():
            covered = ((low <= labels[held_out]) & (labels[held_out] <= high)).mean()
            print(f"framing {choice}: nominal {level} % covers {100 * covered:.1f} % of {len(held_out)} galaxies")
        # The card's quantiles belong to untouched galaxies; half of these set the threshold for the other half.
        far = is_far(answers.distances[held_out], np.quantile(answers.distances[fitted], np.linspace(0, 1, 201)))
        by_card = is_far(answers.distances).mean()
        print(f"framing {choice}: far of held-out galaxies {far.mean():.3f}; by the card {by_card:.3f}")
        for subject, examples in no_galaxies(rng, paths, min(48, len(paths))).items():
            frames = [framing.frame(picture(each), choice, radius) for each in examples]
            far = is_far(predict(model, frames).distances)
            either = far | [bool(each.flags & framing.NO_OBJECT) for each in frames]
            print(f"framing {choice}: {subject}: far {far.mean():.3f}, far or without an object {either.mean():.3f}")


def torch_network(script: str) -> Network:
    """Load the network of a training script."""
    return load_network(find_experiment(script), find_device("cpu"), "float32")


def measure_speed(path: Path, paths: list[Path], num_images: int, script: str | None) -> None:
    """Print images per second of predict_galaxies.py, and of a plain loop, with torch if a script is named."""
    model, network = Model(path), torch_network(script) if script else None
    start, few = time.perf_counter(), paths[: max(1, num_images // 10)]
    for each in few:
        frame = framing.frame(read(each), "auto", model.card.framing_radius)
        if network:
            network.predict(model.views(frame)).mean(axis=0)
        else:
            model.predict([frame])
    plain = len(few) / (time.perf_counter() - start)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "in")
        source.mkdir()
        for n in range(num_images):
            (source / f"{n}.jpg").symlink_to(paths[n % len(paths)].resolve())
        start = time.perf_counter()
        run_command("predict_galaxies", source, "--model", path, "--output", f"{folder}/c.parquet")
        ours = num_images / (time.perf_counter() - start)
    print(
        f"{num_images} images: {ours:.1f} per second with its start, a plain loop {plain:.1f}, {ours / plain:.2f} times"
    )


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "lite0.onnx")
    parser.add_argument("--galaxies", type=Path, default=Path(), metavar="DIR", help="holds class_mean_votes.csv")
    parser.add_argument("--root", default=".", help="holds data/ with train_ids.npy and solutions_train.npy")
    parser.add_argument("--number", type=positive_int, default=400)
    parser.add_argument("--script", help="try_*.py of the model, for a plain loop with torch")
    parser.add_argument("what", nargs="*", default=["framing", "trust", "speed"])
    args = parser.parse_args()
    use_folders(args.root)
    labels = images.load_labels()
    _, valid = images.split(len(labels))
    valid = valid[: args.number]
    folder, ids = folders.current.images("train"), images.ids_of("train")
    paths = [Path(images.image_path(folder, ids[index])) for index in valid]
    means = load_means(args.galaxies / "class_mean_votes.csv").to_numpy()
    model = Model(args.model)
    if "framing" in args.what:
        measure_framing(model, paths, means)
    if "trust" in args.what:
        measure_trust(model, paths, labels[valid])
    if "speed" in args.what:
        measure_speed(args.model, paths, 2 * args.number, args.script)


if __name__ == "__main__":
    run_script(main)
