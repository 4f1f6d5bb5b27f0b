"""200 small hostile models and tables: each is read, or refused in one line, below 1 GB and 30 s of processor time.

A sample for every day; all of them with TORTURE=1 in the environment.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")

SEED, NUM = 2014, 200
MOST_MIB, MOST_SECONDS = 1000, 30
# One of each sort that takes a fraction of a second.
SAMPLE = (0, 4, 5, 6, 7, 8, 9, 10, 100, 102, 103, 107, 110, 114)
GROUPS = [range(start, start + 20) for start in range(0, NUM, 20)] if os.environ.get("TORTURE") else [SAMPLE]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("indices", GROUPS, ids=lambda indices: f"{indices[0]} to {indices[-1]}")
def test_hostile_files_are_read_or_refused(tmp_path: Path, indices: range):
    command = [sys.executable, "tests/promises/hostile.py", str(SEED), str(tmp_path), *map(str, indices)]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(outcomes) == len(indices)
    assert not [each for each in outcomes if "fault: " in each["said"]]
    assert not [each for each in outcomes if each["MiB"] > MOST_MIB or each["s"] > MOST_SECONDS]
    assert not [each for each in outcomes if each["bytes"] > 2**23]
