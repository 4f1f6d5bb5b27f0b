"""Run-time choices: where and how a script runs, not what its experiment declares.

All scripts of training and prediction have the same flags. Their values are one frozen object.
"""

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from machine.command_line import Parser, natural_int, positive_int, script_parser, shard_of

import torch

from engine.experiment import Experiment
from engine.network import INITIALISATIONS, PRECISIONS
from machine.files import DataError, first_line
from survey import images
from survey.bad_images import ON_BAD_IMAGE
from survey.folders import use_folders
from survey.folds import Fold
from survey.predictions import ALL_GALAXIES, twin_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The values of the flags; `chunk_size` is that of prediction, the experiment has its own for training."""

    root: str = "."
    data: str | None = None
    from_ram: str | None = None
    device: str | None = None
    num_workers: int | None = None
    chunk_size: int | None = None
    on_bad_image: str = "fail"
    augment_on: str = "auto"
    precision: str = "tf32"
    all_galaxies: bool = False
    fold: Fold | None = None
    overwrite: bool = False
    # For training only.
    checkpoint_every: int | None = None
    graphs: bool = True
    resume: bool = True
    initialisation: str = "2014"
    start_from: str | None = None
    teacher: Sequence[str] = ()

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> "Options":
        """Return the options among the flags of a command line."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in vars(args).items() if name in names})

    def use_folders(self) -> None:
        """Read and write in the folders that the flags name; raises DataError for flags that exclude each other."""
        if self.fold and self.all_galaxies:
            raise DataError("--fold leaves galaxies out, --all-galaxies leaves none out; choose one of them")
        use_folders(self.root, self.data, self.from_ram)


def shared_parser(
    description: str | None, precisions: Sequence[str] = PRECISIONS, examples: Sequence[str] = ()
) -> Parser:
    """Return a parser with the flags that training, prediction and export share, in groups."""
    parser = script_parser(description, examples)
    group = parser.group("folders")
    group.add_argument(
        "--from-ram",
        nargs="?",
        const="/dev/shm",
        metavar="DIR",
        help="read the copies of the images that copy_data_to_shm.py made (default of DIR: /dev/shm)",
    )
    group = parser.group("galaxies")
    group.add_argument(
        "--all-galaxies",
        action="store_true",
        help="train on the validation galaxies too, or predict with a network trained so; no validation",
    )
    group.add_argument(
        "--on-bad-image",
        choices=ON_BAD_IMAGE,
        default="fail",
        help="for images that cannot be read: name them and stop before any work (default), or leave them out",
    )
    group = parser.group("speed and memory")
    group.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: cuda if available)")
    group.add_argument(
        "--num-workers", type=positive_int, metavar="N", help="worker processes that make examples (default: cores)"
    )
    group.add_argument(
        "--chunk-size",
        type=positive_int,
        metavar="N",
        help="examples per chunk; memory holds two chunks; the number of training examples stays the same",
    )
    group.add_argument(
        "--augment-on",
        choices=("auto", "cpu", "device"),
        default="auto",
        help="make examples in worker processes or on the device (default: on the device if it is an accelerator)",
    )
    group.add_argument(
        "--precision",
        choices=precisions,
        default="tf32",
        help="precision of matrix products on an accelerator (default: tf32); bf16 also works on a CPU"
        + ("; auto: bf16 if the hardware supports it" if "auto" in precisions else ""),
    )
    return parser


def _add_fold(parser: Parser) -> None:
    parser.group("galaxies").add_argument(
        "--fold",
        type=lambda text: Fold(*shard_of(text)),
        metavar="I/N",
        help="train without fold I of N of the training galaxies, or predict them by the network of that fold, for "
        "--teacher (doc/distillation.md)",
    )


