"""A command in a process that `harness` forked, which can be killed at an operation on a file.

The fork server imports this module, and with TORTURE=1 all libraries of the commands: a forked process then imports
nothing more.
"""

import contextlib
import importlib
import os
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path

# A run is killed before or after the n-th of these.
OPERATIONS = ("replace", "rename", "link", "unlink", "remove", "fsync")
_LIBRARIES = ("numpy", "cv2", "simplejpeg", "survey.preparation", "survey.images")
_ALL = (
    "torch",
    "sep",
    "pandas",
    "scipy.optimize",
    "astropy.table",
    "onnx",
    "matplotlib.pyplot",
    "tiny",
    "export_model",
)

for _name in (*_LIBRARIES, *(_ALL if os.environ.get("TORTURE") else ())):
    with contextlib.suppress(ImportError):
        importlib.import_module(_name)


class Killer:
    """Counts the operations on files of this process, and kills it at one of them."""

    def __init__(self, kill_at: int | None):
        self.count, self.kill_at, self.process = 0, kill_at, os.getpid()
        for name in OPERATIONS:
            setattr(os, name, self.counted(getattr(os, name)))

    def counted(self, operation: Callable) -> Callable:
        def killing(*arguments: object, **options: object) -> object:
            is_mine = os.getpid() == self.process
            if is_mine and self.kill_at == 2 * self.count:
                os.kill(self.process, signal.SIGKILL)
            result = operation(*arguments, **options)
            if is_mine and self.kill_at == 2 * self.count + 1:
                os.kill(self.process, signal.SIGKILL)
            self.count += is_mine
            return result

        return killing


def run_here(line: tuple[str, ...], script: Path, folder: Path, log: Path, kill_at: int | None) -> None:
    """Run the script of a command line in this process, below a folder; its output goes to `log`."""
    os.chdir(folder)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(descriptor, number)
    sys.argv = list(line)
    killer = Killer(kill_at)
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        log.with_suffix(".count").write_text(str(killer.count))
