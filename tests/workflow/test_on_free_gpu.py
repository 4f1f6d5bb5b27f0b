"""Each command has its own GPU from its start to its end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import ROOT

SCRIPT = ROOT / "workflow" / "on_free_gpu.py"
COMMAND = """
import os, sys
print(os.environ.get("CUDA_VISIBLE_DEVICES"), sys.argv[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path: Path):
    """Return a function that starts a command, which prints its GPU and runs until its input ends."""
    (tmp_path / "command.py").write_text(COMMAND)

    def started(num_gpus: int, **environment: str) -> subprocess.Popen:
        kept = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        return subprocess.Popen(
            [sys.executable, SCRIPT, tmp_path / "command.py", "--flag"],
            env=kept | {"GPUS": str(num_gpus), "TMPDIR": str(tmp_path)} | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    return started


def test_two_commands_have_two_gpus_and_a_third_takes_the_first_that_is_free(start):
    with start(2) as first, start(2) as second:
        chosen = {first.stdout.readline(), second.stdout.readline()}
        assert chosen == {"0 --flag\n", "1 --flag\n"}
        with start(2) as third:
            first.kill()
            assert third.stdout.readline() in chosen
            third.stdin.close()
        second.stdin.close()


@pytest.mark.parametrize(("num_gpus", "environment"), [(0, {}), (2, {"CUDA_VISIBLE_DEVICES": "5"})])
def test_no_gpu_is_chosen_without_gpus_or_when_one_is_chosen_already(start, num_gpus, environment):
    with start(num_gpus, **environment) as command:
        assert command.stdout.readline() == f"{environment.get('CUDA_VISIBLE_DEVICES')} --flag\n"
        command.stdin.close()
