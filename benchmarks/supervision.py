"""Checks in a process that may hang or die: each is told by what it found until then, and the next one goes on.

A supervisor starts a worker, which does the checks in order. Where one overruns its time, or the worker dies, the
supervisor kills it, notes the check as failed, and starts a worker at the next check. Each finding is a JSON line on
disk before the next one is looked for.
"""

import contextlib
import faulthandler
import json
import math
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from machine.files import first_line
from machine.processes import exit_with_parent

PASSED, MEASURED, FAILED, NOT_RUN = "passed", "measured", "failed", "not run"
# Seconds that a worker may take to import everything and to wake the device.
START_SECONDS = 120.0
# Seconds that a worker has to leave once all is done, and to write where it hangs.
GRACE = 0.5


class Skipped(Exception):
    """A check can not be made here; its text is the outcome."""


@dataclass(frozen=True)
class Finding:
    """What a check found: a value, its limit in words, and whether it keeps it; None where it is only measured."""

    what: str
    value: object
    limit: str = ""
    passed: bool | None = None


def at_most(what: str, value: float, limit: float) -> Finding:
    """Return a value that is right up to a limit; what is no number is wrong."""
    return Finding(what, float(value), f"<= {limit:g}", bool(value <= limit))


def within(what: str, value: float, low: float, high: float) -> Finding:
    """Return a value that is right between two limits."""
    return Finding(what, float(value), f"{low:g} to {high:g}", bool(low <= value <= high))


def equal(what: str, value: object, expected: object) -> Finding:
    """Return a value that is right where it is the expected one."""
    return Finding(what, value, f"= {expected}", bool(value == expected))


def measured(what: str, value: object) -> Finding:
    """Return a value that is neither right nor wrong."""
    return Finding(what, value)


@dataclass(frozen=True)
class Check:
    """A check by name: a generator of findings, the seconds it may take, and whether it says something on CUDA only."""

    name: str
    seconds: float
    function: Callable[..., Iterator[Finding]]
    needs_cuda: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a check ended: `passed`, `measured`, `failed`, `not run` or why it was left out; its findings, in order."""

    check: str
    outcome: str
    reason: str
    seconds: float
    findings: list[Finding] = field(default_factory=list)


class Journal:
    """The JSON lines of a run, each on disk before the call returns; and the lines on the screen."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = path.open("w", encoding="utf-8")

    def finding(self, check: str, finding: Finding) -> None:
        """Note a finding."""
        self._write({"check": check, **asdict(finding)})
        mark = {None: "", True: "ok", False: "FAILED"}[finding.passed]
        print(f"{check:13} {finding.what:45} {brief(finding.value):>12} {finding.limit:>14} {mark}", flush=True)

    def outcome(self, outcome: Outcome) -> None:
        """Note how a check ended; its findings are noted already."""
        line = {name: value for name, value in asdict(outcome).items() if name != "findings"}
        self._write(line)
        reason = f": {outcome.reason}" if outcome.reason else ""
        print(f"{outcome.check:13} {outcome.outcome}{reason} ({outcome.seconds:.1f} s)\n", flush=True)

    def _write(self, line: dict[str, object]) -> None:
        self.file.write(json.dumps(_finite(line), ensure_ascii=False, default=str) + "\n")
        self.file.flush()
        os.fsync(self.file.fileno())

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def brief(value: object, width: int = 60) -> str:
    """Write a value in few characters, on one line."""
    text = f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _finite(value: object) -> object:
    """Return a value with texts for what JSON has no number for."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(name): _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, (list, tuple)) else value


@dataclass
class _Worker:
    """A worker process, since when it is at a check, how long it may be, and what it has found there."""

    process: BaseProcess
    connection: Connection
    began: float
    limit: float
    busy: bool = True
    started: bool = False
    findings: list[Finding] = field(default_factory=list)

    def death(self) -> str:
        """Say how the worker ended."""
        status = self.process.exitcode
        if status is not None and status < 0:
            return f"died with signal {-status}"
        return f"ended with status {status}" + ("" if self.started else " before it began; gpu.log says why")

    def kill(self) -> None:
        """Kill the worker and all that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join(30)
        self.connection.close()