def training_parser(experiment: Experiment) -> Parser:
    """Return a parser with the flags of a training script."""
    command = f"python {experiment.name}.py"
    parser = shared_parser(
        f"Train {experiment.name}; write its parameters and its predictions of the test set (doc/method.md).",
        examples=(
            command,
            f"{command} --root DIR --epochs 18",
            f"{command} --device cuda:1 --num-workers 4    # one of several GPUs",
        ),
    )
    _add_fold(parser)
    group = parser.group("training")
    length = group.add_mutually_exclusive_group()
    length.add_argument(
        "--num-chunks", type=positive_int, metavar="N", help=f"length of the run (default: {experiment.num_chunks})"
    )
    length.add_argument(
        "--epochs", type=positive_int, metavar="N", help="train for N passes over the training galaxies instead"
    )
    group.add_argument(
        "--keep-schedule",
        action="store_true",
        help="change the learning rate at the same examples for any --num-chunks",
    )
    group.add_argument(
        "--initialisation",
        choices=INITIALISATIONS,
        default=Options.initialisation,
        help="2014 (default): as in 2014; variance-preserving: leaves the plateau in a few hundred steps; "
        "random: as in 2014, without published weights",
    )
    group.add_argument(
        "--start-from",
        metavar="NAME_OR_FILE",
        help="start from trained weights: a trained experiment, an analysis pickle, or lite0, galaxy weights that come "
        "with the project; layers of other shapes start anew",
    )
    group.add_argument(
        "--teacher",
        nargs="+",
        metavar="NAME",
        default=(),
        help="learn from the predictions of these experiments by all their folds (--fold), and from the test images; "
        "scripts that declare a distillation",
    )
    group.add_argument(
        "--seed", type=natural_int, metavar="N", help=f"of all random draws (default: {experiment.seed})"
    )
    group.add_argument(
        "--validate-every",
        type=positive_int,
        metavar="N",
        help=f"chunks between validations (default: {experiment.validate_every}, in short runs less)",
    )
    group = parser.group("interrupted runs")
    group.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="resume from the last checkpoint if there is one (default); --no-resume starts anew",
    )
    group.add_argument(
        "--checkpoint-every",
        type=positive_int,
        metavar="N",
        help="chunks between checkpoints (default: one checkpoint per minute)",
    )
    parser.group("speed and memory").add_argument(
        "--graphs",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="replay steps from CUDA graphs on an accelerator (default); --no-graphs launches each kernel",
    )
    return parser


def prediction_parser(experiment: Experiment) -> Parser:
    """Return a parser with the flags of a prediction script."""
    command = f"python {Path(sys.argv[0]).name}"
    parser = shared_parser(
        f"Predict the validation and test galaxies with the trained {experiment.name}, as the mean over "
        f"{len(experiment.test_transforms)} transforms of each image (doc/method.md).",
        (*PRECISIONS, "auto"),
        examples=(
            command,
            f"{command} --root DIR --precision auto",
            f"{command} --shard 2/4         # one of four machines",
            f"{command} --merge-shards 4    # after all four",
        ),
    )
    _add_fold(parser)
    shards = parser.group("large runs").add_mutually_exclusive_group()
    shards.add_argument("--shard", type=shard_of, metavar="I/N", help="predict only shard I of N, into its own file")
    shards.add_argument("--merge-shards", type=positive_int, metavar="N", help="merge the files of all N shards")
    return parser


def choose(experiment: Experiment, args: argparse.Namespace) -> Experiment:
    """Return the experiment with the changes that the flags ask for."""
    num_chunks = args.num_chunks
    if args.epochs:
        train, valid = images.split(len(images.ids_of("train")))
        if args.fold:
            train = args.fold.trained(train)
        num_examples = args.epochs * (len(train) + (len(valid) if args.all_galaxies else 0))
        if args.teacher and experiment.distillation:
            num_examples *= 1 + experiment.distillation.unlabelled
        num_chunks = max(1, round(num_examples / experiment.resized(chunk_size=args.chunk_size).chunk_size))
    schedule = (experiment.adapted() if args.start_from else experiment).learning_rate
    if args.keep_schedule and schedule.scaled(2) == schedule:
        raise DataError(
            f"--keep-schedule: the learning rate of {experiment.name} follows the fraction of a run, so there is no "
            "schedule to keep; leave the flag out"
        )
    changes = {name: getattr(args, name) for name in ("validate_every", "seed") if getattr(args, name) is not None}
    experiment = named(experiment, args.all_galaxies, args.fold).resized(
        num_chunks, args.chunk_size, args.keep_schedule
    )
    if args.chunk_size and args.chunk_size != experiment.chunk_size:
        print(
            f"--chunk-size {args.chunk_size}: rounded down to {experiment.chunk_size}, "
            f"a multiple of the minibatch of {experiment.batch_size}"
        )
    return dataclasses.replace(experiment, **changes)


def named(experiment: Experiment, all_galaxies: bool, fold: Fold | None = None) -> Experiment:
    """Rename an experiment for training on all galaxies or without a fold, or back."""
    name = f"{twin_of(experiment.name)}{ALL_GALAXIES if all_galaxies else ''}{fold.suffix if fold else ''}"
    return dataclasses.replace(experiment, name=name)


@contextlib.contextmanager
def explain_out_of_memory() -> Iterator[None]:
    """Turn an out-of-memory error of the block into a DataError with the flags that lower the use of memory."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DataError(
            f"the device ran out of memory ({first_line(error)}); lower --chunk-size (the number of examples stays the "
            "same), make the examples in worker processes (--augment-on cpu), or stop other programs on the device"
        ) from None
    except (MemoryError, RuntimeError) as error:
        texts = ("can't allocate memory", "out of memory")  # the CPU's allocator; pinned memory on CUDA
        if isinstance(error, RuntimeError) and not any(text in str(error) for text in texts):
            raise
        reason = first_line(error) or "none is left"
        raise DataError(
            f"memory ran out ({reason}); lower --chunk-size (the number of examples stays the same) or --num-workers"
        ) from None
