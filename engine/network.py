"""An experiment's network on a device, with drawn or trained parameters: arrays of views in, predictions out."""

import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

import layers
from engine.experiment import Experiment
from machine.arrays import load_pickle
from machine.cores import available_cores
from machine.files import DataError
from machine.memory import keep_freed_memory
from survey import folders, folds
from survey.predictions import ALL_GALAXIES, twin_of

PRECISIONS = ("float32", "tf32", "bf16")
INITIALISATIONS: dict[str, Callable[[layers.Layer], None]] = {
    "2014": layers.reset_all_params,
    "variance-preserving": layers.reset_variance_preserving,
    "random": layers.reset_without_loading,
}


def find_device(name: str | None) -> torch.device:
    """Return the device with this name and make it the current one; by default an accelerator, if there is one.

    CUDA captures graphs on the current device, whatever device their tensors are on. Raises DataError if the device
    cannot be used.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
        if device.type == "cuda":
            device = torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
            torch.cuda.set_device(device)
    except (RuntimeError, AssertionError) as error:
        raise DataError(f"--device {name} cannot be used on this machine: {str(error).splitlines()[0]}") from None
    return device


def use_precision(precision: str) -> None:
    """Let CUDA multiply float32 matrices exactly for 'float32', rounded to TF32 for other precisions."""
    rounding = "ieee" if precision == "float32" else "tf32"
    torch.backends.cuda.matmul.fp32_precision = rounding
    torch.backends.cudnn.conv.fp32_precision = rounding


def fastest_precision(device: torch.device) -> str:
    """Return the fastest precision of prediction on a device: bfloat16 if the hardware supports it, else TF32."""
    if device.type == "cpu":
        supported = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        supported = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if supported else "tf32"


class Network:
    """An experiment's network on a device."""

    def __init__(self, experiment: Experiment, device: torch.device, precision: str = "tf32"):
        """Build the network; with precision 'bf16', all layers below the output layer compute in bfloat16."""
        self.input_layers, self.output_layer = experiment.build_network(experiment.batch_size)
        if (own := getattr(self.output_layer, "tree", experiment.tree)) != experiment.tree:
            raise DataError(
                f"{experiment.name}: expected an output layer of the tree {experiment.tree.name}, got one of "
                f"{own.name}; give the tree to the experiment and to its output layer"
            )
        self.device, self.batch_size, self.precision = device, experiment.batch_size, precision
        self.output_layer.to(device)
        if device.type == "cpu":
            keep_freed_memory()
            if "OMP_NUM_THREADS" not in os.environ and available_cores() < torch.get_num_threads():
                torch.set_num_threads(available_cores())
            # After this call MKL always uses this number of threads. Otherwise MKL chooses a number for each sum, which
            # changes the last digit, and a resumed run would not reach the same result.
            torch.set_num_threads(torch.get_num_threads())
        use_precision(precision)

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """All parameters, in the order of `layers.all_parameters`."""
        return layers.all_parameters(self.output_layer)

    @property
    def state(self) -> list[torch.Tensor]:
        """All buffers that training changes, in the order of `layers.all_state`."""
        return layers.all_state(self.output_layer)

    def to_device(self, array: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Move an array to the device; on the CPU, share its memory."""
        return torch.as_tensor(array).to(self.device, non_blocking=True)

    def inputs(self, views: Sequence[torch.Tensor]) -> dict[layers.Layer, torch.Tensor]:
        """Map input layers to views (n, rows, columns, 3), permuted to bc01 without a copy (channels-last memory)."""
        return {layer: view.permute(0, 3, 1, 2) for layer, view in zip(self.input_layers, views, strict=True)}

    def output_of(
        self, layer: layers.Layer, inputs: Mapping[layers.Layer, torch.Tensor], dropout_active: bool
    ) -> torch.Tensor:
        """Evaluate the network up to a layer below the output layer, in the network's precision -> float32."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return layer.output(inputs, dropout_active).float()

    def error(self, views: Sequence[torch.Tensor], labels: torch.Tensor, normalisation: bool) -> torch.Tensor:
        """Return the training error of a minibatch, as the output layer defines it.

        `labels` (n, answers) may have one more column, the weights of the galaxies, and then the counts of votes.
        """
        return self.error_of(self.activations(views), labels, normalisation)

    def activations(self, views: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the input of the output layer in training, with dropout."""
        return self.output_of(self.output_layer.input_layer, self.inputs(views), dropout_active=True)

    def error_of(self, activations: torch.Tensor, labels: torch.Tensor, normalisation: bool) -> torch.Tensor:
        """Return the training error of `activations`; for `labels` see `error`."""
        num_answers, num_counts = self.output_layer.get_output_shape()[1], self.output_layer.num_counts
        sizes = num_answers, labels.shape[1] - num_answers - num_counts, num_counts
        labels, weights, counts = labels.split(sizes, dim=1)
        options = {"weights": weights} if sizes[1] else {}
        options |= {"counts": counts} if num_counts else {}
        return self.output_layer.error_of(activations, labels, normalisation, **options)

    def param_stds(self) -> list[float]:
        """Return the standard deviation of each array of `layers.get_param_values`, computed on the device."""
        arrays = (*self.parameters, *self.state)
        return torch.stack([array.detach().float().std(correction=0) for array in arrays]).tolist()

    def is_stuck(self) -> bool:
        """Return whether all gradients are zero: if no output is above zero, the network never learns again."""
        gradients = [param.grad for param in self.parameters if param.grad is not None]
        return bool(gradients) and not any(gradient.any() for gradient in gradients)

    def predictions(self, inputs: Mapping[layers.Layer, torch.Tensor]) -> torch.Tensor:
        """Return the predictions (n, answers), without dropout."""
        return self.output_layer(self.output_of(self.output_layer.input_layer, inputs, dropout_active=False))

    @torch.inference_mode()
    def predict(self, views: Sequence[np.ndarray | torch.Tensor], batch_size: int = 64) -> np.ndarray:
        """Return the predictions (n, answers) for views (n, rows, columns, 3), without dropout."""
        on_device = [self.to_device(view) for view in views]
        batches = zip(*(view.split(batch_size) for view in on_device), strict=True)
        return torch.cat([self.predictions(self.inputs(batch)) for batch in batches]).cpu().numpy()


def draw_network(experiment: Experiment, device: torch.device, precision: str, initialisation: str) -> Network:
    """Build a network and draw its parameters from the experiment's seed.

    Raises DataError if an initialisation other than '2014' draws columns that the norm constraint would cut at once.
    """
    torch.manual_seed(experiment.seed)
    network = Network(experiment, device, precision)
    INITIALISATIONS[initialisation](network.output_layer)
    constraint = experiment.norm_constraint
    if constraint is not None and initialisation != "2014" and (exceeded := constraint.exceeded(network.output_layer)):
        norm, limit = exceeded[0]
        raise DataError(
            f"--initialisation {initialisation}: all columns of a dense layer start with a norm of at least "
            f"{norm:.2f}, above the limit of {limit:g}: the constraint would cut them at once; choose another "
            "initialisation, or other limits in the script"
        )
    all_layers = layers.all_layers(network.output_layer)
    is_published = initialisation != "random" and any(getattr(layer, "load", None) for layer in all_layers)
    print(
        f"{experiment.name}: {sum(param.numel() for param in network.parameters):,} parameters, "
        f"{experiment.num_chunks} chunks of {experiment.chunk_size}, "
        f"{'published weights' if is_published else f'initialisation {initialisation}'}, {device}"
    )
    return network


def load_network(experiment: Experiment, device: torch.device, precision: str = "tf32") -> Network:
    """Build a network with the parameters of the experiment's analysis pickle; raises DataError if they do not fit."""
    path = folders.current.analysis(experiment.name)
    fold = folds.of_name(experiment.name)
    flag = " --all-galaxies" if experiment.name.endswith(ALL_GALAXIES) else fold.flag if fold else ""
    network = Network(experiment, device, precision)
    analysis = load_pickle(path, f"{twin_of(experiment.name)}.py{flag}")
    if not isinstance(analysis, dict) or not isinstance(analysis.get("param_values"), list | tuple):
        raise DataError(f"{path}: expected a dictionary with param_values, a list; run {experiment.name}.py again")
    try:
        layers.set_param_values(network.output_layer, analysis["param_values"])
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    return network