class Supervisor:
    """Has checks done by workers until all are done, or the deadline is over; `setting` is what each is given.

    `setting.known` holds what was found until then, by check and words; `setting.begin` is called in each worker first,
    and returns whether there is CUDA; `setting.reset` is called before each check.
    """

    def __init__(self, checks: Sequence[Check], setting: object, journal: Journal, log: Path, deadline: float):
        self.checks, self.setting, self.journal, self.log, self.deadline = checks, setting, journal, log, deadline
        self.outcomes: list[Outcome] = []

    def run(self) -> list[Outcome]:
        """Do all checks; return their outcomes in order."""
        self.log.write_text("")
        while len(self.outcomes) < len(self.checks):
            if time.monotonic() >= self.deadline:
                self._end(NOT_RUN, "out of time", 0.0, [])
                continue
            worker = self._start(len(self.outcomes))
            try:
                self._follow(worker)
            finally:
                worker.kill()
        return self.outcomes

    def _start(self, number: int) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        arguments = (self.checks, self.setting, number, theirs, self.log)
        process = context.Process(target=_work, args=arguments)
        process.start()
        theirs.close()
        return _Worker(process, ours, time.monotonic(), START_SECONDS + self.checks[number].seconds)

    def _follow(self, worker: _Worker) -> None:
        """Note what a worker finds, until it is done, dies, or is over its time."""
        while len(self.outcomes) < len(self.checks):
            alive = worker.process.is_alive()
            if worker.connection.poll(0.05):
                with contextlib.suppress(EOFError, OSError):
                    self._take(worker, *worker.connection.recv())
                    continue
                alive = False
                worker.process.join(5)
            passed = time.monotonic() - worker.began
            if not alive and not worker.busy:
                return None  # it left after an error, so that the next check finds a device that is well
            if not alive:
                return self._end(FAILED, worker.death(), passed, worker.findings)
            if time.monotonic() >= self.deadline:
                return self._end(NOT_RUN, f"out of time after {passed:.0f} s of it", passed, worker.findings)
            if passed > worker.limit + GRACE:
                reason = f"still running after {worker.limit:g} s; {self.log.name} says where"
                return self._end(FAILED, reason, passed, worker.findings)
        worker.process.join(10)
        return None

    def _take(self, worker: _Worker, kind: str, *content: object) -> None:
        check = self.checks[len(self.outcomes)]
        if kind == "begin":
            worker.began, worker.limit, worker.busy = time.monotonic(), check.seconds, True
            worker.started = True
        elif kind == "finding":
            [finding] = content
            worker.findings.append(finding)
            self.setting.known[check.name, finding.what] = finding.value
            self.journal.finding(check.name, finding)
        else:
            findings, worker.findings, worker.busy = worker.findings, [], False
            self._end(*content, time.monotonic() - worker.began, findings)

    def _end(self, outcome: str, reason: str, seconds: float, findings: list[Finding]) -> None:
        ended = Outcome(self.checks[len(self.outcomes)].name, outcome, reason, round(seconds, 2), findings)
        self.outcomes.append(ended)
        self.journal.outcome(ended)


def _work(checks: Sequence[Check], setting: object, first: int, connection: Connection, log: Path) -> None:
    """Do the checks from `first` on, in a session of their own; all that they print goes to the log."""
    os.setsid()
    exit_with_parent()
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout.reconfigure(line_buffering=True)
    faulthandler.enable()
    has_cuda = setting.begin()
    for check in checks[first:]:
        connection.send(("begin",))
        print(f"\n{check.name}")
        if check.needs_cuda and not has_cuda:
            connection.send(("end", "needs CUDA", ""))
            continue
        faulthandler.dump_traceback_later(check.seconds)
        try:
            outcome = _do(check, setting, connection)
        except Exception as error:
            traceback.print_exc()
            connection.send(("end", FAILED, f"{type(error).__name__}: {first_line(error)}"))
            return
        finally:
            faulthandler.cancel_dump_traceback_later()
        connection.send(("end", *outcome))


def _do(check: Check, setting: object, connection: Connection) -> tuple[str, str]:
    """Do a check, send its findings as they come, and return how it ended and why."""
    setting.reset()
    verdicts = set()
    try:
        for finding in check.function(setting):
            verdicts.add(finding.passed)
            setting.known[check.name, finding.what] = finding.value
            connection.send(("finding", finding))
    except Skipped as reason:
        return str(reason), ""
    if not verdicts:
        return FAILED, "found nothing"
    if False in verdicts:
        return FAILED, "not within its limits"
    return (PASSED if True in verdicts else MEASURED), ""
