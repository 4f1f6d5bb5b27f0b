"""The average of a network's weights over the training steps, which predicts better than the last weights.

The decay grows with the steps as in TensorFlow's ExponentialMovingAverage, so that the average soon forgets the random
start; `torch.optim.swa_utils.AveragedModel` would start from the first step's weights, and would give a growing decay
its step counter as a tensor, so that each step waits for the accelerator.

Source: Polyak & Juditsky 1992.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from engine.network import Network


class WeightAverage:
    """The running average of a network's parameters and state; integers are copied, not averaged."""

    def __init__(self, network: Network, decay: float):
        self.network, self.decay, self.num_updates = network, decay, 0
        self.values = [tensor.detach().clone() for tensor in self._current()]

    def _current(self) -> list[Tensor]:
        return [*self.network.parameters, *self.network.state]

    @torch.no_grad()
    def update(self) -> None:
        """Add the weights of a step to the average."""
        weight = 1 - min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        self.num_updates += 1
        pairs = list(zip(self.values, self._current(), strict=True))
        floats = [(average, value) for average, value in pairs if average.is_floating_point()]
        torch._foreach_lerp_([average for average, _ in floats], [value.detach() for _, value in floats], weight)
        for average, value in pairs:
            if not average.is_floating_point():
                average.copy_(value)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Replace the network's weights by the average within the block."""
        last = [tensor.detach().clone() for tensor in self._current()]
        _copy(self.values, self._current())
        try:
            yield
        finally:
            _copy(last, self._current())

    def state_dict(self) -> dict[str, object]:
        """Return the average and the number of its steps."""
        return {"values": self.values, "num_updates": self.num_updates}

    def load_state_dict(self, state: Mapping) -> None:
        """Continue from what `state_dict` returned."""
        _copy(state["values"], self.values)
        self.num_updates = state["num_updates"]


@torch.no_grad()
def _copy(values: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
    for target, value in zip(targets, values, strict=True):
        target.copy_(value)
