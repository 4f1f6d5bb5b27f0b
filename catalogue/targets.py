"""What a row describes: an image file here, an object of a field in `field_cutouts`. One protocol frames both."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from catalogue import framing
from catalogue.flags import UNREADABLE
from catalogue.framing import Frame
from catalogue.reading import read
from galaxy.image_formats import Unreadable
from machine.files import first_line
from machine.shared_folders import is_of_system

# Returns the lock that is held while a large image is decoded.
Lock = Callable[[], AbstractContextManager]


@dataclass(frozen=True)
class Recipe:
    """How a target becomes a frame: the stretch, the framing, the Petrosian radius of training images (pixels).

    `reach`: pixels that are farther from the middle of the frame, in x or y, are not needed.
    """

    stretch: str | None
    framing: str
    radius: float
    reach: float = np.inf


@dataclass(frozen=True)
class Rejected:
    """Why a row has no answers: its status and the reason. It is itself a target, which rejects each framing."""

    status: str
    reason: str

    def frame(self, recipe: Recipe, lock: Lock = nullcontext) -> "Rejected":
        """Return itself."""
        return self


class Target(Protocol):
    """What a row describes."""

    def frame(self, recipe: Recipe, lock: Lock = nullcontext) -> Frame | Rejected:
        """Read and frame the target, or return the reason why that cannot be done."""


@dataclass(frozen=True)
class FileTarget:
    """An image file of one galaxy."""

    path: Path

    def frame(self, recipe: Recipe, lock: Lock = nullcontext) -> Frame | Rejected:
        """Read and frame the file."""

        def framed() -> Frame:
            frame = framing.frame(read(self.path, recipe.stretch, lock), recipe.framing, recipe.radius)
            return framing.trimmed(frame, recipe.reach)

        return framed_or_rejected(framed)


def framed_or_rejected(make_frame: Callable[[], Frame]) -> Frame | Rejected:
    """Call `make_frame`; return a rejection where the image cannot be read or measured."""
    try:
        return make_frame()
    except Unreadable as reason:
        return Rejected(UNREADABLE, str(reason))
    except Exception as error:  # sep, astropy and damaged files can raise anything; the other rows must not be lost
        if is_of_system(error):
            raise
        return Rejected(UNREADABLE, f"cannot be measured ({type(error).__name__}: {first_line(error)})")
