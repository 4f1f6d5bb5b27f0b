"""The one loop that trains an experiment.

Training follows the recipe of 2014: chunks of freshly augmented examples, minibatches of 16, Nesterov momentum, a
rate that drops twice, the first chunk without normalisation, and an analysis pickle at the end. What bears on the
result stands in the experiment; run-time choices are flags, the same for all scripts. A run that is stopped goes on
where it was, to the same result.

Source: documentation of 2014, 2.3 and 3.3.1.
"""

import argparse
import dataclasses
import hashlib
import json
import pickle
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from skimage.transform import AffineTransform
from tqdm import tqdm

import checkpoints
import layers
import load_data
import realtime_augmentation as ra
from experiment import Experiment, Network, NormConstraint, find_device, rmse
from load_data import DataError, hms, natural_int, positive_int

INITIALISATIONS: dict[str, Callable[[layers.Layer], None]] = {
    "2014": layers.reset_all_params,
    "variance-preserving": layers.reset_variance_preserving,
}


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
        min(chunk_size or experiment.chunk_size, len(indices) * len(transforms)),
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


class StopRequest:
    """Notes SIGINT and SIGTERM, so that a run stops between two steps; a second one stops it at once."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __enter__(self) -> "StopRequest":
        self.before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number


class Stopped(Exception):
    """Training was asked to stop, and did between two steps."""


def train_chunk(
    network: Network,
    optimizer: torch.optim.Optimizer,
    views: Sequence[np.ndarray],
    targets: np.ndarray,
    normalisation: bool,
    norm_constraint: NormConstraint | None = None,
    errors: list[float] | None = None,
    stop: StopRequest | None = None,
) -> float:
    """Take one step a minibatch and return the chunk's mean squared error.

    `errors` holds the squared error of each step taken before, which are not taken again, and gets those of this call;
    raises Stopped between two steps.
    """
    arrays = [network.to_device(array) for array in (*views, targets)]
    minibatches = list(zip(*(array.split(network.batch_size) for array in arrays), strict=True))
    errors = [] if errors is None else errors
    taken: list[torch.Tensor] = []
    first = len(errors)
    bar = tqdm(minibatches[first:], unit="step", leave=False, disable=not sys.stderr.isatty())
    try:
        for step, (*batch, batch_targets) in enumerate(bar, first + 1):
            if stop is not None and stop.signal is not None:
                raise Stopped
            optimizer.zero_grad()
            error = network.output_layer.error(network.inputs(batch), batch_targets, normalisation)
            error.backward()
            optimizer.step()
            if norm_constraint is not None and step % norm_constraint.every == 0:
                norm_constraint.apply(network.output_layer)
            taken.append(error.detach() * len(batch_targets))
    finally:
        # Read once a chunk: reading each step would make an accelerator wait.
        errors += torch.stack(taken).tolist() if taken else []
    return sum(errors) / len(targets)


def make_optimizer(experiment: Experiment, network: Network) -> torch.optim.Optimizer:
    """Return the recipe's update rule for a network, its momentum at rest."""
    return layers.gen_updates_nesterov_momentum_no_bias_decay(
        layers.all_parameters(network.output_layer),
        layers.all_bias_parameters(network.output_layer),
        learning_rate=experiment.learning_rate(0),
        momentum=experiment.momentum,
        weight_decay=experiment.weight_decay,
    )


def training_chunks(
    experiment: Experiment, options: argparse.Namespace, first_chunk: int
) -> Iterator[tuple[list[np.ndarray], int]]:
    """Yield the chunks of a run from `first_chunk` on, the same ones wherever it starts."""
    return ra.realtime_augmented_data_gen(
        experiment.num_chunks - first_chunk,
        experiment.chunk_size,
        dict(experiment.augmentation_params),
        experiment.ds_transforms,
        experiment.target_sizes,
        experiment.processor_class,
        colour_std=experiment.colour_std,
        seed=experiment.seed,
        first_chunk=first_chunk,
        num_workers=options.num_workers,
        from_ram=bool(options.from_ram),
        reuse_buffers=True,
    )


