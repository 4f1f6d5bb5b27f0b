"""Changed files give a value or a clear refusal: no other exception, no crash, no hang, no execution.

A few hundred inputs always; with TORTURE=N in the environment more than 100,000, others for each N.
"""

import os
import sys
from pathlib import Path

import fuzz
import pytest
from tiny import status_of_fork

COUNTS = {"jpeg": 30_000, "csv": 15_000, "pickle": 40_000, "npy": 20_000, "array in gz": 20_000, "gz": 20_000}
TORTURE = os.environ.get("TORTURE")


@pytest.mark.skipif(sys.platform != "linux", reason="forks, reads /proc")
@pytest.mark.parametrize("target", COUNTS)
def test_changed_files_give_a_value_or_are_refused(target: str, tmp_path: Path):
    count, seed = (COUNTS[target], int(TORTURE)) if TORTURE else (60, 0)

    def read_all() -> None:
        outcomes = fuzz.run(target, count, seed, tmp_path)
        print(target, dict(outcomes))
        assert outcomes.total() == count
        assert outcomes["refused"] > count / 10

    assert status_of_fork(read_all) == 0, f"the input is in {tmp_path}"
