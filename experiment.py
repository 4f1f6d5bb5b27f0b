"""What an experiment is, and its network on a device.

An `Experiment` declares everything that bears on the result of a training run. It is frozen and has no defaults: a
forgotten number is a TypeError, and the difference of two scripts is the scientific difference.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from skimage.transform import AffineTransform

import layers
import realtime_augmentation as ra
from freed_memory import keep_freed_memory
from load_data import DataError


@dataclasses.dataclass(frozen=True, kw_only=True)
class NormConstraint:
    """Limits to the L2 norms of weight columns: one for each dense layer from the bottom up, none for the rest."""

    every: int
    limits: tuple[float, ...]

    def apply(self, output_layer: layers.Layer) -> None:
        """Rescale the columns that are too long (documentation 2.3.4; Hinton et al. 2012)."""
        dense = [each for each in reversed(layers.all_layers(output_layer)) if isinstance(each, layers.DenseLayer)]
        with torch.no_grad():
            for layer, limit in zip(dense, self.limits, strict=False):
                for parameter, value in layer.rescaling_updates(limit):
                    parameter.copy_(value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """One model and its training; every scientific number stands here, none has a default."""

    name: str
    # batch size -> input layers, one a view, and the output layer
    build_network: Callable[[int], tuple[list[layers.Layer], layers.Layer]]

    ds_transforms: Sequence[AffineTransform]
    target_sizes: Sequence[tuple[int, int]]
    augmentation_params: Mapping[str, object]
    colour_std: float
    processor_class: type[ra.LoadAndProcess]
    processor_class_fixed: type[ra.LoadAndProcessFixed]

    batch_size: int
    chunk_size: int
    num_chunks: int
    num_chunks_nonorm: int
    learning_rate_schedule: Mapping[int, float]
    momentum: float
    weight_decay: float
    norm_constraint: NormConstraint | None
    validate_every: int
    seed: int

    def shortened(self, num_chunks: int, keep_schedule: bool = False) -> "Experiment":
        """Return the experiment with another number of chunks; its rates and validations keep their fractions.

        The chunks without normalisation do not: they are as many as it takes to leave the start.
        """
        if keep_schedule:
            return dataclasses.replace(self, num_chunks=num_chunks)
        scale = num_chunks / self.num_chunks
        schedule = {round(chunk * scale): rate for chunk, rate in self.learning_rate_schedule.items()}
        validate_every = max(1, round(self.validate_every * scale))
        return dataclasses.replace(
            self, num_chunks=num_chunks, learning_rate_schedule=schedule, validate_every=validate_every
        )

    def learning_rate(self, chunk: int) -> float:
        """Return the rate of a chunk, counted from 0."""
        return self.learning_rate_schedule[max(start for start in self.learning_rate_schedule if start <= chunk)]

    def numbers(self) -> dict[str, object]:
        """Return every field as plain values, for the run record."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}


def _plain(value: object) -> object:
    if isinstance(value, AffineTransform):
        return value.params.tolist()
    if isinstance(value, NormConstraint):
        return dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value.__qualname__ if callable(value) else value


def find_device(name: str | None) -> torch.device:
    """Return the device of that name; without a name, the accelerator where there is one."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DataError(f"--device {name} can not be used here: {str(error).splitlines()[0]}") from None
    return device


PRECISIONS = ("float32", "tf32", "bf16")


def use_precision(precision: str) -> None:
    """Have CUDA multiply float32 matrices exactly for float32, rounded to TF32 otherwise."""
    rounding = "ieee" if precision == "float32" else "tf32"
    torch.backends.cuda.matmul.fp32_precision = rounding
    torch.backends.cudnn.conv.fp32_precision = rounding


class Network:
    """An experiment's network on a device: arrays of views in, predictions out."""

    def __init__(self, experiment: Experiment, device: torch.device, precision: str = "tf32"):
        """Build the network; with precision bf16, all below the output layer is computed in bfloat16."""
        self.input_layers, self.output_layer = experiment.build_network(experiment.batch_size)
        self.device, self.batch_size, self.precision = device, experiment.batch_size, precision
        self.output_layer.to(device)
        if device.type == "cpu":
            keep_freed_memory()
            # Once it is told, MKL keeps to this number; else it decides anew by how many threads a sum is shared, which
            # shows in the last digit, and a run would not go on to the same result.
            torch.set_num_threads(torch.get_num_threads())
        use_precision(precision)

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

    def error(self, views: Sequence[torch.Tensor], targets: torch.Tensor, normalisation: bool) -> torch.Tensor:
        """Return the mean squared error of a minibatch in training."""
        activations = self.output_of(self.output_layer.input_layer, self.inputs(views), dropout_active=True)
        return self.output_layer.error_of(activations, targets, normalisation)

    def predictions(self, inputs: Mapping[layers.Layer, torch.Tensor]) -> torch.Tensor:
        """Return the predictions (n, 37), without dropout."""
        return self.output_layer(self.output_of(self.output_layer.input_layer, inputs, dropout_active=False))

    @torch.inference_mode()
    def predict(self, views: Sequence[np.ndarray | torch.Tensor], batch_size: int = 64) -> np.ndarray:
        """Return the predictions (n, 37) for views (n, rows, columns, 3), without dropout."""
        on_device = [self.to_device(view) for view in views]
        batches = zip(*(view.split(batch_size) for view in on_device), strict=True)
        return torch.cat([self.predictions(self.inputs(batch)) for batch in batches]).cpu().numpy()


def rmse(predictions: np.ndarray, targets: np.ndarray) -> float:
    """Return the root mean squared error over all galaxies and answers, predictions clipped to [0, 1]."""
    return float(np.sqrt(np.mean((np.clip(predictions, 0, 1) - targets) ** 2, dtype=np.float64)))