def identity(experiment: Experiment, options: argparse.Namespace, labels: np.ndarray) -> dict[str, object]:
    """Return what two runs must have in common for one to continue the other, as plain values."""
    data = hashlib.sha256(load_data.train_ids.tobytes() + labels.tobytes()).hexdigest()
    return {**experiment.numbers(), "initialisation": options.initialisation, "training data": data}


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
    optimizer = make_optimizer(experiment, network)
    store = checkpoints.Store(load_data.folders.checkpoints(experiment.name), identity(experiment, options, labels))
    if not options.resume:
        store.clear()
    done = store.restore(network.output_layer, optimizer)
    # The validation views never change: they are made once.
    valid_chunks = [
        [view.copy() for view in views] for views in fixed_chunks(experiment, valid_indices, "train", options)
    ]

    predictions = np.empty(0)
    start = time.monotonic() - done.seconds
    first_chunk = done.chunk
    with StopRequest() as stop:
        for (*views, targets), _ in training_chunks(experiment, options, first_chunk):
            chunk = done.chunk
            if chunk == experiment.num_chunks_nonorm and not done.errors:
                # In 2014 the steps with and without normalisation were two functions, each with a momentum of its own.
                optimizer = make_optimizer(experiment, network)
            for group in optimizer.param_groups:
                group["lr"] = experiment.learning_rate(chunk)
            normalisation = chunk >= experiment.num_chunks_nonorm
            try:
                loss = train_chunk(
                    network, optimizer, views, targets, normalisation, experiment.norm_constraint, done.errors, stop
                )
            except Stopped:
                done.seconds = time.monotonic() - start
                path = store.save(done, network.output_layer, optimizer)
                print(f"stopped in chunk {chunk + 1} after {len(done.errors)} steps; run again to go on from {path}")
                sys.exit(128 + stop.signal)
            if not np.isfinite(loss):
                raise DataError(f"the training error became {loss} in chunk {chunk + 1}; lower the learning rate")
            done.chunk, done.errors = chunk + 1, []
            done.losses_train.append(loss**0.5)
            line = f"chunk {chunk + 1}/{experiment.num_chunks}  rate {experiment.learning_rate(chunk):g}  "
            line += f"RMSE {done.losses_train[-1]:.6f}"
            if done.chunk % experiment.validate_every == 0 or done.chunk == experiment.num_chunks:
                predictions = np.concatenate([network.predict(each) for each in valid_chunks])
                done.losses_valid[done.chunk] = rmse(predictions, labels[valid_indices])
                line += f"  validation {done.losses_valid[done.chunk]:.6f}"
            done.seconds = time.monotonic() - start
            left = done.seconds / done.chunk * (experiment.num_chunks - done.chunk)
            print(f"{line}  {hms(done.seconds)} passed, {hms(left)} left", flush=True)
            if done.chunk % options.checkpoint_every == 0 or done.chunk == experiment.num_chunks:
                store.save(done, network.output_layer, optimizer)

    if not len(predictions):
        predictions = np.concatenate([network.predict(each) for each in valid_chunks])
    param_values = layers.get_param_values(network.output_layer)
    losses_valid = list(done.losses_valid.values())
    analysis = {
        "ids": load_data.train_ids[valid_indices],
        "predictions": predictions,
        "targets": labels[valid_indices],
        "mean_train_loss": done.losses_train[-1],
        "mean_valid_loss": losses_valid[-1],
        "time_since_start": done.seconds,
        "losses_train": done.losses_train,
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
        "seconds": done.seconds,
        "losses_train": done.losses_train,
        "losses_valid": done.losses_valid,
    }
    save_analysis(load_data.folders.analysis(experiment.name), analysis, record)

    chunks_test = fixed_chunks(experiment, np.arange(load_data.num_test), "test", options)
    test_predictions = np.concatenate([network.predict(views) for views in chunks_test])
    submission = load_data.folders.predictions / f"{experiment.name}.csv.gz"
    load_data.write_submission(submission, load_data.test_ids, test_predictions)
    print(f"wrote {submission}")
    store.clear()


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
    parser.add_argument(
        "--checkpoint-every",
        type=positive_int,
        metavar="N",
        default=10,
        help="chunks between checkpoints, default: 10",
    )
    parser.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="go on from the last checkpoint, where there is one (default); --no-resume starts anew",
    )
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
