"""Prove on an accelerator that what can be seen only there is right, then measure it, in one call of under 9 minutes.

    python benchmarks/gpu.py [--root DIR] [--only NAME ...] [--minutes N]

What is right or wrong comes first, the cheap before the dear; then times, and what they make of the recipe of 2014, of
sixty transforms of 79,975 galaxies, and of fine-tuning. A check that fails, hangs or kills its process costs the others
nothing. What is found is in `gpu.jsonl` as it comes, a line each, and in a table at the end (`gpu.md`); what the checks
print is in `gpu.log`. The exit status is 0 where none failed and none was left for want of time.

A small survey is simulated for all checks; with `--root`, what is timed has real galaxies. `--quick` does in small what
a CPU can do: its times mean nothing.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import gpu_checks, gpu_projections, gpu_scripts, gpu_steps, gpu_timings, measuring
from benchmarks.gpu_setting import Setting
from benchmarks.supervision import FAILED, NOT_RUN, Check, Journal, Outcome, Supervisor, brief
from benchmarks.surveys import prepared
from machine.command_line import positive_int, run_script
from machine.files import DataError, replacing
from machine.signals import ending_in_order

MINUTES = 9

# What is right or wrong, the cheap first.
PROOFS = (
    Check("environment", 60, gpu_checks.environment),
    Check("precision", 30, gpu_checks.precision, needs_cuda=True),
    Check("sampling", 30, gpu_checks.sampling),
    Check("indices", 40, gpu_checks.large_indices),
    Check("workers", 60, gpu_checks.forked_workers),
    Check("float64", 60, gpu_steps.float64),
    Check("graphs", 60, gpu_steps.graphs, needs_cuda=True),
    Check("rules", 60, gpu_steps.rules, needs_cuda=True),
    Check("determinism", 60, gpu_steps.determinism),
    Check("captures", 60, gpu_steps.captures, needs_cuda=True),
    Check("sharing", 60, gpu_checks.shared_parts),
    Check("scripts", 90, gpu_scripts.scripts),
    Check("kills", 150, gpu_scripts.kills),
)
TIMES = (
    Check("bandwidth", 20, gpu_timings.bandwidth),
    Check("step", 45, gpu_timings.step),
    Check("chunks", 90, gpu_projections.chunks),
    Check("prediction", 90, gpu_projections.predictions),
    Check("finetuning", 90, gpu_projections.finetuning),
    Check("settings", 60, gpu_timings.settings),
    Check("kernels", 60, gpu_timings.kernels),
    Check("curves", 120, gpu_projections.curves),
)
CHECKS = PROOFS + TIMES


MARKS = {None: "", True: "ok", False: "FAILED"}


def endings(outcomes: Sequence[Outcome]) -> str:
    """Lay out how each check ended."""
    rows = [[each.check, each.outcome, f"{each.seconds:.1f}", _cell(each.reason)] for each in outcomes]
    return measuring.table(["check", "outcome", "seconds", "reason"], rows)


def table(outcomes: Sequence[Outcome], failed: bool = False) -> str:
    """Lay out all that was found, or only what failed."""
    rows = [
        [_cell(f"{each.check}: {finding.what}"), _cell(finding.value), finding.limit, MARKS[finding.passed]]
        for each in outcomes
        for finding in each.findings
        if finding.passed is False or not failed
    ]
    return measuring.table(["found", "value", "limit", ""], rows)


def _cell(value: object) -> str:
    return brief(value, 110).replace("|", "/")


def report(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write tables of how the checks ended and of all that was found; print the first, and what failed."""
    ended = endings(outcomes)
    with replacing(path) as temporary:
        temporary.write_text(f"{ended}\n\n{table(outcomes)}\n", encoding="utf-8")
    print(ended)
    if any(finding.passed is False for each in outcomes for finding in each.findings):
        print(f"\n{table(outcomes, failed=True)}")
    print(f"\nwrote {path}", flush=True)


def run(checks: Sequence[Check], setting: Setting, output: Path, minutes: float) -> list[Outcome]:
    """Do checks for so many minutes at most, write what they find, and return how they ended."""
    journal = Journal(output / "gpu.jsonl")
    supervisor = Supervisor(checks, setting, journal, output / "gpu.log", time.monotonic() + 60 * minutes)
    try:
        return supervisor.run()
    finally:
        journal.close()
        report(supervisor.outcomes, output / "gpu.md")


def exit_status(outcomes: Sequence[Outcome]) -> int:
    """Return 0 where no check failed, and none was left for want of time."""
    return int(any(outcome.outcome in (FAILED, NOT_RUN) for outcome in outcomes))


def _flags() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    flags.add_argument("--root", type=Path, metavar="DIR", help="prepared real galaxies, for what is timed")
    flags.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: cuda where there is one)")
    flags.add_argument("--quick", action="store_true", help="sizes so small that times mean nothing: a trial")
    flags.add_argument(
        "--only", nargs="+", choices=[check.name for check in CHECKS], metavar="NAME", help="some checks"
    )
    flags.add_argument(
        "--minutes", type=positive_int, default=MINUTES, metavar="N", help="in all, default: %(default)s"
    )
    flags.add_argument("--output", type=Path, default=measuring.RESULTS, metavar="DIR", help="default: %(default)s")
    return flags


def main() -> None:
    start, args = time.monotonic(), _flags().parse_args()
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cpu" and not args.quick:
        raise DataError("expected an accelerator, got the CPU; name one with --device, or try --quick")
    checks = [check for check in CHECKS if args.only is None or check.name in args.only]
    root = args.root.resolve() if args.root else None
    with (
        ending_in_order(),
        # The galaxies are few enough that looking at them takes no processes of its own.
        prepared(None, *((40, 8) if args.quick else (480, 24))) as simulated,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch,
    ):
        setting = Setting(simulated.root.resolve(), Path(scratch), root, device, args.quick)
        minutes = args.minutes - (time.monotonic() - start) / 60
        outcomes = run(checks, setting, args.output, minutes)
    sys.exit(exit_status(outcomes))


if __name__ == "__main__":
    run_script(main)
