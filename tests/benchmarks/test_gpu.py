"""What the times of an accelerator are made of: operators and kernels are counted, a failure costs nothing else."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny import CPU, TINY, Survey

from benchmarks import gpu
from engine.network import Network
from engine.steps import Trainer
from machine.files import DataError
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT as BEST


def test_operators_that_compute_are_counted():
    trainer = Trainer(TINY, Network(TINY, CPU))
    calls = gpu.count_operators(trainer, gpu.random_batch(TINY, CPU))
    assert (calls["convolution"], calls["convolution_backward"], calls["addmm"], calls["_fused_sgd_"]) == (1, 1, 2, 2)
    assert not {"view", "t", "permute", "detach", "empty", "select", "unsqueeze"} & set(calls)
    assert gpu.count_operators(trainer, gpu.random_batch(TINY, CPU)) == calls


def test_a_step_of_the_best_model_has_few_operators():
    calls = gpu.count_operators(Trainer(BEST, Network(BEST, CPU)), gpu.random_batch(BEST, CPU))
    assert 50 < calls.total() <= 140


def test_kernels_are_told_from_calls_and_annotations():
    def event(name: str, device: str, microseconds: float, is_user_annotation: bool = False) -> SimpleNamespace:
        return SimpleNamespace(
            name=name,
            device_type=SimpleNamespace(name=device),
            time_range=SimpleNamespace(elapsed_us=lambda: microseconds),
            is_user_annotation=is_user_annotation,
        )

    events = [
        event("gemm", "CUDA", 3), event("cudaLaunchKernel", "CPU", 9), event("gemm", "CUDA", 4),
        event("Memset", "CUDA", 1), event("Optimizer.step#SGD.step", "CUDA", 50), event("a range", "CUDA", 50, True),
    ]  # fmt: skip
    counts, microseconds = gpu.tally(events)
    assert dict(counts) == {"gemm": 2, "Memset": 1}
    assert dict(microseconds) == {"gemm": 7, "Memset": 1}


def test_a_measurement_that_fails_leaves_the_others(
    prepared_survey: Survey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fails(_: gpu.Setting) -> gpu.Values:
        yield "first", 1
        raise RuntimeError("out of memory\nby far")

    monkeypatch.setattr(gpu, "MEASUREMENTS", {"fails": fails, "fine": lambda _: iter([("time", 2.0)])})
    assert not gpu.measure(["fails", "fine"], gpu.Setting(CPU, True, tmp_path), tmp_path)
    results = json.loads((tmp_path / "gpu.json").read_text())
    assert results["fails"] == {"first": 1, "failed": "RuntimeError: out of memory"}
    assert results["fine"] == {"time": 2.0}


def test_a_cpu_is_refused_but_in_small(run_main: Callable[..., None], tmp_path: Path):
    with pytest.raises(DataError, match="expected an accelerator"):
        run_main(gpu, "--device", "cpu", "--output", tmp_path)
    assert not list(tmp_path.iterdir())
