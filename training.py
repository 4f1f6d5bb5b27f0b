"""The one loop that trains an experiment.

Training follows the recipe of 2014: chunks of freshly augmented examples, minibatches of 16, Nesterov momentum, a
rate that drops twice, the first chunk without normalisation, and an analysis pickle at the end. What bears on the
result stands in the experiment; run-time choices are flags, the same for all scripts. A run that is stopped goes on
where it was, to the same result.

Source: documentation of 2014, 2.3 and 3.3.1.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import pickle
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np
import torch
from tqdm import tqdm

import checkpoints
import layers
import load_data
from examples import Examples, Views, add_flags, explain_want_of_memory, use_folders
from experiment import Experiment, Network, NormConstraint, find_device, rmse
from leftovers import remove_leftovers
from load_data import DataError, hms, natural_int, positive_int
from stopping import Stopped, StopRequest, ending_in_order
from training_step import Step, make_step

INITIALISATIONS: dict[str, Callable[[layers.Layer], None]] = {
    "2014": layers.reset_all_params,
    "variance-preserving": layers.reset_variance_preserving,
}


def train_chunk(
    step: Step,
    views: Views,
    targets: np.ndarray | torch.Tensor,
    norm_constraint: NormConstraint | None = None,
    errors: list[float | torch.Tensor] | None = None,
    stop: StopRequest | None = None,
) -> list[float | torch.Tensor]:
    """Take a step for each minibatch and return the squared errors, each times its examples, perhaps not yet computed.

    `errors` holds those of the steps taken before, which are not taken again, and gets the others; raises Stopped
    between two steps. Nothing waits for the device here.
    """
    network = step.network
    arrays = [network.to_device(array) for array in (*views, targets)]
    minibatches = list(zip(*(array.split(network.batch_size) for array in arrays), strict=True))
    errors = [] if errors is None else errors
    first = len(errors)
    bar = tqdm(minibatches[first:], unit="step", leave=False, disable=not sys.stderr.isatty())
    for number, (*batch, batch_targets) in enumerate(bar, first + 1):
        if stop is not None and stop.signal is not None:
            raise Stopped
        errors.append(step(batch, batch_targets) * len(batch_targets))
        if norm_constraint is not None and number % norm_constraint.every == 0:
            norm_constraint.apply(network.output_layer)
    return errors


def read_errors(errors: Sequence[float | torch.Tensor]) -> list[float]:
    """Read errors off the device, once for all of them."""
    computed = [error for error in errors if isinstance(error, torch.Tensor)]
    known = len(errors) - len(computed)
    return [*errors[:known], *(torch.stack(computed).tolist() if computed else [])]


def make_optimizer(experiment: Experiment, network: Network) -> torch.optim.Optimizer:
    """Return the recipe's update rule for a network, its momentum at rest."""
    return layers.gen_updates_nesterov_momentum_no_bias_decay(
        layers.all_parameters(network.output_layer),
        layers.all_bias_parameters(network.output_layer),
        learning_rate=experiment.learning_rate(0),
        momentum=experiment.momentum,
        weight_decay=experiment.weight_decay,
    )


def is_stuck(network: Network) -> bool:
    """Say whether the last step moved nothing: where no output is above zero, no gradient flows, and none ever will."""
    return not any(param.grad is not None and param.grad.any() for param in network.output_layer.input_layer.params)


def identity(
    experiment: Experiment, options: argparse.Namespace, train_indices: np.ndarray, labels: np.ndarray
) -> dict[str, object]:
    """Return what two runs must have in common for one to continue the other, as plain values."""
    data = hashlib.sha256(load_data.train_ids.tobytes() + labels.tobytes() + train_indices.tobytes()).hexdigest()
    chosen = {"initialisation": options.initialisation, "precision": options.precision, "training data": data}
    return {**experiment.numbers(), **chosen}


