"""Training steps on a device: against float64, graphs against single steps, what is bitwise the same, memory.

Steps are compared at rates that keep rounding errors small (`trial.py`). Faults that are put in are detected.
"""

import dataclasses
import gc
from collections.abc import Callable, Sequence

import pytest
import torch
from cuda_setting import (
    CPU,
    ON_CPU,
    Batch,
    MakeStep,
    Note,
    Setting,
    batches,
    distance,
    eager,
    examples,
    graphed,
    network_of,
    random_state,
    stepping,
    synchronize,
    values_of,
)
from torch import Tensor

import layers
from engine import optimizers, training
from engine.network import PRECISIONS, Network
from engine.options import Options
from engine.steps import Step, Trainer
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT
from update_rules import set_rate

# Every rule of `engine.optimizers`, and a rate at which it moves a network a little.
RULES = {
    "SGD": (optimizers.SGD(), 1e-3),
    "Momentum": (optimizers.Momentum(0.9, 1e-4), 1e-4),
    "Nesterov": (optimizers.Nesterov(0.9, 1e-4), 1e-4),
    "Adagrad": (optimizers.Adagrad(1e-3), 1e-4),
    "RMSprop": (optimizers.RMSprop(0.9, 1e-3), 1e-4),
    "Adadelta": (optimizers.Adadelta(0.95, 1e-6), 1e-3),
    "AdamW": (optimizers.AdamW((0.9, 0.999), 1e-2, 0.1), 1e-5),
    "LowerRate": (optimizers.LowerRate(optimizers.Nesterov(0.9, 1e-4), 0.5), 1e-4),
}
# How far parameters may differ, relative to how far the steps moved them. Thirty steps move them by 4e-4 of their
# length: this is 4e-6 of it. Other masks make 0.3 of the way, one step less 0.03.
OF_THE_WAY = 1e-2
PARAMETERS = "parameters differ"


def check_float64(setting: Setting, make_step: MakeStep, normalisation: bool, precision: str, note: Note) -> None:
    """Compare a step without dropout with float64 on the CPU: error, gradients, parameters; judged in float32."""
    experiment = setting.experiment
    views, labels = examples(setting, experiment.batch_size)
    error, gradients, moved = _reference(setting, normalisation, views, labels)
    network = _without_dropout(network_of(setting, setting.device, precision))
    optimizer = experiment.make_optimizer(network.output_layer)
    set_rate(optimizer, 1e-2)
    step = make_step(network, optimizer, normalisation)
    ours = float(step([view.to(setting.device) for view in views], labels.to(setting.device)))
    of_units, of_worst = _unit_errors([param.grad for param in network.parameters], gradients)
    differences = {
        "error": (abs(ours - error) / error, 1e-6),
        "gradient of the median unit": (float(of_units.median()), 1e-4),
        # A maximum of two values that are almost the same may fall on the other: one filter's gradient differs.
        "gradient of the worst parameter": (of_worst, 1e-2),
        "parameters after the step": (distance(values_of(network), moved), 1e-6),
    }
    for what, (difference, limit) in differences.items():
        note(what, difference)
        assert difference <= limit or precision != "float32", f"{what} differs"


def _without_dropout(network: Network) -> Network:
    for layer in layers.all_layers(network.output_layer):
        layer.dropout = 0.0
    return network


def _reference(
    setting: Setting, normalisation: bool, views: Sequence[Tensor], labels: Tensor
) -> tuple[float, list[Tensor], list[Tensor]]:
    """Return error, gradients and parameters of a step in float64 on the CPU."""
    network = _without_dropout(network_of(setting, CPU))
    network.output_layer.double()
    optimizer = setting.experiment.make_optimizer(network.output_layer)
    set_rate(optimizer, 1e-2)
    inputs = network.inputs([view.double() for view in views])
    error = network.output_layer.error(inputs, labels.double(), normalisation)
    error.backward()
    gradients = [param.grad.clone() for param in network.parameters]
    optimizer.step()
    return error.item(), gradients, values_of(network)


