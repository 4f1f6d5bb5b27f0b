"""Checks that go wrong in every way there is, for the tests of what supervises them; they import little."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.supervision import Check, Finding, Skipped, at_most, equal, measured


@dataclass(frozen=True)
class StandIn:
    """What the checks are given, on a machine with or without CUDA."""

    folder: Path
    has_cuda: bool = False
    is_broken: bool = False
    known: dict[tuple[str, str], object] = field(default_factory=dict)

    def begin(self) -> bool:
        """Say whether there is CUDA."""
        if self.is_broken:
            raise OSError("no such device")
        return self.has_cuda

    def reset(self) -> None:
        """Note that a check begins."""
        with (self.folder / "begun").open("a") as file:
            file.write(f"{os.getpid()}\n")


def fine(_: StandIn) -> Iterator[Finding]:
    yield at_most("small", 1.0, 2)
    yield measured("text", "a | b")


def wrong(_: StandIn) -> Iterator[Finding]:
    yield at_most("too much", 3.0, 2)
    yield at_most("no number", float("nan"), 2)
    yield equal("same", 1, 1)


def breaks(_: StandIn) -> Iterator[Finding]:
    yield measured("before it broke", 1)
    raise RuntimeError("a wire\nand a fuse")


def hangs(_: StandIn) -> Iterator[Finding]:
    yield measured("before it hung", 1)
    time.sleep(600)


def dies(setting: StandIn) -> Iterator[Finding]:
    """Die while a process that was started holds all that its parent had open."""
    yield measured("before it died", 1)
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], close_fds=False)
    (setting.folder / "started").write_text(str(process.pid))
    os.kill(os.getpid(), signal.SIGKILL)


def leaves(_: StandIn) -> Iterator[Finding]:
    yield measured("before it left", 1)
    os._exit(3)


def silent(_: StandIn) -> Iterator[Finding]:
    yield from ()


def absent(_: StandIn) -> Iterator[Finding]:
    raise Skipped("no such script")
    yield


def times(_: StandIn) -> Iterator[Finding]:
    yield measured("ms", 1.5)


def remembers(setting: StandIn) -> Iterator[Finding]:
    yield equal("what another worker found", setting.known.get(("fine", "small")), 1.0)


CHECKS = (
    Check("fine", 60, fine),
    Check("breaks", 60, breaks),
    Check("times", 60, times),
    Check("hangs", 1, hangs),
    Check("wrong", 60, wrong),
    Check("on CUDA", 60, fine, needs_cuda=True),
    Check("dies", 60, dies),
    Check("leaves", 60, leaves),
    Check("silent", 60, silent),
    Check("absent", 60, absent),
    Check("remembers", 60, remembers),
)