class Run:
    """A training run: its network, where it stands, and what it leaves behind."""

    # Chunks without a gradient after which a run is given up.
    STUCK_CHUNKS = 2

    def __init__(self, experiment: Experiment, options: argparse.Namespace):
        self.experiment, self.options = experiment, options
        self.device = find_device(options.device)
        self.labels = load_data.load_solutions()
        self.examples = Examples(experiment, options, self.device)
        parts = load_data.split(load_data.num_train)
        self.train_indices, self.valid_indices = (self.examples.good(part, "train") for part in parts)
        if not len(self.train_indices) or not len(self.valid_indices):
            raise DataError("expected images to train on and to validate on, but all of either are left out as bad")
        torch.manual_seed(experiment.seed)
        self.network = Network(experiment, self.device, options.precision)
        INITIALISATIONS[options.initialisation](self.network.output_layer)
        self.optimizer = make_optimizer(experiment, self.network)
        folder = load_data.folders.checkpoints(experiment.name)
        self.store = checkpoints.Store(folder, identity(experiment, options, self.train_indices, self.labels))
        if not options.resume:
            self.store.clear()
        print(
            f"{experiment.name}: {sum(p.numel() for p in layers.all_parameters(self.network.output_layer)):,} "
            f"parameters, {experiment.num_chunks} chunks of {experiment.chunk_size}, "
            f"{options.initialisation} initialisation, {self.device}"
        )
        self.done = self.store.restore(self.network.output_layer, self.optimizer)
        self.start = time.monotonic() - self.done.seconds
        self.predictions = np.empty(0)
        self.num_stuck = 0

    def save(self) -> Path:
        """Write a checkpoint; raises DataError instead where parameters are no longer finite."""
        self.done.errors = read_errors(self.done.errors)
        params = layers.all_parameters(self.network.output_layer)
        if not torch.stack([param.detach().isfinite().all() for param in params]).all():
            self._give_up(f"expected finite parameters, got others in chunk {self.done.chunk + bool(self.done.errors)}")
        self.done.seconds = time.monotonic() - self.start
        return self.store.save(self.done, self.network.output_layer, self.optimizer)

    def validate(self) -> float:
        """Predict the validation galaxies and return the error."""
        with contextlib.closing(self.examples.fixed(self.valid_indices, "train")) as chunks:
            self.predictions = np.concatenate([self.network.predict(views) for views in chunks])
        return rmse(self.predictions, self.labels[self.valid_indices])

    def train(self) -> None:
        """Take all steps that are left; on SIGINT, SIGTERM or SIGHUP write a checkpoint and exit."""
        chunks = self.examples.training(self.done.chunk, self.train_indices)
        with StopRequest() as stop, contextlib.closing(chunks):
            try:
                self._take_steps(chunks, stop)
            except Stopped:
                path, done = self.save(), self.done
                print(
                    f"stopped in chunk {done.chunk + 1} after {len(done.errors)} steps; run again to go on from {path}"
                )
                sys.exit(128 + stop.signal)

    def _take_steps(self, chunks: Iterator[tuple[Views, int]], stop: StopRequest) -> None:
        step: Step | None = None
        with self._keeping_work(stop):
            upcoming = next(chunks, None)
        while upcoming is not None:
            (*views, targets), _ = upcoming
            chunk, done = self.done.chunk, self.done
            normalisation = chunk >= self.experiment.num_chunks_nonorm
            if chunk == self.experiment.num_chunks_nonorm and not done.errors:
                # In 2014 the steps with and without normalisation were two functions, with a momentum each.
                self.optimizer = make_optimizer(self.experiment, self.network)
            if step is None or step.normalisation != normalisation or step.optimizer is not self.optimizer:
                step = make_step(self.network, self.optimizer, normalisation)
            self.optimizer.set_rate(self.experiment.learning_rate(chunk))
            train_chunk(step, views, targets, self.experiment.norm_constraint, done.errors, stop)
            # An accelerator still computes: the next chunk is made before anything waits for it.
            with self._keeping_work(stop):
                upcoming = next(chunks, None)
            done.errors = read_errors(done.errors)
            self._check(done.errors)
            with self._keeping_work(stop):
                self._finish_chunk(sum(done.errors) / len(targets))

    @contextlib.contextmanager
    def _keeping_work(self, stop: StopRequest) -> Iterator[None]:
        """Write a checkpoint where what happens between two steps fails: a worker dies, an image can not be read."""
        try:
            yield
        except Exception as error:
            if stop.signal is not None and isinstance(error, BrokenProcessPool):
                raise Stopped from None  # whoever stops a run may stop all of its processes
            # Where this fails too, the error that there is says more.
            with contextlib.suppress(OSError, DataError):
                if not self.store.path(self.done).exists():
                    print(f"what was learnt until now is kept in {self.save()}", flush=True)
            raise

    def _finish_chunk(self, error: float) -> None:
        done, of = self.done, self.experiment
        number = done.chunk + 1
        last = number == of.num_chunks
        # First what can fail, so that it is done again by the run that goes on.
        if number % of.validate_every == 0 or last:
            done.losses_valid[number] = self.validate()
        done.chunk, done.errors = number, []
        done.losses_train.append(error**0.5)
        line = f"chunk {done.chunk}/{of.num_chunks}  rate {of.learning_rate(done.chunk - 1):g}  "
        line += f"RMSE {done.losses_train[-1]:.6f}"
        if number in done.losses_valid:
            line += f"  validation {done.losses_valid[number]:.6f}"
        seconds = time.monotonic() - self.start
        left = seconds / done.chunk * (of.num_chunks - done.chunk)
        print(f"{line}  {hms(seconds)} passed, {hms(left)} left", flush=True)
        if done.chunk % self.options.checkpoint_every == 0 or last:
            self.save()

    def _check(self, errors: list[float]) -> None:
        """Raise DataError, leaving the last checkpoint as it is, when training came to nothing."""
        number = self.done.chunk + 1
        if not np.isfinite(errors).all():
            self._give_up(f"expected finite training errors, got {sum(errors)} in chunk {number}")
        self.num_stuck = self.num_stuck + 1 if errors[-1] > 0 and is_stuck(self.network) else 0
        if self.num_stuck == self.STUCK_CHUNKS:
            self._give_up(
                "training is stuck: all predictions are zero, and so is the gradient, at the end of chunks "
                f"{number - self.STUCK_CHUNKS + 1} to {number}"
            )

    def _give_up(self, reason: str) -> NoReturn:
        paths = self.store.paths()
        kept = f"the last good checkpoint is {paths[-1]}" if paths else "there is no checkpoint yet"
        raise DataError(
            f"{reason}; {kept}; "
            "lower the learning rate in the script, or start anew with --no-resume and another --seed"
        )

    def finish(self) -> None:
        """Write the analysis pickle, the run record and the predictions of the test images."""
        of, done = self.experiment, self.done
        if not len(self.predictions):
            self.validate()
        param_values = layers.get_param_values(self.network.output_layer)
        losses_valid = list(done.losses_valid.values())
        analysis = {
            "ids": load_data.train_ids[self.valid_indices],
            "predictions": self.predictions,
            "targets": self.labels[self.valid_indices],
            "mean_train_loss": done.losses_train[-1],
            "mean_valid_loss": losses_valid[-1],
            "time_since_start": done.seconds,
            "losses_train": done.losses_train,
            "losses_valid": losses_valid,
            "param_values": param_values,
            "param_stds": [float(values.std()) for values in param_values],
        }
        cuda = self.device.type == "cuda"
        record = {
            "experiment": of.numbers(),
            "initialisation": self.options.initialisation,
            "device": torch.cuda.get_device_name(self.device) if cuda else platform.processor() or "cpu",
            "threads": torch.get_num_threads(),
            "precision": self.options.precision,
            "augmented on": "device" if self.examples.on_device else "cpu",
            "images left out": self.examples.left_out(),
            "versions": {"python": platform.python_version(), "torch": torch.__version__}
            | {module.__name__: module.__version__ for module in (np, cv2)},
            "seconds": done.seconds,
            "losses_train": done.losses_train,
            "losses_valid": done.losses_valid,
        }
        save_analysis(load_data.folders.analysis(of.name), analysis, record)

        all_test = np.arange(load_data.num_test)
        with contextlib.closing(self.examples.fixed(self.examples.good(all_test, "test"), "test")) as chunks:
            test_predictions = np.concatenate([self.network.predict(views) for views in chunks])
        submission = _submission(of)
        every_test = self.examples.with_bad(test_predictions, all_test, "test")
        load_data.write_submission(submission, load_data.test_ids, every_test)
        print(f"wrote {submission}")
        self.store.clear()


