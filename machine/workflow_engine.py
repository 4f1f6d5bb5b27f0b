"""Life below a workflow engine, which names itself in the environment: JOB_OF_ENGINE=PID.

A job ends, in order, when that process is gone, however that came: what an engine that was killed leaves behind would
do the same work as what the next one starts. And it waits a while for one of its kind that is just ending.
"""

import os
import signal
import threading
import time

from machine.files import is_running

VARIABLE = "JOB_OF_ENGINE"
INTERVAL = 0.5
# Seconds that a job may take to write its checkpoint.
PATIENCE = 120.0


def engine() -> int | None:
    """Return the process whose job this is; None where a person started it."""
    text = os.environ.get(VARIABLE, "")
    return int(text) if text.isdecimal() and int(text) > 0 else None


def patience() -> float:
    """Return for how many seconds another process of the same work is waited for."""
    return 0.0 if engine() is None else PATIENCE


def end_with_engine() -> None:
    """Send this process SIGTERM when its engine is gone."""
    number = engine()
    if number is None:
        return

    def watch() -> None:
        while is_running(number):
            time.sleep(INTERVAL)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
