"""Jobs of a workflow engine, which passes its process number in the environment: JOB_OF_ENGINE=PID.

A job ends in order when its engine has ended or was killed, since the next engine starts the same job again. For the
same reason a job waits some time for a lock: its holder may be a job that is just ending.
"""

import os
import signal
import threading
import time

from machine.whole_files import is_running

VARIABLE = "JOB_OF_ENGINE"
INTERVAL = 0.5  # seconds between two looks at the engine
# Seconds: a job may need them to write its checkpoint.
PATIENCE = 120.0


def engine() -> int | None:
    """Return the engine's process number, None when a person started this process."""
    text = os.environ.get(VARIABLE, "")
    return int(text) if text.isdecimal() and 0 < len(text) < 10 and int(text) > 0 else None


def patience() -> float:
    """Return the seconds to wait for another process that does the same work."""
    return 0.0 if engine() is None else PATIENCE


def end_with_engine() -> None:
    """Send this process SIGTERM when its engine has ended."""
    pid = engine()
    if pid is None:
        return

    def watch() -> None:
        while is_running(pid):
            time.sleep(INTERVAL)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
