"""What whole runs cost on the device, projected from parts of them: the recipe, prediction, fine-tuning.

Runs are those of `engine.training`, timed chunk by chunk. Do all precisions learn the same?
"""

import contextlib
import dataclasses
import importlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.bench_training import FULL_RECIPE_HOURS_2014
from benchmarks.gpu_checks import NUM_TRAIN, PIECE
from benchmarks.gpu_setting import Setting, network_of, synchronize
from benchmarks.supervision import Finding, Skipped, at_most, measured
from engine import device_augmentation, prediction, training
from engine.device_augmentation import Images
from engine.examples import Examples
from engine.experiment import Experiment, Steps
from engine.options import Options
from engine.part_sharing import PartSharing
from machine.files import DataError
from survey import folders, images
from survey.folders import adopt

ROOT = Path(__file__).resolve().parent.parent
NUM_VALID, NUM_TEST = 6_157, 79_975
EPOCHS = 30


@dataclasses.dataclass
class Timed:
    """A run that is done, the seconds of each of its chunks but the first and the last, and the RMSE of all."""

    run: training.Run
    seconds: list[float]
    rmse: list[float]


def timed_run(setting: Setting, experiment: Experiment, options: Options, num_chunks: int) -> Timed:
    """Train so many chunks, all normalised, without checkpoints and validations but at the end."""
    # Results go to the scratch folder; the survey is the one in use.
    adopt(dataclasses.replace(folders.current, root=setting.scratch, data_override=folders.current.data))
    chosen = dataclasses.replace(
        experiment, name="gpu_run", num_chunks=num_chunks, num_steps_nonorm=0, validate_every=10**6
    )
    run = training.Run(chosen, dataclasses.replace(options, resume=False, checkpoint_every=10**6))
    ends: list[float] = []
    device = run.network.device

    def note(_: object) -> None:
        synchronize(device)
        ends.append(time.perf_counter())

    run.on_chunk = note
    run.train()
    return Timed(run, np.diff(ends)[:-1].tolist(), list(run.progress.losses_train))


def _seconds(function: Callable[[], object], setting: Setting) -> float:
    synchronize(setting.on)
    start = time.perf_counter()
    function()
    synchronize(setting.on)
    return time.perf_counter() - start


def chunks(setting: Setting) -> Iterator[Finding]:
    """Time whole chunks, and apart from them a checkpoint, a validation and the sampling: minutes of the recipe."""
    setting.use_real()
    experiment = setting.full
    calm = dataclasses.replace(experiment, learning_rate=Steps({0: 1e-4}))
    num = 5 if setting.quick else 10
    timed = timed_run(setting, calm, Options(device=str(setting.on), initialisation="variance-preserving"), num)
    a_chunk = float(np.median(timed.seconds))
    yield measured("seconds a chunk", a_chunk)
    yield steady(timed.seconds, None if setting.quick else 0.02)
    run = timed.run
    checkpoint = float(np.median([_seconds(run.save, setting) for _ in range(3)]))
    yield measured("seconds a checkpoint", checkpoint)
    run.valid_indices = np.resize(run.valid_indices, 4 if setting.quick else NUM_VALID)
    run.validate()
    validation = _seconds(run.validate, setting)
    yield measured(f"seconds to validate {len(run.valid_indices)}", validation)
    yield measured("seconds to sample a chunk", _sampling(run, setting))
    if (replay := setting.known.get(("step", "ms a step, graph"))) is not None:
        yield measured("device busy", replay / 1000 * experiment.steps_a_chunk / a_chunk)
    if setting.on.type == "cuda":
        yield measured("GB in use on the device", torch.cuda.memory_allocated(setting.on) / 1e9)
    parts = {
        "chunks": experiment.num_chunks * a_chunk,
        "validations": experiment.num_chunks / experiment.validate_every * validation,
    }
    parts["checkpoints"] = sum(parts.values()) / training.Run.CHECKPOINT_SECONDS * checkpoint
    for words, seconds in parts.items():
        yield measured(f"minutes of the recipe's {words}", seconds / 60)
    yield measured(f"minutes of the recipe ({FULL_RECIPE_HOURS_2014} hours in 2014)", sum(parts.values()) / 60)


