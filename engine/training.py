"""The one loop that trains an experiment.

Training follows the recipe of 2014: chunks of freshly augmented examples, minibatches, a rate that changes on the way,
validation every few chunks, and an analysis pickle at the end. What bears on the result stands in the experiment;
run-time choices are flags, the same for all scripts. A run that is stopped goes on where it was, to the same result.

Source: documentation of 2014, 2.3 and 3.3.1.
"""

import argparse
import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch

from engine import checkpoints, record
from engine.examples import Arrays, Examples
from engine.experiment import Experiment
from engine.network import Network, find_device
from engine.options import INITIALISATIONS, Options, explain_want_of_memory, named, shared_parser
from engine.steps import Trainer
from galaxy.decision_tree import NUM_ANSWERS
from machine.command_line import hms, natural_int, positive_int, run_script
from machine.files import DataError, remove_leftovers
from machine.locks import alone
from machine.progress import showing
from machine.signals import UNFINISHED, Stopped, StopRequest
from survey import folders, images
from survey.predictions import rmse
from survey.submission import write_submission

Errors = list[float | torch.Tensor]


def train_chunk(
    trainer: Trainer,
    views: Arrays,
    labels: np.ndarray | torch.Tensor,
    progress: checkpoints.Progress,
    stop: StopRequest | None = None,
) -> None:
    """Take the steps of a chunk that are left, and note the error of each, times its examples, in `progress.errors`.

    Errors may not yet be computed: nothing waits for an accelerator here. Raises Stopped between two steps.
    """
    network = trainer.network
    arrays = [network.to_device(array) for array in (*views, labels)]
    minibatches = list(zip(*(array.split(network.batch_size) for array in arrays), strict=True))
    first = len(progress.errors)
    bar = showing(minibatches[first:], unit="step", leave=False)
    for number, (*batch, batch_labels) in enumerate(bar, first):
        if stop is not None and stop.signal is not None:
            raise Stopped
        error = trainer.take(batch, batch_labels, progress.chunk, number)
        progress.errors.append(error * len(batch_labels))


def read_errors(errors: Sequence[float | torch.Tensor]) -> list[float]:
    """Read errors off the device, once for all of them."""
    computed = [error for error in errors if isinstance(error, torch.Tensor)]
    known = len(errors) - len(computed)
    return [*errors[:known], *(torch.stack(computed).tolist() if computed else [])]


def is_stuck(network: Network) -> bool:
    """Say whether the last step moved nothing: where no output is above zero, no gradient flows, and none ever will."""
    gradients = [param.grad for param in network.parameters if param.grad is not None]
    return bool(gradients) and not any(gradient.any() for gradient in gradients)


