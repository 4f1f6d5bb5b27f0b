"""What the benchmarks compute, and how they report; how long things take is not tested."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image
from torch.nn import functional

import cc_layers
import layers
from benchmarks import bench_convolutions as bench
from benchmarks import convolution_algorithms as lenet
from benchmarks import measuring
from benchmarks.convolution_algorithms import ALGORITHMS, MODES, margins
from benchmarks.measuring import Timing
from machine.files import DataError

CPU = torch.device("cpu")


@pytest.fixture
def same_threads() -> Iterator[None]:
    """Have PyTorch use as many threads after a test as before."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def timings(*medians: float | None) -> list[Timing | None]:
    return [None if median is None else Timing(median, median, median) for median in medians]


class TestAlgorithms:
    @pytest.mark.parametrize("name", ALGORITHMS)
    @pytest.mark.parametrize("mode", MODES)
    @settings(deadline=None, max_examples=20)
    @given(
        batch=st.integers(1, 3), channels=st.integers(1, 3), filters=st.integers(1, 4), size=st.integers(1, 6),
        more=st.tuples(st.integers(0, 7), st.integers(0, 7)), seed=st.integers(0, 9),
    )  # fmt: skip
    def test_agree_with_the_definition(self, name, mode, batch, channels, filters, size, more, seed):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(batch, channels, size + more[0], size + more[1], generator=generator)
        w = torch.randn(filters, channels, size, size, generator=generator)
        before, after = {"valid": (0, 0), "full": (size - 1, size - 1), "same": ((size - 1) // 2, size // 2)}[mode]
        expected = functional.conv2d(functional.pad(x.double(), (before, after) * 2), w.double())
        torch.testing.assert_close(ALGORITHMS[name](x, w, mode).double(), expected, rtol=0, atol=1e-4)

    @pytest.mark.parametrize("name", ALGORITHMS)
    @pytest.mark.parametrize("mode", MODES)
    def test_gradients(self, name, mode):
        x = torch.randn(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
        w = torch.randn(2, 2, 2, 2, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x, w: ALGORITHMS[name](x, w, mode), (x, w))

    def test_modes_have_the_sizes_of_the_slides(self):
        x, w = torch.ones(1, 1, 9, 8), torch.ones(1, 1, 4, 4)
        for name, convolve in ALGORITHMS.items():
            sizes = {mode: tuple(convolve(x, w, mode).shape[2:]) for mode in MODES}
            assert sizes == {"valid": (6, 5), "full": (12, 11), "same": (9, 8)}, name

    def test_an_unknown_mode_is_refused(self):
        with pytest.raises(ValueError, match="expected a mode of valid, full, same, got 'half'"):
            margins(3, "half")


class TestSweep:
    def test_an_algorithm_far_behind_is_left_out_of_larger_filters(self, monkeypatch: pytest.MonkeyPatch):
        def side_by_side(candidates, *_):
            return {name: Timing(*[10.0 if name == "im2col" else 1.0] * 3) for name in candidates}

        monkeypatch.setattr(measuring, "side_by_side", side_by_side)
        curves = bench.sweep("full", 1, bench.QUICK, 1, CPU)
        assert {name for name, curve in curves.items() if None in curve} == {"im2col"}
        assert curves["im2col"][0].median == 10
        # In valid mode the work shrinks again.
        curves = bench.sweep("valid", 1, bench.QUICK, 1, CPU)
        assert {name for name, curve in curves.items() if None in curve} == {"library pads"}

    def test_results_that_differ_are_not_timed(self):
        one = torch.ones(2)
        bench.check_agreement({"ours": one + 5e-5, "theirs": one}, "ones")
        for wrong in (one + 2e-4, one * torch.nan):
            with pytest.raises(ValueError, match="ones: ours differs from theirs"):
                bench.check_agreement({"ours": wrong, "theirs": one}, "ones")


class TestLayouts:
    def test_memory_is_what_the_names_say(self):
        layer = cc_layers.CudaConvnetConv2DLayer(cc_layers.CudaConvnetInput2DLayer(2, 3, 7, 6), 4, 3, 0.1, 0.1)
        outputs = {name: step() for name, step in bench.layouts(layer, CPU).items()}
        bench.check_agreement(outputs, "layouts")
        contiguous = {name: output.is_contiguous() for name, output in outputs.items()}
        assert contiguous == {"c01b memory, copied": False, "c01b views": True, "bc01": True}
        assert cc_layers.c01b(outputs["c01b memory, copied"]).is_contiguous()


class TestLeNet:
    def test_peers_have_the_same_gradients(self):
        torch.manual_seed(0)
        steps = lenet.steps(3, CPU)
        assert set(steps) == {"direct", "im2col", "FFT", "cc_layers", "nn.Sequential"}
        bench.check_agreement({name: step() for name, step in steps.items()}, "LeNet")

    def test_shapes_are_the_tutorial_s(self):
        _, output = lenet.build(500, "direct")
        shapes = [tuple(param.shape) for param in layers.all_parameters(output)]
        assert shapes[::2] == [(500, 10), (1024, 500), (32, 5, 5, 64), (1, 5, 5, 32)]
        plain = sum(param.numel() for param in lenet.build_plain().parameters())
        assert plain == sum(param.numel() for param in layers.all_parameters(output))

    def test_digits_are_enlarged_in_a_frame(self):
        images = torch.rand(2, 8, 8, dtype=torch.float64)
        enlarged = lenet.enlarge(images)
        assert (enlarged.shape, enlarged.dtype) == ((2, 1, 28, 28), torch.float32)
        assert not enlarged[:, :, :2].any()
        assert not enlarged[:, :, :, 26:].any()
        torch.testing.assert_close(enlarged[:, 0, 3:27:3, 3:27:3], images.float())  # the middles of the old pixels

    def test_it_learns_to_tell_patterns_apart(self):
        generator = torch.Generator().manual_seed(0)
        patterns = torch.rand(10, 8, 8, generator=generator)
        digits = torch.arange(10).repeat(20)
        images = lenet.enlarge((patterns[digits] + 0.3 * torch.rand(200, 8, 8, generator=generator)).clamp(0, 1))
        predict = lenet.train(images[:150], digits[:150], 8, CPU)
        assert (predict(images[150:]) == digits[150:]).float().mean() > 0.9

    def test_the_error_is_that_of_the_digits_it_has_not_seen(self, monkeypatch, capsys):
        images, digits = torch.rand(lenet.NUM_TRAIN + 50, 1, 28, 28), torch.arange(lenet.NUM_TRAIN + 50) % 10
        monkeypatch.setattr(lenet, "load_digits", lambda: (images, digits))
        monkeypatch.setattr(lenet, "train", lambda *_: lambda unseen: torch.zeros(len(unseen), dtype=torch.long))
        assert lenet.report_error(3, CPU)["test error"] == 0.9
        assert "45 of the other 50 are wrong, a test error of 90.0%" in capsys.readouterr().out

    def test_without_scikit_learn_there_is_no_error_to_print(self, monkeypatch, capsys):
        monkeypatch.setitem(sys.modules, "sklearn", None)
        with pytest.raises(DataError, match=r"expected scikit-learn.*requirements-bench\.txt"):
            lenet.load_digits()
        assert bench.bench_digits(1, CPU) is None
        assert "no test error: expected scikit-learn" in capsys.readouterr().out

    def test_real_digits_are_learnt(self):
        pytest.importorskip("sklearn", reason="requirements-bench.txt", exc_type=ImportError)
        images, digits = lenet.load_digits()
        assert images.shape == (1797, 1, 28, 28)
        assert (images.min(), images.max()) == (0, 1)
        assert digits.unique().tolist() == list(range(10))
        assert lenet.report_error(2, CPU)["test error"] < 0.2


class TestMeasuring:
    def test_peers_take_turns_after_a_warm_up(self):
        calls = []
        peers = {name: lambda name=name: calls.append(name) for name in "AB"}
        timings = measuring.side_by_side(peers, repeats=3, warm_up=2)
        assert "".join(calls) == "AABB" + "ABABAB"
        assert list(timings) == ["A", "B"]
        assert all(timing.lower <= timing.median <= timing.upper for timing in timings.values())

    def test_medians_and_quartiles_are_a_call_s(self, monkeypatch: pytest.MonkeyPatch):
        clock = [0.0]
        seconds = iter([1.0, 2.0, 3.0, 4.0, 9.0])
        monkeypatch.setattr(measuring.time, "perf_counter", lambda: clock[0])

        def work() -> None:
            clock[0] += next(seconds)

        assert measuring.side_by_side({"work": work}, repeats=5, warm_up=0) == {"work": Timing(3.0, 2.0, 4.0)}

    def test_short_calls_are_repeated(self, monkeypatch: pytest.MonkeyPatch):
        clock = [0.0]
        monkeypatch.setattr(measuring.time, "perf_counter", lambda: clock[0])
        calls = []

        def work() -> None:
            clock[0] += 0.25
            calls.append(1)

        timings = measuring.side_by_side({"work": work}, repeats=2, warm_up=0, least_seconds=0.9)
        assert len(calls) == 1 + 2 * 4
        assert timings["work"].median == 0.25

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(1.234, "1.23 s"), (12.34, "12.3 s"), (123.4, "123 s"), (0.01234, "12.3 ms"), (1.234e-6, "1.23 µs")],
    )
    def test_seconds_have_three_digits(self, seconds, text):
        assert measuring.format_seconds(seconds) == str(Timing(seconds, 0, 0)) == text

    def test_tables_are_aligned_markdown(self):
        lines = measuring.table(("peer", "time"), [("ours", Timing(0.5, 0.4, 0.6)), ("a longer name", 7)]).splitlines()
        assert lines == [
            "| peer          |   time |",
            "| ------------- | -----: |",
            "| ours          | 500 ms |",
            "| a longer name |      7 |",
        ]
        with pytest.raises(ValueError, match=r"expected 2 cells in every row, got \[2, 3\]"):
            measuring.table(("a", "b"), [(1, 2, 3)])

    def test_rates_are_relative_to_a_reference(self):
        peers = {name: Timing(s, s, s) for name, s in (("plain", 3.0), ("ours", 1.0))}
        rows = measuring.rates("training", "image", peers, 2.0, memory={"ours": "100 MB"}).splitlines()[2:]
        cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
        assert cells == [["plain", "3.00 s", "0.3333", "0.67", ""], ["ours", "1.00 s", "1", "2.00", "100 MB"]]
        ax = Figure().subplots()
        measuring.draw_rates(ax, "training", "images", peers)
        assert [bar.get_width() for bar in ax.patches] == [1 / 3, 1]

    def test_curves_have_gaps_where_nothing_was_measured(self):
        ax = Figure().subplots()
        measuring.draw_curves(ax, (3, 5, 7), {"ours": timings(1, None, 2)})
        [line] = ax.lines
        assert line.get_label() == "ours"
        assert torch.tensor(line.get_ydata()).isnan().tolist() == [False, True, False]

    def test_what_is_saved(self, tmp_path: Path, capsys: pytest.CaptureFixture):
        measuring.save(tmp_path / "new", "name", {"batch": {16: [*timings(1), None]}}, Figure())
        saved = json.loads((tmp_path / "new" / "name.json").read_text())
        assert saved == {"batch": {"16": [{"median": 1, "lower": 1, "upper": 1}, None]}}
        assert str(tmp_path / "new" / "name.png") in capsys.readouterr().out
        with pytest.raises(TypeError, match="expected numbers"):
            measuring.save(tmp_path, "name", {"layer": object()})

    def test_the_environment_names_the_engines(self, capsys: pytest.CaptureFixture):
        described = measuring.print_environment(sep="1.4.1")
        printed = capsys.readouterr().out
        assert {"Python", "PyTorch", "NumPy", "OpenCV", "CPU", "threads", "GPU", "sep"} == set(described)
        assert all(value in printed for value in described.values())


def test_a_quick_run(run_main: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture, same_threads: None):
    run_main(bench, "--quick", "--repeats", 1, "--device", "cpu", "--output", tmp_path)
    printed = capsys.readouterr().out
    for header in ("| mode  | batch | filter |", "| layer ", "| convolution ", "PyTorch"):
        assert header in printed
    results = json.loads((tmp_path / "convolutions.json").read_text())
    assert results["environment"]["threads"] == "1"
    assert set(results["algorithms"]) == set(MODES)
    for batches in results["algorithms"].values():
        assert {len(curve) for curves in batches.values() for curve in curves.values()} == {2}
    assert len(results["layouts"]) == 4
    assert results["digits"] is None or 0 <= results["digits"]["test error"] < 1
    assert set(results["lenet"]) == {"direct", "im2col", "FFT", "cc_layers", "nn.Sequential"}
    with Image.open(tmp_path / "convolutions.png") as image:
        assert min(image.size) > 300
