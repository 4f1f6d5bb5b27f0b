"""The cost of a convolution: algorithms, two memory layouts, and the LeNet of "3x faster convolutions in Theano".

    python benchmarks/bench_convolutions.py

1. Direct convolution, im2col and a matrix product, FFT, and the library's, which pads by itself or gets padded images,
   over filter and minibatch sizes, in valid, full and same mode, with the fastest one of each case.
2. The convolutions of the best network, forward and backward, in bc01 memory, through c01b views, and in c01b memory
   that has to be copied.
3. A training step, forward and backward, of LeNet with 32 and 64 filters, by `cc_layers` and by slower convolutions;
   and the error of such a network on handwritten digits (`--digits` measures this alone).

Peers compute the same to 1e-4 in float32 without TF32, which is checked before they are timed. On a CPU, one thread
is the default: algorithms are compared, not how they scale with cores.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from machine.command_line import run_script

import cc_layers
import layers
from benchmarks import convolution_algorithms, measuring
from benchmarks.convolution_algorithms import ALGORITHMS, MODES
from benchmarks.measuring import Timing
from engine.network import find_device
from machine.files import DataError
from machine.memory import keep_freed_memory
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT

TOLERANCE = 1e-4
# An algorithm this many times slower than FFT is not measured at larger filters, except in valid mode: the gap widens.
LEFT_BEHIND = 4
# Short calls are repeated until a measurement lasts this long.
LEAST_SECONDS = 1e-2


@dataclass(frozen=True)
class Sizes:
    """Sizes of the measurements: images of `size` pixels squared, `channels` in and out."""

    filter_sizes: Sequence[int]
    batch_sizes: Sequence[int]
    size: int
    channels: int
    galaxies: int
    lenet_batch: int
    epochs: int


FULL = Sizes((3, 5, 7, 9, 11, 15, 21, 27), (1, 16, 64, 128), 32, 16, galaxies=16, lenet_batch=500, epochs=10)
QUICK = Sizes((3, 5), (1, 2), 8, 2, galaxies=1, lenet_batch=2, epochs=1)

Curves = dict[str, list[Timing | None]]


def check_agreement(results: Mapping[str, Tensor], what: str) -> None:
    """Raise ValueError when a result differs from the last one by more than the tolerance."""
    *others, (reference_name, reference) = results.items()
    for name, result in others:
        error = (result - reference).abs().max().item()
        if not error <= TOLERANCE:
            raise ValueError(
                f"{what}: {name} differs from {reference_name} by {error:.1e}, expected {TOLERANCE} at most"
            )


def sweep(mode: str, batch: int, sizes: Sizes, repeats: int, device: torch.device) -> Curves:
    """Time all algorithms over the filter sizes; None for one that was left out."""
    curves: Curves = {name: [] for name in ALGORITHMS}
    running = dict(ALGORITHMS)
    if mode == "valid":
        del running["library pads"]  # nothing to pad: the library's
    x = torch.randn(batch, sizes.channels, sizes.size, sizes.size, device=device)
    for filter_size in sizes.filter_sizes:
        w = torch.randn(sizes.channels, sizes.channels, filter_size, filter_size, device=device)
        w /= (sizes.channels * filter_size**2) ** 0.5  # results of about 1
        candidates = {name: partial(convolve, x, w, mode) for name, convolve in running.items()}
        check_agreement({name: convolve() for name, convolve in candidates.items()}, f"{mode}, {filter_size}x")
        timings = measuring.side_by_side(candidates, repeats, 0, LEAST_SECONDS, device)
        for name, curve in curves.items():
            curve.append(timings.get(name))
        if mode != "valid":
            limit = LEFT_BEHIND * timings["FFT"].median
            running = {name: convolve for name, convolve in running.items() if timings[name].median < limit}
    return curves


def bench_algorithms(sizes: Sizes, repeats: int, device: torch.device) -> dict[str, dict[int, Curves]]:
    """Time the algorithms in all modes, for all minibatch sizes; print the times and the fastest."""
    print(f"Convolutions of {sizes.channels} channels of {sizes.size}x{sizes.size} to {sizes.channels}, forward\n")
    cases = [(mode, batch) for mode in MODES for batch in sizes.batch_sizes]
    results: dict[str, dict[int, Curves]] = {mode: {} for mode in MODES}
    rows = []
    for mode, batch in tqdm(cases, leave=False, disable=None):
        curves = results[mode][batch] = sweep(mode, batch, sizes, repeats, device)
        for index, filter_size in enumerate(sizes.filter_sizes):
            times = {name: curve[index] for name, curve in curves.items() if curve[index]}
            fastest = min(times, key=lambda name: times[name].median)
            rows.append((mode, batch, filter_size, *(times.get(name, "") for name in ALGORITHMS), fastest))
    print(measuring.table(("mode", "batch", "filter", *ALGORITHMS, "fastest"), rows), flush=True)
    return results


def draw_algorithms(results: Mapping[str, Mapping[int, Curves]], filter_sizes: Sequence[int]) -> Figure:
    """Draw seconds over filter sizes: a row for each mode, a column for each minibatch size."""
    batches = list(results[MODES[0]])
    figure = Figure((2.6 * len(batches) + 0.6, 7.2), layout="constrained")
    axes = figure.subplots(len(MODES), len(batches), sharex=True, sharey="col", squeeze=False)
    for row, mode in zip(axes, MODES, strict=True):
        for ax, batch in zip(row, batches, strict=True):
            measuring.draw_curves(ax, filter_sizes, results[mode][batch])
            ax.set_yscale("log")
            ax.grid(alpha=0.3)
            ax.set_title(f"{mode}, batch {batch}", fontsize=9)
    for ax in axes[-1]:
        ax.set_xlabel("filter size")
    for ax in axes[:, 0]:
        ax.set_ylabel("seconds")
    figure.legend(*axes[-1, 0].get_legend_handles_labels(), loc="outside upper center", ncols=5, fontsize=9)
    return figure


def step_of(layer: Callable[[Tensor], Tensor], x: Tensor, params: Sequence[Tensor]) -> Callable[[], Tensor]:
    """Return a function that evaluates a layer and all gradients of its output's sum, and returns the output."""

    def step() -> Tensor:
        out = layer(x)
        torch.autograd.grad(out.sum(), [x, *params])
        return out.detach()

    return step


