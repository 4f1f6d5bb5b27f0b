"""An experiment's network on a device: arrays of views in, predictions out."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
import torch

import layers
from engine.experiment import Experiment
from machine.cores import available_cores
from machine.files import DataError
from machine.memory import keep_freed_memory

PRECISIONS = ("float32", "tf32", "bf16")


def find_device(name: str | None) -> torch.device:
    """Return the device of that name, made the current one; without a name, the accelerator where there is one.

    Graphs are captured on the current device, whichever their tensors are on.
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
        raise DataError(f"--device {name} can not be used here: {str(error).splitlines()[0]}") from None
    return device


def use_precision(precision: str) -> None:
    """Have CUDA multiply float32 matrices exactly for float32, rounded to TF32 otherwise."""
    rounding = "ieee" if precision == "float32" else "tf32"
    torch.backends.cuda.matmul.fp32_precision = rounding
    torch.backends.cudnn.conv.fp32_precision = rounding


def fastest_precision(device: torch.device) -> str:
    """Return the precision that predicts fastest on a device: bfloat16 where its circuits have it, TF32 elsewhere."""
    if device.type == "cpu":
        has = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        has = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if has else "tf32"


class Network:
    """An experiment's network on a device."""

    def __init__(self, experiment: Experiment, device: torch.device, precision: str = "tf32"):
        """Build the network; with precision bf16, all below the output layer is computed in bfloat16."""
        self.input_layers, self.output_layer = experiment.build_network(experiment.batch_size)
        self.device, self.batch_size, self.precision = device, experiment.batch_size, precision
        self.output_layer.to(device)
        if device.type == "cpu":
            keep_freed_memory()
            if "OMP_NUM_THREADS" not in os.environ and available_cores() < torch.get_num_threads():
                torch.set_num_threads(available_cores())
            # Once it is told, MKL keeps to this number; else it decides anew by how many threads a sum is shared, which
            # shows in the last digit, and a run would not go on to the same result.
            torch.set_num_threads(torch.get_num_threads())
        use_precision(precision)

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """All parameters, in the order of `layers.all_parameters`."""
        return layers.all_parameters(self.output_layer)

    @property
    def state(self) -> list[torch.Tensor]:
        """What training changes beside the parameters, as `layers.all_state` has it."""
        return layers.all_state(self.output_layer)

    def to_device(self, array: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Move an array to the device; on the CPU, share its memory."""
        return torch.as_tensor(array).to(self.device, non_blocking=True)

    def inputs(self, views: Sequence[torch.Tensor]) -> dict[layers.Layer, torch.Tensor]:
        """Name the input layer of each view (n, rows, columns, 3); bc01 is a view of it in channels-last memory."""
        return {layer: view.permute(0, 3, 1, 2) for layer, view in zip(self.input_layers, views, strict=True)}

    def output_of(
        self, layer: layers.Layer, inputs: Mapping[layers.Layer, torch.Tensor], dropout_active: bool
    ) -> torch.Tensor:
        """Evaluate the network up to a layer below the output layer, in the network's precision -> float32."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return layer.output(inputs, dropout_active).float()

    def error(self, views: Sequence[torch.Tensor], labels: torch.Tensor, normalisation: bool) -> torch.Tensor:
        """Return the error of a minibatch in training, as the output layer measures it."""
        activations = self.output_of(self.output_layer.input_layer, self.inputs(views), dropout_active=True)
        return self.output_layer.error_of(activations, labels, normalisation)

    def predictions(self, inputs: Mapping[layers.Layer, torch.Tensor]) -> torch.Tensor:
        """Return the predictions (n, 37), without dropout."""
        return self.output_layer(self.output_of(self.output_layer.input_layer, inputs, dropout_active=False))

    @torch.inference_mode()
    def predict(self, views: Sequence[np.ndarray | torch.Tensor], batch_size: int = 64) -> np.ndarray:
        """Return the predictions (n, 37) for views (n, rows, columns, 3), without dropout."""
        on_device = [self.to_device(view) for view in views]
        batches = zip(*(view.split(batch_size) for view in on_device), strict=True)
        return torch.cat([self.predictions(self.inputs(batch)) for batch in batches]).cpu().numpy()
