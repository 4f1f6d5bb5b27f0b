"""The loop that trains an experiment.

Training follows the recipe of 2014: chunks of freshly augmented examples, minibatches, a learning rate that changes
during the run, a validation every few chunks, and an analysis pickle at the end. The experiment declares everything
that bears on the result; run-time choices are flags, the same for all scripts. A stopped run resumes and reaches the
same result.

Source: documentation of 2014, 2.3 and 3.3.1.
"""

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import ClassVar, NoReturn

from machine.command_line import hms, run_script

import numpy as np
import torch

import layers
from engine import plateau, record, starting_weights, teaching
from engine.checkpoints import Progress, Store
from engine.description import Plain, describe
from engine.examples import Arrays, Examples
from engine.experiment import Experiment
from engine.network import Network, draw_network, find_device
from engine.options import Options, choose, explain_out_of_memory, training_parser
from engine.starting_weights import StartingWeights
from engine.steps import Trainer
from machine import products, seals
from machine.files import DataError
from machine.locks import alone
from machine.products import Product
from machine.progress import showing
from machine.signals import UNFINISHED, Stopped, StopRequest
from survey import folders, images, label_weights
from survey.predictions import rmse
from survey.submission import no_submission, write_submission
from survey.survey_tree import read_tree

OnChunk = Callable[[Progress], None]


