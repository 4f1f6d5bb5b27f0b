"""Steps replayed from a graph are those taken one by one.

No accelerator is needed: stand-ins for CUDA's capture and replay undo what a capture on the CPU would do, and do it
when replayed.
"""

import contextlib
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from test_training import TINY

import layers
import training
import training_step
from experiment import Network
from training_step import GraphedStep, Step


class Graph:
    """Does on `replay` what was captured."""

    step: GraphedStep

    def replay(self) -> None:
        *views, targets = self.step.batch
        self.step.error.copy_(Step.__call__(self.step, views, targets))


@pytest.fixture
def capture_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        def wait_stream(self, other: "Stream") -> None: ...

    @contextlib.contextmanager
    def graph(captured: Graph) -> Iterator[None]:
        before = captured.step._state()
        assert all(buffer is not None for buffer in before[1])  # a capture can not make them
        assert all(param.grad is None for param in layers.all_parameters(captured.step.network.output_layer))
        yield
        captured.step._restore(before)

    cuda = training_step.torch.cuda
    monkeypatch.setattr(cuda, "Stream", Stream)
    monkeypatch.setattr(cuda, "current_stream", Stream)
    monkeypatch.setattr(cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(cuda, "graph", graph)
    monkeypatch.setattr(cuda, "get_rng_state", lambda device: torch.get_rng_state())
    monkeypatch.setattr(cuda, "set_rng_state", lambda state, device: torch.set_rng_state(state))


def train(kind: type[Step], rates: list[float], sizes: list[int]) -> tuple[list[np.ndarray], list[float]]:
    torch.manual_seed(0)
    network = Network(TINY, torch.device("cpu"))
    layers.reset_variance_preserving(network.output_layer)
    optimizer = training.make_optimizer(TINY, network)
    step = kind(network, optimizer, normalisation=True)
    rng = np.random.default_rng(1)
    errors = []
    for rate, size in zip(rates, sizes, strict=True):
        optimizer.set_rate(rate)
        views = [torch.from_numpy(rng.random((size, 15, 15, 3)).astype(np.float32)) for _ in range(2)]
        errors.append(float(step(views, torch.from_numpy(rng.random((size, 37)).astype(np.float32)))))
    return layers.get_param_values(network.output_layer), errors


def test_a_graph_s_steps_are_the_same(capture_on_cpu: None, monkeypatch: pytest.MonkeyPatch):
    rates = [0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    sizes = [8, 8, 3, 8, 8, 5, 8]  # smaller ones between, as at the end of a chunk
    expected, expected_errors = train(Step, rates, sizes)

    class Stepping(GraphedStep):
        def _capture(self, batch):
            monkeypatch.setattr(training_step.torch.cuda, "CUDAGraph", lambda: graph)
            graph = Graph()
            graph.step = self
            super()._capture(batch)
            captured.append(graph)

    captured: list[Graph] = []
    values, errors = train(Stepping, rates, sizes)
    assert len(captured) == 1  # the rates change without a new one
    np.testing.assert_allclose(errors, expected_errors, rtol=1e-5)
    for ours, theirs in zip(values, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_the_cpu_takes_single_steps():
    network = Network(TINY, torch.device("cpu"))
    step = training_step.make_step(network, training.make_optimizer(TINY, network), normalisation=False)
    assert type(step) is Step