class Run:
    """A training run: its network, where it stands, and what it leaves behind."""

    # Chunks without a gradient after which a run is given up.
    STUCK_CHUNKS = 2
    # Of work that a run which is killed may lose, and the chunk that it is in.
    CHECKPOINT_SECONDS = 60.0

    def __init__(self, experiment: Experiment, options: Options):
        """Look at all images, draw the parameters, or go on from the last checkpoint."""
        self.experiment, self.options = experiment, options
        self.labels = images.load_labels()
        self.examples = Examples(experiment, options, find_device(options.device))
        self.train_indices, self.valid_indices = self._parts()
        self.trainer = self._new_trainer()
        self.network = self.trainer.network
        identity = record.identity(experiment, self.trainer, options, self.train_indices, self.labels)
        self.store = checkpoints.Store(folders.current.checkpoints(experiment.name), identity)
        if not options.resume:
            self.store.clear()
        self.progress = self.store.restore(self.trainer)
        self.saved = time.monotonic()
        self.start = self.saved - self.progress.seconds
        self.predictions = np.empty((0, NUM_ANSWERS), np.float32)
        self.num_stuck = 0
        # Called after each chunk with where the run stands.
        self.on_chunk: Callable[[checkpoints.Progress], None] = lambda progress: None

    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices that are trained on and validated on; the latter are none where all are trained on."""
        train, valid = (self.examples.good(part, "train") for part in images.split(len(self.labels)))
        if self.options.all_galaxies:
            train, valid = np.concatenate([train, valid]), valid[:0]
        if not len(train) or not (len(valid) or self.options.all_galaxies):
            raise DataError("expected images to train on and to validate on, but all of either are left out as bad")
        return train, valid

    def _new_trainer(self) -> Trainer:
        experiment, options, device = self.experiment, self.options, self.examples.device
        torch.manual_seed(experiment.seed)
        network = Network(experiment, device, options.precision)
        INITIALISATIONS[options.initialisation](network.output_layer)
        self._check_norms(network)
        print(
            f"{experiment.name}: {sum(param.numel() for param in network.parameters):,} parameters, "
            f"{experiment.num_chunks} chunks of {experiment.chunk_size}, "
            f"{options.initialisation} initialisation, {device}"
        )
        return Trainer(experiment, network, options.graphs)

    def _check_norms(self, network: Network) -> None:
        """Raise DataError where a norm constraint would at once cut all columns that a flag has drawn too long."""
        constraint, declared = self.experiment.norm_constraint, self.options.initialisation == "2014"
        if constraint is not None and not declared and (exceeded := constraint.exceeded(network.output_layer)):
            norm, limit = exceeded[0]
            raise DataError(
                f"--initialisation {self.options.initialisation}: all columns of a dense layer begin with a norm of "
                f"{norm:.2f} or more, above the limit of {limit:g}, and would be cut to it at once; choose another "
                "initialisation, or other limits in the script"
            )

    def save(self) -> Path:
        """Write a checkpoint; raises DataError instead where parameters are no longer finite."""
        progress = self.progress
        progress.errors = read_errors(progress.errors)
        if not torch.stack([param.detach().isfinite().all() for param in self.network.parameters]).all():
            self._give_up(f"expected finite parameters, got others in chunk {progress.chunk + bool(progress.errors)}")
        progress.seconds = time.monotonic() - self.start
        path = self.store.save(progress, self.trainer)
        self.saved = time.monotonic()
        return path

    def validate(self) -> float:
        """Predict the validation galaxies and return the error."""
        self.predictions = self.predict(self.valid_indices, "train")
        return rmse(self.predictions, self.labels[self.valid_indices])

    def predict(self, indices: np.ndarray, subset: str) -> np.ndarray:
        """Return predictions (n, 37) of images, each seen once, with the weights that are the run's result."""
        with contextlib.closing(self.examples.fixed(indices, subset)) as chunks, self.trainer.predicting():
            return np.concatenate([self.network.predict(views) for views in chunks])

    def train(self) -> None:
        """Take all steps that are left; on a signal that ends a run write a checkpoint and exit with UNFINISHED."""
        chunks = self.examples.training(self.progress.chunk, self.train_indices)
        with StopRequest() as stop, contextlib.closing(chunks):
            try:
                self._train_chunks(chunks, stop)
            except Stopped:
                path, progress = self.save(), self.progress
                place = f"in chunk {progress.chunk + 1} after {len(progress.errors)} steps"
                if progress.chunk == self.experiment.num_chunks:
                    place = "after the last chunk"
                print(f"stopped {place}; run again to go on from {path}")
                sys.exit(UNFINISHED)

    def _train_chunks(self, chunks: Iterator[tuple[Arrays, np.ndarray | torch.Tensor]], stop: StopRequest) -> None:
        with self._keeping_work(stop):
            upcoming = next(chunks, None)
        while upcoming is not None:
            views, labels = upcoming
            train_chunk(self.trainer, views, labels, self.progress, stop)
            # An accelerator still computes: the next chunk is made before anything waits for it.
            with self._keeping_work(stop):
                upcoming = next(chunks, None)
            self.progress.errors = read_errors(self.progress.errors)
            self._check(self.progress.errors)
            with self._keeping_work(stop):
                self._finish_chunk(sum(self.progress.errors) / len(labels))
        if stop.signal is not None:
            raise Stopped

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
                if not self.store.path(self.progress).exists():
                    print(f"what was learnt until now is kept in {self.save()}", flush=True)
            raise

    def _finish_chunk(self, error: float) -> None:
        progress, experiment = self.progress, self.experiment
        number = progress.chunk + 1
        last = number == experiment.num_chunks
        # First what can fail, so that it is done again by the run that goes on.
        if len(self.valid_indices) and (number % experiment.validate_every == 0 or last):
            progress.losses_valid[number] = self.validate()
        progress.chunk, progress.errors = number, []
        progress.losses_train.append(error**0.5)
        self._report()
        if last or self._is_due(number):
            self.save()
        self.on_chunk(progress)

    def _is_due(self, number: int) -> bool:
        """Say whether a checkpoint is to be written after so many chunks: unless there is a flag, a minute's work."""
        if self.options.checkpoint_every is not None:
            return number % self.options.checkpoint_every == 0
        return time.monotonic() - self.saved >= self.CHECKPOINT_SECONDS

    def _report(self) -> None:
        """Print the line of the chunk that is done."""
        progress, num_chunks = self.progress, self.experiment.num_chunks
        # Of its last step, which an earlier run may have taken.
        rate = self.experiment.learning_rate.at(progress.chunk - 1 / self.experiment.steps_a_chunk, num_chunks)
        line = f"chunk {progress.chunk}/{num_chunks}  rate {rate:g}  RMSE {progress.losses_train[-1]:.6f}"
        if progress.chunk in progress.losses_valid:
            line += f"  validation {progress.losses_valid[progress.chunk]:.6f}"
        seconds = time.monotonic() - self.start
        left = seconds / progress.chunk * (num_chunks - progress.chunk)
        print(f"{line}  {hms(seconds)} passed, {hms(left)} left", flush=True)

    def _check(self, errors: list[float]) -> None:
        """Raise DataError, leaving the last checkpoint as it is, when training came to nothing."""
        number = self.progress.chunk + 1
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
        name, progress = self.experiment.name, self.progress
        if len(self.valid_indices) and not len(self.predictions):
            self.validate()
        with self.trainer.predicting():
            analysis = record.analysis_of(progress, self.network, self.predictions, self.valid_indices)
        record.save_analysis(
            folders.current.analysis(name),
            analysis,
            record.record_of(self.examples, self.network, progress, self.labels),
        )
        ids = images.ids_of("test")
        indices = np.arange(len(ids))
        predictions = self.predict(self.examples.good(indices, "test"), "test")
        submission = _submission(name)
        write_submission(submission, ids, self.examples.with_bad(predictions, indices, "test"))
        print(f"wrote {submission}")
        self.store.clear()


