"""Right or wrong on the device: numbers, sampling, indices beyond 2^31, forked workers, shared parts.

Each check yields what it found, with its limit. What it compares can be handed in, so that the tests can show that it
fails where something is wrong.
"""

import importlib
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
import torch
from skimage.transform import AffineTransform
from torch import Tensor
from torch.nn import functional

from benchmarks.gpu_setting import CPU, Setting, network_of
from benchmarks.supervision import Finding, at_most, equal, measured, within
from engine import device_augmentation, prediction
from engine.device_augmentation import Images
from engine.examples import Examples
from engine.network import PRECISIONS, Network, use_precision
from engine.options import Options
from galaxy import warping
from galaxy.affine import IMAGE_SHAPE
from machine.cores import available_cores
from machine.files import DataError, first_line
from survey import images
from survey.decoded_cache import load_pixels

ENGINES = ("torch", "torchvision", "triton", "numpy", "cv2", "simplejpeg", "skimage", "scipy", "sep")
MODULES = (
    "engine.training",
    "engine.prediction",
    "load_data",
    "benchmarks.gpu_timings",
    "try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense",
    "predict_augmented_npy_maxout2048_extradense",
)
NUM_TRAIN = 61_578
# Indices that one piece of `Images.follow` may have.
PIECE = 256
Sample = Callable[[Tensor, Tensor, Tensor, tuple[int, int]], Tensor]


def environment(setting: Setting, modules: Sequence[str] = MODULES) -> Iterator[Finding]:
    """Note versions and memory; everything that is used later can be imported."""
    yield measured("python", platform.python_version())
    for name in ENGINES:
        yield measured(name, _try(lambda name=name: importlib.import_module(name).__version__))
    yield measured("CUDA", str(torch.version.cuda))
    yield measured("cuDNN", str(torch.backends.cudnn.version()))
    yield measured("cores", available_cores())
    yield measured("free disk, GB", shutil.disk_usage(setting.scratch).free / 1e9)
    if setting.on.type == "cuda":
        free, total = torch.cuda.mem_get_info(setting.on)
        yield measured("device", torch.cuda.get_device_name(setting.on))
        yield measured("free memory, GB", free / 1e9)
        yield measured("memory, GB", total / 1e9)
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,driver_version,clocks.sm,power.draw", "--format=csv,noheader"]
        yield measured("nvidia-smi", _try(lambda: subprocess.check_output(query, text=True, timeout=20).strip()))
    for name in modules:
        yield equal(f"import {name}", _try(lambda name=name: importlib.import_module(name).__name__), name)


def _try(function: Callable[[], str]) -> str:
    """Return what a function returns, or why it can not: whatever that is, the next one is tried all the same."""
    try:
        return function()
    except Exception as error:
        return f"{type(error).__name__}: {first_line(error)}"


# What the error of a product relative to float64 may be. Float32 sums of 512 and 800 products err by 5e-7; TF32 has 10
# bits of the factors, bfloat16 has 7.
ERRORS = {"float32": (0.0, 1e-6), "tf32": (5e-5, 1e-3), "bf16": (1e-3, 1e-2)}


def precision(
    setting: Setting, multiply: Callable = torch.matmul, convolve: Callable = functional.conv2d
) -> Iterator[Finding]:
    """Matrix products and convolutions are as exact as `use_precision` says, both of them."""
    generator = torch.Generator().manual_seed(0)
    rows, size = (64, 12) if setting.quick else (4096, 40)
    matrices = [torch.randn(shape, generator=generator) for shape in ((rows, 512), (512, rows))]
    image = [torch.randn(shape, generator=generator) for shape in ((64, 32, size, size), (64, 32, 5, 5))]
    image = [each.contiguous(memory_format=torch.channels_last) for each in image]  # as the networks have it
    for name, function, exact, factors in (
        ("matmul", multiply, torch.matmul, matrices),
        ("convolution", convolve, functional.conv2d, image),
    ):
        factors = [factor.to(setting.on) for factor in factors]
        expected = exact(*(factor.double() for factor in factors))
        for rounding in PRECISIONS:
            use_precision(rounding)
            with torch.autocast(setting.on.type, torch.bfloat16, enabled=rounding == "bf16"):
                product = function(*factors)
            error = float((product.double() - expected).norm() / expected.norm())
            yield within(f"{name}, {rounding}", error, *ERRORS[rounding])