def steady(seconds: Sequence[float], limit: float | None) -> Finding:
    """Say by how much the last chunks took longer or shorter than the first, as a part of them."""
    third = max(1, len(seconds) // 3)
    drift = float(np.median(seconds[-third:]) / np.median(seconds[:third]) - 1)
    what = "chunks at the end from those at the start"
    return measured(what, drift) if limit is None else at_most(what, abs(drift), limit)


def _sampling(run: training.Run, setting: Setting) -> float:
    with contextlib.closing(run.examples.training(0, run.train_indices)) as made:
        next(made)
        return _seconds(lambda: next(made), setting)


def predictions(setting: Setting) -> Iterator[Finding]:
    """Time predictions under all transforms, the device and the decoding also by themselves, at two sizes."""
    setting.use_real()
    experiment, sizes = setting.full, (2, 4) if setting.quick else (2048, 6144)
    network = network_of(setting, setting.on, "tf32")
    options = Options(device=str(setting.on), augment_on="device")
    resident = Images("train", setting.on, resident=True)
    num_train = len(images.ids_of("train"))

    def whole(indices: np.ndarray) -> None:
        prediction.predict(network, Examples(experiment, options, setting.on), indices, "train")

    def on_device(indices: np.ndarray) -> None:
        sharing = PartSharing(network, experiment.views, experiment.test_transforms)
        num = len(sharing.representatives)
        made = device_augmentation.fixed_chunks(resident, experiment.views, indices, sharing.representatives, 256 * num)
        for views, _ in made:
            sharing.predict(views, prediction.images_a_batch(experiment.views, num, setting.on))

    def decode(indices: np.ndarray) -> None:
        pieces = np.split(indices, range(PIECE, len(indices), PIECE))
        for _ in Images("train", setting.on, resident=False).follow(iter(pieces)):
            pass

    for words, work in (("whole", whole), ("the device alone", on_device), ("decoding alone", decode)):
        work(np.arange(min(64, num_train)) if not setting.quick else np.arange(1))
        few, many = (
            _seconds(lambda work=work, num=num: work(np.resize(np.arange(num_train), num)), setting) for num in sizes
        )
        each = (many - few) / (sizes[1] - sizes[0])
        yield measured(f"ms a galaxy, {words}", 1000 * each)
        yield measured(f"seconds whatever their number, {words}", few - each * sizes[0])
        yield measured(f"minutes for {NUM_TEST:,}, {words}", (few + each * (NUM_TEST - sizes[0])) / 60)


def curves(setting: Setting, train: Callable[..., Timed] = timed_run) -> Iterator[Finding]:
    """Every precision, the workers' examples and the CPU learn the same in short chunks, as far as chance decides."""
    num_chunks, chunk_size = (3, 16) if setting.quick else (12, 160)
    experiment = dataclasses.replace(setting.full, chunk_size=chunk_size)
    on_device = str(setting.on)

    def learn(precision: str = "tf32", device: str = on_device, augment_on: str = "device", seed: int = 0) -> float:
        options = Options(
            device=device, precision=precision, augment_on=augment_on, initialisation="variance-preserving"
        )
        return train(setting, dataclasses.replace(experiment, seed=seed), options, num_chunks).rmse[-1]

    seeds = [learn(seed=seed) for seed in range(3)]
    spread = max(seeds) - min(seeds)
    yield measured("RMSE of the last chunk, tf32", seeds[0])
    yield measured("spread of three seeds", spread)
    for words, more in (
        ("float32", {"precision": "float32"}),
        ("bf16", {"precision": "bf16"}),
        ("the CPU", {"precision": "float32", "device": "cpu"}),
        ("workers' examples", {"augment_on": "cpu"}),
    ):
        name = f"RMSE of the last chunk, {words} from tf32"
        try:
            yield at_most(name, abs(learn(**more) - seeds[0]), spread)
        except DataError as reason:  # OpenCV 4 rounds positions, and workers do not use it
            yield measured(name, str(reason))


def finetuning(setting: Setting, where: Path = ROOT) -> Iterator[Finding]:
    """Time the training of EfficientNet-Lite0, where there is a script for it; weights are random."""
    scripts = sorted(where.glob("try_*lite0*.py"))
    if not scripts:
        raise Skipped("no such script")
    setting.use_real()
    experiment = importlib.import_module(scripts[0].stem).EXPERIMENT
    num_chunks = 4 if setting.quick else 12
    if setting.quick:
        experiment = dataclasses.replace(experiment, batch_size=4, chunk_size=4)
    yield measured("script", scripts[0].name)
    for precision in ("tf32", "bf16"):
        options = Options(device=str(setting.on), initialisation="random", precision=precision)
        timed = timed_run(setting, experiment, options, num_chunks)
        pace = experiment.chunk_size / float(np.median(timed.seconds))
        del timed  # its images leave the device before those of the next run are loaded
        yield measured(f"images a second, {precision}", pace)
        minutes = NUM_TRAIN * EPOCHS / pace / 60
        yield measured(f"minutes for {NUM_TRAIN:,} x {EPOCHS} epochs, {precision}", minutes)
