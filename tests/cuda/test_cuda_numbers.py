"""A device rounds, samples, indexes, decodes and predicts as the CPU does. Faults that are put in are detected."""

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator
from functools import partial

import numpy as np
import pytest
import torch
from cuda_setting import CPU, ON_CPU, Note, Setting, network_of
from skimage.transform import AffineTransform
from torch import Tensor
from torch.nn import functional

from benchmarks.measuring import environment
from engine import device_augmentation, prediction
from engine.device_augmentation import Images, sample
from engine.examples import Examples
from engine.network import PRECISIONS, Network, use_precision
from engine.options import Options
from galaxy import warping
from galaxy.image_geometry import IMAGE_SHAPE
from survey import images
from survey.decoded_cache import load_pixels

NUM_TRAIN = 61_578  # of Kaggle's training set
PIECE = 256  # the most indices that a piece of `Images.follow` may have
# The error of a product relative to float64: float32 sums of 512 and 800 products err by 5e-7; a factor has 10 bits in
# TF32, 7 in bfloat16.
ERRORS = {"float32": (0.0, 1e-6), "tf32": (5e-5, 1e-3), "bf16": (1e-3, 1e-2)}
Product = Callable[..., Tensor]
Sample = Callable[[Tensor, Tensor, Tensor, tuple[int, int]], Tensor]


@pytest.mark.timeout(60)
def test_the_machine_is_described(device: torch.device, note: Note):
    for name, version in environment().items():
        note(name, version)
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        note("free of all memory, GB", f"{free / 1e9:.1f} of {total / 1e9:.1f}")
    if device.type == "cuda" and shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=driver_version,clocks.sm,power.draw", "--format=csv,noheader"]
        note("driver, clock, power", subprocess.check_output(query, text=True, timeout=20).strip())


def check_rounding(device: torch.device, name: str, product: Product, rounding: str, note: Note, size: int) -> None:
    """Compare a product with float64's: it errs as its rounding does, and no less."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "matmul": ((32 * size, 512), (512, 32 * size)),
        "convolution": ((64, 32, size, size), (64, 32, 5, 5)),
    }[name]
    exact = {"matmul": torch.matmul, "convolution": functional.conv2d}[name]
    factors = [torch.randn(shape, generator=generator).to(device) for shape in shapes]
    if name == "convolution":
        factors = [factor.contiguous(memory_format=torch.channels_last) for factor in factors]  # as in the networks
    expected = exact(*(factor.double() for factor in factors))
    use_precision(rounding)
    with torch.autocast(device.type, torch.bfloat16, enabled=rounding == "bf16"):
        error = float((product(*factors).double() - expected).norm() / expected.norm())
    note("relative error", error)
    low, high = ERRORS[rounding]
    assert low <= error <= high, f"{name} in {rounding}"


class Rounding:
    """A product as on CUDA: it rounds its factors to TF32 where the flag asks for it, or always, or never."""

    def __init__(self, product: Product, flags: object, obeys: bool = True, always: bool = False):
        self.product, self.flags, self.obeys, self.always = product, flags, obeys, always

    def __call__(self, *factors: Tensor) -> Tensor:
        rounds = self.always or (self.obeys and self.flags.fp32_precision == "tf32")
        return self.product(*(self.to_tf32(factor) if rounds else factor for factor in factors))

    @staticmethod
    def to_tf32(x: Tensor) -> Tensor:
        # Ten bits of the fraction are left of twenty-three.
        return ((x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32).view_as(x)


MATMUL = partial(Rounding, torch.matmul, torch.backends.cuda.matmul)
CONVOLUTION = partial(Rounding, functional.conv2d, torch.backends.cudnn.conv)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("rounding", PRECISIONS)
@pytest.mark.parametrize("name", ["matmul", "convolution"])
def test_products_are_as_exact_as_the_precision_says(setting: Setting, name: str, rounding: str, note: Note):
    if setting.is_small:  # a CPU has no TF32: it is imitated
        product = {"matmul": MATMUL, "convolution": CONVOLUTION}[name]()
        check_rounding(CPU, name, product, rounding, note, 12)
    else:
        product = {"matmul": torch.matmul, "convolution": functional.conv2d}[name]
        check_rounding(setting.device, name, product, rounding, note, {"matmul": 128, "convolution": 40}[name])


@ON_CPU
@pytest.mark.parametrize(
    ("name", "product", "rounding"),
    [("matmul", MATMUL(obeys=False), "tf32"), ("convolution", CONVOLUTION(always=True), "float32")],
)
def test_a_flag_that_does_nothing_is_detected(setting: Setting, name: str, product: Product, rounding: str, note: Note):
    with pytest.raises(AssertionError, match=f"{name} in {rounding}"):
        check_rounding(CPU, name, product, rounding, note, 12)


def check_sampling(device: torch.device, sample: Sample, spread: float, limit: float, note: Note) -> None:
    """Compare views on a device with those of the CPU, and of the warp of the workers; `spread` in pixels."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (4, *IMAGE_SHAPE), dtype=np.uint8)
    turns = rng.uniform(-2, 2, (32, 2, 2))
    middle = 211.5 + rng.uniform(-spread, spread, (32, 2)) - (turns @ [34, 34])
    matrices = np.concatenate([turns, middle[..., None]], axis=2).astype(np.float32)
    indices = torch.arange(32) % 4
    tensors = torch.from_numpy(pixels), indices, torch.from_numpy(matrices)
    ours = sample(*(tensor.to(device) for tensor in tensors), (69, 69)).cpu()
    on_cpu = device_augmentation.sample(*tensors, (69, 69))
    warped = np.stack([_warp(pixels[i], matrix) for i, matrix in zip(indices.tolist(), matrices, strict=True)])
    from_cpu, from_warp = float((ours - on_cpu).abs().max()), float(np.abs(ours.numpy() - warped).max())
    note("from the CPU's", from_cpu)
    note("from the warp's", from_warp)
    assert from_cpu <= 1e-5, "differs from the CPU's"
    assert from_warp <= limit, "differs from the warp's"


