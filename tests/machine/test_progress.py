"""Progress of long work: a bar at a terminal, lines elsewhere."""

import subprocess
import sys

import pytest
import tqdm.std
from tiny import ROOT

from machine.progress import Lines, showing


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time of tqdm's clock, which the test moves."""
    now = [100.0]
    monkeypatch.setattr(tqdm.std, "time", lambda: now[0])
    return now


def test_without_a_terminal_a_line_is_printed_each_minute(clock, capsys):
    with showing(total=20, initial=10, desc="test", unit="galaxy") as bar:
        for _ in range(5):
            clock[0] += 25
            bar.update()
    assert isinstance(bar, Lines)
    assert capsys.readouterr().err == "test: 13/20, 01:15 passed, 02:55 left\n"


def test_a_loop_prints_lines_of_its_own_accord(clock, capsys):
    def steps():
        for step in range(4):
            clock[0] += 3600
            yield step

    assert list(showing(steps(), total=4, unit="step")) == [0, 1, 2, 3]
    assert capsys.readouterr().err.splitlines() == [
        "step: 1/4, 1:00:00 passed, 3:00:00 left",
        "step: 2/4, 2:00:00 passed, 2:00:00 left",
        "step: 3/4, 3:00:00 passed, 1:00:00 left",
        "step: 4/4, 4:00:00 passed, 00:00 left",
    ]


def test_short_work_prints_nothing(clock, capsys):
    assert list(showing([3, 1, 2], unit="step")) == [3, 1, 2]
    assert list(showing([])) == []
    assert capsys.readouterr().err == ""


def test_without_a_total_no_time_left_is_printed(clock, capsys):
    things = showing((clock.__setitem__(0, clock[0] + 40) for _ in range(2)), unit="zip")
    assert len(list(things)) == 2
    assert capsys.readouterr().err == "zip: 2, 01:20 passed\n"


def test_a_process_without_error_output_works_in_silence():
    code = (
        "import sys; sys.stderr = None\n"
        "from machine import progress; progress.INTERVAL = 0\n"
        "assert list(progress.showing([1, 2])) == [1, 2]; print('done')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_at_a_terminal_there_is_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with showing(["a", "b"], unit="step", leave=False) as bar:
        assert not isinstance(bar, Lines)
        assert list(bar) == ["a", "b"]
    assert "0/2" in capsys.readouterr().err