def sampling(setting: Setting, sample: Sample | None = None) -> Iterator[Finding]:
    """Views that the device samples are those of the CPU, and of the workers' warp, also far beyond the borders."""
    sample = sample or device_augmentation.sample
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4, *IMAGE_SHAPE), dtype=np.uint8)
    turns = rng.uniform(-2, 2, (32, 2, 2))
    for words, spread, limit in (("inside", 60.0, 2e-4), ("beyond the borders", 2000.0, 2e-3)):
        middle = 211.5 + rng.uniform(-spread, spread, (32, 2)) - (turns @ [34, 34])
        matrices = np.concatenate([turns, middle[..., None]], axis=2).astype(np.float32)
        which = torch.arange(32) % 4
        found = sample(*(each.to(setting.on) for each in _tensors(pixels, which, matrices)), (69, 69)).cpu()
        expected = device_augmentation.sample(*_tensors(pixels, which, matrices), (69, 69))
        yield at_most(f"{words}, from the CPU's", float((found - expected).abs().max()), 1e-5)
        try:
            warped = np.stack([_warp(pixels[i], each) for i, each in zip(which.tolist(), matrices, strict=True)])
            yield at_most(f"{words}, from the warp's", np.abs(found.numpy() - warped).max(), limit)
        except DataError as reason:  # OpenCV 4 rounds positions
            yield measured(f"{words}, from the warp's", str(reason))


