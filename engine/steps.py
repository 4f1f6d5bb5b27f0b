"""The updates of a run: one step on a minibatch, and what changes from step to step.

On an accelerator a step is replayed from a captured graph: a minibatch of sixteen keeps a fast one busy for less time
than it takes to launch its many kernels one by one; a CUDA graph launches them together. The learning
rate is a tensor there, so that the graph serves for a whole run; what is random draws from the device's generator,
which a graph advances as single launches would.
"""

import contextlib
import copy
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from engine.ema import WeightAverage
from engine.experiment import Experiment
from engine.network import Network
from update_rules import set_rate


class Step:
    """Takes updates of a network with an optimizer, with or without normalisation of the predictions."""

    def __init__(self, network: Network, optimizer: torch.optim.Optimizer, normalisation: bool):
        self.network, self.optimizer, self.normalisation = network, optimizer, normalisation

    def __call__(self, views: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Take a step for views (n, rows, columns, 3) and labels (n, 37); return the error, a scalar."""
        self.optimizer.zero_grad()
        error = self.network.error(views, labels, self.normalisation)
        error.backward()
        self.optimizer.step()
        return error.detach()  # a graph of autograd that outlived the step would break the capture


class GraphedStep(Step):
    """Replays whole minibatches from a CUDA graph; a smaller one, as the last of a chunk may be, is taken singly."""

    # Steps before the capture, in which libraries choose algorithms and take their workspace.
    _WARM_UP = 3

    def __init__(self, network: Network, optimizer: torch.optim.Optimizer, normalisation: bool):
        super().__init__(network, optimizer, normalisation)
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
            # Optimizers that can be captured warn of being used without.
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
        values = [each.detach().clone() for each in changed]
        kept = {param: copy.deepcopy(state) for param, state in self.optimizer.state.items()}
        random = torch.cuda.get_rng_state(self.network.device)
        yield
        with torch.no_grad():
            for each, value in zip(changed, values, strict=True):
                each.copy_(value)
            for param, state in self.optimizer.state.items():
                for name, tensor in state.items():
                    # What is at rest and what is not there yet lead to the same step.
                    before = kept.get(param, {}).get(name)
                    if isinstance(tensor, Tensor):
                        tensor.zero_() if before is None else tensor.copy_(before)
        torch.cuda.set_rng_state(random, self.network.device)


def make_step(network: Network, optimizer: torch.optim.Optimizer, normalisation: bool, graphs: bool = True) -> Step:
    """Return what takes the steps on the network's device."""
    kind = GraphedStep if graphs and network.device.type == "cuda" else Step
    return kind(network, optimizer, normalisation)


class Trainer:
    """Takes the steps of an experiment, each as its place in the run wants it.

    The first steps train without normalisation; then the optimizer starts anew, since in 2014 the steps with and
    without were two functions, with a momentum each. The rate follows the schedule, the norm constraint and the average
    of weights follow the steps.
    """

    def __init__(self, experiment: Experiment, network: Network, graphs: bool = True):
        self.experiment, self.network, self.graphs = experiment, network, graphs
        self.optimizer = experiment.make_optimizer(network.output_layer)
        decay = experiment.weight_average
        self.average = None if decay is None else WeightAverage(network, decay)
        self.step: Step | None = None
        self.rate: float | None = None

    def take(self, views: Sequence[Tensor], labels: Tensor, chunk: int, number: int) -> Tensor:
        """Take step `number` of a chunk, both counted from 0; return its error, a scalar, perhaps not yet computed."""
        experiment = self.experiment
        place = chunk * experiment.steps_a_chunk + number
        step = self._step_at(place)
        rate = experiment.learning_rate.at(chunk + number / experiment.steps_a_chunk, experiment.num_chunks)
        if rate != self.rate:
            set_rate(step.optimizer, rate)
            self.rate = rate
        error = step(views, labels)
        constraint = experiment.norm_constraint
        if constraint is not None and (place + 1) % constraint.every == 0:
            constraint.apply(self.network.output_layer)
        if self.average is not None:
            self.average.update()
        return error

    def _step_at(self, place: int) -> Step:
        """Return what takes the step at a place in the run."""
        first_normalised = self.experiment.first_normalised_step
        normalisation = place >= first_normalised
        if place == first_normalised and place > 0:
            self.optimizer = self.experiment.make_optimizer(self.network.output_layer)
            self.step = None
        if self.step is None or self.step.normalisation is not normalisation:
            self.step, self.rate = None, None  # a graph is given up before the next one is captured
            self.step = make_step(self.network, self.optimizer, normalisation, self.graphs)
        return self.step

    def predicting(self) -> contextlib.AbstractContextManager[None]:
        """Have the network predict with the weights that are the run's result during the block."""
        return contextlib.nullcontext() if self.average is None else self.average.in_place()
