"""What is right or wrong of training steps passes on the CPU, and fails where a step does something else."""

import dataclasses
import gc

import pytest
import torch
from proofs import failed
from torch import Tensor

from benchmarks import gpu_steps
from engine import optimizers
from engine.network import Network
from engine.steps import Step


class ScaledGradient(Step):
    def __call__(self, views, labels):
        self.optimizer.zero_grad()
        error = self.network.error(views, labels, self.normalisation)
        (error * 1.001).backward()
        self.optimizer.step()
        return error.detach()


class ScaledError(Step):
    def __call__(self, views, labels):
        return super().__call__(views, labels) * (1 + 1e-5)


class Standstill(Step):
    def __call__(self, views, labels):
        error = self.network.error(views, labels, self.normalisation)
        error.backward()
        return error.detach()


class OneGradientMissing(Step):
    """Takes no notice of one of many filters."""

    def __call__(self, views, labels):
        def without_the_largest(gradient: Tensor) -> Tensor:
            size = gradient.flatten(0, -2).norm(dim=0)
            return gradient * (size < size.max())

        hook = self.network.parameters[-2].register_hook(without_the_largest)
        error = super().__call__(views, labels)
        hook.remove()
        return error


class TestFloat64:
    @pytest.mark.parametrize(
        ("kind", "what"),
        [
            (Step, set()),
            (ScaledGradient, {"gradients of the median unit"}),
            (OneGradientMissing, {"gradients of the worst parameter"}),
            (ScaledError, {"error"}),
            (Standstill, {"parameters after the step"}),
        ],
    )
    def test_tells_a_step_that_is_wrong(self, setting, kind, what):
        found = {each.partition(", ")[0] for each in failed(gpu_steps.float64(setting, kind))}
        assert found >= what and bool(found) == bool(what)


class ForgetsRates(Step):
    """Keeps to its first rate, as a graph does that has it as a number."""

    def __call__(self, views, labels):
        self.first = getattr(self, "first", self.optimizer.param_groups[0]["lr"])
        for group in self.optimizer.param_groups:
            group["lr"] = self.first
        return super().__call__(views, labels)


class ForgetsSmallBatches(Step):
    def __call__(self, views, labels):
        if len(labels) == self.network.batch_size:
            return super().__call__(views, labels)
        return self.network.error(views, labels, self.normalisation).detach()


class SameMasks(Step):
    def __call__(self, views, labels):
        torch.manual_seed(3)
        return super().__call__(views, labels)


class DrawsMore(Step):
    """Leaves the generator elsewhere, as warm-up steps would that are not undone."""

    def __call__(self, views, labels):
        error = super().__call__(views, labels)
        torch.rand(1)
        return error


class WarmUpIsKept(Step):
    """Takes its first step twice."""

    def __call__(self, views, labels):
        if not hasattr(self, "warm"):
            self.warm, state = True, torch.get_rng_state()
            super().__call__(views, labels)
            torch.set_rng_state(state)
        return super().__call__(views, labels)


class SameBatch(Step):
    """Sees its first batch ever again, as a graph would into which nothing is copied."""

    def __call__(self, views, labels):
        if len(labels) == self.network.batch_size:
            self.batch = views, labels = getattr(self, "batch", (views, labels))
        return super().__call__(views, labels)


def always_normalised(network: Network, optimizer: torch.optim.Optimizer, _: bool) -> Step:
    return Step(network, optimizer, True)


PARAMETERS = "parameters, of their way"
STATE, MASKS = "generators' states are the same", "the same batch again, other masks"


class TestGraphs:
    @pytest.mark.parametrize(
        ("kind", "what"),
        [
            (Step, set()),
            (ForgetsRates, {"errors", PARAMETERS}),
            (ForgetsSmallBatches, {"errors", PARAMETERS}),
            (SameMasks, {"errors", PARAMETERS, STATE, MASKS}),
            (DrawsMore, {"errors", PARAMETERS, STATE}),
            (WarmUpIsKept, {"errors", PARAMETERS}),
            (SameBatch, {"errors", PARAMETERS}),
            (always_normalised, {"errors", PARAMETERS}),
        ],
    )
    def test_are_judged_by_single_steps(self, setting, kind, what):
        assert failed(gpu_steps.graphs(setting, kind, Step)) == what

    def test_every_update_rule_is_tried(self):
        rules = {
            name
            for name, each in vars(optimizers).items()
            if dataclasses.is_dataclass(each) and each.__module__ == optimizers.__name__
        }
        assert set(gpu_steps.RULES) == rules

    def test_of_every_update_rule_are_judged(self, setting):
        assert not failed(gpu_steps.rules(setting, Step, Step))
        assert failed(gpu_steps.rules(setting, ForgetsRates, Step)) == set(gpu_steps.RULES)

    def test_of_an_update_rule_that_can_not_be_captured_leave_the_others(self, setting):
        def kind(network: Network, optimizer: torch.optim.Optimizer, normalisation: bool) -> Step:
            if isinstance(optimizer, torch.optim.Adadelta):
                raise RuntimeError("Attempting CUDA graph capture")
            return Step(network, optimizer, normalisation)

        assert failed(gpu_steps.rules(setting, kind, Step)) == {"Adadelta"}


class TestDeterminism:
    def test_is_seen(self, setting):
        found = {each.what: each.value for each in gpu_steps.determinism(setting)}
        assert found["bit for bit, as cuDNN chooses"] is found["bit for bit, deterministic"] is True

    def test_fails_where_steps_are_noisy(self, setting):
        generator = torch.Generator().manual_seed(0)

        class Noisy(Step):
            def __call__(self, views, labels):
                with torch.no_grad():
                    for param in self.network.parameters:
                        param.add_(1e-4 * torch.randn(param.shape, generator=generator))
                return super().__call__(views, labels)

        found = failed(gpu_steps.determinism(setting, Noisy))
        assert found == {f"{PARAMETERS}, as cuDNN chooses", f"{PARAMETERS}, deterministic"}


def thousand_times_the_parameters(_: torch.device) -> int:
    return 1000 * sum(each.nbytes for each in gc.get_objects() if type(each) is torch.nn.Parameter)


class TestCaptures:
    def test_leave_no_memory_behind(self, setting):
        assert not failed(gpu_steps.captures(setting, Step, thousand_times_the_parameters))

    def test_do_where_steps_are_kept(self, setting):
        kept = []

        def keeping(*arguments: object) -> Step:
            kept.append(Step(*arguments))
            return kept[-1]

        assert failed(gpu_steps.captures(setting, keeping, thousand_times_the_parameters))