def _tensors(pixels: np.ndarray, which: Tensor, matrices: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    return torch.from_numpy(pixels), which, torch.from_numpy(matrices)


def _warp(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    tform = AffineTransform(matrix=np.vstack([matrix.astype(float), [0, 0, 1]]))
    return warping.fast_warp(image / np.float32(255), tform, (69, 69))


def large_indices(setting: Setting, sample: Sample | None = None) -> Iterator[Finding]:
    """Of as many images as the training set has, more than 2^31 bytes, the first, one amid and the last are found."""
    sample, device = sample or device_augmentation.sample, setting.on
    num, image_bytes = 12 if setting.quick else NUM_TRAIN, int(np.prod(IMAGE_SHAPE))
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        num = min(num, int(0.7 * free / image_bytes))
        torch.cuda.reset_peak_memory_stats(device)
    yield measured("images", f"{num} of {NUM_TRAIN}" if num < NUM_TRAIN else num)
    yield measured("bytes over 2^31", num * image_bytes / 2**31)
    rng = np.random.default_rng(0)
    few = torch.from_numpy(rng.integers(0, 256, (3, *IMAGE_SHAPE), dtype=np.uint8)).to(device)
    many = torch.zeros((num, *IMAGE_SHAPE), dtype=torch.uint8, device=device)
    places = torch.tensor([0, num * 30 // 61, num - 1], device=device)
    many[places] = few
    yield equal("images put there and read again", bool((many[places] == few).all()), True)
    matrices = torch.from_numpy(rng.normal([0, 0, 212], 3, (30, 2, 3)).astype(np.float32)).to(device)
    which = torch.arange(30, device=device) % 3
    found, expected = sample(many, places[which], matrices, (69, 69)), sample(few, which, matrices, (69, 69))
    yield equal("views of them, bit for bit", bool((found == expected).all()), True)
    yield equal("views are not black", bool(expected.mean() > 0.1), True)
    if device.type == "cuda":
        yield at_most("peak memory, GB", torch.cuda.max_memory_allocated(device) / 1e9, 45)


def forked_workers(setting: Setting, make: Callable[..., Images] = Images) -> Iterator[Finding]:
    """Workers that are forked after CUDA has started decode what this process does, resident and streamed."""
    device = setting.on
    torch.zeros(1, device=device).sum().item()  # CUDA has started
    indices = np.arange(len(images.ids_of("train")))
    expected = np.stack([load_pixels(index, "train") for index in indices])
    start = time.perf_counter()
    resident = make("train", device, resident=True).all
    yield measured("seconds to load them, workers' start included", time.perf_counter() - start)
    yield equal("images resident, bit for bit", _same(resident, expected), True)
    del resident
    left_out = {0, len(indices) // 2}
    others = make("train", device, resident=True, left_out=left_out).all
    yield equal("images with two left out", _same(others, _without(expected, left_out)), True)
    del others
    streamed = [(pixels.cpu().numpy(), piece) for pixels, piece in _stream(make, device, indices)]
    yield equal("images streamed", _same_pieces(streamed, expected), True)
    many = np.resize(indices, len(indices) if setting.quick else 8192)
    yield measured(f"images a second, {available_cores()} cores", images_a_second(setting, many))


def _same(found: Tensor, expected: np.ndarray) -> bool:
    return np.array_equal(found.cpu().numpy(), expected)


def _without(expected: np.ndarray, left_out: Collection[int]) -> np.ndarray:
    black = expected.copy()
    black[list(left_out)] = 0
    return black


def _same_pieces(streamed: Sequence[tuple[np.ndarray, np.ndarray]], expected: np.ndarray) -> bool:
    return all(np.array_equal(pixels, expected[piece]) for pixels, piece in streamed)


def _stream(make: Callable[..., Images], device: torch.device, indices: np.ndarray) -> Iterator:
    pieces = np.split(indices, range(PIECE, len(indices), PIECE))
    for pixels, _, piece in make("train", device, resident=False).follow(iter(pieces)):
        yield pixels[: len(piece)], piece


def images_a_second(setting: Setting, indices: np.ndarray) -> float:
    """Return the pace of streaming images to the device, from the first piece on where there are several."""
    start, num = time.perf_counter(), 0
    for number, (pixels, piece) in enumerate(_stream(Images, setting.on, indices)):
        pixels[-1, -1, -1, -1].item()
        num += len(piece)
        if number == 0 and len(indices) > PIECE:
            start, num = time.perf_counter(), 0
    return num / (time.perf_counter() - start)


Predict = Callable[[Network, Examples, np.ndarray, str], np.ndarray]


def shared_parts(setting: Setting, predict: Predict = prediction.predict) -> Iterator[Finding]:
    """Predictions with shared parts are those of each transform by itself, and the device's are those of the CPU."""
    indices = np.arange(2 if setting.quick else 16)
    network, source = _predictor(setting, setting.on)
    ours, plain = predict(network, source, indices, "train"), _predict_plainly(network, source, indices)
    yield equal("shape", list(ours.shape), list(plain.shape))
    yield at_most("from each transform by itself", np.abs(ours - plain).max(), 1e-5)
    yield within("spread over galaxies", float(plain.std(0).mean()), 1e-4, 1)
    on_cpu = prediction.predict(*_predictor(setting, CPU), indices[:2], "train")
    yield at_most("from the CPU's", np.abs(ours[:2] - on_cpu).max(), 1e-5)


def _predictor(setting: Setting, device: torch.device) -> tuple[Network, Examples]:
    options = Options(device=str(device), augment_on="device")
    return network_of(setting, device), Examples(setting.calm, options, device)


def _predict_plainly(network: Network, source: Examples, indices: np.ndarray) -> np.ndarray:
    """Return predictions (n, 37), each view put through the whole network."""
    transforms = source.experiment.test_transforms
    each = [network.predict(views) for views in source.fixed(indices, "train", transforms, 8 * len(transforms))]
    return np.concatenate(each).reshape(len(indices), len(transforms), -1).mean(axis=1)
