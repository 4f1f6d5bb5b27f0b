"""What the benchmarks share: the environment, peers timed side by side, tables, curves, and results on disk.

Peers run in turns, A B C A B C ..., so that whatever else the machine does meets them all; what counts is the ratio of
their medians within one run.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from machine.command_line import positive_int
from machine.files import replacing

RESULTS = Path(__file__).resolve().parent / "results"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Timing:
    """Seconds a call: the median of the repetitions, and the quartiles around it."""

    median: float
    lower: float
    upper: float

    def __str__(self) -> str:
        return format_seconds(self.median)


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return the argument parser that a benchmark starts from."""
    flags = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    flags.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: cuda where there is one)")
    flags.add_argument("--threads", type=positive_int, metavar="N", help="CPU threads of PyTorch")
    flags.add_argument("--repeats", type=positive_int, default=5, metavar="N", help="of each measurement")
    flags.add_argument("--quick", action="store_true", help="sizes so small that the figures mean nothing: a trial")
    flags.add_argument("--output", type=Path, default=RESULTS, metavar="DIR", help="for figures and numbers")
    return flags


def cpu_model() -> str:
    """Return the processor's name, as far as the system tells."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), model)
    return model


def environment() -> dict[str, str]:
    """Describe the machine and the engines."""
    # The cores that this process may use, which in a container can be fewer than there are.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    described = {
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "NumPy": np.__version__,
        "OpenCV": cv2.__version__,
        "CPU": f"{cpu_model()}, {cores} cores{load}",
        "threads": str(torch.get_num_threads()),
        "GPU": "none",
    }
    if torch.cuda.is_available():
        described["GPU"] = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
    return described


def print_environment(**more: str) -> dict[str, str]:
    """Print the environment and what else a benchmark depends on; return it, for `save`."""
    described = environment() | more
    for name, value in described.items():
        print(f"{name:18}{value}")
    print(flush=True)
    return described


def seconds_a_call(function: Callable[[], object], calls: int = 1, device: torch.device = CPU) -> float:
    """Call a function `calls` times and return the seconds each took, the device's work included."""
    _wait_for(device)
    start = time.perf_counter()
    for _ in range(calls):
        function()
    _wait_for(device)
    return (time.perf_counter() - start) / calls


def _wait_for(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def side_by_side(
    candidates: Mapping[str, Callable[[], object]],
    repeats: int = 5,
    warm_up: int = 1,
    least_seconds: float = 0.0,
    device: torch.device = CPU,
) -> dict[str, Timing]:
    """Time peers in turns, after `warm_up` calls of each.

    A measurement repeats a call until it lasts about `least_seconds`, which short calls need: a clock and a launch on
    an accelerator take microseconds.
    """
    calls = {}
    for name, function in candidates.items():
        for _ in range(warm_up):
            function()
        calls[name] = 1
        if least_seconds:
            calls[name] = int(np.ceil(least_seconds / max(seconds_a_call(function, 1, device), 1e-7)))
    seconds = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, function in candidates.items():
            seconds[name].append(seconds_a_call(function, calls[name], device))
    return {name: timing(each) for name, each in seconds.items()}


def timing(seconds: Sequence[float]) -> Timing:
    """Summarise repetitions."""
    lower, median, upper = np.quantile(seconds, (0.25, 0.5, 0.75))
    return Timing(float(median), float(lower), float(upper))


def format_seconds(seconds: float) -> str:
    """Write seconds with three digits and a unit."""
    unit, scale = next((each for each in (("s", 1), ("ms", 1e-3)) if seconds >= each[1]), ("µs", 1e-6))
    value = seconds / scale
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out a Markdown table that reads as plain text; the first column is left-aligned, numbers go right."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    if any(len(row) != len(header) for row in cells):
        raise ValueError(f"expected {len(header)} cells in every row, got {sorted({len(row) for row in cells})}")
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(header))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = []
    for row in (cells[0], rule, *cells[1:]):
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("| " + " | ".join([row[0].ljust(widths[0]), *rest]) + " |")
    return "\n".join(lines)


def draw_curves(ax: Axes, x: Sequence[float], curves: Mapping[str, Sequence[Timing | None]]) -> None:
    """Draw medians over x, and the quartiles as a band; None leaves a gap."""
    for name, timings in curves.items():
        values = np.array([(t.median, t.lower, t.upper) if t else (np.nan,) * 3 for t in timings])
        [line] = ax.plot(x, values[:, 0], marker="o", markersize=3, linewidth=1.3, label=name)
        ax.fill_between(x, values[:, 1], values[:, 2], color=line.get_color(), alpha=0.2, linewidth=0)


def save(folder: Path, name: str, results: Mapping[str, object], figure: Figure | None = None) -> None:
    """Write results as `name`.json, and a figure as `name`.png; say where."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.json"]
    paths[0].write_text(json.dumps(results, indent=1, ensure_ascii=False, default=_plain) + "\n", encoding="utf-8")
    if figure:
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[1], dpi=90)
    print(f"wrote {', '.join(map(str, paths))}")


def _plain(value: object) -> object:
    """Return what JSON can hold."""
    if is_dataclass(value):
        return asdict(value)
    raise TypeError(f"expected numbers, text, lists, dicts and dataclasses, got {value!r}")


class KeptResults(list[dict]):
    """The results in a JSON file, each a dict that begins with what tells it from the others."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(json.loads(path.read_text()) if path.exists() else [])
        self.path = path

    def add(self, key: Mapping[str, object], measure: Callable[[], Mapping[str, object]]) -> None:
        """Measure what a key names, unless it is there; print it, and keep it."""
        if any(key.items() <= each.items() for each in self):
            return
        self.append({**key, **measure()})
        print(self[-1], flush=True)
        with replacing(self.path) as temporary:
            temporary.write_text(json.dumps(self, indent=1) + "\n")
