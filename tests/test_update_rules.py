"""The update rules of 2014 against the reference and against plain loops, whatever the rate does meanwhile."""

import numpy as np
import pytest
import torch
from tiny import ROOT

import layers
from engine.optimizers import AdamW
from update_rules import set_rate

RULES = (
    ("sgd", {"learning_rate": 0.05}),
    ("regular_momentum", {"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.01}),
    ("nesterov_momentum", {"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.01}),
    ("adagrad", {"learning_rate": 0.1}),
    ("rmsprop", {"learning_rate": 0.01}),
    ("adadelta", {}),
)


@pytest.mark.parametrize(("rule", "options"), RULES)
def test_ten_steps_are_the_reference(rule, options):
    with np.load(ROOT / "tests" / "reference" / "update_rules.npz") as arrays:
        w = torch.nn.Parameter(torch.from_numpy(arrays["w0"]))
        a, t, expected = torch.from_numpy(arrays["A"]), torch.from_numpy(arrays["t"]), arrays[f"gen_updates_{rule}"]
    optimizer = getattr(layers, f"gen_updates_{rule}")([w], **options)
    for weights in expected:
        optimizer.zero_grad()
        ((a @ w - t) ** 2).mean().backward()
        optimizer.step()
        np.testing.assert_allclose(w.detach(), weights, rtol=0, atol=1e-5)


RATES = (0.04, 0.04, 0.004, 0.004, 0.05, 0.0004, 0.0004)


def set_each(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Change the rate as any user of torch does."""
    for group in optimizer.param_groups:
        group["lr"] = rate


@pytest.mark.parametrize("set_to", [set_rate, set_each])
class TestRatesThatChange:
    @pytest.mark.parametrize("nesterov", [True, False])
    def test_momentum_survives_them(self, nesterov, set_to):
        w = torch.nn.Parameter(torch.ones(3))
        bias = torch.nn.Parameter(torch.ones(2))
        if nesterov:
            optimizer = layers.gen_updates_nesterov_momentum_no_bias_decay([w, bias], [bias], 0.04, 0.9, 0.01)
        else:
            optimizer = layers.gen_updates_regular_momentum([w, bias], 0.04, 0.9, 0.01)
        rng = np.random.default_rng(0)
        values = {w: np.ones(3), bias: np.ones(2)}
        velocity = {w: np.zeros(3), bias: np.zeros(2)}
        for rate in RATES:
            set_to(optimizer, rate)
            for param in (w, bias):
                gradient = rng.normal(size=len(param))
                param.grad = torch.from_numpy(gradient.astype(np.float32))
                decayed = gradient + (0.0 if nesterov and param is bias else 0.01) * values[param]
                velocity[param] = 0.9 * velocity[param] - rate * decayed
                values[param] += 0.9 * velocity[param] - rate * decayed if nesterov else velocity[param]
            optimizer.step()
            for param in (w, bias):
                np.testing.assert_allclose(param.detach(), values[param], rtol=1e-5, atol=1e-7)

    @pytest.mark.parametrize("rule", ["sgd", "adagrad", "rmsprop", "adadelta"])
    def test_the_other_rules_follow_them(self, rule, set_to):
        w = torch.nn.Parameter(torch.ones(3))
        optimizer = getattr(layers, f"gen_updates_{rule}")([w]) if rule != "sgd" else layers.gen_updates_sgd([w], 1.0)
        rng = np.random.default_rng(0)
        values, squares, deltas = np.ones(3), np.zeros(3), np.zeros(3)
        for rate in RATES:
            set_to(optimizer, rate)
            gradient = rng.normal(size=3)
            w.grad = torch.from_numpy(gradient.astype(np.float32))
            optimizer.step()
            kept, new = {"sgd": (0, 0), "adagrad": (1, 1), "rmsprop": (0.9, 0.1), "adadelta": (0.95, 0.05)}[rule]
            squares = kept * squares + new * gradient**2
            if rule == "sgd":
                step = gradient
            elif rule == "adadelta":
                step = np.sqrt((deltas + 1e-6) / (squares + 1e-6)) * gradient
                deltas = 0.95 * deltas + 0.05 * step**2
            else:
                step = gradient / np.sqrt(squares + 1e-6)
            values = values - rate * step
            np.testing.assert_allclose(w.detach(), values, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("rate", [0.0, -0.1, float("nan")])
    def test_a_rate_that_is_not_above_zero_is_refused(self, rate, set_to):
        w = torch.nn.Parameter(torch.ones(3))
        optimizer = layers.gen_updates_nesterov_momentum([w], 0.1, 0.9, 0.0)
        w.grad = torch.ones(3)
        optimizer.step()
        with pytest.raises(ValueError, match="learning rate above 0"):
            set_to(optimizer, rate) or optimizer.step()


class TestSetRate:
    def test_a_group_s_rate_is_its_share(self):
        params = [torch.nn.Parameter(torch.ones(2)) for _ in range(3)]
        groups = [{"params": [params[0]], "share": 0.1}, {"params": [params[1]], "share": 1.0}, {"params": [params[2]]}]
        optimizer = torch.optim.SGD(groups, lr=1.0)
        set_rate(optimizer, 0.5)
        assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.5, 0.5]
        set_rate(optimizer, 0.25)  # of the rate, not of what it was
        assert [group["lr"] for group in optimizer.param_groups] == [0.025, 0.25, 0.25]

    def test_momentum_of_a_share_is_rescaled_by_its_own_rate(self):
        def train(share: float, rates: tuple[float, ...]) -> torch.Tensor:
            w = torch.nn.Parameter(torch.ones(3))
            optimizer = layers.gen_updates_regular_momentum([w], 1.0, 0.9, 0.0)
            optimizer.param_groups[0]["share"] = share
            for rate in rates:
                set_rate(optimizer, rate)
                w.grad = w.detach().clone()
                optimizer.step()
            return w.detach()

        expected = train(1.0, (0.02, 0.02, 0.005))
        np.testing.assert_allclose(train(0.1, (0.2, 0.2, 0.05)), expected, rtol=1e-6)

    def test_a_rate_in_a_tensor_is_changed_in_place(self):
        """A captured graph reads the tensor that it was captured with."""
        w = torch.nn.Parameter(torch.ones(3))
        optimizer = layers.gen_updates_nesterov_momentum([w], 1.0, 0.9, 0.0)
        [group] = optimizer.param_groups
        rate = group["lr"] = torch.tensor(1.0)
        set_rate(optimizer, 0.25)
        assert group["lr"] is rate
        assert rate.item() == 0.25

    def test_what_lies_below_the_top_learns_at_its_share_and_vectors_do_not_decay(self):
        below = layers.Input2DLayer(2, 3, 2, 2)
        first = layers.DenseLayer(below, 4, 0.1, 0.0)
        top = layers.DenseLayer(first, 5, 0.1, 0.0)
        optimizer = AdamW(betas=(0.9, 0.99), weight_decay=0.05, share=0.1)(top)
        set_rate(optimizer, 0.01)
        found = {
            param: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for param in group["params"]
        }
        assert {param: (pytest.approx(rate), decay) for param, (rate, decay) in found.items()} == {
            top.W: (0.01, 0.05), top.b: (0.01, 0.0), first.W: (0.001, 0.05), first.b: (0.001, 0.0),
        }  # fmt: skip
