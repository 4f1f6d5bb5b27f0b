"""Right or wrong in training steps: against float64, graphs against single steps, what is bitwise, memory.

Steps are compared at rates that keep rounding errors small (`benchmarks.trial`). What takes them can be handed in, so
that the tests can show that each check fails where something is wrong.
"""

import dataclasses
import gc
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

import layers
from benchmarks.gpu_setting import (
    CPU,
    Kind,
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
from benchmarks.supervision import Finding, at_most, equal, measured, within
from engine import optimizers
from engine.network import PRECISIONS, Network
from engine.steps import Trainer
from machine.files import first_line
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
}

# How far parameters may be off, as a part of how far steps have moved them. At the rates of the checks they move by
# 4e-4 of their length in thirty steps: this is 4e-6 of it; other masks make 0.3 of the way, one step less 0.03.
OF_THE_WAY = 1e-2


def float64(setting: Setting, kind: Kind = eager) -> Iterator[Finding]:
    """A single step has the error, gradients and parameters that the CPU has in float64; without dropout."""
    experiment = setting.calm
    views, labels = examples(setting, experiment.batch_size)
    for normalisation in (True, False):
        words = "normalised" if normalisation else "not normalised"
        error, gradients, moved = _reference(setting, normalisation, views, labels)
        for precision in PRECISIONS:
            network = network_of(setting, setting.on, precision)
            _without_dropout(network)
            optimizer = experiment.make_optimizer(network.output_layer)
            set_rate(optimizer, 1e-2)
            batch = [view.to(setting.on) for view in views], labels.to(setting.on)
            found = float(kind(network, optimizer, normalisation)(*batch))
            of_units, of_worst = _unit_errors([param.grad for param in network.parameters], gradients)
            values = [
                ("error", abs(found - error) / error, 1e-6),
                ("gradients of the median unit", float(of_units.median()), 1e-4),
                # A maximum of two values that are almost the same may fall on the other: one filter's gradient differs.
                ("gradients of the worst parameter", of_worst, 1e-2),
                ("parameters after the step", distance(values_of(network), moved), 1e-6),
            ]
            for what, value, limit in values:
                name = f"{what}, {words}, {precision}"
                yield at_most(name, value, limit) if precision == "float32" else measured(name, value)


def _without_dropout(network: Network) -> None:
    for layer in layers.all_layers(network.output_layer):
        layer.dropout = 0.0


def _reference(
    setting: Setting, normalisation: bool, views: Sequence[Tensor], labels: Tensor
) -> tuple[float, list[Tensor], list[Tensor]]:
    """Return error, gradients and parameters of a step in float64 on the CPU."""
    network = network_of(setting, CPU)
    _without_dropout(network)
    network.output_layer.double()
    optimizer = setting.calm.make_optimizer(network.output_layer)
    set_rate(optimizer, 1e-2)
    inputs = network.inputs([view.double() for view in views])
    error = network.output_layer.error(inputs, labels.double(), normalisation)
    error.backward()
    gradients = [param.grad.clone() for param in network.parameters]
    optimizer.step()
    return error.item(), gradients, values_of(network)


