"""Changed files give a value or a clear refusal: no other exception, no crash, no hang, no execution.

A few hundred inputs always; with TORTURE=N in the environment more than 100,000, others for each N.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import ROOT

COUNTS = {"jpeg": 30_000, "csv": 15_000, "pickle": 40_000, "npy": 20_000, "array in gz": 20_000, "gz": 20_000}
TORTURE = os.environ.get("TORTURE")


@pytest.mark.parametrize("target", COUNTS)
def test_changed_files_give_a_value_or_are_refused(target: str, tmp_path: Path):
    count, seed = (COUNTS[target], TORTURE) if TORTURE else (60, "0")
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("fuzz.py"), target, str(count), seed, tmp_path],
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "PYTHONFAULTHANDLER": "1"},
        capture_output=True,
        text=True,
        timeout=7200,
    )
    assert done.returncode == 0, f"the input is in {tmp_path}\n{done.stdout}\n{done.stderr}"
    outcomes = dict(reversed(pair.split()) for pair in done.stdout.split(", "))
    assert sum(map(int, outcomes.values())) == count
    assert int(outcomes["refused"]) > count / 10
    print(target, done.stdout)