def layouts(layer: cc_layers.CudaConvnetConv2DLayer, device: torch.device) -> dict[str, Callable[[], Tensor]]:
    """Return a step of a convolution in three layouts, on the same images and parameters; each returns bc01."""
    layer = layer.to(device)
    channels, rows, columns, batch = layer.input_layer.get_output_shape()
    images = torch.randn(batch, channels, rows, columns, device=device, requires_grad=True)
    images_c01b = cc_layers.c01b(images.detach()).contiguous().requires_grad_()
    w = cc_layers.bc01(layer.W.detach()).contiguous().requires_grad_()

    def in_bc01(x: Tensor) -> Tensor:
        return torch.relu(functional.conv2d(x, w) + layer.b)

    def through_views(x: Tensor) -> Tensor:
        return cc_layers.bc01(layer(cc_layers.c01b(x)))

    def in_c01b(x: Tensor) -> Tensor:
        return cc_layers.bc01(layer(x).contiguous())

    return {
        "c01b memory, copied": step_of(in_c01b, images_c01b, layer.params),
        "c01b views": step_of(through_views, images, layer.params),
        "bc01": step_of(in_bc01, images, [w, layer.b]),
    }


def bench_layouts(galaxies: int, repeats: int, device: torch.device) -> dict[str, dict[str, Timing]]:
    """Time the best network's convolutions in three layouts; print times and their ratio to bc01."""
    _, output = EXPERIMENT.build_network(galaxies)
    convolutions = [each for each in layers.all_layers(output) if isinstance(each, cc_layers.CudaConvnetConv2DLayer)]
    results, rows = {}, []
    for layer in reversed(convolutions):
        channels, height, width, batch = layer.input_layer.get_output_shape()
        filters, size = layer.W.shape[3], layer.W.shape[1]
        name = f"{batch} x {channels} x {height} x {width}, {filters} of {size}x{size}"
        candidates = layouts(layer, device)
        check_agreement({each: step() for each, step in candidates.items()}, name)
        timings = results[name] = measuring.side_by_side(candidates, repeats, 1, LEAST_SECONDS, device)
        ratios = [f"{timings[each].median / timings['bc01'].median:.2f}" for each in candidates if each != "bc01"]
        rows.append((name, *timings.values(), *ratios))
    print("\nThe best network's convolutions, forward and backward\n")
    print(measuring.table(("layer", *candidates, "copied / bc01", "views / bc01"), rows), flush=True)
    return results


def bench_lenet(batch: int, repeats: int, device: torch.device) -> dict[str, Timing]:
    """Time a training step of LeNet by each peer; print times and relative speeds."""
    steps = convolution_algorithms.steps(batch, device)
    check_agreement({name: step() for name, step in steps.items()}, "LeNet")
    timings = measuring.side_by_side(steps, repeats, 1, 0.0, device)
    rows = []
    for name, timing in timings.items():
        ratios = [f"{timings[other].median / timing.median:.2f}" for other in ("direct", "nn.Sequential")]
        rows.append((name, timing, *ratios))
    print(f"\nLeNet, forward and backward, batch {batch}; and speed relative to others\n")
    print(measuring.table(("convolution", "step", "direct", "nn.Sequential"), rows), flush=True)
    return timings


def bench_digits(num_epochs: int, device: torch.device) -> dict[str, float] | None:
    """Train LeNet on scikit-learn's digits and print its error; None without scikit-learn."""
    print()
    try:
        return convolution_algorithms.report_error(num_epochs, device)
    except DataError as error:
        print(f"no test error: {error}")
        return None


def main() -> None:
    parser = measuring.parser(__doc__)
    parser.set_defaults(threads=1)
    parser.add_argument("--digits", action="store_true", help="measure only the error of LeNet on digits")
    args = parser.parse_args()
    sizes = QUICK if args.quick else FULL
    device = find_device(args.device)
    torch.set_num_threads(args.threads)
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
    else:
        # As in training; else algorithms that need much memory wait for the kernel to clear it.
        keep_freed_memory()
    torch.manual_seed(0)
    if args.digits:
        return bench_digits(sizes.epochs, device)
    results = {
        "environment": measuring.print_environment(device=str(device)),
        "filter_sizes": sizes.filter_sizes,
        "algorithms": bench_algorithms(sizes, args.repeats, device),
        "layouts": bench_layouts(sizes.galaxies, args.repeats, device),
        "lenet": bench_lenet(sizes.lenet_batch, args.repeats, device),
        "digits": bench_digits(sizes.epochs, device),
    }
    measuring.save(args.output, "convolutions", results, draw_algorithms(results["algorithms"], sizes.filter_sizes))


if __name__ == "__main__":
    run_script(main)