def _warp(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    tform = AffineTransform(matrix=np.vstack([matrix.astype(float), [0, 0, 1]]))
    return warping.fast_warp(image / np.float32(255), tform, (69, 69))


INSIDE, FAR_BEYOND_THE_BORDERS = (60.0, 2e-4), (2000.0, 2e-3)


def half_a_pixel_off(pixels: Tensor, indices: Tensor, matrices: Tensor, size: tuple[int, int]) -> Tensor:
    return sample(pixels, indices, matrices + torch.tensor([0, 0, 0.5], device=matrices.device), size)


def with_repeated_borders(pixels: Tensor, indices: Tensor, matrices: Tensor, size: tuple[int, int]) -> Tensor:
    """Sample as `sample` does inside an image; beyond its border, the border's pixel."""
    wide = functional.pad(pixels.permute(0, 3, 1, 2).float(), (200,) * 4, mode="replicate").byte().permute(0, 2, 3, 1)
    return sample(wide.contiguous(), indices, matrices + torch.tensor([0, 0, 200.0]), size)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("spread", "limit"), [INSIDE, FAR_BEYOND_THE_BORDERS])
def test_views_are_those_of_the_cpu_and_of_the_warp(device: torch.device, spread: float, limit: float, note: Note):
    check_sampling(device, sample, spread, limit, note)


