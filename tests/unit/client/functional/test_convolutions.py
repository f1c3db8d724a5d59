"""Convolutions of many clients as products of matrices, against torch's own of one client after another."""

import pytest
import torch
import torch.nn.functional as F

from client.functional.convolutions import convolution, transposed_convolution

GENERATOR = torch.Generator().manual_seed(0)
FORMS = [((1, 1), (0, 0)), ((2, 1), (1, 0)), ((1, 2), (0, 1)), ((2, 2), (1, 1))]


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=GENERATOR).requires_grad_()


@pytest.mark.parametrize(("stride", "padding"), FORMS)
def test_a_convolution_is_that_of_each_client(stride, padding):
    images, weights = draw(3, 5, 4, 9, 7), draw(3, 6, 4, 3, 2)
    expected = torch.stack([F.conv2d(*own, None, stride, padding) for own in zip(images, weights, strict=True)])
    torch.testing.assert_close(convolution(images, weights, stride, padding), expected)


@pytest.mark.parametrize("extra", [(0, 0), (1, 0)])
@pytest.mark.parametrize(("stride", "padding"), FORMS[1:2] + FORMS[3:])
def test_a_transposed_convolution_is_that_of_each_client(stride, padding, extra):
    maps, weights = draw(3, 5, 4, 6, 5), draw(3, 4, 6, 3, 2)
    expected = torch.stack(
        [F.conv_transpose2d(*own, None, stride, padding, extra) for own in zip(maps, weights, strict=True)]
    )
    torch.testing.assert_close(transposed_convolution(maps, weights, stride, padding, extra), expected)


def test_both_can_be_differentiated_twice_as_r1_wants():
    images, weights, turned = draw(2, 2, 2, 5, 5), draw(2, 3, 2, 3, 3), draw(2, 2, 3, 3, 3)
    once = lambda one, other: convolution(one, other, (2, 2), (1, 1))  # noqa: E731
    back = lambda one, other: transposed_convolution(one, other, (2, 2), (1, 1), (0, 0))  # noqa: E731
    assert torch.autograd.gradgradcheck(once, (images, weights))
    assert torch.autograd.gradgradcheck(back, (draw(2, 2, 2, 3, 3), turned))