def _unit_errors(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> tuple[Tensor, float]:
    """Return how far the gradient of each filter or unit is off, as parts of it, and that of the worst parameter."""
    of_units, of_parameters = [], []
    for a, b in zip(ours, theirs, strict=True):
        # Units are the last axis of weights, and the first one of biases.
        axis = 0 if b.ndim in (1, 3) else -1
        wrong, right = (each.movedim(axis, 0).reshape(each.shape[axis], -1).norm(dim=1) for each in (a.cpu() - b, b))
        of_units.append((wrong / right)[right > 1e-3 * right.max()])
        of_parameters.append(float(wrong.norm() / right.norm()))
    return torch.cat(of_units), max(of_parameters)


def graphs(setting: Setting, ours: Kind = graphed, theirs: Kind = eager) -> Iterator[Finding]:
    """Steps from graphs are those taken singly: rates that change, a small batch, both normalisations, dropout."""
    torch.backends.cudnn.deterministic = True
    found = [_thirty_steps(setting, kind) for kind in (ours, theirs)]
    (errors, values, state), (expected_errors, expected, expected_state) = found
    start = values_of(network_of(setting, CPU))
    differences = [abs(a - b) / b for a, b in zip(errors, expected_errors, strict=True)]
    yield at_most("errors", max(differences), 1e-5)
    yield at_most("parameters, of their way", distance(values, expected, start), OF_THE_WAY)
    yield measured("bit for bit", all(torch.equal(a, b) for a, b in zip(values, expected, strict=True)))
    yield equal("generators' states are the same", torch.equal(state, expected_state), True)
    yield within("the same batch again, other masks", _masks(setting, ours), 1e-6, 10)


def _thirty_steps(setting: Setting, kind: Kind) -> tuple[list[float], list[Tensor], Tensor]:
    """Return errors, parameters and the generator's state after ten steps of each of three chunks."""
    batch_size = setting.calm.batch_size
    experiment = dataclasses.replace(setting.calm, chunk_size=10 * batch_size, num_chunks=3, num_steps_nonorm=10)
    trainer = Trainer(experiment, network_of(setting, setting.on))
    torch.manual_seed(1)
    errors = []
    sizes = [batch_size] * 30
    sizes[14] = 5
    with stepping(kind):
        for number, (views, labels) in enumerate(batches(setting, sizes)):
            errors.append(float(trainer.take(views, labels, *divmod(number, 10))))
    return errors, values_of(trainer.network), random_state(setting.on).clone()


def _masks(setting: Setting, kind: Kind) -> float:
    """Return how much the errors of one batch differ, relative to their mean, where parameters hardly move."""
    network = network_of(setting, setting.on)
    optimizer = setting.calm.make_optimizer(network.output_layer)
    set_rate(optimizer, 1e-20)
    step = kind(network, optimizer, True)
    [batch] = batches(setting, [setting.calm.batch_size])
    errors = torch.stack([step(*batch).clone() for _ in range(6)])
    return float(errors.diff().abs().min() / errors.mean())


def rules(setting: Setting, ours: Kind = graphed, theirs: Kind = eager) -> Iterator[Finding]:
    """Every update rule can be captured, and moves a network as single steps do while the rate changes."""
    torch.backends.cudnn.deterministic = True
    start = values_of(network_of(setting, CPU))
    for name, (rule, rate) in RULES.items():
        try:
            found, expected = (_eight_steps(setting, rule, rate, kind) for kind in (ours, theirs))
            yield at_most(name, distance(found, expected, start), OF_THE_WAY)
        except RuntimeError as error:
            synchronize(setting.on)
            yield equal(name, f"{type(error).__name__}: {first_line(error)}", "captured")


def _eight_steps(setting: Setting, rule: Callable, rate: float, kind: Kind) -> list[Tensor]:
    network = network_of(setting, setting.on)
    optimizer = rule(network.output_layer)
    set_rate(optimizer, rate)
    step = kind(network, optimizer, True)
    torch.manual_seed(1)
    for number, (views, labels) in enumerate(batches(setting, [setting.calm.batch_size] * 8)):
        if number == 4:
            set_rate(optimizer, rate / 10)
        step(views, labels)
    return values_of(network)


def determinism(setting: Setting, kind: Kind = graphed) -> Iterator[Finding]:
    """Two runs of a hundred steps are the same to rounding, or to bits: as cuDNN chooses, and `cudnn.deterministic`."""
    start = values_of(network_of(setting, CPU))
    for deterministic, words in ((False, "as cuDNN chooses"), (True, "deterministic")):
        torch.backends.cudnn.deterministic = deterministic
        (first, seconds), (second, again) = (_hundred_steps(setting, kind) for _ in range(2))
        same = all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
        yield measured(f"bit for bit, {words}", same)
        yield at_most(f"parameters, of their way, {words}", distance(first, second, start), OF_THE_WAY)
        yield measured(f"ms a step, {words}", 10 * min(seconds, again))


def _hundred_steps(setting: Setting, kind: Kind) -> tuple[list[Tensor], float]:
    """Return the parameters after a hundred steps, and the seconds that they took."""
    network = network_of(setting, setting.on, "tf32")
    optimizer = setting.calm.make_optimizer(network.output_layer)
    set_rate(optimizer, 1e-4)
    step = kind(network, optimizer, True)
    torch.manual_seed(1)
    given = list(batches(setting, [setting.calm.batch_size] * 20))
    step(*given[0])
    synchronize(setting.on)
    start = time.perf_counter()
    for _ in range(5):
        for batch in given:
            step(*batch)
    synchronize(setting.on)
    return values_of(network), time.perf_counter() - start


def allocated(device: torch.device) -> int:
    """Return the bytes that are in use on a device; 0 where that is not counted."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def captures(
    setting: Setting, kind: Kind = graphed, allocated: Callable[[torch.device], int] = allocated
) -> Iterator[Finding]:
    """Six captures, one after the other, leave no memory behind."""
    [batch] = batches(setting, [setting.calm.batch_size])
    found = []
    for _ in range(7):
        network = network_of(setting, setting.on)
        optimizer = setting.calm.make_optimizer(network.output_layer)
        set_rate(optimizer, 1e-4)
        step = kind(network, optimizer, True)
        step(*batch), step(*batch)
        del network, optimizer, step
        gc.collect()
        synchronize(setting.on)
        found.append(allocated(setting.on))
    yield measured("MB in use after one", found[0] / 1e6)
    yield at_most("MB more after six others", (max(found[1:]) - found[0]) / 1e6, 50)
    if setting.on.type == "cuda":
        yield measured("MB reserved", torch.cuda.memory_reserved(setting.on) / 1e6)