def test_wrong_samples_are_detected(note: Note, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(AssertionError, match="the CPU's"):
        check_sampling(CPU, half_a_pixel_off, *INSIDE, note)
    with pytest.raises(AssertionError, match="the CPU's"):
        check_sampling(CPU, with_repeated_borders, *FAR_BEYOND_THE_BORDERS, note)
    monkeypatch.setattr(device_augmentation, "sample", half_a_pixel_off)  # on all devices
    with pytest.raises(AssertionError, match="the warp's"):
        check_sampling(CPU, half_a_pixel_off, *INSIDE, note)


def check_indices(device: torch.device, sample: Sample, num: int) -> None:
    """Put three images among `num`, first, amid and last; sampled there, they give the views of the three alone."""
    rng = np.random.default_rng(0)
    few = torch.from_numpy(rng.integers(0, 256, (3, *IMAGE_SHAPE), dtype=np.uint8)).to(device)
    many = torch.zeros((num, *IMAGE_SHAPE), dtype=torch.uint8, device=device)
    rows = torch.tensor([0, num * 30 // 61, num - 1], device=device)
    many[rows] = few
    assert (many[rows] == few).all()
    matrices = torch.from_numpy(rng.normal([0, 0, 212], 3, (30, 2, 3)).astype(np.float32)).to(device)
    indices = torch.arange(30, device=device) % 3
    views, expected = sample(many, rows[indices], matrices, (69, 69)), sample(few, indices, matrices, (69, 69))
    assert expected.mean() > 0.1
    assert (views == expected).all(), "views of other images"


@pytest.mark.timeout(60)
def test_indices_beyond_2_to_the_31_bytes_are_right(device: torch.device, note: Note):
    if device.type == "cpu":
        return check_indices(device, sample, 12)
    free, _ = torch.cuda.mem_get_info(device)
    num = min(NUM_TRAIN, int(0.7 * free / np.prod(IMAGE_SHAPE)))
    torch.cuda.reset_peak_memory_stats(device)
    note("images", num)
    check_indices(device, sample, num)
    peak = torch.cuda.max_memory_allocated(device) / 1e9
    note("GB at the peak", peak)
    assert peak <= 45


def test_indices_that_wrap_are_detected():
    def wrapping(pixels: Tensor, indices: Tensor, *rest: object) -> Tensor:
        return sample(pixels, indices % 8, *rest)

    with pytest.raises(AssertionError, match="views of other images"):
        check_indices(CPU, wrapping, 12)


def check_workers(device: torch.device, make: Callable[..., Images]) -> None:
    """Compare images that forked workers decode with those of this process, resident and streamed."""
    torch.zeros(1, device=device).sum().item()  # CUDA has started
    indices = np.arange(len(images.ids_of("train")))
    expected = np.stack([load_pixels(index, "train") for index in indices])
    assert np.array_equal(make("train", device, resident=True).all.cpu(), expected), "resident images differ"
    left_out = {0, len(indices) // 2}
    others = make("train", device, resident=True, left_out=left_out).all.cpu().numpy()
    assert not others[list(left_out)].any(), "an image that is left out was decoded"
    kept = np.setdiff1d(indices, list(left_out))
    assert np.array_equal(others[kept], expected[kept])
    for pixels, piece in _stream(make, device, np.resize(indices, 2 * PIECE + 5)):
        assert np.array_equal(pixels.cpu(), expected[piece]), "streamed images differ"


def _stream(
    make: Callable[..., Images], device: torch.device, indices: np.ndarray
) -> Iterator[tuple[Tensor, np.ndarray]]:
    pieces = np.split(indices, range(PIECE, len(indices), PIECE))
    for pixels, _, piece in make("train", device, resident=False).follow(iter(pieces)):
        yield pixels[: len(piece)], piece


@pytest.mark.timeout(90)
def test_workers_that_are_forked_after_cuda_started_decode_what_this_process_does(setting: Setting):
    check_workers(setting.device, Images)


@ON_CPU
def test_images_that_differ_are_detected(setting: Setting, monkeypatch: pytest.MonkeyPatch):
    def without_exceptions(*arguments: object, left_out: Collection[int] = (), **more: object) -> Images:
        return Images(*arguments, **more)

    def with_another_pixel(*arguments: object, **more: object) -> Images:
        made = Images(*arguments, **more)
        if made.all is not None:
            made.all[7, 100, 100, 1] += 1
        return made

    with pytest.raises(AssertionError, match="left out was decoded"):
        check_workers(CPU, without_exceptions)
    with pytest.raises(AssertionError, match="resident images differ"):
        check_workers(CPU, with_another_pixel)
    monkeypatch.setattr(device_augmentation, "load_pixels", lambda index, subset: load_pixels(index ^ 1, subset))
    with pytest.raises(AssertionError, match="resident images differ"):
        check_workers(CPU, Images)


Predict = Callable[[Network, Examples, np.ndarray, str], np.ndarray]


def check_shared_parts(setting: Setting, predict: Predict, note: Note) -> None:
    """Compare predictions with shared parts with those of each transform alone, and with the CPU's."""
    indices = np.arange(2 if setting.is_small else 16)
    network, source = _predictor(setting, setting.device)
    ours, plain = predict(network, source, indices, "train"), _predict_plainly(network, source, indices)
    on_cpu = prediction.predict(*_predictor(setting, CPU), indices[:2], "train")
    assert ours.shape == plain.shape
    assert 1e-4 <= plain.std(0).mean() <= 1
    apart, from_cpu = float(np.abs(ours - plain).max()), float(np.abs(ours[:2] - on_cpu).max())
    note("from each transform alone", apart)
    note("from the CPU's", from_cpu)
    assert apart <= 1e-5, "differs from each transform alone"
    assert from_cpu <= 1e-5, "differs from the CPU's"


def _predictor(setting: Setting, device: torch.device) -> tuple[Network, Examples]:
    options = Options(device=str(device), augment_on="device")
    return network_of(setting, device), Examples(setting.experiment, options, device)


def _predict_plainly(network: Network, source: Examples, indices: np.ndarray) -> np.ndarray:
    """Return predictions (n, 37), each view put through the whole network."""
    transforms = source.experiment.test_transforms
    with contextlib.closing(source.fixed(indices, "train", transforms, 8 * len(transforms))) as chunks:
        predictions = [network.predict(views) for views in chunks]
    return np.concatenate(predictions).reshape(len(indices), len(transforms), -1).mean(axis=1)


@pytest.mark.timeout(90)
def test_shared_parts_give_the_predictions_of_each_transform_alone(setting: Setting, note: Note):
    use_precision("float32")
    check_shared_parts(setting, prediction.predict, note)


@ON_CPU
def test_wrong_predictions_are_detected(setting: Setting, note: Note, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(AssertionError, match="each transform alone"):
        check_shared_parts(setting, lambda *arguments: prediction.predict(*arguments) + np.float32(1e-4), note)
    choose = prediction.PartSharing.__init__

    def choosing(self: prediction.PartSharing, *arguments: object) -> None:
        choose(self, *arguments)
        self.sources[3, 0] = self.sources[3, 1]

    monkeypatch.setattr(prediction.PartSharing, "__init__", choosing)
    with pytest.raises(AssertionError, match="each transform alone"):
        check_shared_parts(setting, prediction.predict, note)
