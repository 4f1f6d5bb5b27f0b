"""What a training step costs on the device: whole and in parts, kernel by kernel, and with other settings.

Times are those between two events of the device, after a warm-up.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks import operators
from benchmarks.gpu_setting import Kind, Setting, batches, eager, graphed, network_of, synchronize
from benchmarks.supervision import Finding, measured
from engine.network import Network, use_precision
from engine.steps import Trainer
from update_rules import set_rate

NUM_KERNELS = 30
Batch = tuple[list[Tensor], Tensor]


def seconds_a_call(function: Callable[[], object], calls: int, device: torch.device, warm_up: int = 3) -> float:
    """Return the seconds of a call, the device's work included, as the device's clock has them where it has one."""
    for _ in range(warm_up):
        function()
    synchronize(device)
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(calls):
            function()
        end.record()
        synchronize(device)
        return start.elapsed_time(end) / 1000 / calls
    began = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - began) / calls


def bandwidth(setting: Setting) -> Iterator[Finding]:
    """Note what the device could do: copies, matrix products, and what travels to it."""
    device, quick = setting.on, setting.quick
    size, rows, calls = (2**20, 256, 1) if quick else (2**30, 8192, 20)
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = seconds_a_call(lambda: target.copy_(source), calls, device)
    yield measured("copies, GB/s read and written", 2 * size / seconds / 1e9)
    on_host = torch.zeros(size // 4, dtype=torch.uint8, pin_memory=device.type == "cuda")
    seconds = seconds_a_call(lambda: target[: size // 4].copy_(on_host, non_blocking=True), calls, device)
    yield measured("from pinned memory, GB/s", size / 4 / seconds / 1e9)
    matrices = [torch.randn(rows, rows, device=device) for _ in range(2)]
    for precision in ("float32", "tf32", "bf16"):
        use_precision(precision)
        factors = [each.bfloat16() for each in matrices] if precision == "bf16" else matrices
        seconds = seconds_a_call(lambda factors=factors: factors[0] @ factors[1], calls, device)
        yield measured(f"matmul {rows}, {precision}, TFLOP/s", 2 * rows**3 / seconds / 1e12)


def _step_of(setting: Setting, kind: Kind, precision: str = "tf32") -> tuple[Callable[[], object], Batch]:
    """Return what takes a step on one batch, again and again, at a rate that leads nowhere."""
    network = network_of(setting, setting.on, precision)
    optimizer = setting.full.make_optimizer(network.output_layer)
    set_rate(optimizer, 1e-9)
    step = kind(network, optimizer, True)
    [batch] = batches(setting, [setting.full.batch_size])
    return (lambda: step(*batch)), batch


def step(setting: Setting) -> Iterator[Finding]:
    """Time a step, from a graph and singly, and its parts, each from a graph of its own."""
    calls = 2 if setting.quick else 200
    for words, kind in (("graph", graphed), ("eager", eager)):
        function, _ = _step_of(setting, kind)
        yield measured(f"ms a step, {words}", 1000 * seconds_a_call(function, calls, setting.on))
        del function
    network = network_of(setting, setting.on, "tf32")
    optimizer = setting.full.make_optimizer(network.output_layer)
    set_rate(optimizer, 1e-9)
    [batch] = batches(setting, [setting.full.batch_size])
    before = 0.0
    for words, part in _parts(network, optimizer, batch).items():
        optimizer.zero_grad()
        _backward(network, batch)
        replay = captured(part, setting.on)
        milliseconds = 1000 * seconds_a_call(replay, calls, setting.on)
        yield measured(f"ms of {words}", milliseconds)
        if words == "forward and backward":
            yield measured("ms of backward alone", milliseconds - before)
        before = milliseconds
        del replay


def _backward(network: Network, batch: Batch) -> None:
    network.error(*batch, True).backward()


def _parts(network: Network, optimizer: torch.optim.Optimizer, batch: Batch) -> dict[str, Callable[[], object]]:
    def forward_and_backward() -> None:
        optimizer.zero_grad()
        _backward(network, batch)

    return {
        # Its value alone leaves: a graph of autograd that outlived the call would break the next capture.
        "forward": lambda: network.error(*batch, True).detach(),
        "forward and backward": forward_and_backward,
        "optimizer": optimizer.step,
    }


def captured(function: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """Return what replays a function from a graph; the function itself where there are none."""
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


def kernels(setting: Setting) -> Iterator[Finding]:
    """Count operators and kernels of a single step, and note the kernels that take longest."""
    [batch] = batches(setting, [setting.full.batch_size])
    trainer = Trainer(setting.full, network_of(setting, setting.on, "tf32"), graphs=False)
    calls = operators.count(trainer, batch)
    yield measured("operators that compute", calls.total())
    yield measured("operators", dict(calls.most_common()))
    if setting.on.type != "cuda":
        return
    function, _ = _step_of(setting, eager)
    num = 2 if setting.quick else 20
    found, microseconds = profile(function, num, setting.on)
    yield measured("kernels a step", found.total() / num)
    yield measured("kernels' ms a step", sum(microseconds.values()) / 1000 / num)
    for name, total in microseconds.most_common(NUM_KERNELS):
        yield measured(f"us a step, {found[name] / num:g} of {name[:90]}", total / num)


def profile(function: Callable[[], object], num: int, device: torch.device) -> tuple[Counter[str], Counter[str]]:
    """Return the number of each kernel in so many calls, and its microseconds, as the profiler has them."""
    for _ in range(3):
        function()
    synchronize(device)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        for _ in range(num):
            function()
        synchronize(device)
    return tally(profiler.events())


def tally(events: Iterator) -> tuple[Counter[str], Counter[str]]:
    """Return the number of each kernel and its microseconds; copies and fills count, annotations do not."""
    found, microseconds = Counter(), Counter()
    for event in events:
        annotation = getattr(event, "is_user_annotation", False) or event.name.startswith(
            ("Optimizer.", "ProfilerStep")
        )
        if event.device_type.name == "CUDA" and not annotation:
            found[event.name] += 1
            microseconds[event.name] += event.time_range.elapsed_us()
    return found, microseconds


def settings(setting: Setting) -> Iterator[Finding]:
    """Time a step with one setting changed at a time."""
    calls, cudnn = 2 if setting.quick else 50, torch.backends.cudnn
    for words, flag, precision, kind in (
        ("tf32, graphs", None, "tf32", graphed),
        ("cudnn.benchmark", "benchmark", "tf32", graphed),
        ("cudnn.deterministic", "deterministic", "tf32", graphed),
        ("bf16", None, "bf16", graphed),
        ("float32", None, "float32", graphed),
        ("no graphs", None, "tf32", eager),
    ):
        cudnn.benchmark, cudnn.deterministic = flag == "benchmark", flag == "deterministic"
        function, _ = _step_of(setting, kind, precision)
        yield measured(f"ms a step, {words}", 1000 * seconds_a_call(function, calls, setting.on))
        del function
