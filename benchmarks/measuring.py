"""Shared by all benchmarks: flags, the environment, peers timed side by side, tables, curves, results on disk.

Peers run in turns, A B C A B C ..., so that a busy machine slows all of them. The ratio of their medians within one run
is the result.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path

from machine.command_line import positive_int

import cv2
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from machine.cores import available_cores
from machine.files import replacing

RESULTS = Path(__file__).resolve().parent / "results"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Timing:
    """Seconds per call: median and quartiles of the repetitions."""

    median: float
    lower: float
    upper: float

    def __str__(self) -> str:
        return format_seconds(self.median)


def parser(description: str | None, survey: bool = False) -> argparse.ArgumentParser:
    """Return the argument parser of a benchmark, with `--root` where it runs on a survey."""
    flags = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    flags.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: cuda if available)")
    flags.add_argument("--threads", type=positive_int, metavar="N", help="CPU threads of PyTorch")
    flags.add_argument("--repeats", type=positive_int, default=5, metavar="N", help="repetitions of each measurement")
    flags.add_argument("--quick", action="store_true", help="a trial with small sizes; its figures mean nothing")
    flags.add_argument("--output", type=Path, default=RESULTS, metavar="DIR", help="for figures and numbers")
    if survey:
        flags.add_argument("--root", type=Path, metavar="DIR", help="prepared real galaxies (default: simulated ones)")
    return flags


def cpu_model() -> str:
    """Return the name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def environment() -> dict[str, str]:
    """Describe the machine and the engines."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    described = {
        "Python": platform.python_version(),
        "PyTorch": str(torch.__version__),  # a subclass of str, which pytest-xdist cannot send
        "NumPy": np.__version__,
        "OpenCV": cv2.__version__,
        "CPU": f"{cpu_model()}, {available_cores()} cores{load}",
        "threads": str(torch.get_num_threads()),
        "GPU": "none",
    }
    if torch.cuda.is_available():
        described["GPU"] = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
    return described


def print_environment(**more: str) -> dict[str, str]:
    """Print and return the environment and further versions."""
    described = environment() | more
    for name, value in described.items():
        print(f"{name:18}{value}")
    print(flush=True)
    return described


def seconds_a_call(function: Callable[[], object], calls: int = 1, device: torch.device = CPU) -> float:
    """Return the mean seconds of `calls` calls, with the work of the device."""
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

    A measurement repeats short calls for about `least_seconds`, because the clock and a launch take microseconds.
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


def rates(
    title: str, item: str, timings: Mapping[str, Timing], reference: float, **columns: Mapping[str, object]
) -> str:
    """Lay out seconds per item, items per second, and the speed relative to a reference in seconds.

    `columns` are further columns: their cells by peer.
    """
    rows = [
        (
            name,
            each,
            f"{1 / each.median:.4g}",
            f"{reference / each.median:.2f}",
            *(c.get(name, "") for c in columns.values()),
        )
        for name, each in timings.items()
    ]
    return table((title, f"per {item}", "per second", "relative speed", *columns), rows)


def draw_rates(ax: Axes, title: str, items: str, timings: Mapping[str, Timing]) -> None:
    """Draw items per second as bars."""
    ax.barh(list(timings), [1 / each.median for each in timings.values()], color="#4c72b0")
    ax.set(xlabel=f"{items} per second", title=title)
    ax.invert_yaxis()


def draw_curves(ax: Axes, x: Sequence[float], curves: Mapping[str, Sequence[Timing | None]]) -> None:
    """Draw medians over x with a band between the quartiles; None leaves a gap."""
    for name, timings in curves.items():
        values = np.array([(t.median, t.lower, t.upper) if t else (np.nan,) * 3 for t in timings])
        [line] = ax.plot(x, values[:, 0], marker="o", markersize=3, linewidth=1.3, label=name)
        ax.fill_between(x, values[:, 1], values[:, 2], color=line.get_color(), alpha=0.2, linewidth=0)


def save(folder: Path, name: str, results: Mapping[str, object], figure: Figure | None = None) -> None:
    """Write results to `name`.json and a figure to `name`.png, and print the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.json"]
    paths[0].write_text(json.dumps(results, indent=1, ensure_ascii=False, default=_plain) + "\n", encoding="utf-8")
    if figure:
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[1], dpi=90)
    print(f"wrote {', '.join(map(str, paths))}")


def _plain(value: object) -> object:
    """Convert a dataclass to a dict."""
    if is_dataclass(value):
        return asdict(value)
    raise TypeError(f"expected numbers, text, lists, dicts and dataclasses, got {value!r}")


class KeptResults(list[dict]):
    """The results in a JSON file: dicts, each with the items of a unique key."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(json.loads(path.read_text()) if path.exists() else [])
        self.path = path

    def add(self, key: Mapping[str, object], measure: Callable[[], Mapping[str, object]]) -> None:
        """Measure, print and save the result of a key that has none yet."""
        if any(key.items() <= each.items() for each in self):
            return
        self.append({**key, **measure()})
        print(self[-1], flush=True)
        with replacing(self.path) as temporary:
            temporary.write_text(json.dumps(self, indent=1) + "\n")
