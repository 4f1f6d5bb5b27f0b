import numpy as np
import pytest
import torch

import cc_layers
import layers
from tried import cc_layers as tried


def c01b_memory(*shape: int) -> torch.Tensor:
    """Return a normal tensor whose memory lies as cuda-convnet's did, the batch innermost."""
    return torch.randn(*shape)


def bc01_memory(*shape: int) -> torch.Tensor:
    """Return a normal tensor of the same shape, a view of memory with the batch outermost."""
    return torch.randn(shape[3], *shape[:3]).permute(1, 2, 3, 0)


MEMORY = pytest.mark.parametrize("draw", [c01b_memory, bc01_memory])


@MEMORY
@pytest.mark.parametrize(("rows", "columns", "pool_size", "stride"), [(8, 6, 2, 2), (7, 9, 3, 2), (5, 5, 4, 3)])
def test_stochastic_pooling_weighs_in_evaluation_and_draws_in_training(rows, columns, pool_size, stride, draw):
    torch.manual_seed(0)
    below = cc_layers.CudaConvnetInput2DLayer(2, 3, rows, columns)
    pool = tried.StochasticPoolingC01BLayer(below, pool_size, stride)
    x = draw(3, rows, columns, 2)
    x[:, :pool_size, :pool_size] = -1.0  # a window of zeros
    weighted, drawn = pool.output({below: x}, dropout_active=False), pool.output({below: x})
    assert weighted.shape == drawn.shape == pool.get_output_shape()
    for channel, i, j, example in np.ndindex(*weighted.shape):
        window = x[channel, i * stride : i * stride + pool_size, j * stride : j * stride + pool_size, example]
        values = np.maximum(window.numpy().astype(float).ravel(), 0)
        expected = (values / values.sum() * values).sum() if values.any() else 0.0
        assert weighted[channel, i, j, example].item() == pytest.approx(expected, rel=1e-5)
        got = drawn[channel, i, j, example].item()
        assert got in values.astype(np.float32)
        assert got > 0 or not values.any()


def test_stochastic_pooling_draws_in_proportion():
    torch.manual_seed(0)
    below = cc_layers.CudaConvnetInput2DLayer(20000, 1, 2, 2)
    pool = tried.CudaConvnetStochasticPooling2DLayer(below, 2)
    x = torch.tensor([[1.0, -5.0], [3.0, 4.0]]).reshape(1, 2, 2, 1).expand(-1, -1, -1, 20000)
    values, counts = pool.output({below: x}).unique(return_counts=True)
    assert values.tolist() == [1, 3, 4]
    np.testing.assert_allclose(counts / 20000, [1 / 8, 3 / 8, 4 / 8], atol=0.015)
    assert (pool.output({below: x}, dropout_active=False) == 26 / 8).all()


def test_stochastic_pooling_never_draws_a_zero(monkeypatch):
    monkeypatch.setattr(torch, "rand_like", torch.zeros_like)  # once in 2^24 draws
    below = cc_layers.CudaConvnetInput2DLayer(1, 1, 2, 2)
    pool = tried.CudaConvnetStochasticPooling2DLayer(below, 2)
    x = torch.tensor([[0.0, 3.0], [0.0, 4.0]]).reshape(1, 2, 2, 1)
    assert pool.output({below: x}).item() == 3


def test_stochastic_pooling_leads_the_gradient_to_the_pixel_drawn():
    below = cc_layers.CudaConvnetInput2DLayer(2, 3, 4, 4)
    pool = tried.CudaConvnetStochasticPooling2DLayer(below, 2)
    x = torch.rand(3, 4, 4, 2).requires_grad_()
    drawn = pool.output({below: x})
    drawn.sum().backward()
    assert set(x.grad.unique().tolist()) == {0.0, 1.0}
    np.testing.assert_array_equal(np.sort(x.detach()[x.grad == 1]), np.sort(drawn.detach().flatten()))
    zeros = torch.zeros(3, 4, 4, 2, requires_grad=True)
    pool.output({below: zeros}, dropout_active=False).sum().backward()
    assert zeros.grad.isfinite().all()


