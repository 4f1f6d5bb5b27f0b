"""Weights from which a training starts: those of a trained experiment, or those in the folder `models`.

`--start-from` accepts the name of a trained experiment, an analysis pickle (also one of 2014), and a file of starting
weights: arrays in the order of `layers.get_param_values`, matrices and filters in 16 bits. Layers are compared from
the bottom up. A layer whose shapes differ keeps the parameters that were drawn for it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import layers
from engine.network import Network
from machine import seals
from machine.arrays import load_arrays, load_pickle, write_named
from machine.files import DataError, file_checksum, first_line, read_text, replacing
from machine.products import Product
from machine.version import VERSION
from survey import folders

MODELS = Path(__file__).resolve().parent.parent / "models"
_REMEDY = "name another file with --start-from, or leave the flag out"
# Lite2 has about 300 arrays.
_MAX_ARRAYS = 2_000


@dataclass(frozen=True)
class StartingWeights:
    """The content of a file of trained parameters: `values` in the order of `layers.get_param_values`."""

    path: Path
    sha256: str
    values: list[np.ndarray]

    def put_into(self, network: Network) -> list[str]:
        """Set the layers of a network that fit; print a line, and return the names of the layers that start anew.

        Raises DataError, and changes nothing, if no layer fits or a value is not finite.
        """
        own = [layer for layer in layers.all_layers(network.output_layer) if layer.params or layer.state]
        fitting = fitting_layers(own[::-1], self.values)
        if not fitting:
            raise DataError(
                f"{self.path}: expected parameters of this network or of one that shares a layer with it, got "
                f"{len(self.values)} arrays, of which none fits; {_REMEDY}"
            )
        with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite
            values = {layer: [np.asarray(value, np.float32) for value in block] for layer, block in fitting.items()}
        if not all(np.isfinite(value).all() for block in values.values() for value in block):
            raise DataError(f"{self.path}: expected finite parameters, got NaN or infinity; {_REMEDY}")
        with torch.no_grad():
            for layer, block in values.items():
                for target, value in zip((*layer.params, *layer.state), block, strict=True):
                    target.copy_(torch.from_numpy(value))
        anew = [describe_layer(layer) for layer in own if layer not in fitting]
        rest = f", anew: {', '.join(anew)}" if anew else ""
        print(f"started from {self.path}: {len(fitting)} of {len(own)} layers with parameters{rest}")
        return anew


def describe_layer(layer: layers.Layer) -> str:
    """Return the class of a layer and the shape of its first parameters, of a module its class and its output."""
    if isinstance(layer, layers.ModuleLayer):
        return f"{type(layer.module).__name__} with {layer.get_output_shape()[1]} outputs"
    return f"{type(layer).__name__} {tuple(layer.params[0].shape)}"


def fitting_layers(own: Sequence[layers.Layer], values: Sequence[np.ndarray]) -> dict[layers.Layer, list[np.ndarray]]:
    """Return the values of each layer whose shapes agree; `own` are the layers with parameters, from the bottom up.

    `values` hold all parameters and then all state, both from the top down. They do not say where the state begins:
    this network's own number comes first, and another one is chosen only if more arrays fit.
    """
    own_state = sum(len(layer.state) for layer in own)
    best: dict[layers.Layer, list[np.ndarray]] = {}
    for num_state in sorted(range(len(values) + 1), key=lambda num: (num != own_state, num)):
        split = len(values) - num_state
        fitting = _fitting_with(own, values[:split], values[split:])
        if _num_arrays(fitting) > _num_arrays(best):
            best = fitting
        if len(best) == len(own):
            break
    return best


def _num_arrays(fitting: Mapping[layers.Layer, Sequence[np.ndarray]]) -> int:
    return sum(map(len, fitting.values()))


def _fitting_with(
    own: Sequence[layers.Layer], params: Sequence[np.ndarray], state: Sequence[np.ndarray]
) -> dict[layers.Layer, list[np.ndarray]]:
    fitting = {}
    params_end, state_end = len(params), len(state)
    for layer in own:
        first_param, first_state = params_end - len(layer.params), state_end - len(layer.state)
        if first_param < 0 or first_state < 0:
            break
        block = [*params[first_param:params_end], *state[first_state:state_end]]
        shapes = [tuple(tensor.shape) for tensor in (*layer.params, *layer.state)]
        if [value.shape for value in block] == shapes:
            fitting[layer] = block
        params_end, state_end = first_param, first_state
    return fitting


def find(name: str) -> Path:
    """Return the file that `--start-from` names: a file, a trained experiment, or a file in `models`."""
    if name.endswith((".pkl", ".npz")):
        return Path(name)
    trained, in_the_box = folders.current.analysis(name.removesuffix(".py")), MODELS / f"{name}_start.npz"
    path = next((path for path in (trained, in_the_box) if path.exists()), None)
    if path is None:
        others = ", ".join(sorted(path.name.removesuffix("_start.npz") for path in MODELS.glob("*_start.npz")))
        raise DataError(
            f"--start-from {name}: expected a trained experiment, but {trained} is missing, a file .pkl or .npz, or "
            f"weights that come with the project ({others or 'none'}); train it first, or name another"
        )
    return path


def read(path: Path) -> StartingWeights:
    """Read an analysis pickle or a file of starting weights; raises DataError for a damaged or foreign file."""
    if path.suffix == ".npz":
        sha256, values = _checked(path), list(load_arrays(path, _REMEDY).values())
    else:
        analysis = load_pickle(path, "the training of this experiment")
        values = analysis.get("param_values") if isinstance(analysis, dict) else None
        sha256 = file_checksum(path)
    if not isinstance(values, list | tuple) or not 0 < len(values) <= _MAX_ARRAYS:
        raise DataError(f"{path}: expected the parameters of a trained network, got none; {_REMEDY}")
    if not all(isinstance(value, np.ndarray | np.number) for value in values):
        raise DataError(f"{path}: expected arrays of numbers as parameters, got others; {_REMEDY}")
    return StartingWeights(path, sha256, [np.asarray(value) for value in values])


def _checked(path: Path) -> str:
    """Return the SHA-256 of a file of starting weights; raises DataError if its card states another one."""
    sha256, card = file_checksum(path), path.with_suffix(".json")
    try:
        expected = json.loads(read_text(card, _REMEDY))["sha256"] if card.exists() else sha256
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{card} is damaged ({first_line(error)}); fetch it again, or {_REMEDY}") from None
    if sha256 != expected:
        raise DataError(f"{path}: expected the SHA-256 of its card, {card.name}; fetch both again, or {_REMEDY}")
    return sha256


def compact(value: np.ndarray) -> np.ndarray:
    """Return matrices and filters in 16 bits if all values fit; biases and statistics as they are."""
    with np.errstate(over="ignore"):
        half = value.astype(np.float16)
    return half if value.ndim > 1 and np.isfinite(half).all() else value


def products_of(path: Path) -> list[Product]:
    """Return the files that `write` writes: the weights, and their cards for programs and for readers."""
    return [Product(path.with_suffix(suffix)) for suffix in (".npz", ".json", ".md")]


def write(path: Path, name: str, network: Network, facts: Mapping[str, str]) -> None:
    """Write a trained network as starting weights with cards; the facts are titles and texts for them."""
    own = [layer for layer in layers.all_layers(network.output_layer) if layer.params or layer.state]
    values = [compact(value) for value in layers.get_param_values(network.output_layer)]
    beside, page = path.with_suffix(".json"), path.with_suffix(".md")
    # The weights take their place first, the cards follow.
    with (
        replacing(page, sealed=True) as new_page,
        replacing(beside, sealed=True) as new_card,
        replacing(path) as new_weights,
    ):
        write_named(new_weights, compressed=True, **{f"{index:04d}": value for index, value in enumerate(values)})
        seals.press(new_weights)
        card = {
            "sha256": file_checksum(new_weights),
            "seal": seals.blank(),
            "name": name,
            "layers": [describe_layer(layer) for layer in own],
            "parameters": sum(param.numel() for param in network.parameters),
            "version of the project": VERSION,
            "facts": dict(facts),
        }
        new_card.write_text(json.dumps(card, indent=1) + "\n")
        lines = [f"# {path.stem}", f"Weights of {name}, from which a training starts: `--start-from {path.name}`."]
        lines += [f"{title[:1].upper()}{title[1:]}: {text}" for title, text in facts.items()]
        lines += [f"Layers with parameters, from the top down: {', '.join(card['layers'])}."]
        lines += [f"{card['parameters']:,} parameters; matrices and filters in 16 bits. SHA-256: `{card['sha256']}`"]
        new_page.write_text("\n\n".join([*lines, f"<!-- {seals.blank()} -->"]) + "\n", encoding="utf-8")
        beside.unlink(missing_ok=True)  # the earlier card describes another file
    print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB), {beside.name} and {page.name}")
