"""How far a work is: a bar at a terminal, lines elsewhere."""

import sys

import pytest
from tqdm import tqdm

from machine import progress
from machine.progress import Lines, showing


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time, which stands still unless it is changed."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_without_a_terminal_there_is_a_line_a_minute(clock, capsys):
    with showing(total=20, initial=10, desc="test", unit="galaxy") as bar:
        for _ in range(5):
            clock[0] += 25
            bar.update()
    assert isinstance(bar, Lines)
    assert capsys.readouterr().err == "test: 13/20, 00:01:15 passed, 00:02:55 left\n"


def test_things_come_as_they_are_and_a_short_work_has_no_line(clock, capsys):
    assert list(showing([3, 1, 2], unit="step")) == [3, 1, 2]
    assert list(showing([])) == []
    assert capsys.readouterr().err == ""


def test_where_the_end_is_not_known_none_is_told(clock, capsys):
    things = showing((clock.__setitem__(0, clock[0] + 40) for _ in range(2)), unit="zip")
    assert len(list(things)) == 2
    assert capsys.readouterr().err == "zip: 2, 00:01:20 passed\n"


def test_at_a_terminal_there_is_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with showing(["a", "b"], unit="step", leave=False) as bar:
        assert isinstance(bar, tqdm)
        assert list(bar) == ["a", "b"]
    assert "0/2" in capsys.readouterr().err
