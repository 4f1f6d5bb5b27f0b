import numpy as np
import pytest
import torch

import cc_layers
import layers


def convolve(x: np.ndarray, w: np.ndarray, stride: int, pad: int, steps: tuple[int, int]) -> np.ndarray:
    """Correlate c01b images with (channels, rows, columns, filters) weights, one window at a time."""
    size = w.shape[1]
    far = max(steps) * stride + size  # enough zeros for windows that hang over the border
    padded = np.pad(x, ((0, 0), (pad, pad + far), (pad, pad + far), (0, 0)))
    out = np.zeros((w.shape[3], *steps, x.shape[3]))
    for i in range(steps[0]):
        for j in range(steps[1]):
            window = padded[:, i * stride : i * stride + size, j * stride : j * stride + size]
            out[:, i, j] = np.einsum("cxyb,cxyf->fb", window, w)
    return out


@pytest.mark.parametrize("untie_biases", [True, False])
@pytest.mark.parametrize(("stride", "pad"), [(1, 0), (1, 2), (2, 0), (2, 1), (3, 0)])
def test_convolution_is_the_slow_correlation(stride, pad, untie_biases):
    torch.manual_seed(0)
    below = cc_layers.CudaConvnetInput2DLayer(3, 2, 8, 9)
    conv = cc_layers.CudaConvnetConv2DLayer(
        below, n_filters=5, filter_size=3, weights_std=0.5, init_bias_value=0.1, stride=stride, pad=pad,
        untie_biases=untie_biases, partial_sum=1,
    )  # fmt: skip
    _, rows, columns, _ = conv.get_output_shape()
    assert conv.W.shape == (2, 3, 3, 5)
    assert conv.b.shape == ((5, rows, columns) if untie_biases else (5,))
    with torch.no_grad():
        conv.b.normal_()
    x = torch.randn(2, 8, 9, 3)
    w, b = layers.get_param_values(conv)
    slow = convolve(x.numpy(), w, stride, pad, (rows, columns))
    slow += b[..., None] if untie_biases else b[:, None, None, None]
    output = conv.output({below: x})
    assert output.shape == conv.get_output_shape()
    np.testing.assert_allclose(output.detach(), np.maximum(slow, 0), rtol=1e-4, atol=1e-5)


def test_windows_cover_the_border_as_in_cuda_convnet():
    below = cc_layers.CudaConvnetInput2DLayer(1, 1, 8, 8)
    assert cc_layers.CudaConvnetConv2DLayer(below, 1, 3, 0.1, 0.0, stride=2).get_output_shape() == (1, 4, 4, 1)
    assert cc_layers.CudaConvnetConv2DLayer(below, 1, 3, 0.1, 0.0, stride=5).get_output_shape() == (1, 2, 2, 1)


def test_a_filter_larger_than_its_input_is_refused():
    below = cc_layers.CudaConvnetInput2DLayer(1, 1, 8, 8)
    with pytest.raises(ValueError, match="at least 11 pixels"):
        cc_layers.CudaConvnetConv2DLayer(below, 1, 11, 0.1, 0.0)


def test_dropout_of_a_convolution_sits_on_its_input():
    below = cc_layers.CudaConvnetInput2DLayer(500, 1, 1, 1)
    conv = cc_layers.CudaConvnetConv2DLayer(below, 1, 1, 0.0, 0.0, dropout=0.5)
    with torch.no_grad():
        conv.W.fill_(1.0)
        output = conv.output({below: torch.ones(1, 1, 1, 500)})
    assert set(output.unique().tolist()) == {0.0, 2.0}


@pytest.mark.parametrize(
    ("size", "pool_size", "stride"), [(8, 2, 2), (9, 2, 2), (9, 3, 2), (10, 3, 2), (7, 3, 1), (5, 4, 3)]
)
def test_pooling_is_the_slow_maximum_and_never_ignores_borders(size, pool_size, stride):
    below = cc_layers.CudaConvnetInput2DLayer(2, 3, size, size)
    pool = cc_layers.CudaConvnetPooling2DLayer(below, pool_size, stride)
    x = torch.randn(3, size, size, 2)
    output = pool.output({below: x})
    steps = int(np.ceil((size - pool_size) / stride)) + 1
    assert output.shape == pool.get_output_shape() == (3, steps, steps, 2)
    for i in range(steps):
        for j in range(steps):
            window = x[:, i * stride : i * stride + pool_size, j * stride : j * stride + pool_size]
            np.testing.assert_array_equal(output[:, i, j], window.amax(dim=(1, 2)))


def test_a_pool_that_skips_pixels_is_refused():
    with pytest.raises(ValueError, match="stride from 1 to pool_size 2, got 3"):
        cc_layers.CudaConvnetPooling2DLayer(cc_layers.CudaConvnetInput2DLayer(1, 1, 8, 8), 2, stride=3)


def test_shuffling_is_a_view_and_back_again():
    below = layers.Input2DLayer(2, 3, 4, 5)
    there = cc_layers.ShuffleBC01ToC01BLayer(below)
    back = cc_layers.ShuffleC01BToBC01Layer(there)
    x = torch.randn(2, 3, 4, 5)
    c01b = there.output({below: x})
    np.testing.assert_array_equal(c01b, x.numpy().transpose(1, 2, 3, 0))
    assert c01b.shape == there.get_output_shape() == (3, 4, 5, 2)
    assert there.mb_size == back.mb_size == 2
    assert c01b.data_ptr() == back.output({below: x}).data_ptr() == x.data_ptr()
    assert torch.equal(back.output({below: x}), x)


def test_a_c01b_input_of_another_shape_is_named():
    below = cc_layers.CudaConvnetInput2DLayer(2, 3, 4, 4)
    assert below.output({below: torch.zeros(3, 4, 4, 7)}).shape == (3, 4, 4, 7)
    with pytest.raises(ValueError, match=r"CudaConvnetInput2DLayer \(3, 4, 4, 'batch'\): got a tensor"):
        below.output({below: torch.zeros(2, 3, 4, 4)})


@pytest.mark.parametrize("feature_dim", [0, -4])
def test_maxout_of_maps_keeps_the_batch_last(feature_dim):
    below = cc_layers.CudaConvnetInput2DLayer(5, 6, 4, 3)
    maxout = layers.FeatureMaxPoolingLayer(below, pool_size=2, feature_dim=feature_dim)
    x = torch.randn(6, 4, 3, 5)
    output = maxout.output({below: x})
    assert output.shape == maxout.get_output_shape() == (3, 4, 3, 5)
    assert maxout.mb_size == 5
    torch.testing.assert_close(output, torch.maximum(x[::2], x[1::2]), rtol=0, atol=0)
    conv = cc_layers.CudaConvnetConv2DLayer(maxout, 2, 3, 0.1, 0.1)
    assert conv.output({below: x}).shape == conv.get_output_shape() == (2, 2, 1, 5)
    back = cc_layers.ShuffleC01BToBC01Layer(maxout)
    assert layers.DenseLayer(back, 7, 0.1, 0.1).get_output_shape() == (5, 7)


def test_maxout_of_maps_refuses_what_does_not_divide():
    with pytest.raises(ValueError, match="multiple of pool_size 4 as features, got 6"):
        layers.FeatureMaxPoolingLayer(cc_layers.CudaConvnetInput2DLayer(5, 6, 4, 4), pool_size=4, feature_dim=0)
