"""Update rules as values: each holds its numbers; called with an output layer, it returns a new optimizer.

The learning rate comes from the schedule: `update_rules.set_rate` sets it before the first step.

Source: documentation of 2014, 2.3.2 and 6; AdamW: Loshchilov & Hutter 2019 (arXiv 1711.05101).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

import layers

# The learning rate until the schedule sets it.
_RATE = 1.0


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent."""

    def __call__(self, output_layer: layers.Layer) -> torch.optim.Optimizer:
        return layers.gen_updates_sgd(layers.all_parameters(output_layer), _RATE)


@dataclass(frozen=True)
class Momentum:
    """Momentum, with weight decay on all parameters."""

    momentum: float
    weight_decay: float

    def __call__(self, output_layer: layers.Layer) -> torch.optim.Optimizer:
        params = layers.all_parameters(output_layer)
        return layers.gen_updates_regular_momentum(params, _RATE, self.momentum, self.weight_decay)


@dataclass(frozen=True)
class Nesterov:
    """Nesterov momentum, the rule of 2014; weight decay on the biases only with `decay_biases`."""

    momentum: float
    weight_decay: float
    decay_biases: bool = False

    def __call__(self, output_layer: layers.Layer) -> torch.optim.Optimizer:
        params = layers.all_parameters(output_layer)
        if self.decay_biases:
            return layers.gen_updates_nesterov_momentum(params, _RATE, self.momentum, self.weight_decay)
        biases = layers.all_bias_parameters(output_layer)
        return layers.gen_updates_nesterov_momentum_no_bias_decay(
            params, biases, _RATE, self.momentum, self.weight_decay
        )


@dataclass(frozen=True)
class Adagrad:
    """Adagrad (Duchi et al. 2011)."""

    epsilon: float

    def __call__(self, output_layer: layers.Layer) -> torch.optim.Optimizer:
        return layers.gen_updates_adagrad(layers.all_parameters(output_layer), _RATE, self.epsilon)


@dataclass(frozen=True)
class RMSprop:
    """RMSprop (Tieleman & Hinton 2012)."""

    rho: float
    epsilon: float

    def __call__(self, output_layer: layers.Layer) -> torch.optim.Optimizer:
        return layers.gen_updates_rmsprop(layers.all_parameters(output_layer), _RATE, self.rho, self.epsilon)


@dataclass(frozen=True)
class Adadelta:
    """Adadelta (Zeiler 2012)."""

    rho: float
    epsilon: float

    def __call__(self, output_layer: layers.Layer) -> torch.optim.Optimizer:
        return layers.gen_updates_adadelta(layers.all_parameters(output_layer), _RATE, self.rho, self.epsilon)


@dataclass(frozen=True)
class LowerRate:
    """Another rule, with `share` of the rate for the layers below the top one."""

    rule: Callable[[layers.Layer], torch.optim.Optimizer]
    share: float

    def __call__(self, output_layer: layers.Layer) -> torch.optim.Optimizer:
        optimizer = self.rule(output_layer)
        top = set(next(layer for layer in layers.all_layers(output_layer) if layer.params).params)
        groups = []
        for group in optimizer.param_groups:
            upper, lower = (
                [param for param in group["params"] if (param in top) is is_top] for is_top in (True, False)
            )
            share = group.get("share", 1.0)
            groups += [
                {**group, "params": upper, "share": share},
                {**group, "params": lower, "share": share * self.share},
            ]
        optimizer.param_groups = [group for group in groups if group["params"]]
        return optimizer


@dataclass(frozen=True)
class AdamW:
    """AdamW, with weight decay on weights only; the layers below the top one learn at `share` of the rate."""

    betas: tuple[float, float]
    weight_decay: float
    share: float = 1.0

    def __call__(self, output_layer: layers.Layer) -> torch.optim.Optimizer:
        params, biases = layers.all_parameters(output_layer), set(layers.all_bias_parameters(output_layer))
        top = next(layer for layer in layers.all_layers(output_layer) if layer.params)
        groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
        for param in params:
            decay = 0.0 if param in biases else self.weight_decay
            share = 1.0 if param in set(top.params) else self.share
            groups.setdefault((decay, share), []).append(param)
        return torch.optim.AdamW(
            [{"params": group, "weight_decay": decay, "share": share} for (decay, share), group in groups.items()],
            lr=_RATE,
            betas=self.betas,
            fused=True,
            capturable=params[0].is_cuda,
        )
