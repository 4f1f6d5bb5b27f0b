"""A network and an experiment as plain values, for the run record and for the identity of a run.

A run resumes another run only where these values are equal; `differences` lists what differs.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from types import BuiltinFunctionType, FunctionType

import numpy as np
import torch
from skimage.transform import AffineTransform

import layers
from engine.experiment import Experiment
from galaxy.tree import Tree
from machine.files import DataError

Plain = None | bool | int | float | str | list | dict
_MISSING = "nothing"
# Settings of torch's optimizers that depend on the device, not on the experiment.
DEVICE_SETTINGS = ("fused", "foreach", "capturable")


def describe(experiment: Experiment, output_layer: layers.Layer) -> dict[str, Plain]:
    """Describe every field of an experiment, and its network layer by layer; raises DataError for a lambda."""
    fields = {field.name: plain(getattr(experiment, field.name)) for field in dataclasses.fields(experiment)}
    return {**fields, "network": describe_network(output_layer)}


def describe_network(output_layer: layers.Layer) -> list[dict[str, Plain]]:
    """Describe the layers of a network from the top down: class, shape, input layers, and all numbers given to it."""
    stack = layers.all_layers(output_layer)
    descriptions = []
    for layer in stack:
        description = {
            "class": type(layer).__name__,
            "shape": list(layer.get_output_shape()),
            "reads": [stack.index(below) for below in layer.input_layers],
        }
        if layer.params:
            description["parameters"] = [list(param.shape) for param in layer.params]
        if isinstance(layer, layers.ModuleLayer):
            description["module"] = repr(layer.module)
        # Attributes of torch and of the base class are not part of the declaration.
        own = {name: value for name, value in vars(layer).items() if not name.startswith("_")}
        own = {name: plain(own[name]) for name in own if name not in ("training", "params", "bias_params")}
        descriptions.append(description | own)
    return descriptions


def describe_optimizer(optimizer: torch.optim.Optimizer) -> list[dict[str, Plain]]:
    """Describe the numbers of an optimizer's groups: a function that makes the optimizer does not show them."""
    left_out = ("params", "lr", *DEVICE_SETTINGS)
    return [
        {"number of parameters": len(group["params"])}
        | {name: plain(value) for name, value in group.items() if name not in left_out}
        for group in optimizer.param_groups
    ]


def plain(value: object) -> Plain:
    """Convert a declared value to what JSON can hold; functions and classes become their names."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, AffineTransform):
        return value.params.tolist()
    if isinstance(value, Tree):
        return {"class": "Tree", "name": value.name, "sha256": value.checksum}
    if isinstance(value, (np.ndarray, np.generic, torch.Tensor)):
        return value.tolist()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"class": type(value).__name__, **fields}
    if isinstance(value, partial):
        return {"function": plain(value.func), "arguments": plain(value.args), "keywords": plain(value.keywords)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, torch.Size)):
        return [plain(item) for item in value]
    return _describe_function(value) if callable(value) else type(value).__name__


def _describe_function(function: Callable) -> Plain:
    """Describe a function by its name, and by the values that it holds: closure and defaults."""
    if not isinstance(function, FunctionType):
        built_in = isinstance(function, BuiltinFunctionType)  # its qualified name contains torch's inner classes
        return getattr(function, "__name__" if built_in else "__qualname__", None) or type(function).__name__
    if function.__name__ == "<lambda>":
        code = function.__code__
        raise DataError(
            f"expected named functions in an experiment, got a lambda in line {code.co_firstlineno} of "
            f"{code.co_filename}: a run could not tell it from an edited one; write it with def, or with "
            "functools.partial"
        )
    if "<locals>" not in function.__qualname__:
        return function.__qualname__
    values = [*(cell.cell_contents for cell in function.__closure__ or ()), *(function.__defaults__ or ())]
    held = [plain(item) for item in values if not callable(item)]
    return {"function": function.__qualname__, "values": held} if held else function.__qualname__


def checksum(*contents: np.ndarray | bytes) -> str:
    """Return the SHA-256 of arrays and bytes, one after the other."""
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content if isinstance(content, bytes) else np.ascontiguousarray(content))
    return digest.hexdigest()


def differences(old: Plain, new: Plain, path: str = "") -> list[str]:
    """List the differences of two descriptions, as `path: old, now new`."""
    if isinstance(old, dict) and isinstance(new, dict):
        names = [*old, *(name for name in new if name not in old)]
        pairs = [(name, old.get(name, _MISSING), new.get(name, _MISSING)) for name in names]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [(_item_name(index, a, b), a, b) for index, (a, b) in enumerate(zip(old, new, strict=True))]
    else:
        return [] if old == new else [f"{path}: {_brief(old)}, now {_brief(new)}"]
    return [line for name, a, b in pairs for line in differences(a, b, f"{path}.{name}" if path else name)]


def _item_name(index: int, old: Plain, new: Plain) -> str:
    """Name an item of a list by its index, a layer by its class too."""
    classes = [item.get("class") if isinstance(item, dict) else None for item in (old, new)]
    return f"{index} ({classes[0]})" if classes[0] is not None and classes[0] == classes[1] else str(index)


def _brief(value: Plain) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