# Of the pixels of a window that lie in the image.
POOLED = {
    "average": (tried.CudaConvnetAveragePooling2DLayer, {}, np.mean),
    "p = 1": (tried.CudaConvnetLpPooling2DLayer, {"p": 1}, lambda x: np.abs(x).sum()),
    "p = 2": (tried.CudaConvnetLpPooling2DLayer, {}, lambda x: np.sqrt((x**2).sum())),
    "p = 3.5": (tried.CudaConvnetLpPooling2DLayer, {"p": 3.5}, lambda x: (np.abs(x) ** 3.5).sum() ** (1 / 3.5)),
    "p = inf": (tried.CudaConvnetLpPooling2DLayer, {"p": np.inf}, lambda x: np.abs(x).max()),
    "probability": (tried.CudaConvnetProbMaxPooling2DLayer, {}, lambda x: np.exp(x).sum() / (1 + np.exp(x).sum())),
}


@MEMORY
@pytest.mark.parametrize("kind", POOLED)
@pytest.mark.parametrize(("rows", "columns", "pool_size", "stride"), [(8, 6, 2, 2), (7, 9, 3, 2), (5, 5, 4, 3)])
def test_other_pooling_is_the_slow_one(kind, rows, columns, pool_size, stride, draw):
    torch.manual_seed(0)
    layer_class, options, slow = POOLED[kind]
    below = cc_layers.CudaConvnetInput2DLayer(2, 3, rows, columns)
    pool = layer_class(below, pool_size, stride, **options)
    x = draw(3, rows, columns, 2)
    output = pool.output({below: x})
    assert output.shape == pool.get_output_shape()
    assert pool.mb_size == 2
    assert torch.equal(output, pool.output({below: x}, dropout_active=False))
    for channel, i, j, example in np.ndindex(*output.shape):
        window = x[channel, i * stride : i * stride + pool_size, j * stride : j * stride + pool_size, example]
        expected = slow(window.numpy().astype(float).ravel())
        assert output[channel, i, j, example].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", POOLED)
