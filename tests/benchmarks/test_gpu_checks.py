"""What is right or wrong of numbers, images and predictions passes on the CPU, and fails where something is wrong."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from proofs import failed
from tiny import CPU
from torch import Tensor
from torch.nn import functional

import try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense as best_model
from benchmarks import gpu_checks, gpu_projections, gpu_timings, operators, trial
from benchmarks.gpu_setting import Setting, network_of
from benchmarks.supervision import Skipped
from engine import device_augmentation, prediction
from engine.device_augmentation import Images, sample
from engine.network import Network
from engine.steps import Trainer
from survey.decoded_cache import load_pixels


class TestTheEnvironment:
    def test_is_complete_where_all_can_be_imported(self, setting):
        assert not failed(gpu_checks.environment(setting))

    def test_is_not_where_a_module_is_missing_and_the_others_are_tried(self, setting):
        modules = ("engine.training", "no_such_module", "engine.steps")
        assert failed(gpu_checks.environment(setting, modules)) == {"import no_such_module"}


class Rounding:
    """A product as CUDA would have it: factors are rounded to TF32 where the flag says so, or as it likes."""

    def __init__(self, function: Callable, flags: object, obeys: bool = True, always: bool = False):
        self.function, self.flags, self.obeys, self.always = function, flags, obeys, always

    def __call__(self, *factors: Tensor) -> Tensor:
        rounds = self.always or (self.obeys and self.flags.fp32_precision == "tf32")
        return self.function(*(self.to_tf32(each) if rounds else each for each in factors))

    @staticmethod
    def to_tf32(x: Tensor) -> Tensor:
        # Ten bits of the fraction are left of twenty-three.
        return ((x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32).view_as(x)


class TestPrecision:
    MATMUL = partial(Rounding, torch.matmul, torch.backends.cuda.matmul)
    CONVOLUTION = partial(Rounding, functional.conv2d, torch.backends.cudnn.conv)

    def test_is_what_the_flags_say(self, setting):
        assert not failed(gpu_checks.precision(setting, self.MATMUL(), self.CONVOLUTION()))

    def test_is_not_where_a_flag_does_nothing(self, setting):
        assert failed(gpu_checks.precision(setting, self.MATMUL(obeys=False), self.CONVOLUTION())) == {"matmul, tf32"}
        found = failed(gpu_checks.precision(setting, self.MATMUL(), self.CONVOLUTION(always=True)))
        assert found == {"convolution, float32"}


def half_a_pixel_off(pixels: Tensor, which: Tensor, matrices: Tensor, size: tuple[int, int]) -> Tensor:
    return sample(pixels, which, matrices + torch.tensor([0, 0, 0.5]), size)


def with_its_border_repeated(pixels: Tensor, which: Tensor, matrices: Tensor, size: tuple[int, int]) -> Tensor:
    """Sample as `sample` does inside an image; beyond its border, the pixel of the border."""
    wide = functional.pad(pixels.permute(0, 3, 1, 2).float(), (200,) * 4, mode="replicate").byte().permute(0, 2, 3, 1)
    return sample(wide.contiguous(), which, matrices + torch.tensor([0, 0, 200.0]), size)


class TestSampling:
    def test_is_that_of_the_cpu_and_of_the_warp(self, setting):
        assert not failed(gpu_checks.sampling(setting))

    def test_is_not_where_it_is_half_a_pixel_off(self, setting, monkeypatch: pytest.MonkeyPatch):
        everywhere = {
            f"{place}, from the {whose}'s" for place in ("inside", "beyond the borders") for whose in ("CPU", "warp")
        }
        assert failed(gpu_checks.sampling(setting, half_a_pixel_off)) == everywhere
        monkeypatch.setattr(device_augmentation, "sample", half_a_pixel_off)  # on all devices
        assert failed(gpu_checks.sampling(setting)) == {each for each in everywhere if "warp" in each}

    def test_is_not_where_a_border_is_repeated(self, setting):
        found = failed(gpu_checks.sampling(setting, with_its_border_repeated))
        assert "inside, from the warp's" not in found
        assert found >= {"beyond the borders, from the CPU's", "beyond the borders, from the warp's"}

    def test_needs_no_opencv_5(self, setting, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(gpu_checks.warping.cv2, "__version__", "4.12.0")
        gpu_checks.warping._need_exact_positions.cache_clear()
        found = list(gpu_checks.sampling(setting))
        gpu_checks.warping._need_exact_positions.cache_clear()
        assert [each.passed for each in found] == [True, None, True, None]


class TestLargeIndices:
    def test_are_found(self, setting):
        assert not failed(gpu_checks.large_indices(setting))

    def test_are_not_where_they_wrap(self, setting):
        def wrapping(pixels: Tensor, which: Tensor, *rest: object) -> Tensor:
            return sample(pixels, which % 8, *rest)

        assert failed(gpu_checks.large_indices(setting, wrapping)) == {"views of them, bit for bit"}


class TestForkedWorkers:
    EVERYTHING = frozenset({"images resident, bit for bit", "images with two left out", "images streamed"})

    def test_decode_what_this_process_does(self, setting):
        assert not failed(gpu_checks.forked_workers(setting))

    def test_do_not_where_they_decode_another_image(self, setting, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(device_augmentation, "load_pixels", lambda index, subset: load_pixels(index ^ 1, subset))
        assert failed(gpu_checks.forked_workers(setting)) == self.EVERYTHING

    def test_do_not_where_what_is_left_out_is_decoded(self, setting):
        def make(*arguments: object, left_out: object = (), **more: object) -> Images:
            return Images(*arguments, **more)

        assert failed(gpu_checks.forked_workers(setting, make)) == {"images with two left out"}

    def test_do_not_where_one_pixel_differs(self, setting):
        def make(*arguments: object, **more: object) -> Images:
            images = Images(*arguments, **more)
            if images.all is not None:
                images.all[7, 100, 100, 1] += 1
            return images

        assert failed(gpu_checks.forked_workers(setting, make)) == self.EVERYTHING - {"images streamed"}


class TestSharedParts:
    def test_predict_what_whole_views_do(self, setting):
        assert not failed(gpu_checks.shared_parts(setting))

    def test_do_not_where_predictions_are_off_by_1e_4(self, setting):
        def predict(*arguments: object) -> np.ndarray:
            return prediction.predict(*arguments) + np.float32(1e-4)

        found = failed(gpu_checks.shared_parts(setting, predict))
        assert found == {"from each transform by itself", "from the CPU's"}

    def test_do_not_where_a_part_is_another_one(self, setting, monkeypatch: pytest.MonkeyPatch):
        choose = prediction.PartSharing.__init__

        def choosing(self: prediction.PartSharing, *arguments: object) -> None:
            choose(self, *arguments)
            self.part_of[3, 0] = self.part_of[3, 1]

        monkeypatch.setattr(prediction.PartSharing, "__init__", choosing)
        assert "from each transform by itself" in failed(gpu_checks.shared_parts(setting))


class TestCurves:
    @staticmethod
    def train(worse: str, setting: Setting, experiment: object, options: object, num_chunks: int) -> SimpleNamespace:
        off = 0.03 if worse in (options.precision, options.augment_on) else 0
        return SimpleNamespace(rmse=[0.2, 0.15 + 0.01 * experiment.seed + off])

    def test_are_the_same_within_chance(self, setting):
        assert not failed(gpu_projections.curves(setting, partial(self.train, "none")))

    @pytest.mark.parametrize(("worse", "words"), [("bf16", "bf16"), ("cpu", "workers' examples")])
    def test_are_not_where_one_learns_less(self, setting, worse: str, words: str):
        found = failed(gpu_projections.curves(setting, partial(self.train, worse)))
        assert found == {f"RMSE of the last chunk, {words} from tf32"}


def test_chunks_that_become_slower_are_told():
    assert gpu_projections.steady([1.0] * 9, 0.02).passed
    assert gpu_projections.steady([1.0] * 6 + [1.03] * 3, 0.02).passed is False
    assert gpu_projections.steady([1.03] * 3 + [1.0] * 6, 0.02).passed is False
    assert gpu_projections.steady([1.0, 2.0], None).passed is None


def test_without_a_script_nothing_is_fine_tuned(setting, tmp_path: Path):
    with pytest.raises(Skipped, match="no such script"):
        list(gpu_projections.finetuning(setting, tmp_path))


def test_kernels_are_told_from_calls_and_annotations():
    def event(name: str, device: str, microseconds: float, is_user_annotation: bool = False) -> SimpleNamespace:
        return SimpleNamespace(
            name=name,
            device_type=SimpleNamespace(name=device),
            time_range=SimpleNamespace(elapsed_us=lambda: microseconds),
            is_user_annotation=is_user_annotation,
        )

    events = [
        event("gemm", "CUDA", 3),
        event("cudaLaunchKernel", "CPU", 9),
        event("gemm", "CUDA", 4),
        event("Memset", "CUDA", 1),
        event("Optimizer.step#SGD.step", "CUDA", 50),
        event("a range", "CUDA", 50, True),
    ]
    found, microseconds = gpu_timings.tally(events)
    assert dict(found) == {"gemm": 2, "Memset": 1}
    assert dict(microseconds) == {"gemm": 7, "Memset": 1}


class TestOperators:
    def test_that_compute_are_counted(self, setting):
        experiment = trial.SMALL
        trainer = Trainer(experiment, network_of(setting, CPU))
        batch = [torch.rand(8, 15, 15, 3) for _ in range(2)], torch.rand(8, 37)
        calls = operators.count(trainer, batch)
        assert (calls["convolution"], calls["convolution_backward"], calls["addmm"], calls["_fused_sgd_"]) == (
            1, 1, 2, 2,
        )  # fmt: skip
        assert not {"view", "t", "permute", "detach", "empty", "select", "unsqueeze"} & set(calls)
        assert operators.count(trainer, batch) == calls

    def test_of_a_step_of_the_best_model_are_few(self):
        """A normalised step on a minibatch of 16, forward, backward and update."""
        experiment = best_model.EXPERIMENT
        trainer = Trainer(experiment, Network(experiment, CPU))
        calls = operators.count(trainer, ([torch.rand(16, 69, 69, 3) for _ in range(2)], torch.rand(16, 37)))
        assert 50 < calls.total() <= 140


def test_what_is_checked_is_the_same_on_every_device(setting):
    first = network_of(setting, CPU)
    torch.rand(5)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters, network_of(setting, CPU).parameters, strict=True))


def test_no_environment_variable_ends_other_runs():
    assert "TRIAL_ENDS" not in os.environ