def _submission(name: str) -> Path:
    return folders.current.predictions / f"{name}.csv.gz"


def train(experiment: Experiment, options: Options) -> None:
    """Train an experiment and write its analysis pickle, run record and test predictions, alone in its folders."""
    name = experiment.name
    with alone(folders.current.lock(name, "train"), f"training of {name}"):
        analysis = folders.current.analysis(name)
        remove_leftovers(analysis, analysis.with_suffix(".json"), _submission(name))
        with explain_want_of_memory():
            run = Run(experiment, options)
            run.train()
            run.finish()


def flags(experiment: Experiment) -> argparse.ArgumentParser:
    """Return what reads the flags of a training script."""
    parser = shared_parser(f"Train {experiment.name} (docs: doc/method.md).")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--num-chunks", type=positive_int, metavar="N", help=f"default: {experiment.num_chunks}")
    length.add_argument(
        "--epochs", type=positive_int, metavar="N", help="as many chunks as N passes over the training galaxies take"
    )
    parser.add_argument(
        "--keep-schedule", action="store_true", help="rates change at the same examples whatever --num-chunks says"
    )
    parser.add_argument("--validate-every", type=positive_int, metavar="N", help="chunks from validation to validation")
    parser.add_argument(
        "--checkpoint-every",
        type=positive_int,
        metavar="N",
        help="chunks between checkpoints (default: one a minute)",
    )
    parser.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="go on from the last checkpoint, where there is one (default); --no-resume starts anew",
    )
    parser.add_argument(
        "--graphs",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="replay steps from CUDA graphs on an accelerator (default); --no-graphs launches them one by one",
    )
    parser.add_argument("--seed", type=natural_int, metavar="N", help=f"default: {experiment.seed}")
    parser.add_argument(
        "--initialisation",
        choices=INITIALISATIONS,
        default=Options.initialisation,
        help="2014 (default): the recipe's; variance-preserving: leaves the plateau in a few hundred steps; "
        "random: 2014's, but no published weights",
    )
    return parser


def chosen(experiment: Experiment, args: argparse.Namespace) -> Experiment:
    """Return the experiment as the flags change it."""
    num_chunks = args.num_chunks
    if args.epochs:
        train, valid = images.split(len(images.ids_of("train")))
        num_examples = args.epochs * (len(train) + (len(valid) if args.all_galaxies else 0))
        num_chunks = max(1, round(num_examples / (args.chunk_size or experiment.chunk_size)))
    if args.keep_schedule and experiment.learning_rate.scaled(2) == experiment.learning_rate:
        raise DataError(
            f"the rate of {experiment.name} follows the fraction of a run, so there is nothing for --keep-schedule to "
            "keep; leave it out"
        )
    experiment = experiment.resized(num_chunks, args.chunk_size, args.keep_schedule)
    changes = {name: getattr(args, name) for name in ("validate_every", "seed")}
    changes["name"] = named(experiment, args.all_galaxies).name
    return dataclasses.replace(experiment, **{k: v for k, v in changes.items() if v is not None})


def main(experiment: Experiment) -> None:
    """Run a training script: read its flags, train."""
    args = flags(experiment).parse_args()
    options = Options.of(args)

    def run() -> None:
        options.use_folders()
        train(chosen(experiment, args), options)

    run_script(run)
