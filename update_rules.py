"""The update rules of 2014 as `torch.optim` optimizers; they agree to rounding, also if the learning rate changes.

Source: documentation of 2014, 2.3.2 and 6.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of each parameter group to `rate` times the group's `share` (default 1).

    A rate that is a tensor is changed in place, so that a captured CUDA graph reads the new one. Raises ValueError
    unless `rate` is above 0.
    """
    _need_positive(rate)
    for group in optimizer.param_groups:
        group_rate = rate * group.get("share", 1.0)
        if isinstance(optimizer, _Momentum):
            optimizer.follow(group, group_rate)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(group_rate)
        else:
            group["lr"] = group_rate


def _need_positive(rate: float) -> None:
    if not rate > 0:
        raise ValueError(f"expected a learning rate above 0, got {rate}")


class _Momentum(torch.optim.SGD):
    """2014's momentum, v <- mu v - lr g; torch's buffer is -v / lr, so a new lr must rescale it."""

    def follow(self, group: dict, rate: float) -> None:
        """Rescale the momentum buffers of a group if its rate differs from that of the last step."""
        _need_positive(rate)
        last = group.setdefault("last_lr", rate)
        if rate != last:
            for param in group["params"]:
                if (buffer := self.state[param].get("momentum_buffer")) is not None:
                    buffer.mul_(last / rate)
            group["last_lr"] = rate

    def step(self, closure: Callable | None = None) -> Tensor | None:
        """Update the parameters once."""
        for group in self.param_groups:
            if not isinstance(group["lr"], Tensor):
                self.follow(group, group["lr"])
        return super().step(closure)


class _RMSProp(torch.optim.Optimizer):
    """2014's RMSprop and Adagrad: epsilon is added under the square root (torch adds it outside)."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, decay: float, new: float, epsilon: float):
        super().__init__(params, {"lr": lr, "decay": decay, "new": new, "epsilon": epsilon})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Update the parameters once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                state = self.state[param]
                if "squares" not in state:
                    state["squares"] = torch.zeros_like(param)
                squares = state["squares"].mul_(group["decay"]).addcmul_(param.grad, param.grad, value=group["new"])
                root = (squares + group["epsilon"]).sqrt_()
                if isinstance(group["lr"], Tensor):  # in a captured CUDA graph
                    param.sub_(group["lr"] * (param.grad / root))
                else:
                    param.addcdiv_(param.grad, root, value=-group["lr"])
        return loss


def gen_updates_sgd(all_parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
    """Build stochastic gradient descent: w <- w - lr g."""
    return torch.optim.SGD(all_parameters, lr=learning_rate, fused=True)


def gen_updates_regular_momentum(
    all_parameters: Iterable[nn.Parameter], learning_rate: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Build momentum: v <- mu v - lr (g + decay w), w <- w + v."""
    return _Momentum(all_parameters, lr=learning_rate, momentum=momentum, weight_decay=weight_decay, fused=True)


def gen_updates_nesterov_momentum(
    all_parameters: Iterable[nn.Parameter], learning_rate: float, momentum: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Build Nesterov momentum: v as in regular momentum, w <- w + mu v - lr (g + decay w)."""
    return gen_updates_nesterov_momentum_no_bias_decay(all_parameters, [], learning_rate, momentum, weight_decay)


def gen_updates_nesterov_momentum_no_bias_decay(
    all_parameters: Iterable[nn.Parameter],
    all_bias_parameters: Iterable[nn.Parameter],
    learning_rate: float,
    momentum: float,
    weight_decay: float,
) -> torch.optim.Optimizer:
    """Build Nesterov momentum with weight decay on all parameters except the biases."""
    biases = set(all_bias_parameters)
    groups = [
        {"params": [p for p in all_parameters if p not in biases], "weight_decay": weight_decay},
        {"params": [p for p in all_parameters if p in biases], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return _Momentum(groups, lr=learning_rate, momentum=momentum, nesterov=momentum > 0, fused=True)


def gen_updates_adagrad(
    all_parameters: Iterable[nn.Parameter], learning_rate: float = 1.0, epsilon: float = 1e-6
) -> torch.optim.Optimizer:
    """Build Adagrad (Duchi et al. 2011)."""
    return _RMSProp(all_parameters, lr=learning_rate, decay=1.0, new=1.0, epsilon=epsilon)


def gen_updates_rmsprop(
    all_parameters: Iterable[nn.Parameter], learning_rate: float = 1.0, rho: float = 0.9, epsilon: float = 1e-6
) -> torch.optim.Optimizer:
    """Build RMSprop (Tieleman & Hinton 2012); `rho` is the decay of the mean square."""
    return _RMSProp(all_parameters, lr=learning_rate, decay=rho, new=1 - rho, epsilon=epsilon)


def gen_updates_adadelta(
    all_parameters: Iterable[nn.Parameter], learning_rate: float = 1.0, rho: float = 0.95, epsilon: float = 1e-6
) -> torch.optim.Optimizer:
    """Build Adadelta (Zeiler 2012); `rho` is the decay of the mean squares."""
    params = list(all_parameters)
    return torch.optim.Adadelta(params, lr=learning_rate, rho=rho, eps=epsilon, capturable=params[0].is_cuda)
