"""Files appear whole, inputs are regular files, and what a killed process left is removed."""

import os
import subprocess
from pathlib import Path

import pytest

from machine import files
from machine.files import DataError


def test_only_regular_files_are_opened(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(DataError, match="expected a regular file, got a folder, pipe or device; move it away and"):
            files.open_file(path, "write it")
    with pytest.raises(DataError, match="none is missing; write it"):
        files.open_file(tmp_path / "none", "write it")


def test_a_block_that_fails_leaves_the_earlier_file_and_no_other(tmp_path: Path):
    path = tmp_path / "product"
    path.write_text("earlier")
    with pytest.raises(ValueError, match="damaged"), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise ValueError("damaged")
    assert path.read_text() == "earlier"
    with files.replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new" and [entry.name for entry in tmp_path.iterdir()] == ["product"]


def test_leftovers_of_ended_processes_are_removed(tmp_path: Path):
    with subprocess.Popen(["true"]) as ended:
        pass
    kept = [tmp_path / f".other.pt.{ended.pid}.part", tmp_path / ".a.pt.1.part", tmp_path / "a.pt"]
    leftovers = [tmp_path / f".a.pt.{pid}.part" for pid in (ended.pid, os.getpid())]
    for path in (*kept, *leftovers):
        path.touch()
    files.remove_leftovers(tmp_path / "a*.pt", tmp_path / "b.pt")
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_a_pipe_that_takes_the_place_of_a_file_does_not_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.txt"
    path.write_text("a")
    regular = path.stat()
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(Path, "stat", lambda self: regular)
    with pytest.raises(DataError, match="expected a regular file, got a folder, pipe or device"):
        files.open_file(path, "name another")


def test_text_of_limited_length_is_read(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf{}")
    assert files.read_text(path, "") == "{}"
    with pytest.raises(DataError, match="at most 3 bytes; write it"):
        files.read_text(path, "write it", 3)
    path.write_bytes(b"\xff")
    with pytest.raises(DataError, match="text in UTF-8"):
        files.read_text(path, "")
    for name in (tmp_path, tmp_path / "none", Path("a\0b")):
        with pytest.raises(DataError, match="next"):
            files.read_text(name, "next")
