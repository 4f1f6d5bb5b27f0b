import dataclasses
import itertools
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from tiny import CPU, OPTIONS, ROOT, TINY, run

import layers
from engine.examples import Examples
from engine.network import Network
from tried import layers as tried


def assert_gradients_flow(layer: layers.Layer, inputs: dict) -> None:
    layer.output(inputs).square().sum().backward()
    for param in layers.all_parameters(layer):
        assert param.grad.isfinite().all()
        assert param.grad.abs().max() > 0


def test_what_was_left_out_is_read_by_name_alone():
    code = """
import sys
import cc_layers, custom, layers, load_data, realtime_augmentation
from engine import training
assert not [name for name in sys.modules if name.split(".")[0] == "tried"], "read too early"
for module, name in ((layers, "NIN2DLayer"), (cc_layers, "shuffle_pool_unshuffle"), (load_data, "im_rotate"),
                     (realtime_augmentation, "post_augment_gamma_gen")):
    try:
        getattr(module, name)
    except AttributeError as error:
        assert str(error) == f"module {module.__name__!r} has no attribute {name!r}"
    else:
        raise AssertionError(name)
from tried.augmentation import post_augment_gamma_gen
from tried.cc_layers import shuffle_pool_unshuffle
from tried.images import im_rotate
from tried.layers import NIN2DLayer
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, check=True)


def test_inputs_of_other_shapes_are_checked_but_for_the_batch():
    flat, sequence = tried.FlatInputLayer(4, 7), tried.InputLayer(4, 3, 9)
    assert flat.get_output_shape() == (4, 7)
    assert sequence.get_output_shape() == (4, 3, 9)
    assert flat.mb_size == sequence.mb_size == 4
    dense = layers.DenseLayer(flat, 2, 0.1, 0.0)
    assert dense.output({flat: torch.randn(5, 7)}).shape == (5, 2)
    with pytest.raises(ValueError, match=r"FlatInputLayer \('batch', 7\): got a tensor of shape \(4, 8\)"):
        dense.output({flat: torch.zeros(4, 8)})
    with pytest.raises(ValueError, match=r"got none for InputLayer \('batch', 3, 9\)"):
        sequence.output({})


def correlate(x: np.ndarray, w: np.ndarray, stride: int, border_mode: str) -> np.ndarray:
    """Correlate (batch, channels, *sizes) with (filters, channels, *lengths), one window at a time."""
    lengths = w.shape[2:]
    before, after = {
        "valid": ([0] * len(lengths), [0] * len(lengths)),
        "full": ([n - 1 for n in lengths], [n - 1 for n in lengths]),
        "same": ([(n - 1) // 2 for n in lengths], [n - 1 - (n - 1) // 2 for n in lengths]),
    }[border_mode]
    padded = np.pad(x, [(0, 0), (0, 0), *zip(before, after, strict=True)])
    starts = [range(0, size - n + 1, stride) for size, n in zip(padded.shape[2:], lengths, strict=True)]
    out = np.zeros((len(x), len(w), *map(len, starts)))
    for index in np.ndindex(*out.shape[2:]):
        window = padded[:, :, *(slice(i * stride, i * stride + n) for i, n in zip(index, lengths, strict=True))]
        for example, output in itertools.product(range(len(x)), range(len(w))):
            out[example, output, *index] = (window[example] * w[output]).sum()
    return out


@pytest.mark.parametrize("untie_biases", [False, True])
@pytest.mark.parametrize(
    ("layer_class", "filter_size", "stride", "border_mode"),
    [
        ("Conv2DLayer", 3, 1, "valid"),
        ("Conv2DLayer", (2, 4), 1, "full"),
        ("Conv2DLayer", (3, 4), 1, "same"),
        ("StridedConv2DLayer", 3, 2, "valid"),
        ("ConvLayer", 4, 1, "same"),
        ("ConvLayer", 3, 1, "full"),
        ("StridedConvLayer", 3, 2, "valid"),
    ],
)
def test_convolutions_are_the_slow_correlation(layer_class, filter_size, stride, border_mode, untie_biases):
    torch.manual_seed(0)
    below = layers.Input2DLayer(2, 3, 8, 7) if "2D" in layer_class else tried.InputLayer(2, 3, 8)
    conv = getattr(tried, layer_class)(
        below, 5, filter_size, 0.5, 0.1, stride=stride, border_mode=border_mode, untie_biases=untie_biases
    )
    with torch.no_grad():
        conv.b.normal_()
    x = torch.randn(below.shape)
    w, b = layers.get_param_values(conv)
    slow = correlate(x.numpy(), w, stride, border_mode)
    assert b.shape == ((5, *slow.shape[2:]) if untie_biases else (5,))
    slow += b if untie_biases else b.reshape(-1, *[1] * (slow.ndim - 2))
    output = conv.output({below: x})
    assert conv.get_output_shape() == output.shape == slow.shape
    np.testing.assert_allclose(output.detach(), np.maximum(slow, 0), rtol=1e-4, atol=1e-5)
    assert conv.fan_in == w[0].size
    assert_gradients_flow(conv, {below: x})


def test_convolutions_refuse_what_does_not_fit():
    image, sequence = layers.Input2DLayer(1, 1, 4, 9), tried.InputLayer(1, 1, 4)
    with pytest.raises(ValueError, match="expected border_mode to be one of valid, full, same, got 'half'"):
        tried.Conv2DLayer(image, 1, 3, 0.1, 0.0, border_mode="half")
    with pytest.raises(ValueError, match=r"at least \(5, 5\) pixels \(filter_size\), got \(4, 9\)"):
        tried.Conv2DLayer(image, 1, 5, 0.1, 0.0)
    with pytest.raises(ValueError, match=r"Conv2DLayer: expected an input of 4 axes, got shape \(1, 1, 4\)"):
        tried.Conv2DLayer(sequence, 1, 3, 0.1, 0.0)


def test_network_in_network_is_a_dense_layer_on_every_pixel():
    torch.manual_seed(0)
    below = layers.Input2DLayer(2, 4, 3, 5)
    nin = tried.NIN2DLayer(below, n_outputs=6, weights_std=0.5, init_bias_value=0.1)
    x = torch.randn(2, 4, 3, 5)
    w, b = layers.get_param_values(nin)
    output = nin.output({below: x})
    assert output.shape == nin.get_output_shape() == (2, 6, 3, 5)
    assert w.shape == (4, 6)
    assert nin.fan_in == 4
    for i, j in np.ndindex(3, 5):
        slow = np.maximum(x[:, :, i, j].numpy() @ w + b, 0)
        np.testing.assert_allclose(output[:, :, i, j].detach(), slow, rtol=1e-5, atol=1e-6)
    assert_gradients_flow(nin, {below: x})


@pytest.mark.parametrize("ignore_border", [False, True])
@pytest.mark.parametrize(("size", "pool_size"), [((7, 8), 2), ((6, 9), (4, 3)), ((8,), 3)])
def test_pooling_is_the_slow_maximum(size, pool_size, ignore_border):
    two = len(size) == 2
    below = layers.Input2DLayer(2, 3, *size) if two else tried.InputLayer(2, 3, *size)
    pool = (tried.Pooling2DLayer if two else tried.PoolingLayer)(below, pool_size, ignore_border=ignore_border)
    x = torch.randn(2, 3, *size)
    output = pool.output({below: x})
    windows = pool_size if isinstance(pool_size, tuple) else (pool_size,) * len(size)
    steps = [int(np.floor(n / p) if ignore_border else np.ceil(n / p)) for n, p in zip(size, windows, strict=True)]
    assert output.shape == pool.get_output_shape() == (2, 3, *steps)
    for index in np.ndindex(*steps):
        window = x[:, :, *(slice(i * p, (i + 1) * p) for i, p in zip(index, windows, strict=True))]
        np.testing.assert_array_equal(output[:, :, *index], window.flatten(2).amax(2))


POOLED = {"mean": np.mean, "max": np.max, "l2": lambda values: np.sqrt(np.sum(np.square(values)))}


@pytest.mark.parametrize("pooling_function", POOLED)
def test_pooling_of_whole_maps_and_of_adjacent_maps(pooling_function):
    below = layers.Input2DLayer(2, 6, 3, 4)
    x = torch.randn(2, 6, 3, 4)
    whole = tried.GlobalPooling2DLayer(below, pooling_function)
    adjacent = tried.FilterPoolingLayer(below, 3, pooling_function)
    slow = [[POOLED[pooling_function](x[i, j].numpy()) for j in range(6)] for i in range(2)]
    np.testing.assert_allclose(whole.output({below: x}), slow, rtol=1e-5)
    assert whole.get_output_shape() == (2, 6)
    output = adjacent.output({below: x})
    assert output.shape == adjacent.get_output_shape() == (2, 2, 3, 4)
    for i, j, row, column in np.ndindex(2, 2, 3, 4):
        expected = POOLED[pooling_function](x[i, 3 * j : 3 * j + 3, row, column].numpy())
        assert output[i, j, row, column].item() == pytest.approx(expected, rel=1e-5)


def test_an_unknown_pooling_function_is_refused():
    with pytest.raises(ValueError, match="expected pooling_function to be one of max, mean, l2, got 'median'"):
        tried.GlobalPooling2DLayer(layers.Input2DLayer(1, 1, 2, 2), "median")


def test_maxout_takes_the_largest_of_adjacent_filters_and_drops_inputs():
    below = tried.FlatInputLayer(2, 6)
    maxout = tried.MaxoutLayer(below, n_filters_per_unit=3, dropout=0.5)
    x = torch.randn(2, 6)
    expected = [[max(row[:3]), max(row[3:])] for row in x.tolist()]
    np.testing.assert_allclose(maxout.output({below: x}, dropout_active=False), expected)
    assert maxout.get_output_shape() == (2, 2)
    assert set(maxout.output({below: torch.ones(400, 6)}).unique().tolist()) == {0.0, 2.0}


@pytest.mark.parametrize("n", [1, 4, 5])
def test_response_normalisation_is_the_slow_sum(n):
    below = layers.Input2DLayer(2, 7, 2, 3)
    x = torch.randn(2, 7, 2, 3)
    norm = tried.ResponseNormalisationLayer(below, n=n, k=1.5, alpha=0.3, beta=0.75)
    output = norm.output({below: x})
    assert output.shape == norm.get_output_shape()
    for i in range(7):
        neighbours = [x[:, j] ** 2 for j in range(7) if i - n // 2 <= j <= i + (n - 1) // 2]
        expected = x[:, i] / (1.5 + 0.3 * sum(neighbours)) ** 0.75
        np.testing.assert_allclose(output[:, i], expected, rtol=1e-5)


def test_four_quarter_turns_and_their_merger():
    view = layers.Input2DLayer(2, 3, 6, 6)
    parts = tried.Rot90SliceLayer(view, part_size=4)
    merged = tried.Rot90MergeLayer(parts)
    x = torch.randn(2, 3, 6, 6)
    turned = [np.rot90(x.numpy(), turns, axes=(2, 3))[:, :, :4, :4] for turns in range(4)]
    np.testing.assert_array_equal(parts.output({view: x}), np.concatenate(turned))
    assert parts.get_output_shape() == (8, 3, 4, 4)
    expected = np.concatenate([part.reshape(2, -1) for part in turned], axis=1)
    np.testing.assert_array_equal(merged.output({view: x}), expected)
    assert merged.get_output_shape() == (2, 4 * 3 * 16)


def slow_error(measure: str, p: list[list[float]], t: list[list[float]]) -> float:
    """Compute an error number by number."""
    pairs = [list(zip(*rows, strict=True)) for rows in zip(p, t, strict=True)]
    terms = {
        "mse": lambda y, t: (y - t) ** 2,
        "cross-entropy": lambda y, t: -(t * np.log(y) + (1 - t) * np.log(1 - y)),
        "log-loss": lambda y, t: -t * np.log(y),
        "hinge": lambda y, t: max(0, 1 - t * y),
        "squared-hinge": lambda y, t: max(0, 1 - t * y) ** 2,
    }
    sums = [sum(terms[measure](y, t) for y, t in row) for row in pairs]
    return np.mean(sums) / (1 if measure == "log-loss" else len(pairs[0]))


@pytest.mark.parametrize("measure", tried.ERROR_MEASURES)
def test_error_measures_are_the_slow_sums(measure):
    torch.manual_seed(0)
    below = tried.FlatInputLayer(4, 3)
    nonlinearity = {
        "cross-entropy": layers.sigmoid,
        "log-loss": lambda z: z.softmax(1),
    }.get(measure, layers.identity)
    dense = layers.DenseLayer(below, 3, 1.0, 0.1, nonlinearity=nonlinearity)
    output = tried.OutputLayer(dense, error_measure=measure)
    x = torch.randn(4, 3)
    targets = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]])
    if "hinge" in measure:
        targets = 2 * targets - 1
    predictions = output.predictions({below: x})
    np.testing.assert_array_equal(predictions.detach(), dense.output({below: x}).detach())
    error = output.error({below: x}, targets)
    assert error.item() == pytest.approx(slow_error(measure, predictions.tolist(), targets.tolist()), rel=1e-5)
    error.backward()
    assert dense.W.grad.abs().max() > 0


def build_plain_network(measure: str, batch_size: int) -> tuple[list[layers.Layer], layers.Layer]:
    inputs = [layers.Input2DLayer(batch_size, 3, 15, 15) for _ in range(2)]
    both = layers.ConcatenateLayer([layers.FlattenLayer(each) for each in inputs])
    return inputs, tried.OutputLayer(layers.DenseLayer(both, 37, 0.01, 0.0, nonlinearity=layers.sigmoid), measure)


@pytest.mark.parametrize("measure", ["mse", "cross-entropy"])
def test_a_network_below_such_an_output_layer_is_trained_as_any_other(prepared_survey, run_main, measure):
    experiment = dataclasses.replace(TINY, build_network=partial(build_plain_network, measure))
    analysis = run(run_main, prepared_survey, experiment=experiment)
    assert np.isfinite(analysis["losses_train"]).all()
    network = Network(experiment, CPU)
    layers.set_param_values(network.output_layer, analysis["param_values"])
    [views] = Examples(experiment, OPTIONS, CPU).fixed(np.arange(27, 30), "train")
    np.testing.assert_allclose(network.predict(views), analysis["predictions"], rtol=0, atol=1e-6)


def test_log_loss_bears_a_probability_of_zero():
    below = tried.FlatInputLayer(1, 2)
    error = tried.OutputLayer(below, "log-loss").error({below: torch.tensor([[0.0, 1.0]])}, torch.tensor([[1.0, 0.0]]))
    assert 50 < error.item() < 100


def test_an_unknown_error_measure_is_refused():
    with pytest.raises(ValueError, match=r"expected error_measure to be one of mse, cross-entropy, .*, got 'nca'"):
        tried.OutputLayer(tried.FlatInputLayer(1, 2), "nca")


def test_sparse_initialisation_connects_each_output_to_a_few_inputs():
    weights = tried.sparse_initialisation(200, 500, sparsity=0.1, std=0.5, rng=np.random.default_rng(0))
    assert weights.shape == (200, 500)
    assert weights.dtype == np.float32
    assert ((weights != 0).sum(axis=0) == 20).all()
    assert (weights != 0).any(axis=1).all()  # every input is of use to some output
    assert weights[weights != 0].std() == pytest.approx(0.5, rel=0.03)
    assert ((tried.sparse_initialisation(5, 3) != 0).sum(axis=0) == 1).all()


def test_rescaling_updates_are_gathered_from_all_dense_layers():
    below = tried.FlatInputLayer(2, 30)
    first = layers.DenseLayer(below, 20, 1.0, 0.0)
    pooled = tried.MaxoutLayer(first, 2)
    second = layers.DenseLayer(pooled, 5, 1.0, 0.0)
    updates = tried.gather_rescaling_updates(tried.OutputLayer(second), 0.7)
    assert [param for param, _ in updates] == [second.W, first.W]
    for param, value in updates:
        weights = param.detach().numpy()
        norms = np.sqrt((weights**2).sum(axis=0))
        np.testing.assert_allclose(value.detach(), weights * np.minimum(1, 0.7 / norms), rtol=1e-5)
