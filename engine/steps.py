"""The updates of a run: one step on a minibatch, and what changes from step to step.

On an accelerator each step replays a captured CUDA graph. A fast device computes a minibatch of 16 in less time than
the CPU needs to launch its many kernels one by one; a graph launches them together. There the learning rate is a
tensor, so that one graph serves a whole run. Random numbers come from the device's generator, which a graph advances
as single launches do.
"""

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from engine.consistency import Consistency
from engine.description import DEVICE_SETTINGS
from engine.ema import WeightAverage
from engine.experiment import Experiment
from engine.network import Network
from update_rules import set_rate

Error = Callable[[Sequence[Tensor], Tensor, bool], Tensor]


class Step:
    """Updates a network with an optimizer, with or without normalised predictions.

    `error` maps views, labels and normalisation to the error; the default is the network's.
    """

    def __init__(
        self, network: Network, optimizer: torch.optim.Optimizer, normalisation: bool, error: Error | None = None
    ):
        self.network, self.optimizer, self.normalisation = network, optimizer, normalisation
        self.error_function = error or network.error

    def __call__(self, views: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Take a step for views (n, rows, columns, 3) and labels (n, answers); return the error, a scalar."""
        self.optimizer.zero_grad()
        error = self.error_function(views, labels, self.normalisation)
        error.backward()
        self.optimizer.step()
        return error.detach()  # autograd's graph must end with the step, or the capture fails


class GraphedStep(Step):
    """Replays whole minibatches from a CUDA graph; a smaller one, which may end a chunk, runs without the graph."""

    # Steps before the capture, in which libraries choose algorithms and allocate their workspace.
    _WARM_UP = 3

    def __init__(
        self, network: Network, optimizer: torch.optim.Optimizer, normalisation: bool, error: Error | None = None
    ):
        super().__init__(network, optimizer, normalisation, error)
        for group in optimizer.param_groups:
            group["lr"] = torch.as_tensor(float(group["lr"]), device=network.device)
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, views: Sequence[Tensor], labels: Tensor) -> Tensor:
        batch = [*views, labels]
        if len(labels) != self.network.batch_size:
            return super().__call__(views, labels)
        if self.graph is None:
            self._capture(batch)
        for static, array in zip(self.batch, batch, strict=True):
            static.copy_(array)
        self.graph.replay()
        return self.error.clone()

    def _capture(self, batch: Sequence[Tensor]) -> None:
        self.batch = [array.clone() for array in batch]
        *views, labels = self.batch
        with self._unchanged():
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            # Capturable optimizers warn when they run outside of a capture.
            with torch.cuda.stream(stream), warnings.catch_warnings(action="ignore", category=UserWarning):
                for _ in range(self._WARM_UP):
                    super().__call__(views, labels)
            torch.cuda.current_stream().wait_stream(stream)
        self.optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.error = super().__call__(views, labels)
        self.graph = graph

    @contextlib.contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Undo what steps in the block change: parameters, state, the optimizer's tensors, the generator."""
        changed = [*self.network.parameters, *self.network.state]
        values = [tensor.detach().clone() for tensor in changed]
        kept = {param: copy.deepcopy(state) for param, state in self.optimizer.state.items()}
        random = torch.cuda.get_rng_state(self.network.device)
        yield
        with torch.no_grad():
            for tensor, value in zip(changed, values, strict=True):
                tensor.copy_(value)
            for param, state in self.optimizer.state.items():
                for name, tensor in state.items():
                    # Zeroed optimizer state gives the same step as missing state.
                    before = kept.get(param, {}).get(name)
                    if isinstance(tensor, Tensor):
                        tensor.zero_() if before is None else tensor.copy_(before)
        torch.cuda.set_rng_state(random, self.network.device)


def make_step(
    network: Network,
    optimizer: torch.optim.Optimizer,
    normalisation: bool,
    graphs: bool = True,
    error: Error | None = None,
) -> Step:
    """Return the step for the network's device: from a graph on CUDA, if `graphs`."""
    step_class = GraphedStep if graphs and network.device.type == "cuda" else Step
    return step_class(network, optimizer, normalisation, error)


class Trainer:
    """Takes the steps of an experiment; each step depends on its position in the run.

    The first steps train without normalisation. Then a new optimizer starts at rest, because 2014 compiled the steps
    with and without normalisation as two functions, with a momentum each. The learning rate follows the schedule; the
    norm constraint and the average of weights follow the steps.
    """

    def __init__(self, experiment: Experiment, network: Network, graphs: bool = True):
        self.experiment, self.network, self.graphs = experiment, network, graphs
        self.optimizer = experiment.make_optimizer(network.output_layer)
        decay = experiment.weight_average
        self.average = None if decay is None else WeightAverage(network, decay)
        distillation = experiment.distillation
        self.error = None
        if distillation is not None and distillation.consistency:
            self.error = Consistency(experiment, network, self.average, distillation.consistency)
        self.step: Step | None = None
        self.rate: float | None = None

    def take(self, views: Sequence[Tensor], labels: Tensor, chunk: int, step_index: int) -> Tensor:
        """Take a step of a chunk, both counted from 0; return its error, a scalar that may still be computed."""
        experiment = self.experiment
        steps_done = chunk * experiment.steps_a_chunk + step_index
        step = self._step_after(steps_done)
        rate = experiment.learning_rate.at(chunk + step_index / experiment.steps_a_chunk, experiment.num_chunks)
        if rate != self.rate:
            set_rate(step.optimizer, rate)
            self.rate = rate
        error = step(views, labels)
        constraint = experiment.norm_constraint
        if constraint is not None and (steps_done + 1) % constraint.every == 0:
            constraint.apply(self.network.output_layer)
        if self.average is not None:
            self.average.update()
        return error

    def _step_after(self, steps_done: int) -> Step:
        """Return the step that follows so many steps of the run."""
        first_normalised = self.experiment.first_normalised_step
        normalisation = steps_done >= first_normalised
        if steps_done == first_normalised and steps_done > 0:
            self.optimizer = self.experiment.make_optimizer(self.network.output_layer)
            self.step = None
        if self.step is None or self.step.normalisation is not normalisation:
            self.step, self.rate = None, None  # frees a graph before the next one is captured
            self.step = make_step(self.network, self.optimizer, normalisation, self.graphs, self.error)
        return self.step

    def predicting(self) -> contextlib.AbstractContextManager[None]:
        """Let the network predict with the run's result within the block: the average of weights, if declared."""
        return contextlib.nullcontext() if self.average is None else self.average.in_place()

    def state_dict(self) -> dict[str, object]:
        """Return what the next steps depend on: tensors and plain values, without the random generators."""
        return {
            "parameters": [param.detach() for param in self.network.parameters],
            "state": list(self.network.state),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping) -> None:
        """Continue from what `state_dict` returned, perhaps on another device."""
        targets = (*self.network.parameters, *self.network.state)
        for target, value in zip(targets, (*state["parameters"], *state["state"]), strict=True):
            target.copy_(value)
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        groups = [
            # Settings of the device are those of this run: the other run may have used another device.
            group | {name: own[name] for name in DEVICE_SETTINGS if name in own} | {"lr": float(group["lr"])}
            for group, own in zip(state["optimizer"]["param_groups"], self.optimizer.param_groups, strict=True)
        ]
        self.optimizer.load_state_dict(state["optimizer"] | {"param_groups": groups})
