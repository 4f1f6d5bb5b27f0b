"""Each command has a GPU for itself, from its begin to its end."""

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
    """Return what starts a command that says which GPU it has and runs until its input ends."""
    (tmp_path / "command.py").write_text(COMMAND)

    def started(number: int, **environment: str) -> subprocess.Popen:
        kept = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        return subprocess.Popen(
            [sys.executable, SCRIPT, tmp_path / "command.py", "--flag"],
            env=kept | {"GPUS": str(number), "TMPDIR": str(tmp_path)} | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    return started


def test_two_commands_have_two_gpus_and_a_third_one_that_of_the_first_to_end(start):
    with start(2) as first, start(2) as second:
        chosen = {first.stdout.readline(), second.stdout.readline()}
        assert chosen == {"0 --flag\n", "1 --flag\n"}
        with start(2) as third:
            first.kill()
            assert third.stdout.readline() in chosen
            third.stdin.close()
        second.stdin.close()


@pytest.mark.parametrize(("number", "environment"), [(0, {}), (2, {"CUDA_VISIBLE_DEVICES": "5"})])
def test_nothing_is_chosen_where_there_is_none_or_where_one_is_chosen_already(start, number, environment):
    with start(number, **environment) as command:
        assert command.stdout.readline() == f"{environment.get('CUDA_VISIBLE_DEVICES')} --flag\n"
        command.stdin.close()