@dataclasses.dataclass(kw_only=True, eq=False)
class Run:
    """A training run: `Run.prepare`, then `train`, then `finish`."""

    # Chunks without a gradient after which a run gives up.
    STUCK_CHUNKS: ClassVar[int] = 2
    # Seconds of work that a killed run may lose, beside its current chunk.
    CHECKPOINT_SECONDS: ClassVar[float] = 60.0

    # What was asked for.
    experiment: Experiment
    options: Options
    on_chunk: OnChunk | None  # called after each chunk
    # The data: labels (galaxies, answers), and the indices of the galaxies for training and for validation.
    examples: Examples
    labels: np.ndarray
    train_indices: np.ndarray
    valid_indices: np.ndarray
    # What learns, what it is, and its checkpoints.
    trainer: Trainer
    description: dict[str, Plain]
    store: Store
    start: StartingWeights | None
    # How far the run is; `started` and `saved` (the last checkpoint) are seconds of time.monotonic().
    progress: Progress
    started: float
    saved: float
    predictions: np.ndarray
    num_stuck: int = 0

    @property
    def network(self) -> Network:
        """The network that learns."""
        return self.trainer.network

    @property
    def source(self) -> str:
        """The source of the seals of its products."""
        return seals.source_of(json.dumps(self.store.identity, sort_keys=True))

    def train(self) -> None:
        """Take all remaining steps; after a signal write a checkpoint and exit with UNFINISHED."""
        chunks = self.examples.training(self.progress.chunk, self.train_indices)
        with StopRequest() as stop, contextlib.closing(chunks):
            try:
                self._train_chunks(chunks, stop)
            except Stopped:
                path, progress = self.save(), self.progress
                point = f"in chunk {progress.chunk + 1} after {len(progress.errors)} steps"
                if progress.chunk == self.experiment.num_chunks:
                    point = "after the last chunk"
                print(f"stopped {point}; run the same command again to resume from {path}")
                sys.exit(UNFINISHED)

    def _train_chunks(self, chunks: Iterator[tuple[Arrays, np.ndarray | torch.Tensor]], stop: StopRequest) -> None:
        with self._keeping_work(stop):
            upcoming = next(chunks, None)
        while upcoming is not None:
            views, labels = upcoming
            train_chunk(self.trainer, views, labels, self.progress, stop)
            # The next chunk is made while an accelerator still computes.
            with self._keeping_work(stop):
                upcoming = next(chunks, None)
            self.progress.errors = read_errors(self.progress.errors)
            self._check(self.progress.errors)
            with self._keeping_work(stop):
                self._finish_chunk(sum(self.progress.errors) / len(labels))
        if stop.signal is not None:
            raise Stopped

    def _finish_chunk(self, error: float) -> None:
        progress, experiment = self.progress, self.experiment
        chunks_done = progress.chunk + 1
        last = chunks_done == experiment.num_chunks
        # The validation can fail; so it comes first, and a resumed run repeats it.
        if len(self.valid_indices) and (chunks_done % experiment.validate_every == 0 or last):
            progress.losses_valid[chunks_done] = self.validate()
        progress.chunk, progress.errors = chunks_done, []
        progress.losses_train.append(error**0.5)
        with self.trainer.predicting():
            progress.param_stds.append(self.network.param_stds())
        self._report()
        if last or self._is_due(chunks_done):
            self.save()
        if self.on_chunk is not None:
            self.on_chunk(progress)

    @classmethod
    def prepare(
        cls,
        experiment: Experiment,
        options: Options,
        on_chunk: OnChunk | None = None,
        split: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> "Run":
        """Draw the network, check all images, and resume from the last checkpoint if there is one.

        `split` replaces the indices of the galaxies for training and for validation. Raises DataError.
        """
        device = find_device(options.device)
        experiment = experiment.answering(read_tree(folders.current))
        start = starting_weights.read(starting_weights.find(options.start_from)) if options.start_from else None
        # What a run does not use is not part of its identity.
        experiment = experiment.adapted() if start else dataclasses.replace(experiment, adaptation=None)
        experiment, teachers = teaching.prepare(experiment, options.teacher)
        network = draw_network(experiment, device, options.precision, options.initialisation)
        if start is not None:
            start.put_into(network)
        trainer = Trainer(experiment, network, options.graphs)
        labels, examples = images.load_labels(), Examples(experiment, options, device, teachers)
        train_indices, valid_indices = split or examples.split()
        label_weights.report(network.output_layer.error_of, train_indices)
        examples.with_counts = network.output_layer.num_counts > 0
        if examples.with_counts and teachers:
            raise DataError(
                "--teacher mixes fractions of votes, but the error of this script needs counts; leave it out"
            )
        description = describe(experiment, network.output_layer)
        identity = record.identity(description, trainer, examples, train_indices, labels, start)
        store = Store(folders.current.checkpoints(experiment.name), identity)
        if not options.resume:
            store.clear()
        progress, state = store.restore()
        if state is not None:
            trainer.load_state_dict(state)
        now = time.monotonic()
        return cls(
            experiment=experiment,
            options=options,
            on_chunk=on_chunk,
            examples=examples,
            labels=labels,
            train_indices=train_indices,
            valid_indices=valid_indices,
            trainer=trainer,
            description=description,
            store=store,
            start=start,
            predictions=np.empty((0, experiment.tree.num_answers), np.float32),
            progress=progress,
            started=now - progress.seconds,
            saved=now,
        )

    def validate(self) -> float:
        """Predict the validation galaxies and return the RMSE."""
        self.predictions = self.predict(self.valid_indices, "train")
        return rmse(self.predictions, self.labels[self.valid_indices])

    def predict(self, indices: np.ndarray, subset: str) -> np.ndarray:
        """Return predictions (n, answers) of images from one view each, with the weights of the run's result."""
        with contextlib.closing(self.examples.fixed(indices, subset)) as chunks, self.trainer.predicting():
            return np.concatenate([self.network.predict(views) for views in chunks])

    def save(self) -> Path:
        """Write a checkpoint; raises DataError instead if parameters are not finite."""
        progress = self.progress
        progress.errors = read_errors(progress.errors)
        if not torch.stack([param.detach().isfinite().all() for param in self.network.parameters]).all():
            self._give_up(f"expected finite parameters, got others in chunk {progress.chunk + bool(progress.errors)}")
        progress.seconds = time.monotonic() - self.started
        path = self.store.save(progress, self.trainer.state_dict())
        self.saved = time.monotonic()
        return path

    def finish(self) -> None:
        """Write the analysis pickle, the run record and the predictions of the test images."""
        progress = self.progress
        if len(self.valid_indices) and not len(self.predictions):
            self.validate()
        with self.trainer.predicting():
            param_values = layers.get_param_values(self.network.output_layer)
        analysis = record.analysis_of(progress, param_values, self.predictions, self.valid_indices)
        run_record = record.record_of(self.description, self.examples, progress, self.store.identity, self.start)
        path, *_ = _products(self.experiment)
        record.save_analysis(path, analysis, run_record, self.source)
        if reason := no_submission(self.experiment.tree):
            print(f"no submission: {reason}; the predict_augmented_npy script predicts the test galaxies")
            self.store.clear()
            return
        submission, ids = _products(self.experiment)[2], images.ids_of("test")
        indices = np.arange(len(ids))
        predictions = self.predict(self.examples.good(indices, "test"), "test")
        predictions = self.examples.with_bad(predictions, indices, "test")
        write_submission(submission, ids, predictions, self.source)
        print(f"wrote {submission}")
        self.store.clear()

    @contextlib.contextmanager
    def _keeping_work(self, stop: StopRequest) -> Iterator[None]:
        """Write a checkpoint if the block, between two steps, fails: a worker dies, an image cannot be read."""
        try:
            yield
        except Exception as error:
            if stop.signal is not None and isinstance(error, BrokenProcessPool):
                raise Stopped from None  # the same signal may have ended the worker processes
            # If the checkpoint fails too, the first error says more.
            with contextlib.suppress(OSError, DataError):
                if not self.store.path(self.progress).exists():
                    print(f"the work so far is saved in {self.save()}", flush=True)
            raise

    def _is_due(self, chunks_done: int) -> bool:
        """Return whether to write a checkpoint: as the flag says, or after a minute of work."""
        if self.options.checkpoint_every is not None:
            return chunks_done % self.options.checkpoint_every == 0
        return time.monotonic() - self.saved >= self.CHECKPOINT_SECONDS

    def _report(self) -> None:
        """Print the line of a finished chunk."""
        progress, num_chunks = self.progress, self.experiment.num_chunks
        # The rate of the chunk's last step, which an earlier run may have taken.
        rate = self.experiment.learning_rate.at(progress.chunk - 1 / self.experiment.steps_a_chunk, num_chunks)
        error = f"{self.network.output_layer.error_name} {progress.losses_train[-1]:.6f}"
        line = f"chunk {progress.chunk}/{num_chunks}  rate {rate:g}  {error}"
        if progress.chunk in progress.losses_valid:
            line += f"  validation {progress.losses_valid[progress.chunk]:.6f}"
        seconds = time.monotonic() - self.started
        left = seconds / progress.chunk * (num_chunks - progress.chunk)
        print(f"{line}  {hms(seconds)} passed, {hms(left)} left", flush=True)
        if progress.chunk in progress.losses_valid:
            self._report_plateau()

    def _report_plateau(self) -> None:
        """Print a line if the run still predicts the mean votes when others predict better."""
        mean_votes = plateau.mean_votes_rmse(self.labels[self.train_indices], self.labels[self.valid_indices])
        initialisation, steps = self.options.initialisation, self.experiment.steps_a_chunk
        if line := plateau.describe_plateau(initialisation, steps, self.progress.losses_valid, mean_votes):
            print(line, flush=True)

    def _check(self, errors: list[float]) -> None:
        """Raise DataError, and leave the last checkpoint, if errors are not finite or nothing learns any more."""
        chunk = self.progress.chunk + 1
        if not np.isfinite(errors).all():
            self._give_up(f"expected finite training errors, got {sum(errors)} in chunk {chunk}")
        self.num_stuck = self.num_stuck + 1 if errors[-1] > 0 and self.network.is_stuck() else 0
        if self.num_stuck == self.STUCK_CHUNKS:
            self._give_up(
                "training is stuck: all predictions and all gradients are zero at the end of chunks "
                f"{chunk - self.STUCK_CHUNKS + 1} to {chunk}"
            )

    def _give_up(self, reason: str) -> NoReturn:
        paths = self.store.paths()
        kept = f"the last good checkpoint is {paths[-1]}" if paths else "there is no checkpoint yet"
        raise DataError(
            f"{reason}; {kept}; "
            "lower the learning rate in the script, or start anew with --no-resume and another --seed"
        )


def train_chunk(
    trainer: Trainer,
    views: Arrays,
    labels: np.ndarray | torch.Tensor,
    progress: Progress,
    stop: StopRequest | None = None,
) -> None:
    """Take the remaining steps of a chunk; append each step's error, times its examples, to `progress.errors`.

    An accelerator may still compute these errors: nothing waits for it here. Raises Stopped between two steps.
    """
    network = trainer.network
    arrays = [network.to_device(array) for array in (*views, labels)]
    minibatches = list(zip(*(array.split(network.batch_size) for array in arrays), strict=True))
    first = len(progress.errors)
    bar = showing(minibatches[first:], unit="step", leave=False)
    for step_index, (*batch, batch_labels) in enumerate(bar, first):
        if stop is not None and stop.signal is not None:
            raise Stopped
        error = trainer.take(batch, batch_labels, progress.chunk, step_index)
        progress.errors.append(error * len(batch_labels))


def read_errors(errors: Sequence[float | torch.Tensor]) -> list[float]:
    """Copy all errors from the device at once."""
    computed = [error for error in errors if isinstance(error, torch.Tensor)]
    known = len(errors) - len(computed)
    return [*errors[:known], *(torch.stack(computed).tolist() if computed else [])]


def _products(experiment: Experiment) -> list[Path]:
    """Return the analysis pickle, the run record and, with Kaggle's tree, the submission of an experiment."""
    path = folders.current.analysis(experiment.name)
    submission = folders.current.predictions / f"{experiment.name}.csv.gz"
    return [path, path.with_suffix(".json"), *([] if no_submission(experiment.tree) else [submission])]


def train(experiment: Experiment, options: Options, on_chunk: OnChunk | None = None) -> None:
    """Train an experiment and write its analysis pickle, run record and test predictions, alone in its folders.

    `on_chunk` is called after each chunk with the run's progress.
    """
    name = experiment.name
    with explain_out_of_memory(), alone(folders.current.lock(name, "train"), f"training of {name}"):
        experiment = experiment.answering(read_tree(folders.current))
        inputs = [starting_weights.find(options.start_from)] if options.start_from else []
        products.check(map(Product, _products(experiment)), inputs, overwrite=options.overwrite)
        run = Run.prepare(experiment, options, on_chunk)
        products.announce(Product(path, run.source) for path in _products(experiment))
        run.train()
        run.finish()


def main(experiment: Experiment) -> None:
    """Run a training script: read its flags, train."""
    args = training_parser(experiment).parse_args()
    options = Options.from_args(args)

    def run() -> None:
        options.use_folders()
        chosen = choose(experiment, args)
        train(chosen, options)

    run_script(run)
