"""Steps replayed from a graph are those taken one by one.

No accelerator is needed: stand-ins for CUDA's capture and replay undo what a capture on the CPU would do, and do it
when replayed.
"""

import contextlib
import copy
import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from other_family import EXPERIMENT as OTHER
from tiny import CPU, RULES, TINY

import layers
from engine import steps
from engine.experiment import Experiment, NormConstraint
from engine.network import Network
from engine.steps import GraphedStep, Step, Trainer
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
        # A capture cannot make an optimizer's state.
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


class TestTrainer:
    @staticmethod
    def steps(trainer: Trainer, num_chunks: int = 3) -> Iterator[int]:
        """Take all steps of some chunks; yield the chunk after each."""
        rng = np.random.default_rng(0)
        for chunk in range(num_chunks):
            for step in range(3):
                views = [torch.from_numpy(rng.random((8, 15, 15, 3), dtype=np.float32)) for _ in range(2)]
                trainer.take(views, torch.from_numpy(rng.random((8, 37), dtype=np.float32)), chunk, step)
                yield chunk

    def test_the_first_chunk_is_not_normalised_and_a_new_optimizer_follows_it(self):
        trainer, seen = Trainer(TINY, Network(TINY, CPU)), []
        layers.reset_all_params(trainer.network.output_layer)
        for chunk in self.steps(trainer):
            step = trainer.step
            seen.append((chunk, step.normalisation, step.optimizer.param_groups[0]["lr"], step.optimizer))
        first, second = seen[0][-1], seen[-1][-1]
        assert first is not second
        assert seen == [
            *[(0, False, 0.04, first)] * 3,
            *[(1, True, 0.04, second)] * 3,
            *[(2, True, 0.004, second)] * 3,
        ]

    def test_norms_are_limited_every_so_many_steps_of_the_run(self):
        experiment = dataclasses.replace(TINY, norm_constraint=NormConstraint(every=4, limits=(0.01,)))
        trainer = Trainer(experiment, Network(experiment, CPU))
        layers.reset_variance_preserving(trainer.network.output_layer)
        stack = layers.all_layers(trainer.network.output_layer)
        *_, dense = (each for each in stack if isinstance(each, layers.DenseLayer))
        limited = [float(dense.W.detach().norm(dim=0).max()) < 0.01 + 1e-6 for _ in self.steps(trainer)]
        assert [index for index, is_limited in enumerate(limited, 1) if is_limited] == [4, 8]

    def test_a_loaded_state_leads_to_the_same_steps(self):
        experiment = dataclasses.replace(TINY, weight_average=0.9)
        torch.manual_seed(1)
        trainer = Trainer(experiment, Network(experiment, CPU))
        layers.reset_variance_preserving(trainer.network.output_layer)
        again = Trainer(experiment, Network(experiment, CPU))
        again.load_state_dict(copy.deepcopy(trainer.state_dict()))
        for each in (trainer, again):
            torch.manual_seed(2)  # dropout
            assert len(list(self.steps(each))) == 9
        states = [each.state_dict() for each in (trainer, again)]
        for ours, theirs in zip(states[0]["parameters"], states[1]["parameters"], strict=True):
            assert torch.equal(ours, theirs)
        assert states[0]["average"]["num_updates"] == states[1]["average"]["num_updates"] == 9
        assert all(map(torch.equal, states[0]["average"]["values"], states[1]["average"]["values"]))
