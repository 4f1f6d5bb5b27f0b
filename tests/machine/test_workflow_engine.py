"""Jobs of a workflow engine end in order when it ends, and wait for a lock that another job is about to release."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from tiny import ROOT

from machine import locks, workflow_engine
from machine.files import DataError
from machine.locks import alone
from machine.signals import UNFINISHED

JOB = """
import signal, sys, time
from pathlib import Path
from machine.command_line import run_script
for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP"):  # the shell of the tests may ignore some of them
    signal.signal(getattr(signal, name), signal.SIG_DFL)
def main():
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        Path(sys.argv[1]).write_text("kept")
run_script(main)
"""


def start(kept: Path, engine: int) -> subprocess.Popen:
    environment = os.environ | {workflow_engine.VARIABLE: str(engine)}
    command = [sys.executable, "-c", JOB, kept]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def test_a_job_ends_in_order_when_its_engine_is_killed(tmp_path):
    with subprocess.Popen(["sleep", "60"]) as engine, start(tmp_path / "kept", engine.pid) as job:
        assert job.stdout.readline() == "begun\n"
        assert job.poll() is None
        engine.kill()
        engine.wait()
        assert job.wait(timeout=50) == UNFINISHED
    assert (tmp_path / "kept").read_text() == "kept"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP"])
def test_signals_end_a_script_with_the_status_of_unfinished_work(tmp_path, name):
    with start(tmp_path / "kept", os.getpid()) as job:
        assert job.stdout.readline() == "begun\n"
        job.send_signal(getattr(signal, name))
        assert job.wait(timeout=50) == UNFINISHED == 75
    assert (tmp_path / "kept").read_text() == "kept"


@pytest.mark.parametrize(("text", "engine"), [("", None), ("0", None), ("me", None), ("-3", None), ("4711", 4711)])
def test_the_engine_is_a_process(monkeypatch, text, engine):
    monkeypatch.setenv(workflow_engine.VARIABLE, text)
    assert workflow_engine.engine() == engine
    assert workflow_engine.patience() == (0 if engine is None else workflow_engine.PATIENCE)


class TestLock:
    def test_is_waited_for_below_an_engine(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setenv(workflow_engine.VARIABLE, str(os.getpid()))
        with tiny.held(tmp_path / "lock") as holder:
            monkeypatch.setattr(locks.time, "sleep", lambda seconds: (holder.kill(), holder.wait()))
            with alone(tmp_path / "lock", "training of x"):
                assert (
                    f"waiting: training of x is under way already, in process {holder.pid}" in capsys.readouterr().out
                )

    def test_is_not_waited_for_without_end(self, tmp_path, monkeypatch):
        monkeypatch.setenv(workflow_engine.VARIABLE, str(os.getpid()))
        monkeypatch.setattr(workflow_engine, "PATIENCE", 0.3)
        with (
            tiny.held(tmp_path / "lock"),
            pytest.raises(DataError, match="under way already"),
            alone(tmp_path / "lock", "it"),
        ):
            pytest.fail("two processes hold it")
