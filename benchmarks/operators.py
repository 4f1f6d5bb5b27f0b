"""How many operators a training step calls: what an accelerator launches, counted where there is none.

A call of an operator is one kernel or a few; views and allocations, which compute nothing, are not counted.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from engine.steps import Trainer

# Those that the operators themselves do not mark as views.
_NOTHING = {
    "_unsafe_view", "_reshape_alias", "detach", "lift_fresh", "empty", "empty_like", "empty_strided", "new_empty",
    "new_empty_strided", "_record_function_enter_new", "_record_function_exit",
}  # fmt: skip


class _Counting(TorchDispatchMode):
    """Counts the operators that are called in the block, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: torch._ops.OpOverload, types: object, args: tuple = (), kwargs: Mapping | None = None
    ) -> object:
        name = function.overloadpacket.__name__
        if not function.is_view and name not in _NOTHING:
            self.calls[name] += 1
        return function(*args, **(kwargs or {}))


def count(trainer: Trainer, batch: tuple[Sequence[Tensor], Tensor]) -> Counter[str]:
    """Take two steps with a batch (views, labels), and return the calls of the second one that compute, by operator.

    It is the second normalised step of a run: forward, backward and update.
    """
    experiment = trainer.experiment
    first = experiment.first_normalised_step
    trainer.take(*batch, *divmod(first, experiment.steps_a_chunk))
    with _Counting() as counting:
        trainer.take(*batch, *divmod(first + 1, experiment.steps_a_chunk))
    return counting.calls
