"""A network and an experiment as plain values, for the run record and for the identity of a run.

Two runs are of one identity where these values are the same; where they are not, `differences` says what differs.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping

import numpy as np
import torch
from skimage.transform import AffineTransform

import layers
from engine.experiment import Experiment

Plain = None | bool | int | float | str | list | dict
_NOT_THERE = "nothing"


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
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, torch.Size)):
        return [plain(each) for each in value]
    return _name(value) if callable(value) else type(value).__name__


def _name(function: Callable) -> str:
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", None) or type(function).__name__
    code = getattr(function, "__code__", None)
    if "<" in name and code is not None:  # a lambda's name says nothing of what it does
        name += f" {hashlib.sha256(code.co_code + repr(code.co_consts).encode()).hexdigest()[:8]}"
    return name


def differences(old: Plain, new: Plain, place: str = "") -> list[str]:
    """Return what differs between two descriptions, each as `place: old, now new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        names = [*old, *(name for name in new if name not in old)]
        within = [(name, old.get(name, _NOT_THERE), new.get(name, _NOT_THERE)) for name in names]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        within = list(zip(range(len(old)), old, new, strict=True))
    else:
        return [] if old == new else [f"{place}: {_brief(old)}, now {_brief(new)}"]
    return [line for name, a, b in within for line in differences(a, b, f"{place}.{name}" if place else str(name))]


def _brief(value: Plain) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
