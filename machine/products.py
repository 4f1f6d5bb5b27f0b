"""One rule for every file that a command writes: it never takes the place of an input or of somebody else's file.

A file is the project's own if its seal (`machine.seals`) is whole. All products are checked before the work starts, and
one message names the files that are in the way.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from machine import seals
from machine.seals import Seal
from machine.whole_files import DataError, fault_of_name, remove_leftovers, shown

FLAG, HELP = "--overwrite", "replace files that this project did not write, or wrote from other inputs or options"
_NUM_LISTED = 10


@dataclass(frozen=True)
class Product:
    """A file to be written. `source` is a checksum of its inputs and options, None where any may be replaced.

    `read_seal` reads the seal of a file of its format.
    """

    path: Path
    source: str | None = None
    read_seal: Callable[[Path], Seal | None] = seals.read


def check(products: Iterable[Product], inputs: Iterable[str | Path] = (), overwrite: bool = False) -> None:
    """Raise DataError, in one message that names the files, unless all products can be written without a loss."""
    products = list({os.path.abspath(product.path): product for product in products}.values())
    is_input = _inodes_of(inputs, products)
    final, replaceable = [], []
    for product in products:
        if reason := _obstacle(product.path, is_input):
            final.append(f"{shown(product.path)} {reason}")
        elif not overwrite and (reason := _foreign(product)):
            replaceable.append(f"{shown(product.path)} {reason}")
    if not final and not replaceable:
        remove_leftovers(*(product.path for product in products))
        return
    advice = "move them away or name other outputs" + (f", or use {FLAG}" if not final else "")
    raise DataError(f"nothing is written: {_listed([*final, *replaceable])}; {advice}")


def announce(products: Iterable[Product]) -> None:
    """Print one line about the products that exist from other inputs or options, before they are replaced.

    It is for files that the same commands make again whenever something before them changes, as in 2014. A file that a
    user named is refused instead (`check`).
    """
    others = [shown(product.path) for product in products if _is_of_others(product)]
    if others:
        exist = "exists" if len(others) == 1 else "exist"
        print(f"{_listed(others)} {exist}, from other inputs or options, and will be replaced", flush=True)


def _is_of_others(product: Product) -> bool:
    seal = product.read_seal(product.path)
    return seal is not None and seal.source not in (seals.NO_SOURCE, product.source)


def is_own(product: Product) -> bool:
    """Return whether a file exists that this project wrote as such a product, from any inputs."""
    seal = product.read_seal(product.path)
    return seal is not None and seal.is_whole


def _listed(reasons: Sequence[str]) -> str:
    more = [f"and {len(reasons) - _NUM_LISTED} more"] if len(reasons) > _NUM_LISTED else []
    return ", ".join([*reasons[:_NUM_LISTED], *more])


def _inodes_of(inputs: Iterable[str | Path], products: Sequence[Product]) -> set[tuple[int, int]]:
    """Return device and inode of the inputs; nothing where no product exists yet, since millions of files take time."""
    if not any(os.path.lexists(product.path) for product in products):
        return set()
    inodes = set()
    for path in inputs:
        with contextlib.suppress(OSError, ValueError):
            status = os.stat(path)
            inodes.add((status.st_dev, status.st_ino))
    return inodes


def _obstacle(path: Path, inputs: set[tuple[int, int]]) -> str | None:
    """Return the reason why a product can never be written under its name, or None."""
    if reason := fault_of_name(path):
        return reason
    try:
        status = path.lstat()
    except FileNotFoundError:
        return _obstacle_of_folder(path.parent)
    except NotADirectoryError:
        return _obstacle_of_folder(path.parent)
    except OSError as error:
        return f"cannot be looked at ({error.strerror})"
    if stat.S_ISLNK(status.st_mode):
        with contextlib.suppress(OSError):
            target = path.stat()
            if (target.st_dev, target.st_ino) in inputs:
                return "is an input"
        return "is a link"
    if not stat.S_ISREG(status.st_mode):
        return "is a folder" if stat.S_ISDIR(status.st_mode) else "is a pipe or a device"
    if (status.st_dev, status.st_ino) in inputs:
        return "is an input"
    return _obstacle_of_folder(path.parent)


def _obstacle_of_folder(folder: Path) -> str | None:
    for parent in (folder, *folder.absolute().parents):
        if parent.is_dir():
            return None if os.access(parent, os.W_OK | os.X_OK) else "cannot be written (no permission in its folder)"
        if os.path.lexists(parent):
            return f"needs a folder {shown(parent)}, which is a file"
    return None


def _foreign(product: Product) -> str | None:
    """Return the reason why a product may only replace an existing file with `--overwrite`, or None."""
    try:
        if product.path.stat().st_size == 0:  # nothing is lost, and a power cut can leave one
            return None
    except OSError:
        return None
    seal = product.read_seal(product.path)
    if seal is None:
        return "exists and is not of this project"
    if not seal.is_whole:
        return "exists and was changed or damaged after it was written"
    if product.source not in (None, seal.source):
        return "exists, from other inputs or options"
    return None
