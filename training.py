"""What an experiment is, and the one loop that trains it.

An `Experiment` declares everything that bears on the result; run-time choices are flags, the same for all scripts.
Training follows the recipe of 2014: chunks of freshly augmented examples, minibatches of 16, Nesterov momentum, a
rate that drops twice, the first chunk without normalisation, and an analysis pickle at the end.

Source: documentation of 2014, 2.3 and 3.3.1.
"""

import argparse
import contextlib
import ctypes
import dataclasses
import json
import pickle
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from skimage.transform import AffineTransform
from tqdm import tqdm

import layers
import load_data
import realtime_augmentation as ra
from load_data import DataError, hms, natural_int, positive_int

INITIALISATIONS: dict[str, Callable[[layers.Layer], None]] = {
    "2014": layers.reset_all_params,
    "variance-preserving": layers.reset_variance_preserving,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class NormConstraint:
    """Limits to the L2 norms of weight columns: one for each dense layer from the bottom up, none for the rest."""

    every: int
    limits: tuple[float, ...]

    def apply(self, output_layer: layers.Layer) -> None:
        """Rescale the columns that are too long (documentation 2.3.4; Hinton et al. 2012)."""
        dense = [each for each in reversed(layers.all_layers(output_layer)) if isinstance(each, layers.DenseLayer)]
        with torch.no_grad():
            for layer, limit in zip(dense, self.limits, strict=False):
                for parameter, value in layer.rescaling_updates(limit):
                    parameter.copy_(value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """One model and its training; every scientific number stands here, none has a default."""

    name: str
    # batch size -> input layers, one a view, and the output layer
    build_network: Callable[[int], tuple[list[layers.Layer], layers.Layer]]

    ds_transforms: Sequence[AffineTransform]
    target_sizes: Sequence[tuple[int, int]]
    augmentation_params: Mapping[str, object]
    colour_std: float
    processor_class: type[ra.LoadAndProcess]
    processor_class_fixed: type[ra.LoadAndProcessFixed]

    batch_size: int
    chunk_size: int
    num_chunks: int
    num_chunks_nonorm: int
    learning_rate_schedule: Mapping[int, float]
    momentum: float
    weight_decay: float
    norm_constraint: NormConstraint | None
    validate_every: int
    seed: int

    def shortened(self, num_chunks: int, keep_schedule: bool = False) -> "Experiment":
        """Return the experiment with another number of chunks; its rates and validations keep their fractions.

        The chunks without normalisation do not: they are as many as it takes to leave the start.
        """
        if keep_schedule:
            return dataclasses.replace(self, num_chunks=num_chunks)
        scale = num_chunks / self.num_chunks
        schedule = {round(chunk * scale): rate for chunk, rate in self.learning_rate_schedule.items()}
        validate_every = max(1, round(self.validate_every * scale))
        return dataclasses.replace(
            self, num_chunks=num_chunks, learning_rate_schedule=schedule, validate_every=validate_every
        )

    def learning_rate(self, chunk: int) -> float:
        """Return the rate of a chunk, counted from 0."""
        return self.learning_rate_schedule[max(start for start in self.learning_rate_schedule if start <= chunk)]

    def numbers(self) -> dict[str, object]:
        """Return every field as plain values, for the run record."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}


def _plain(value: object) -> object:
    if isinstance(value, AffineTransform):
        return value.params.tolist()
    if isinstance(value, NormConstraint):
        return dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value.__qualname__ if callable(value) else value


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the run-time choices that training and prediction share."""
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: cuda where there is one)")
    parser.add_argument("--num-workers", type=positive_int, metavar="N", help="augmentation processes (default: cores)")
    parser.add_argument(
        "--chunk-size", type=positive_int, metavar="N", help="examples a chunk, two of which memory holds at a time"
    )
    parser.add_argument(
        "--from-ram", nargs="?", const="/dev/shm", metavar="DIR", help="read what copy_data_to_shm.py copied there"
    )


def use_folders(options: argparse.Namespace) -> None:
    """Read and write where the flags say."""
    folders = load_data.use_folders(options.root, options.data)
    if options.from_ram:
        load_data.adopt(dataclasses.replace(folders, ram=Path(options.from_ram)))


def find_device(name: str | None) -> torch.device:
    """Return the device of that name; without a name, the accelerator where there is one."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DataError(f"--device {name} can not be used here: {str(error).splitlines()[0]}") from None
    return device


def keep_freed_memory() -> None:
    """Have glibc keep what a training step frees for the next one, where it is the C library.

    By default it returns every large tensor to the kernel, which clears the pages anew each step: a third of the time
    of a step on the CPU (`benchmarks/`).
    """
    m_trim_threshold, m_mmap_max = -1, -4
    with contextlib.suppress(AttributeError, OSError, TypeError):
        c_library = ctypes.CDLL(None)
        c_library.mallopt(m_mmap_max, 0)
        c_library.mallopt(m_trim_threshold, 2**31 - 1)


class Network:
    """An experiment's network on a device: arrays of views in, predictions out."""

    def __init__(self, experiment: Experiment, device: torch.device):
        self.input_layers, self.output_layer = experiment.build_network(experiment.batch_size)
        self.device, self.batch_size = device, experiment.batch_size
        self.output_layer.to(device)
        if device.type == "cpu":
            keep_freed_memory()

    def to_device(self, array: np.ndarray) -> torch.Tensor:
        """Move an array to the device; on the CPU, share its memory."""
        return torch.from_numpy(array).to(self.device)

    def inputs(self, views: Sequence[torch.Tensor]) -> dict[layers.Layer, torch.Tensor]:
        """Name the input layer of each view (n, rows, columns, 3); bc01 is a view of it in channels-last memory."""
        return {layer: view.permute(0, 3, 1, 2) for layer, view in zip(self.input_layers, views, strict=True)}

    @torch.inference_mode()
    def predict(self, views: Sequence[np.ndarray], batch_size: int = 64) -> np.ndarray:
        """Return the predictions (n, 37) for views (n, rows, columns, 3), without dropout."""
        on_device = [self.to_device(view) for view in views]
        batches = zip(*(view.split(batch_size) for view in on_device), strict=True)
        predictions = [self.output_layer.predictions(self.inputs(batch), dropout_active=False) for batch in batches]
        return torch.cat(predictions).cpu().numpy()


def rmse(predictions: np.ndarray, targets: np.ndarray) -> float:
    """Return the root mean squared error over all galaxies and answers, predictions clipped to [0, 1]."""
    return float(np.sqrt(np.mean((np.clip(predictions, 0, 1) - targets) ** 2, dtype=np.float64)))


def fixed_chunks(
    experiment: Experiment,
    indices: np.ndarray,
    subset: str,
    options: argparse.Namespace,
    transforms: Sequence[AffineTransform] = (ra.tform_identity,),
    chunk_size: int | None = None,
) -> Iterator[list[np.ndarray]]:
    """Yield the views of images under fixed transforms, chunk by chunk, each cut to its true length."""
    gen = ra.realtime_fixed_augmented_data_gen(
        indices,
        subset,
        experiment.ds_transforms,
        transforms,
        chunk_size or experiment.chunk_size,
        experiment.target_sizes,
        experiment.processor_class_fixed,
        num_workers=options.num_workers,
        from_ram=bool(options.from_ram),
        reuse_buffers=True,
    )
    for views, length in gen:
        yield [view[:length] for view in views]


def check_images(subset: str, from_ram: bool) -> None:
    """Raise DataError before hours of work when an image that the ids name is not there."""
    folder = load_data.folders.images(subset, from_ram)
    ids = load_data.load_ids(subset)
    try:
        present = {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        hint = "run copy_data_to_shm.py" if from_ram else "download it from Kaggle or run simulate_galaxies.py"
        raise DataError(f"{folder} is missing; {hint}") from None
    missing = [f"{img_id}.jpg" for img_id in ids if f"{img_id}.jpg" not in present]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {len(ids)} images are missing ({', '.join(missing[:3])}, ...); "
            f"add them, or run create_{subset}_ids_file.py again"
        )


def train_chunk(
    network: Network,
    optimizer: torch.optim.Optimizer,
    views: Sequence[np.ndarray],
    targets: np.ndarray,
    normalisation: bool,
    norm_constraint: NormConstraint | None = None,
    progress: Callable[[Sequence], Iterator] = iter,
) -> float:
    """Take one step a minibatch and return the chunk's mean squared error."""
    arrays = [network.to_device(array) for array in (*views, targets)]
    errors = []
    minibatches = list(zip(*(array.split(network.batch_size) for array in arrays), strict=True))
    for step, (*batch, batch_targets) in enumerate(progress(minibatches), 1):
        optimizer.zero_grad()
        error = network.output_layer.error(network.inputs(batch), batch_targets, normalisation)
        error.backward()
        optimizer.step()
        if norm_constraint is not None and step % norm_constraint.every == 0:
            norm_constraint.apply(network.output_layer)
        errors.append(error.detach() * len(batch_targets))
    return float(torch.stack(errors).sum()) / len(targets)


def make_optimizer(experiment: Experiment, network: Network) -> torch.optim.Optimizer:
    """Return the recipe's update rule for a network, its momentum at rest."""
    return layers.gen_updates_nesterov_momentum_no_bias_decay(
        layers.all_parameters(network.output_layer),
        layers.all_bias_parameters(network.output_layer),
        learning_rate=experiment.learning_rate(0),
        momentum=experiment.momentum,
        weight_decay=experiment.weight_decay,
    )


def train(experiment: Experiment, options: argparse.Namespace) -> None:
    """Train an experiment and write its analysis pickle, run record and test predictions."""
    device = find_device(options.device)
    labels = load_data.load_solutions()
    _, valid_indices = load_data.split(load_data.num_train)
    for subset in load_data.SUBSETS:
        check_images(subset, bool(options.from_ram))

    torch.manual_seed(experiment.seed)
    network = Network(experiment, device)
    INITIALISATIONS[options.initialisation](network.output_layer)
    print(
        f"{experiment.name}: {sum(p.numel() for p in layers.all_parameters(network.output_layer)):,} parameters, "
        f"{experiment.num_chunks} chunks of {experiment.chunk_size}, {options.initialisation} initialisation, {device}"
    )
    # The validation views never change: they are made once.
    valid_chunks = [
        [view.copy() for view in views] for views in fixed_chunks(experiment, valid_indices, "train", options)
    ]

    chunks = ra.post_augment_brightness_gen(
        ra.realtime_augmented_data_gen(
            experiment.num_chunks,
            experiment.chunk_size,
            dict(experiment.augmentation_params),
            experiment.ds_transforms,
            experiment.target_sizes,
            experiment.processor_class,
            seed=experiment.seed,
            num_workers=options.num_workers,
            from_ram=bool(options.from_ram),
            reuse_buffers=True,
        ),
        std=experiment.colour_std,
        seed=experiment.seed,
    )
    optimizer = make_optimizer(experiment, network)
    losses_train: list[float] = []
    losses_valid: list[float] = []
    chunks_valid: list[int] = []
    predictions = np.empty(0)
    start = time.monotonic()
    for chunk, ((*views, targets), _) in enumerate(chunks):
        if chunk == experiment.num_chunks_nonorm:
            # In 2014 the steps with and without normalisation were two functions, each with a momentum of its own.
            optimizer = make_optimizer(experiment, network)
        for group in optimizer.param_groups:
            group["lr"] = experiment.learning_rate(chunk)
        normalisation = chunk >= experiment.num_chunks_nonorm
        loss = train_chunk(network, optimizer, views, targets, normalisation, experiment.norm_constraint, _progress_bar)
        if not np.isfinite(loss):
            raise DataError(f"the training error became {loss} in chunk {chunk + 1}; lower the learning rate")
        losses_train.append(loss**0.5)
        line = f"chunk {chunk + 1}/{experiment.num_chunks}  rate {experiment.learning_rate(chunk):g}  "
        line += f"RMSE {losses_train[-1]:.6f}"
        if (chunk + 1) % experiment.validate_every == 0 or chunk + 1 == experiment.num_chunks:
            predictions = np.concatenate([network.predict(each) for each in valid_chunks])
            losses_valid.append(rmse(predictions, labels[valid_indices]))
            chunks_valid.append(chunk + 1)
            line += f"  validation {losses_valid[-1]:.6f}"
        elapsed = time.monotonic() - start
        left = elapsed / (chunk + 1) * (experiment.num_chunks - chunk - 1)
        print(f"{line}  {hms(elapsed)} passed, {hms(left)} left", flush=True)

    seconds = time.monotonic() - start
    param_values = layers.get_param_values(network.output_layer)
    analysis = {
        "ids": load_data.train_ids[valid_indices],
        "predictions": predictions,
        "targets": labels[valid_indices],
        "mean_train_loss": losses_train[-1],
        "mean_valid_loss": losses_valid[-1],
        "time_since_start": seconds,
        "losses_train": losses_train,
        "losses_valid": losses_valid,
        "param_values": param_values,
        "param_stds": [float(values.std()) for values in param_values],
    }
    record = {
        "experiment": experiment.numbers(),
        "initialisation": options.initialisation,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "versions": {"python": platform.python_version(), "torch": torch.__version__}
        | {module.__name__: module.__version__ for module in (np, cv2)},
        "seconds": seconds,
        "losses_train": losses_train,
        "losses_valid": dict(zip(chunks_valid, losses_valid, strict=True)),
    }
    save_analysis(load_data.folders.analysis(experiment.name), analysis, record)

    test_indices = np.arange(load_data.num_test)
    chunks_test = fixed_chunks(experiment, test_indices, "test", options)
    test_predictions = np.concatenate([network.predict(views) for views in chunks_test])
    submission = load_data.folders.predictions / f"{experiment.name}.csv.gz"
    load_data.write_submission(submission, load_data.test_ids, test_predictions)
    print(f"wrote {submission}")


def _progress_bar(steps: Sequence) -> Iterator:
    return tqdm(steps, unit="step", leave=False, disable=not sys.stderr.isatty())


def save_analysis(path: Path, analysis: dict, record: dict) -> None:
    """Write an analysis pickle (NumPy arrays and plain values only) and its run record, each whole or not at all."""
    with load_data.replacing(path) as temporary, temporary.open("wb") as file:
        pickle.dump(analysis, file, protocol=4)
    record_path = path.with_suffix(".json")
    with load_data.replacing(record_path) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")
    print(f"wrote {path} and {record_path.name}")


def main(experiment: Experiment) -> None:
    """Run a training script: read its flags, train."""
    parser = load_data.script_parser(f"Train {experiment.name} (docs: doc/method.md).")
    add_flags(parser)
    parser.add_argument("--num-chunks", type=positive_int, metavar="N", help=f"default: {experiment.num_chunks}")
    parser.add_argument("--keep-schedule", action="store_true", help="do not scale the schedule with --num-chunks")
    parser.add_argument("--validate-every", type=positive_int, metavar="N", help="chunks from validation to validation")
    parser.add_argument("--seed", type=natural_int, metavar="N", help=f"default: {experiment.seed}")
    parser.add_argument(
        "--initialisation",
        choices=INITIALISATIONS,
        default="2014",
        help="2014 (default): the recipe's; variance-preserving: leaves the plateau in a few hundred steps",
    )
    options = parser.parse_args()

    def run() -> None:
        use_folders(options)
        chosen = experiment.shortened(options.num_chunks, options.keep_schedule) if options.num_chunks else experiment
        changes = {name: getattr(options, name) for name in ("chunk_size", "validate_every", "seed")}
        train(dataclasses.replace(chosen, **{k: v for k, v in changes.items() if v is not None}), options)

    load_data.run_script(run)
