"""The average of a network's weights over the steps of training, which predicts better than the last ones do.

Source: Polyak & Juditsky 1992; the decay grows with the steps as in TensorFlow's ExponentialMovingAverage, so that the
random start is forgotten soon.
"""

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from engine.network import Network


class WeightAverage:
    """The running average of a network's parameters and of its state; whole numbers are taken over as they are."""

    def __init__(self, network: Network, decay: float):
        self.network, self.decay, self.num_updates = network, decay, 0
        self.values = [each.detach().clone() for each in self._current()]

    def _current(self) -> list[Tensor]:
        return [*self.network.parameters, *self.network.state]

    @torch.no_grad()
    def update(self) -> None:
        """Take a step's weights into the average."""
        weight = 1 - min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        self.num_updates += 1
        current = self._current()
        floats = [(mine, now) for mine, now in zip(self.values, current, strict=True) if mine.is_floating_point()]
        torch._foreach_lerp_([mine for mine, _ in floats], [now.detach() for _, now in floats], weight)
        for mine, now in zip(self.values, current, strict=True):
            if not mine.is_floating_point():
                mine.copy_(now)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Have the network predict with the average during the block."""
        last = [each.detach().clone() for each in self._current()]
        self._put(self.values)
        try:
            yield
        finally:
            self._put(last)

    @torch.no_grad()
    def _put(self, values: Sequence[Tensor]) -> None:
        for each, value in zip(self._current(), values, strict=True):
            each.copy_(value)
