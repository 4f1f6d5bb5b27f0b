"""Steps replayed from a graph are those taken one by one.

No accelerator is needed: stand-ins for CUDA's capture and replay undo what a capture on the CPU would do, and do it
when replayed.
"""

import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from other_family import EXPERIMENT as OTHER
from tiny import CPU, RULES, TINY

import layers
from engine import steps
from engine.experiment import Experiment
from engine.network import Network
from engine.steps import GraphedStep, Step
from update_rules import set_rate


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
        step = captured.step
        # A capture can not make what an optimizer keeps.
        assert all(value is not None for state in step.optimizer.state.values() for value in state.values())
        assert all(param.grad is None for param in step.network.parameters)
        with step._unchanged():
            yield

    cuda = steps.torch.cuda
    monkeypatch.setattr(cuda, "Stream", Stream)
    monkeypatch.setattr(cuda, "current_stream", Stream)
    monkeypatch.setattr(cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(cuda, "graph", graph)
    monkeypatch.setattr(cuda, "get_rng_state", lambda device: torch.get_rng_state())
    monkeypatch.setattr(cuda, "set_rng_state", lambda state, device: torch.set_rng_state(state))


def train(
    kind: type[Step], rates: list[float], sizes: list[int], experiment: Experiment = TINY
) -> tuple[list[np.ndarray], list[float]]:
    torch.manual_seed(0)
    network = Network(experiment, CPU)
    layers.reset_variance_preserving(network.output_layer)
    optimizer = experiment.make_optimizer(network.output_layer)
    step = kind(network, optimizer, normalisation=True)
    rng = np.random.default_rng(1)
    errors = []
    for rate, size in zip(rates, sizes, strict=True):
        set_rate(optimizer, rate)
        views = [torch.from_numpy(rng.random((size, *shape), dtype=np.float32)) for shape in experiment.views.shapes]
        errors.append(float(step(views, torch.from_numpy(rng.random((size, 37), dtype=np.float32)))))
    return layers.get_param_values(network.output_layer), errors


EXPERIMENTS = [
    *(
        pytest.param(dataclasses.replace(TINY, make_optimizer=rule), rate, id=name)
        for name, (rule, rate) in RULES.items()
    ),
    pytest.param(OTHER, 0.01, id=OTHER.name),
]


@pytest.mark.parametrize(("experiment", "rate"), EXPERIMENTS)
def test_a_graph_s_steps_are_the_same(
    capture_on_cpu: None, monkeypatch: pytest.MonkeyPatch, experiment: Experiment, rate: float
):
    rates = [rate * factor for factor in (1, 1, 1, 0.1, 0.1, 0.01, 0.01)]
    sizes = [8, 8, 3, 8, 8, 5, 8]  # smaller ones between, as at the end of a chunk
    expected, expected_errors = train(Step, rates, sizes, experiment)

    class Stepping(GraphedStep):
        def _capture(self, batch):
            monkeypatch.setattr(steps.torch.cuda, "CUDAGraph", lambda: graph)
            graph = Graph()
            graph.step = self
            super()._capture(batch)
            captured.append(graph)

    captured: list[Graph] = []
    values, errors = train(Stepping, rates, sizes, experiment)
    assert len(captured) == 1  # the rates change without a new one
    np.testing.assert_allclose(errors, expected_errors, rtol=1e-5)
    for ours, theirs in zip(values, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_cpu_takes_single_steps():
    network = Network(TINY, CPU)
    step = steps.make_step(network, TINY.make_optimizer(network.output_layer), normalisation=False)
    assert type(step) is Step
