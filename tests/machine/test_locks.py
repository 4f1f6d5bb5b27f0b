"""One process at a time: messages name the holder, and the system releases the lock of a process that ends."""

import contextlib
import errno
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import ROOT

from machine.files import DataError
from machine.locks import alone

HOLDER = """
import sys, time
from pathlib import Path
from machine.locks import alone

with alone(Path(sys.argv[1]), "training of x"):
    print("held", flush=True)
    time.sleep(600)
"""


@contextlib.contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen]:
    """Yield another process that holds a lock; it is killed at the end."""
    command = [sys.executable, "-c", HOLDER, path]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def run_second(path: Path) -> subprocess.CompletedProcess:
    """Run a process that takes the lock and ends at once."""
    code = (
        "import sys; from pathlib import Path; from machine.command_line import run_script; "
        "from machine.locks import alone\n"
        "def main():\n"
        "    with alone(Path(sys.argv[1]), 'training of x'): print('held')\n"
        "run_script(main)\n"
    )
    return subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_a_second_process_is_refused_at_once_in_one_line_that_names_the_first(tmp_path: Path):
    path = tmp_path / "analysis" / "locks" / "x.train"
    with holder(path) as first:
        with pytest.raises(DataError) as refused, alone(path, "training of x"):
            pytest.fail("two processes hold it")
        second = run_second(path)
    who = f"process {first.pid} on {socket.gethostname()}"
    assert str(refused.value) == (
        f"training of x is under way already, in {who}; wait for it, end it, or choose another --root"
    )
    assert (second.returncode, second.stdout, second.stderr) == (1, "", f"error: {refused.value}\n")


def test_a_refused_process_does_not_remove_the_lock(tmp_path: Path):
    path = tmp_path / "x.train"
    with holder(path):
        for _ in range(2):
            assert run_second(path).returncode == 1
        assert path.read_text().split()[1] == socket.gethostname()


def test_other_work_continues_beside_it(tmp_path: Path):
    with holder(tmp_path / "x.train"), alone(tmp_path / "x.predict", "prediction of x"):
        assert (tmp_path / "x.predict").read_text() == f"{os.getpid()} {socket.gethostname()}"


def test_a_thread_of_the_same_process_is_refused_and_does_not_release_the_lock(tmp_path: Path):
    path, other_name = tmp_path / "x.train", tmp_path / "." / "link" / "x.train"
    (tmp_path / "link").symlink_to(tmp_path)
    with alone(path, "training of x"):
        for _ in range(2):
            with (
                pytest.raises(DataError, match=rf"under way already, in process {os.getpid()} on"),
                alone(other_name, "training of x"),
            ):
                pytest.fail("two threads hold it")
        assert run_second(path).returncode == 1
    with alone(path, "training of x"):
        pass


def test_the_lock_of_a_killed_process_is_released(tmp_path: Path):
    path = tmp_path / "x.train"
    with holder(path) as first:
        first.kill()
        assert first.wait() == -signal.SIGKILL
        assert path.exists()
        assert run_second(path).stdout == "held\n"
    assert not path.exists()


@pytest.mark.parametrize("error", [None, DataError("no galaxies"), KeyboardInterrupt()], ids=repr)
def test_the_lock_is_removed_and_can_be_taken_again_after_success_and_errors(tmp_path: Path, error):
    path = tmp_path / "x.train"
    for _ in range(2):
        with contextlib.suppress(DataError, KeyboardInterrupt), alone(path, "training of x"):
            assert path.exists()
            if error is not None:
                raise error
        assert not path.exists()
    assert run_second(path).stdout == "held\n"


@pytest.mark.parametrize("error", [None, DataError("no galaxies")], ids=repr)
def test_folders_that_were_made_for_the_lock_are_removed(tmp_path: Path, error):
    path = tmp_path / "analysis" / "locks" / "x.train"
    with contextlib.suppress(DataError), alone(path, "training of x"):
        assert path.exists()
        if error is not None:
            raise error
    assert not any(tmp_path.iterdir())


def test_folders_with_results_and_folders_of_others_stay(tmp_path: Path):
    path = tmp_path / "analysis" / "locks" / "x.train"
    with alone(path, "training of x"):
        (tmp_path / "analysis" / "x.pkl").touch()
    assert [found.name for found in (tmp_path / "analysis").iterdir()] == ["x.pkl"]
    path.parent.mkdir()
    with alone(path, "training of x"):
        pass
    assert path.parent.is_dir()


def test_a_folder_that_another_process_removes_meanwhile_is_made_again(tmp_path: Path, monkeypatch):
    path = tmp_path / "locks" / "x.train"
    make, num_made = Path.mkdir, []

    def make_and_lose(folder: Path, **options: bool) -> None:
        make(folder, **options)
        num_made.append(1)
        if len(num_made) == 1:
            folder.rmdir()

    monkeypatch.setattr(Path, "mkdir", make_and_lose)
    with alone(path, "training of x"):
        assert path.exists() and len(num_made) == 2


def test_a_lock_on_a_file_that_was_removed_is_taken_anew(tmp_path: Path, monkeypatch):
    path = tmp_path / "x.train"
    lockf, num_locked = fcntl.lockf, []

    def lock_late(descriptor: int, how: int) -> None:
        if not num_locked:  # the holder before us left meanwhile, and a third process came
            path.unlink()
            path.touch()
        num_locked.append(lockf(descriptor, how))

    monkeypatch.setattr(fcntl, "lockf", lock_late)
    with alone(path, "training of x"):
        assert len(num_locked) == 2
        assert f"process {os.getpid()} on" in run_second(path).stderr


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def test_without_locks_in_the_file_system_the_work_continues_with_a_warning(
    tmp_path: Path, monkeypatch, capsys, number: int
):
    def refuse(descriptor: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with alone(tmp_path / "x.train", "training of x"):
        out = capsys.readouterr().out
    assert out == f"no locks in {tmp_path} ({os.strerror(number)}): do not run training of x twice at once\n"


def test_a_lock_below_a_file_is_one_line_with_the_file(tmp_path: Path):
    (tmp_path / "locks").write_text("a file")
    path = tmp_path / "locks" / "x.train"
    with pytest.raises(DataError, match=rf"^{re.escape(str(path.parent))}: expected a folder, got a file; .*--root$"):
        alone(path, "training of x").__enter__()
