"""A lost file system gives one line with "run again", and does not block the run."""

import errno
import os
import re
import threading

from machine.command_line import run_script

import pytest

from catalogue.targets import FileTarget, Recipe, Rejected
from machine import shared_folders
from machine.files import DataError, open_file, replacing
from machine.shared_folders import is_lost, touch
from machine.signals import UNFINISHED


def test_a_folder_that_does_not_answer_gives_one_line(tmp_path, monkeypatch):
    answer = threading.Event()
    monkeypatch.setattr(shared_folders, "_look", lambda folder: answer.wait())
    try:
        with pytest.raises(
            DataError, match=r"does not answer within 0\.1 seconds; check that its file system is mounted"
        ):
            touch(tmp_path, seconds=0.1)
    finally:
        answer.set()


def test_existing_and_missing_folders_pass(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "none", tmp_path / "file"):
        touch(path)


def lose(number: int) -> OSError:
    return OSError(number, os.strerror(number), "/shared/x")


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ENOTCONN], ids=errno.errorcode.get)
def test_a_file_system_lost_during_a_script_ends_it_as_unfinished(number, capsys):
    def main() -> None:
        raise lose(number)

    with pytest.raises(SystemExit) as ended:
        run_script(main)
    assert ended.value.code == UNFINISHED
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and "/shared/x" in line and line.endswith("run the same command again")


def test_a_data_error_keeps_the_lost_file_system_as_its_cause(tmp_path, monkeypatch):
    with pytest.raises(DataError) as written, replacing(tmp_path / "a"):
        raise lose(errno.EIO)
    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "stat", lambda path: (_ for _ in ()).throw(lose(errno.ESTALE)))
        with pytest.raises(DataError) as read:
            open_file(tmp_path / "a", "write it")
    assert is_lost(written.value) and is_lost(read.value)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ESTALE], ids=errno.errorcode.get)
def test_a_fault_of_the_system_is_not_a_row_of_a_catalogue(number, tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))

    def fail(*_: object, **__: object) -> None:
        raise lose(number)

    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "open", fail)
        with pytest.raises(OSError, match=re.escape(os.strerror(number))):
            FileTarget(tmp_path / "a.png").frame(Recipe(None, "auto", 50.0))
    assert isinstance(FileTarget(tmp_path / "a.png").frame(Recipe(None, "auto", 50.0)), Rejected)


@pytest.mark.parametrize("error", [lose(errno.ENOENT), lose(errno.ENOSPC), DataError("no galaxy"), None])
def test_other_errors_do_not_count_as_lost(error):
    assert not is_lost(error)