def test_other_pooling_has_the_slope_that_small_changes_show(kind):
    layer_class, options, _ = POOLED[kind]
    below = cc_layers.CudaConvnetInput2DLayer(2, 2, 5, 4)
    pool = layer_class(below, 3, 2, **options)
    x = torch.randn(2, 5, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(pool, (x,))


@pytest.mark.parametrize("p", [1, 1.5, 2, 4])
def test_lp_pooling_of_zeros_has_a_finite_slope(p):
    below = cc_layers.CudaConvnetInput2DLayer(1, 1, 4, 4)
    zeros = torch.zeros(1, 4, 4, 1, requires_grad=True)
    tried.CudaConvnetLpPooling2DLayer(below, 2, p=p).output({below: zeros}).sum().backward()
    assert zeros.grad.isfinite().all()


@pytest.mark.parametrize("p", [0.5, 0, float("nan")])
def test_lp_pooling_refuses_a_power_below_1(p):
    with pytest.raises(ValueError, match=f"expected a power p of at least 1, got {p}"):
        tried.CudaConvnetLpPooling2DLayer(cc_layers.CudaConvnetInput2DLayer(1, 1, 4, 4), 2, p=p)


def test_probabilities_bear_large_activations():
    below = cc_layers.CudaConvnetInput2DLayer(1, 2, 2, 2)
    x = torch.tensor([500.0, -500.0]).reshape(2, 1, 1, 1).expand(-1, 2, 2, -1)
    assert tried.CudaConvnetProbMaxPooling2DLayer(below, 2).output({below: x}).flatten().tolist() == [1, 0]


def test_a_number_that_is_none_is_not_hidden_by_pooling():
    below = cc_layers.CudaConvnetInput2DLayer(1, 1, 2, 2)
    x = torch.tensor([[1.0, float("nan")], [2.0, 3.0]]).reshape(1, 2, 2, 1)
    for layer_class, options, _ in POOLED.values():
        assert layer_class(below, 2, **options).output({below: x}).isnan().all()


@MEMORY
@pytest.mark.parametrize("size", [1, 4, 5])
def test_cross_map_normalisation_is_the_slow_sum(size, draw):
    below = cc_layers.CudaConvnetInput2DLayer(2, 7, 3, 4)
    norm = tried.CudaConvnetCrossMapNormLayer(below, size=size, alpha=0.6, beta=0.75)
    x = draw(7, 3, 4, 2)
    output = norm.output({below: x})
    assert output.shape == norm.get_output_shape()
    assert norm.mb_size == 2
    for i in range(7):
        neighbours = [x[j] ** 2 for j in range(7) if i - size // 2 <= j <= i + (size - 1) // 2]
        np.testing.assert_allclose(output[i], x[i] / (1 + 0.6 / size * sum(neighbours)) ** 0.75, rtol=1e-5)


@pytest.mark.parametrize("untie_biases", [True, False])
@pytest.mark.parametrize(("filter_size", "stride"), [(3, 1), (4, 1), (3, 2), (5, 4), (2, 2)])
def test_circular_convolution_is_the_slow_correlation_round_the_columns(filter_size, stride, untie_biases):
    torch.manual_seed(0)
    below = cc_layers.CudaConvnetInput2DLayer(3, 2, 7, 8)
    conv = tried.CudaConvnetCircularConv2DLayer(
        below, 5, filter_size, weights_std=0.5, init_bias_value=0.1, stride=stride, untie_biases=untie_biases
    )
    x = torch.randn(2, 7, 8, 3)
    w, b = layers.get_param_values(conv)
    rows = int(np.ceil((7 - filter_size) / stride)) + 1
    assert w.shape == (2, filter_size, filter_size, 5)
    assert b.shape == ((5, rows, 8 // stride) if untie_biases else (5,))
    slow = np.full((5, rows, 8 // stride, 3), 0.1)
    for f, i, j, example in np.ndindex(*slow.shape):
        for channel, di, dj in np.ndindex(2, filter_size, filter_size):
            row, column = i * stride + di, (j * stride + dj - (filter_size - stride) // 2) % 8
            if row < 7:  # cuda-convnet's last window may hang over the border
                slow[f, i, j, example] += w[channel, di, dj, f] * x[channel, row, column, example].item()
    output = conv.output({below: x})
    assert output.shape == conv.get_output_shape() == slow.shape
    np.testing.assert_allclose(output.detach(), np.maximum(slow, 0), rtol=1e-4, atol=1e-5)
    turned = conv.output({below: x.roll(2 * stride, dims=2)})
    np.testing.assert_allclose(turned.detach(), output.detach().roll(2, dims=2), rtol=1e-4, atol=1e-5)
    output.square().sum().backward()
    assert all(param.grad.abs().max() > 0 for param in (conv.W, conv.b))
    assert layers.all_layers(conv) == [conv, below]
    assert layers.all_parameters(conv) == [conv.W, conv.b]


@pytest.mark.parametrize(("filter_size", "stride"), [(3, 3), (2, 4), (9, 1)])
def test_circular_convolution_refuses_what_does_not_go_round(filter_size, stride):
    below = cc_layers.CudaConvnetInput2DLayer(1, 1, 12, 8)
    with pytest.raises(
        ValueError, match=f"multiple of stride {stride} as columns, .* got 8 columns and filter_size {filter_size}"
    ):
        tried.CudaConvnetCircularConv2DLayer(below, 1, filter_size, 0.1, 0.0, stride=stride)


def test_bc01_images_are_shuffled_pooled_and_shuffled_back():
    below = layers.Input2DLayer(2, 3, 7, 8)
    pooled = tried.shuffle_pool_unshuffle(below, 3, stride=2)
    x = torch.randn(2, 3, 7, 8)
    output = pooled.output({below: x})
    assert output.shape == pooled.get_output_shape() == (2, 3, 3, 4)
    for i, j in np.ndindex(3, 4):
        window = x[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        np.testing.assert_array_equal(output[:, :, i, j], window.amax(dim=(2, 3)))