def _unit_errors(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> tuple[Tensor, float]:
    """Return the relative errors of the gradients of all filters and units, and of the worst parameter."""
    of_units, of_parameters = [], []
    for a, b in zip(ours, theirs, strict=True):
        axis = 0 if b.ndim in (1, 3) else -1  # units are the last axis of weights, the first one of biases
        wrong, right = (x.movedim(axis, 0).reshape(x.shape[axis], -1).norm(dim=1) for x in (a.cpu() - b, b))
        of_units.append((wrong / right)[right > 1e-3 * right.max()])
        of_parameters.append(float(wrong.norm() / right.norm()))
    return torch.cat(of_units), max(of_parameters)


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
    """Ignores one of many filters."""

    def __call__(self, views, labels):
        def without_the_largest(gradient: Tensor) -> Tensor:
            size = gradient.flatten(0, -2).norm(dim=0)
            return gradient * (size < size.max())

        hook = self.network.parameters[-2].register_hook(without_the_largest)
        error = super().__call__(views, labels)
        hook.remove()
        return error


@pytest.mark.timeout(60)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("normalisation", [True, False])
def test_a_step_is_that_of_float64(setting: Setting, normalisation: bool, precision: str, note: Note):
    check_float64(setting, eager, normalisation, precision, note)


@ON_CPU
@pytest.mark.parametrize(
    ("fault", "what"),
    [
        (ScaledGradient, "gradient of the median unit"),
        (OneGradientMissing, "gradient of the worst parameter"),
        (ScaledError, "error"),
        (Standstill, "parameters after the step"),
    ],
)
def test_a_wrong_step_is_detected(setting: Setting, fault: MakeStep, what: str, note: Note):
    with pytest.raises(AssertionError, match=f"^{what} differs"):
        check_float64(setting, fault, True, "float32", note)


def check_graphs(setting: Setting, ours: MakeStep, theirs: MakeStep, note: Note) -> None:
    """Compare thirty steps of two kinds: rates that change, a small batch, both normalisations, dropout."""
    torch.backends.cudnn.deterministic = True
    errors, values, state = _thirty_steps(setting, ours)
    expected_errors, expected, expected_state = _thirty_steps(setting, theirs)
    of_errors = max(abs(a - b) / b for a, b in zip(errors, expected_errors, strict=True))
    of_values = distance(values, expected, values_of(network_of(setting, CPU)))
    note("errors", of_errors)
    note("parameters, of their way", of_values)
    note("bit for bit", all(torch.equal(a, b) for a, b in zip(values, expected, strict=True)))
    assert of_errors <= 1e-5, "errors differ"
    assert of_values <= OF_THE_WAY, PARAMETERS
    assert torch.equal(state, expected_state), "the generator is elsewhere"


def _thirty_steps(setting: Setting, make_step: MakeStep) -> tuple[list[float], list[Tensor], Tensor]:
    """Return errors, parameters and the generator's state after ten steps of each of three chunks."""
    batch_size = setting.experiment.batch_size
    experiment = dataclasses.replace(setting.experiment, chunk_size=10 * batch_size, num_chunks=3, num_steps_nonorm=10)
    trainer = Trainer(experiment, network_of(setting, setting.device))
    torch.manual_seed(1)
    sizes = [batch_size] * 30
    sizes[14] = 5
    with stepping(make_step):
        errors = [float(trainer.take(*batch, *divmod(step, 10))) for step, batch in enumerate(batches(setting, sizes))]
    return errors, values_of(trainer.network), random_state(setting.device).clone()


def check_masks(setting: Setting, make_step: MakeStep, note: Note) -> None:
    """Repeat a batch while parameters hardly move: dropout must draw other masks each time."""
    network = network_of(setting, setting.device)
    optimizer = setting.experiment.make_optimizer(network.output_layer)
    set_rate(optimizer, 1e-20)
    step = make_step(network, optimizer, True)
    [batch] = batches(setting, [setting.experiment.batch_size])
    errors = torch.stack([step(*batch).clone() for _ in range(6)])
    spread = float(errors.diff().abs().min() / errors.mean())
    note("relative spread of errors", spread)
    assert 1e-6 <= spread <= 10, "the same masks again"


class ForgetsRates(Step):
    """Keeps its first rate, as a graph does that holds it as a number."""

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
    """Leaves the generator elsewhere, as warm-up steps do that are not undone."""

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
    """Sees its first batch again and again, as a graph does into which nothing is copied."""

    def __call__(self, views, labels):
        if len(labels) == self.network.batch_size:
            self.batch = views, labels = getattr(self, "batch", (views, labels))
        return super().__call__(views, labels)


def always_normalised(network: Network, optimizer: torch.optim.Optimizer, _: bool) -> Step:
    return Step(network, optimizer, True)


@pytest.mark.timeout(60)
def test_steps_from_graphs_are_those_taken_singly(setting: Setting, note: Note):
    check_graphs(setting, graphed, eager, note)
    check_masks(setting, graphed, note)


@ON_CPU
@pytest.mark.parametrize(
    "fault", [ForgetsRates, ForgetsSmallBatches, SameMasks, DrawsMore, WarmUpIsKept, SameBatch, always_normalised]
)
def test_wrong_graphs_are_detected(setting: Setting, fault: MakeStep, note: Note):
    with pytest.raises(AssertionError, match="differ"):
        check_graphs(setting, fault, eager, note)
    if fault is SameMasks:
        with pytest.raises(AssertionError, match="the same masks"):
            check_masks(setting, fault, note)


def check_rule(setting: Setting, name: str, ours: MakeStep, note: Note) -> None:
    """Compare eight steps under an update rule, whose rate changes, with single steps."""
    torch.backends.cudnn.deterministic = True
    values, expected = (_eight_steps(setting, *RULES[name], make_step) for make_step in (ours, eager))
    difference = distance(values, expected, values_of(network_of(setting, CPU)))
    note("parameters, of their way", difference)
    assert difference <= OF_THE_WAY, PARAMETERS


def _eight_steps(setting: Setting, rule: Callable, rate: float, make_step: MakeStep) -> list[Tensor]:
    network = network_of(setting, setting.device)
    optimizer = rule(network.output_layer)
    set_rate(optimizer, rate)
    step = make_step(network, optimizer, True)
    torch.manual_seed(1)
    for index, (views, labels) in enumerate(batches(setting, [setting.experiment.batch_size] * 8)):
        if index == 4:
            set_rate(optimizer, rate / 10)
        step(views, labels)
    return values_of(network)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", RULES)
def test_an_update_rule_can_be_captured(setting: Setting, name: str, note: Note):
    check_rule(setting, name, graphed, note)


@ON_CPU
@pytest.mark.parametrize("name", RULES)
def test_a_rate_that_is_kept_is_detected(setting: Setting, name: str, note: Note):
    with pytest.raises(AssertionError, match=PARAMETERS):
        check_rule(setting, name, ForgetsRates, note)


def test_every_update_rule_is_captured():
    assert set(RULES) == {
        name
        for name, value in vars(optimizers).items()
        if dataclasses.is_dataclass(value) and value.__module__ == optimizers.__name__
    }


def check_determinism(setting: Setting, make_step: MakeStep, deterministic: bool, note: Note) -> None:
    """Compare two runs of a hundred steps, of twenty on a CPU: they are equal to rounding."""
    torch.backends.cudnn.deterministic = deterministic
    first, second = (_many_steps(setting, make_step) for _ in range(2))
    difference = distance(first, second, values_of(network_of(setting, CPU)))
    note("parameters, of their way", difference)
    note("bit for bit", all(torch.equal(a, b) for a, b in zip(first, second, strict=True)))
    assert difference <= OF_THE_WAY, PARAMETERS


def _many_steps(setting: Setting, make_step: MakeStep) -> list[Tensor]:
    network = network_of(setting, setting.device, "tf32")
    optimizer = setting.experiment.make_optimizer(network.output_layer)
    set_rate(optimizer, 1e-4)
    step = make_step(network, optimizer, True)
    torch.manual_seed(1)
    made = list(batches(setting, [setting.experiment.batch_size] * 20))
    for batch in made * (1 if setting.is_small else 5):
        step(*batch)
    return values_of(network)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("deterministic", [False, True])
def test_two_runs_are_the_same(setting: Setting, deterministic: bool, note: Note):
    check_determinism(setting, graphed, deterministic, note)


@ON_CPU
def test_noisy_steps_are_detected(setting: Setting, note: Note):
    generator = torch.Generator().manual_seed(0)

    class Noisy(Step):
        def __call__(self, views, labels):
            with torch.no_grad():
                for param in self.network.parameters:
                    param.add_(1e-4 * torch.randn(param.shape, generator=generator))
            return super().__call__(views, labels)

    with pytest.raises(AssertionError, match=PARAMETERS):
        check_determinism(setting, Noisy, True, note)


def memory_in_use(device: torch.device) -> int:
    """Return the bytes in use on a device; on a CPU, a thousand times those of all parameters that are alive."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return 1000 * sum(each.nbytes for each in gc.get_objects() if type(each) is torch.nn.Parameter)


def check_captures(setting: Setting, make_step: MakeStep, note: Note) -> None:
    """Capture seven times, one after the other: six captures more leave no memory behind."""
    [batch] = batches(setting, [setting.experiment.batch_size])
    in_use = [_memory_after_a_capture(setting, make_step, batch) for _ in range(7)]
    note("MB in use after one", in_use[0] / 1e6)
    grown = (max(in_use[1:]) - in_use[0]) / 1e6
    note("MB more after six others", grown)
    assert grown <= 50, "captures leave memory behind"


def _memory_after_a_capture(setting: Setting, make_step: MakeStep, batch: Batch) -> int:
    network = network_of(setting, setting.device)
    optimizer = setting.experiment.make_optimizer(network.output_layer)
    set_rate(optimizer, 1e-4)
    step = make_step(network, optimizer, True)
    step(*batch), step(*batch)
    del network, optimizer, step
    gc.collect()
    synchronize(setting.device)
    return memory_in_use(setting.device)


@pytest.mark.timeout(60)
def test_captures_leave_no_memory_behind(setting: Setting, note: Note):
    check_captures(setting, graphed, note)


@ON_CPU
def test_memory_that_is_kept_is_detected(setting: Setting, note: Note):
    kept = []

    def keeping(*arguments: object) -> Step:
        kept.append(Step(*arguments))
        return kept[-1]

    with pytest.raises(AssertionError, match="leave memory behind"):
        check_captures(setting, keeping, note)


def last_rmse(setting: Setting, **choices: object) -> float:
    """Train twelve short chunks, three on a CPU; return the RMSE of the last one."""
    seed = choices.pop("seed", 0)
    num_chunks, chunk_size = (3, 16) if setting.is_small else (12, 160)
    experiment = dataclasses.replace(
        setting.experiment, seed=seed, chunk_size=chunk_size, num_chunks=num_chunks, num_steps_nonorm=0,
        validate_every=10**6, learning_rate=EXPERIMENT.learning_rate,
    )  # fmt: skip
    options = {"device": str(setting.device), "augment_on": "device", "initialisation": "variance-preserving"}
    run = training.Run.prepare(experiment, Options(**(options | choices), resume=False, num_workers=1))
    run.train()
    return run.progress.losses_train[-1]


def check_learning(rmse: Callable[..., float], choices: dict[str, object], note: Note) -> None:
    """Compare the RMSE that a precision, the workers' examples or the CPU reach: the same as far as chance decides."""
    of_seeds = [rmse(seed=seed) for seed in range(3)]
    spread, difference = max(of_seeds) - min(of_seeds), abs(rmse(**choices) - of_seeds[0])
    note("RMSE of the last chunk, tf32", of_seeds[0])
    note("spread of three seeds", spread)
    note("difference", difference)
    assert difference <= spread, "learns something else"


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "choices",
    [
        {"precision": "float32"},
        {"precision": "bf16"},
        {"precision": "float32", "device": "cpu"},
        {"augment_on": "cpu"},
    ],
    ids=["float32", "bf16", "on the CPU", "examples of workers"],
)
def test_all_learn_the_same(setting: Setting, choices: dict[str, object], note: Note):
    check_learning(lambda **more: last_rmse(setting, **more), choices, note)


def test_a_precision_that_learns_less_is_detected(note: Note):
    def rmse(seed: int = 0, precision: str = "tf32") -> float:
        return 0.15 + 0.01 * seed + 0.03 * (precision == "bf16")

    check_learning(rmse, {"precision": "float32"}, note)
    with pytest.raises(AssertionError, match="learns something else"):
        check_learning(rmse, {"precision": "bf16"}, note)


def test_the_network_is_the_same_whatever_was_drawn_before(setting: Setting):
    first = values_of(network_of(setting, CPU))
    torch.rand(5)
    assert all(torch.equal(a, b) for a, b in zip(first, values_of(network_of(setting, setting.device)), strict=True))
