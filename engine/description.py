"""A network and an experiment as plain values, for the run record and for the identity of a run.

Two runs are of one identity where these values are the same; where they are not, `differences` says what differs.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType

import numpy as np
import torch
from skimage.transform import AffineTransform

import layers
from engine.experiment import Experiment

Plain = None | bool | int | float | str | list | dict
_NOT_THERE = "nothing"
# What torch's optimizers keep of where and how they compute.
DEVICE_SETTINGS = ("fused", "foreach", "capturable")


def describe(experiment: Experiment, output_layer: layers.Layer) -> dict[str, Plain]:
    """Return every field of an experiment as plain values, and its network layer by layer."""
    fields = {field.name: plain(getattr(experiment, field.name)) for field in dataclasses.fields(experiment)}
    return {**fields, "network": describe_network(output_layer)}


def describe_network(output_layer: layers.Layer) -> list[dict[str, Plain]]:
    """Return the layers of a network from the top down: class, shape, what it reads, and every number it was given."""
    found = layers.all_layers(output_layer)
    return [_describe_layer(each, [found.index(below) for below in each.input_layers]) for each in found]


def _describe_layer(layer: layers.Layer, below: list[int]) -> dict[str, Plain]:
    described = {"class": type(layer).__name__, "shape": list(layer.get_output_shape()), "reads": below}
    if layer.params:
        described["parameters"] = [list(param.shape) for param in layer.params]
    if isinstance(layer, layers.ModuleLayer):
        described["module"] = repr(layer.module)
    for name, value in vars(layer).items():
        # What torch and the base class keep of themselves is no declaration.
        if not name.startswith("_") and name not in ("training", "params", "bias_params"):
            described[name] = plain(value)
    return described


def describe_optimizer(optimizer: torch.optim.Optimizer) -> list[dict[str, Plain]]:
    """Return the numbers of an optimizer's groups, which an experiment does not tell where a function makes it."""
    left_out = ("params", "lr", *DEVICE_SETTINGS)
    return [
        {"number of parameters": len(group["params"])}
        | {name: plain(value) for name, value in group.items() if name not in left_out}
        for group in optimizer.param_groups
    ]


def plain(value: object) -> Plain:
    """Return what JSON can hold of a declared value; functions and classes are their names."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, AffineTransform):
        return value.params.tolist()
    if isinstance(value, (np.ndarray, np.generic, torch.Tensor)):
        return value.tolist()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"class": type(value).__name__, **fields}
    if isinstance(value, partial):
        return {"function": plain(value.func), "arguments": plain(value.args), "keywords": plain(value.keywords)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, torch.Size)):
        return [plain(each) for each in value]
    return _name(value) if callable(value) else type(value).__name__


def _name(function: Callable) -> str:
    built_in = isinstance(function, BuiltinFunctionType)  # whose qualified name is of torch's inner classes
    name = getattr(function, "__name__" if built_in else "__qualname__", None) or type(function).__name__
    if "<" in name and isinstance(function, FunctionType):  # a lambda's name says nothing of what it does
        given = [cell.cell_contents for cell in function.__closure__ or ()]
        held = [plain(each) for each in (*given, *(function.__defaults__ or ())) if not callable(each)]
        name += f" {hashlib.sha256(f'{_code(function.__code__)} {held}'.encode()).hexdigest()[:8]}"
    return name


def _code(code: CodeType) -> str:
    """Return what a function does as text, the same in every process."""
    consts = (_code(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts)
    return " ".join([code.co_code.hex(), *code.co_names, *consts])


def differences(old: Plain, new: Plain, place: str = "") -> list[str]:
    """Return what differs between two descriptions, each as `place: old, now new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        names = [*old, *(name for name in new if name not in old)]
        within = [(name, old.get(name, _NOT_THERE), new.get(name, _NOT_THERE)) for name in names]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        within = [(_item(number, *pair), *pair) for number, pair in enumerate(zip(old, new, strict=True))]
    else:
        return [] if old == new else [f"{place}: {_brief(old)}, now {_brief(new)}"]
    return [line for name, a, b in within for line in differences(a, b, f"{place}.{name}" if place else name)]


def _item(number: int, old: Plain, new: Plain) -> str:
    """Name an item of a list by its number, a layer by its class too."""
    kinds = [each.get("class") if isinstance(each, dict) else None for each in (old, new)]
    return f"{number} ({kinds[0]})" if kinds[0] is not None and kinds[0] == kinds[1] else str(number)


def _brief(value: Plain) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
