"""Run-time choices: what bears on where and how a run is done, not on what it declares.

They are flags, the same for all scripts of training and prediction, and one frozen object that the parser makes once.
"""

import argparse
import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import torch

import layers
from engine.experiment import Experiment
from engine.network import PRECISIONS
from machine.command_line import positive_int, script_parser
from machine.files import DataError, first_line
from survey.bad_images import ON_BAD_IMAGE
from survey.folders import use_folders
from survey.predictions import ALL_GALAXIES, twin_of

INITIALISATIONS: dict[str, Callable[[layers.Layer], None]] = {
    "2014": layers.reset_all_params,
    "variance-preserving": layers.reset_variance_preserving,
    "random": layers.reset_without_loading,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What a run is asked for; `chunk_size` is that of prediction, training's is the experiment's."""

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
    # Of training alone.
    checkpoint_every: int | None = None
    graphs: bool = True
    resume: bool = True
    initialisation: str = "2014"

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Options":
        """Return the choices of a command line that has been read."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in vars(args).items() if name in names})

    def use_folders(self) -> None:
        """Read and write where the flags say."""
        use_folders(self.root, self.data, self.from_ram)


def shared_parser(description: str, precisions: Sequence[str] = PRECISIONS) -> argparse.ArgumentParser:
    """Return the parser of the choices that training and prediction share, with the precisions there are."""
    parser = script_parser(description)
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: cuda where there is one)")
    parser.add_argument("--num-workers", type=positive_int, metavar="N", help="augmentation processes (default: cores)")
    parser.add_argument(
        "--chunk-size",
        type=positive_int,
        metavar="N",
        help="examples a chunk, two of which memory holds at a time; training sees as many examples in all",
    )
    parser.add_argument(
        "--from-ram", nargs="?", const="/dev/shm", metavar="DIR", help="read what copy_data_to_shm.py copied there"
    )
    parser.add_argument(
        "--on-bad-image",
        choices=ON_BAD_IMAGE,
        default="fail",
        help="end before any work, naming all images that can not be read (default), or leave them out",
    )
    parser.add_argument(
        "--augment-on",
        choices=("auto", "cpu", "device"),
        default="auto",
        help="make examples with worker processes or on the device (default: there, where it is an accelerator)",
    )
    parser.add_argument(
        "--precision",
        choices=precisions,
        default="tf32",
        help="of matrix products on an accelerator (default: tf32); bf16 also serves on a CPU that has it"
        + ("; auto: bf16 where the circuits have it" if "auto" in precisions else ""),
    )
    parser.add_argument(
        "--all-galaxies",
        action="store_true",
        help="train on the validation galaxies too, or predict with what was trained so; nothing is validated",
    )
    return parser


def named(experiment: Experiment, all_galaxies: bool) -> Experiment:
    """Return the experiment under the name that it has when it is trained on all galaxies, where it is."""
    name = f"{twin_of(experiment.name)}{ALL_GALAXIES if all_galaxies else ''}"
    return dataclasses.replace(experiment, name=name)


@contextlib.contextmanager
def explain_want_of_memory() -> Iterator[None]:
    """Turn an error for want of memory into one that says what lowers it."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DataError(
            f"the device ran out of memory ({first_line(error)}); lower --chunk-size (as many examples, in "
            "more chunks), have worker processes make the examples (--augment-on cpu), or leave the device to this run"
        ) from None
    except (MemoryError, RuntimeError) as error:
        texts = ("can't allocate memory", "out of memory")  # of the CPU's allocator; of pinned memory on CUDA
        if isinstance(error, RuntimeError) and not any(text in str(error) for text in texts):
            raise
        reason = first_line(error) or "none is left"
        raise DataError(
            f"memory ran out ({reason}); lower --chunk-size (as many examples, in more chunks) or --num-workers"
        ) from None