def _submission(experiment: Experiment) -> Path:
    return load_data.folders.predictions / f"{experiment.name}.csv.gz"


def train(experiment: Experiment, options: argparse.Namespace) -> None:
    """Train an experiment and write its analysis pickle, run record and test predictions."""
    analysis = load_data.folders.analysis(experiment.name)
    remove_leftovers(analysis, analysis.with_suffix(".json"), _submission(experiment))
    with explain_want_of_memory():
        run = Run(experiment, options)
        run.train()
        run.finish()


def save_analysis(path: Path, analysis: dict, record: dict) -> None:
    """Write an analysis pickle (NumPy arrays and plain values only) and its run record, each whole or not at all."""
    with load_data.replacing(path) as temporary, temporary.open("wb") as file:
        pickle.dump(analysis, file, protocol=4)
    record_path = path.with_suffix(".json")
    with load_data.replacing(record_path) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")
    print(f"wrote {path} and {record_path.name}")


def flags(experiment: Experiment) -> argparse.ArgumentParser:
    """Return what reads the flags of a training script."""
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
    return parser


def main(experiment: Experiment) -> None:
    """Run a training script: read its flags, train."""
    options = flags(experiment).parse_args()

    def run() -> None:
        use_folders(options)
        chosen = experiment.shortened(options.num_chunks, options.keep_schedule) if options.num_chunks else experiment
        changes = {name: getattr(options, name) for name in ("chunk_size", "validate_every", "seed")}
        with ending_in_order():
            train(dataclasses.replace(chosen, **{k: v for k, v in changes.items() if v is not None}), options)

    load_data.run_script(run)
