"""A run that is stopped or killed goes on to the very same result."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from test_training import TINY, run

import checkpoints
import experiment
import layers
import load_data



def interrupt_after(monkeypatch: pytest.MonkeyPatch, steps: int, number: int) -> None:
    """Have this process get a signal in the middle of a training step."""
    count, inputs = 0, experiment.Network.inputs

    def counted(self: experiment.Network, views: object) -> dict:
        nonlocal count
        if torch.is_grad_enabled():  # not for validation
            count += 1
            if count == steps:
                os.kill(os.getpid(), number)
        return inputs(self, views)

    monkeypatch.setattr(experiment.Network, "inputs", counted)


@pytest.mark.parametrize(
    ("steps", "number"),
    [
        (1, signal.SIGINT),
        (2, signal.SIGTERM),
        (STEPS_A_CHUNK, signal.SIGINT),
        (STEPS_A_CHUNK + 1, signal.SIGTERM),
        (3 * STEPS_A_CHUNK, signal.SIGINT),
        (5 * STEPS_A_CHUNK + 2, signal.SIGTERM),
    ],
)
def test_a_stopped_run_goes_on_to_the_same_result(prepared_survey, run_main, monkeypatch, capsys, steps, number):
    whole = run(run_main, prepared_survey, experiment=SIX_CHUNKS)
    load_data.folders.analysis("tiny").unlink()
    with monkeypatch.context() as patch:
        interrupt_after(patch, steps, number)
        with pytest.raises(SystemExit) as stop:
            run(run_main, prepared_survey, experiment=SIX_CHUNKS)
    assert stop.value.code == 128 + number
    assert "run again to go on from" in capsys.readouterr().out
    assert not load_data.folders.analysis("tiny").exists()
    assert_same_result(run(run_main, prepared_survey, experiment=SIX_CHUNKS), whole)
    assert "going on from" in capsys.readouterr().out
    assert not list(load_data.folders.checkpoints("tiny").parent.rglob("*.pt"))


def test_another_number_of_threads_is_told(prepared_survey, run_main, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupt_after(patch, STEPS_A_CHUNK, signal.SIGINT)
        with pytest.raises(SystemExit):
            run(run_main, prepared_survey, experiment=SIX_CHUNKS)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        run(run_main, prepared_survey, experiment=SIX_CHUNKS)
    finally:
        torch.set_num_threads(threads)
    assert f"threads: {threads} until then, {threads + 1} from now" in capsys.readouterr().out
    assert json.loads(load_data.folders.analysis("tiny").with_suffix(".json").read_text())["threads"] == threads + 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_run_goes_on_to_the_same_result_and_leaves_no_worker(prepared_survey):
    script = prepared_survey.root / "tiny.py"
    script.write_text(
        f"import sys\nsys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests')!r}]\n"
        "import test_checkpoints\nimport training\n"
        "if __name__ == '__main__':\n    training.main(test_checkpoints.SIX_CHUNKS)\n"
    )
    flags = ["--root", prepared_survey.root, "--device", "cpu", "--num-workers", "1", "--checkpoint-every", "1"]
    # All in processes of their own, as a user's runs are, with one number of threads: last digits depend on it.
    command = [sys.executable, script, *flags]

    def run_whole() -> dict:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return load_data.load_pickle(load_data.folders.analysis("tiny"), "the test")

    whole = run_whole()
    load_data.folders.analysis("tiny").unlink()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        for line in process.stdout:
            if line.startswith("chunk 3/6"):
                process.kill()
                break
    assert 1 <= len(list(load_data.folders.checkpoints("tiny").glob("*.pt"))) <= 2
    deadline = time.monotonic() + 20
    while processes_of_session(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not processes_of_session(process.pid)
    assert_same_result(run_whole(), whole)


def test_no_resume_starts_anew(prepared_survey, run_main, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupt_after(patch, 4, signal.SIGINT)
        with pytest.raises(SystemExit):
            run(run_main, prepared_survey, experiment=SIX_CHUNKS)
    with pytest.raises(SystemExit, match="differs in seed"):
        run(run_main, prepared_survey, "--seed", 5, experiment=SIX_CHUNKS)
    capsys.readouterr()
    analysis = run(run_main, prepared_survey, "--seed", 5, "--no-resume", experiment=SIX_CHUNKS)
    assert "going on" not in capsys.readouterr().out
    assert len(analysis["losses_train"]) == 6


class TestStore:
    def build(self, folder: Path, **identity: object) -> tuple[checkpoints.Store, layers.Layer, torch.optim.Optimizer]:
        torch.manual_seed(0)
        _, output = TINY.build_network(2)
        optimizer = layers.gen_updates_nesterov_momentum(layers.all_parameters(output), 0.1, 0.9, 0.0)
        return checkpoints.Store(folder, {"name": "tiny", "momentum": 0.9, **identity}), output, optimizer

    def test_keeps_the_last_two(self, tmp_path):
        store, output, optimizer = self.build(tmp_path)
        for chunk in (9, 10, 100):
            store.save(checkpoints.Progress(chunk=chunk), output, optimizer)
        assert [path.name for path in store.paths()] == ["000010-000000.pt", "000100-000000.pt"]
        assert store.restore(output, optimizer).chunk == 100

    def test_names_what_differs(self, tmp_path):
        store, output, optimizer = self.build(tmp_path)
        store.save(checkpoints.Progress(chunk=1), output, optimizer)
        other, output, optimizer = self.build(tmp_path, momentum=0.8, extra=1)
        before = layers.get_param_values(output)
        with pytest.raises(load_data.DataError, match=r"differs in extra, momentum; .*--no-resume"):
            other.restore(output, optimizer)
        np.testing.assert_array_equal(layers.get_param_values(output)[0], before[0])

    def test_a_damaged_checkpoint_is_named(self, tmp_path):
        store, output, optimizer = self.build(tmp_path)
        path = store.save(checkpoints.Progress(chunk=1), output, optimizer)
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(load_data.DataError, match=f"{path.name} can not be read"):
            store.restore(output, optimizer)

    def test_restores_the_random_generator(self, tmp_path):
        store, output, optimizer = self.build(tmp_path)
        store.save(checkpoints.Progress(), output, optimizer)
        expected = torch.rand(3)
        store.restore(output, optimizer)
        assert torch.equal(torch.rand(3), expected)

    def test_no_checkpoint_changes_nothing(self, tmp_path):
        store, output, optimizer = self.build(tmp_path)
        assert store.restore(output, optimizer) == checkpoints.Progress()
