"""One update of a network, on an accelerator replayed from a captured graph.

A minibatch of sixteen keeps a fast accelerator busy for less time than it takes to launch its some three hundred
kernels one by one; a CUDA graph launches them together. The learning rate is a tensor there, so that the graph serves
for a whole run; what is random draws from the device's generator, which a graph advances as single launches would.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

import layers
from experiment import Network


class Step:
    """Takes updates of a network with an optimizer, with or without normalisation of the predictions."""

    def __init__(self, network: Network, optimizer: torch.optim.Optimizer, normalisation: bool):
        self.network, self.optimizer, self.normalisation = network, optimizer, normalisation

    def __call__(self, views: Sequence[Tensor], targets: Tensor) -> Tensor:
        """Take a step for views (n, rows, columns, 3) and targets (n, 37); return the mean squared error, a scalar."""
        self.optimizer.zero_grad()
        error = self.network.error(views, targets, self.normalisation)
        error.backward()
        self.optimizer.step()
        return error.detach()


class GraphedStep(Step):
    """Replays whole minibatches from a CUDA graph; a smaller one, as the last of a chunk may be, is taken singly."""

    # Steps before the capture, in which libraries choose algorithms and take their workspace.
    _WARM_UP = 3

    def __init__(self, network: Network, optimizer: torch.optim.Optimizer, normalisation: bool):
        super().__init__(network, optimizer, normalisation)
        for group in optimizer.param_groups:
            group["lr"] = torch.as_tensor(float(group["lr"]), device=network.device)
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, views: Sequence[Tensor], targets: Tensor) -> Tensor:
        batch = [*views, targets]
        if len(targets) != self.network.batch_size:
            return super().__call__(views, targets)
        if self.graph is None:
            self._capture(batch)
        for static, array in zip(self.batch, batch, strict=True):
            static.copy_(array)
        self.graph.replay()
        return self.error.clone()

    def _capture(self, batch: Sequence[Tensor]) -> None:
        self.batch = [array.clone() for array in batch]
        *views, targets = self.batch
        before = self._state()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(self._WARM_UP):
                super().__call__(views, targets)
        torch.cuda.current_stream().wait_stream(stream)
        self._restore(before)
        self.optimizer.zero_grad(set_to_none=True)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.error = super().__call__(views, targets)

    def _state(self) -> tuple[list[Tensor], list[Tensor | None], Tensor]:
        params = layers.all_parameters(self.network.output_layer)
        buffers = [self.optimizer.state[param].get("momentum_buffer") for param in params]
        return (
            [param.detach().clone() for param in params],
            [None if buffer is None else buffer.clone() for buffer in buffers],
            torch.cuda.get_rng_state(self.network.device),
        )

    @torch.no_grad()
    def _restore(self, state: tuple[list[Tensor], list[Tensor | None], Tensor]) -> None:
        params, buffers, random = state
        for param, value, buffer in zip(layers.all_parameters(self.network.output_layer), params, buffers, strict=True):
            param.copy_(value)
            momentum = self.optimizer.state[param]["momentum_buffer"]
            # A momentum that is at rest and one that is not there yet lead to the same step.
            momentum.zero_() if buffer is None else momentum.copy_(buffer)
        torch.cuda.set_rng_state(random, self.network.device)


def make_step(network: Network, optimizer: torch.optim.Optimizer, normalisation: bool, graphs: bool = True) -> Step:
    """Return what takes the steps on the network's device."""
    kind = GraphedStep if graphs and network.device.type == "cuda" else Step
    return kind(network, optimizer, normalisation)
