"""Times on an accelerator: a training step and its parts, chunks, prediction, fine-tuning; in under 9 minutes.

    python benchmarks/gpu.py [--root DIR] [--only NAME ...]

`make test-cuda` tests the results. Values are written to `gpu.json` one by one, and printed as tables. A failed
measurement does not stop the next one. `--root` names prepared real galaxies; without it, simulated ones are used.
`--quick` runs on a CPU too, with small sizes; its times mean nothing.
"""

import contextlib
import dataclasses
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.benchmark import Timer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from machine.command_line import run_script

import layers
from benchmarks import measuring
from benchmarks.bench_training import FULL_RECIPE_HOURS_2014
from benchmarks.peers import prepared
from engine import device_augmentation, prediction, steps, training
from engine.device_augmentation import Images
from engine.examples import Examples
from engine.experiment import Experiment, Steps
from engine.network import Network, find_device, use_precision
from engine.options import Options
from engine.part_sharing import PartSharing
from engine.steps import Trainer
from machine.files import DataError, first_line
from survey import folders, images
from survey.folders import adopt
from tests.tiny_network import TINY
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT
from try_finetune_efficientnet_lite0 import EXPERIMENT as LITE0
from update_rules import set_rate

NUM_TRAIN, NUM_VALID, NUM_TEST = 61_578, 6_157, 79_975  # galaxies of Kaggle's survey
EPOCHS, NUM_KERNELS, PIECE = 30, 30, 256
Values = Iterator[tuple[str, object]]
Batch = tuple[list[Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class Setting:
    """The device, whether sizes are small, and a folder for results of runs."""

    device: torch.device
    is_quick: bool
    folder: Path

    @property
    def experiment(self) -> Experiment:
        """The best model; a network of milliseconds for small sizes."""
        return TINY if self.is_quick else EXPERIMENT

    def milliseconds(self, function: Callable[[], object]) -> float:
        """Return the median milliseconds of a call, with the work of the device."""
        timer = Timer("function()", globals={"function": function}, num_threads=torch.get_num_threads())
        return 1000 * timer.blocked_autorange(min_run_time=0.01 if self.is_quick else 1.0).median

    def seconds(self, function: Callable[[], object]) -> float:
        """Return the seconds of one long call, with the work of the device."""
        return measuring.seconds_a_call(function, device=self.device)


def bandwidth(setting: Setting) -> Values:
    """The limits of the device: copies, copies from the host, matrix products."""
    size, rows = (2**20, 256) if setting.is_quick else (2**30, 8192)
    source = torch.zeros(size, dtype=torch.uint8, device=setting.device)
    target = torch.empty_like(source)
    yield "copies, GB/s read and written", 2 * size / setting.milliseconds(lambda: target.copy_(source)) / 1e6
    on_host = torch.zeros(size // 4, dtype=torch.uint8, pin_memory=setting.device.type == "cuda")
    copy = setting.milliseconds(lambda: target[: size // 4].copy_(on_host, non_blocking=True))
    yield "from pinned memory, GB/s", size / 4 / copy / 1e6
    matrices = [torch.randn(rows, rows, device=setting.device) for _ in range(2)]
    for precision in ("float32", "tf32", "bf16"):
        use_precision(precision)
        a, b = [matrix.bfloat16() for matrix in matrices] if precision == "bf16" else matrices
        multiply = setting.milliseconds(lambda a=a, b=b: a @ b)
        yield f"matmul {rows}, {precision}, TFLOP/s", 2 * rows**3 / multiply / 1e9


def random_batch(experiment: Experiment, device: torch.device) -> Batch:
    """Return random views and labels of a minibatch."""
    views = [torch.rand(experiment.batch_size, *shape, device=device) for shape in experiment.views.shapes]
    return views, torch.rand(experiment.batch_size, 37, device=device)


def new_network(setting: Setting, precision: str = "tf32") -> tuple[Network, torch.optim.Optimizer]:
    """Return a network and its optimizer at a negligible learning rate."""
    network = Network(setting.experiment, setting.device, precision)
    layers.reset_variance_preserving(network.output_layer)
    optimizer = setting.experiment.make_optimizer(network.output_layer)
    set_rate(optimizer, 1e-9)
    return network, optimizer


def step(setting: Setting) -> Values:
    """A step with one setting changed at a time; then its parts, each in a graph of its own."""
    batch, cudnn = random_batch(setting.experiment, setting.device), torch.backends.cudnn
    for name, precision, graphs in (
        ("tf32, graph", "tf32", True),
        ("no graph", "tf32", False),
        ("cudnn.benchmark", "tf32", True),
        ("cudnn.deterministic", "tf32", True),
        ("bf16", "bf16", True),
        ("float32", "float32", True),
    ):
        cudnn.benchmark, cudnn.deterministic = name == "cudnn.benchmark", name == "cudnn.deterministic"
        take = steps.make_step(*new_network(setting, precision), True, graphs=graphs)
        yield f"ms a step, {name}", setting.milliseconds(lambda take=take: take(*batch))
        del take
    cudnn.benchmark = cudnn.deterministic = False
    network, optimizer = new_network(setting)

    def forward_and_backward() -> None:
        optimizer.zero_grad()
        network.error(*batch, True).backward()

    forward_and_backward()
    for name, function in (
        # Autograd's graph would break the next capture if it outlived the call.
        ("forward", lambda: network.error(*batch, True).detach()),
        ("forward and backward", forward_and_backward),
        ("optimizer", optimizer.step),
    ):
        yield f"ms of {name}", setting.milliseconds(captured(function, setting.device))


def captured(function: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """Capture a function in a graph and return its replay; the function itself on a device without graphs."""
    if device.type != "cuda":
        return function
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay


# Operators that do not compute, though they are not marked as views.
_NOTHING = {
    "_unsafe_view", "_reshape_alias", "detach", "lift_fresh", "empty", "empty_like", "empty_strided", "new_empty",
    "new_empty_strided", "_record_function_enter_new", "_record_function_exit",
}  # fmt: skip


class _Counting(TorchDispatchMode):
    """Counts the calls of each operator in a block."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: torch._ops.OpOverload, types: object, args: tuple = (), kwargs: Mapping | None = None
    ) -> object:
        name = function.overloadpacket.__name__
        if not function.is_view and name not in _NOTHING:
            self.calls[name] += 1
        return function(*args, **(kwargs or {}))


def count_operators(trainer: Trainer, batch: Batch) -> Counter[str]:
    """Count the computing operators in the second normalised step of a run: forward, backward and update.

    A call of an operator is one kernel or a few; views and allocations are not counted.
    """
    first, second = (
        divmod(trainer.experiment.first_normalised_step + n, trainer.experiment.steps_a_chunk) for n in (0, 1)
    )
    trainer.take(*batch, *first)
    with _Counting() as counting:
        trainer.take(*batch, *second)
    return counting.calls


def kernels(setting: Setting) -> Values:
    """The operators and kernels of a single step, and the slowest kernels."""
    batch = random_batch(setting.experiment, setting.device)
    calls = count_operators(Trainer(setting.experiment, new_network(setting)[0], graphs=False), batch)
    yield "operators that compute", calls.total()
    yield "operators", ", ".join(f"{count} {name}" for name, count in calls.most_common())
    if setting.device.type != "cuda":
        return
    take, num = steps.make_step(*new_network(setting), True, graphs=False), 20
    for _ in range(3):
        take(*batch)
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        for _ in range(num):
            take(*batch)
        torch.cuda.synchronize()
    counts, microseconds = tally(profiler.events())
    yield "kernels a step", counts.total() / num
    yield "kernels' ms a step", sum(microseconds.values()) / 1000 / num
    for name, total in microseconds.most_common(NUM_KERNELS):
        yield f"us a step, {counts[name] / num:g} of {name[:90]}", total / num


def tally(events: Iterable) -> tuple[Counter[str], Counter[str]]:
    """Count calls and microseconds of each kernel, with copies and fills, without annotations."""
    counts, microseconds = Counter(), Counter()
    for event in events:
        annotation = event.is_user_annotation or event.name.startswith(("Optimizer.", "ProfilerStep"))
        if event.device_type.name == "CUDA" and not annotation:
            counts[event.name] += 1
            microseconds[event.name] += event.time_range.elapsed_us()
    return counts, microseconds


def timed_run(
    setting: Setting, experiment: Experiment, options: Options, num_chunks: int
) -> tuple[training.Run, list[float]]:
    """Train normalised chunks; return the run, and the seconds of each chunk without the first and the last."""
    adopt(dataclasses.replace(folders.current, root=setting.folder, data_override=folders.current.data))
    chosen = dataclasses.replace(
        experiment, name="gpu_run", num_chunks=num_chunks, num_steps_nonorm=0, validate_every=10**6
    )
    chosen_options, ends = dataclasses.replace(options, resume=False, checkpoint_every=10**6), []

    def on_chunk(_: object) -> None:
        if setting.device.type == "cuda":
            torch.cuda.synchronize()
        ends.append(time.perf_counter())

    run = training.Run.prepare(chosen, chosen_options, on_chunk)
    run.train()
    return run, np.diff(ends)[:-1].tolist()


def chunks(setting: Setting) -> Values:
    """Whole chunks, a checkpoint, a validation, the sampling, and the minutes of the full recipe."""
    experiment = dataclasses.replace(setting.experiment, learning_rate=Steps({0: 1e-4}))
    options = Options(device=str(setting.device), initialisation="variance-preserving")
    run, seconds = timed_run(setting, experiment, options, 5 if setting.is_quick else 10)
    a_chunk, third = np.median(seconds), max(1, len(seconds) // 3)
    yield "seconds a chunk", a_chunk
    yield "chunks at the end over those at the start", np.median(seconds[-third:]) / np.median(seconds[:third])
    checkpoint = np.median([setting.seconds(run.save) for _ in range(3)])
    yield "seconds a checkpoint", checkpoint
    run.valid_indices = np.resize(run.valid_indices, 4 if setting.is_quick else NUM_VALID)
    run.validate()
    validation = setting.seconds(run.validate)
    yield f"seconds to validate {len(run.valid_indices)}", validation
    with contextlib.closing(run.examples.training(0, run.train_indices)) as made:
        next(made)
        yield "seconds to sample a chunk", setting.seconds(lambda: next(made))
    if setting.device.type == "cuda":
        yield "GB in use on the device", torch.cuda.memory_allocated(setting.device) / 1e9
    minutes = {"chunks": experiment.num_chunks * a_chunk / 60}
    minutes["validations"] = experiment.num_chunks / experiment.validate_every * validation / 60
    minutes["checkpoints"] = sum(minutes.values()) / training.Run.CHECKPOINT_SECONDS * checkpoint
    for name, value in minutes.items():
        yield f"minutes of the recipe's {name}", value
    yield f"minutes of the recipe ({FULL_RECIPE_HOURS_2014} hours in 2014)", sum(minutes.values())


def predictions(setting: Setting) -> Values:
    """Predictions under all transforms, of the device alone and the decoding alone, at two sizes."""
    network, options = new_network(setting)[0], Options(device=str(setting.device), augment_on="device")
    experiment = setting.experiment
    resident, num_train = Images("train", setting.device, resident=True), len(images.ids_of("train"))

    def whole(indices: np.ndarray) -> None:
        prediction.predict(network, Examples(experiment, options, setting.device), indices, "train")

    def on_device(indices: np.ndarray) -> None:
        sharing = PartSharing(network, experiment.views, experiment.test_transforms)
        num = len(sharing.representatives)
        for views, _ in device_augmentation.fixed_chunks(
            resident, experiment.views, indices, sharing.representatives, PIECE * num
        ):
            sharing.predict(views, prediction.images_a_batch(experiment.views, num, setting.device))

    def decode(indices: np.ndarray) -> None:
        pieces = np.split(indices, range(PIECE, len(indices), PIECE))
        for _ in Images("train", setting.device, resident=False).follow(iter(pieces)):
            pass

    sizes = (2, 4) if setting.is_quick else (2048, 6144)
    for name, work in (("whole", whole), ("the device alone", on_device), ("decoding alone", decode)):
        work(np.arange(1 if setting.is_quick else min(64, num_train)))
        few, many = (
            setting.seconds(lambda work=work, num=num: work(np.resize(np.arange(num_train), num))) for num in sizes
        )
        a_galaxy = (many - few) / (sizes[1] - sizes[0])
        yield f"ms a galaxy, {name}", 1000 * a_galaxy
        yield f"seconds for any number, {name}", few - a_galaxy * sizes[0]
        yield f"minutes for {NUM_TEST:,}, {name}", (few + a_galaxy * (NUM_TEST - sizes[0])) / 60


def finetuning(setting: Setting) -> Values:
    """Training of EfficientNet-Lite0 from random weights, at the cost of published ones."""
    experiment = dataclasses.replace(LITE0, batch_size=4, chunk_size=4) if setting.is_quick else LITE0
    for precision in ("tf32", "bf16"):
        options = Options(device=str(setting.device), initialisation="random", precision=precision)
        run, seconds = timed_run(setting, experiment, options, 4 if setting.is_quick else 12)
        del run  # frees its images on the device
        pace = experiment.chunk_size / float(np.median(seconds))
        yield f"images a second, {precision}", pace
        yield f"minutes for {NUM_TRAIN:,} x {EPOCHS} epochs, {precision}", NUM_TRAIN * EPOCHS / pace / 60


MEASUREMENTS: dict[str, Callable[[Setting], Values]] = {
    "bandwidth": bandwidth, "step": step, "chunks": chunks, "prediction": predictions, "finetuning": finetuning,
    "kernels": kernels,
}  # fmt: skip


def measure(names: Sequence[str], setting: Setting, output: Path) -> bool:
    """Measure, write and print values; return whether all measurements succeeded."""
    results: dict[str, object] = {"environment": measuring.print_environment()}
    before, succeeded = folders.current, True
    for name in names:
        values: dict[str, object] = {}
        results[name] = values
        adopt(before)
        use_precision("tf32")
        try:
            for what, value in MEASUREMENTS[name](setting):
                values[what] = value.item() if isinstance(value, np.generic) else value
        except Exception as error:  # the next measurement does not depend on this one
            values["failed"], succeeded = f"{type(error).__name__}: {first_line(error)}", False
        rows = [(what, f"{value:.4g}" if isinstance(value, float) else value) for what, value in values.items()]
        print(measuring.table((name, "value"), rows), "\n", flush=True)
        measuring.save(output, "gpu", results)
    return succeeded


def main() -> None:
    flags = measuring.parser(__doc__, survey=True)
    flags.add_argument("--only", nargs="+", choices=list(MEASUREMENTS), default=list(MEASUREMENTS), metavar="NAME")
    args = flags.parse_args()
    device = find_device(args.device)
    if device.type == "cpu" and not args.quick:
        raise DataError("expected an accelerator, got the CPU; name one with --device, or try --quick")
    with prepared(args.root, 40 if args.quick else 480, 24), tempfile.TemporaryDirectory() as folder:
        sys.exit(not measure(args.only, Setting(device, args.quick, Path(folder)), args.output))


if __name__ == "__main__":
    run_script(main)
