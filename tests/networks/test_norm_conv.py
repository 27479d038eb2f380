"""The one-node norm and convolution: its derivatives are those of plain autograd."""

import pytest
import torch

import scorekit as sk
from scorekit.networks import norm, norm_conv

from .golden import filled, images, sigmas


def plain_autograd(monkeypatch):
    monkeypatch.setattr(sk.networks.refinenet.layers, "norm_conv", norm_conv.norm_conv_plain)


def gradients(net, x, sigma):
    x = x.clone().requires_grad_(True)
    net.zero_grad()
    net(x, sigma).square().sum().backward()
    return [x.grad, *(weight.grad for weight in net.parameters())]


def test_gradients_equal_plain_autograd(monkeypatch):
    for shape in ((1, 8, 8), (3, 16, 12)):
        net, x, sigma = filled(shape), images(shape), sigmas([1, 8])
        ours = gradients(net, x, sigma)
        with monkeypatch.context() as patch:
            plain_autograd(patch)
            plain = gradients(net, x, sigma)
        for one, other in zip(ours, plain, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_a_wrong_backward_would_be_seen(monkeypatch):
    net, x, sigma = filled((1, 8, 8)), images((1, 8, 8)), sigmas([1, 8])
    ours = gradients(net, x, sigma)
    right = norm_conv.normalise_backward

    def without_the_channel_means(grad, x, style, known):
        return right(grad, x, style, known._replace(inverse_spread=known.inverse_spread * 0))

    monkeypatch.setattr(norm_conv, "normalise_backward", without_the_channel_means)
    wrong = gradients(net, x, sigma)
    assert not torch.allclose(ours[0], wrong[0], rtol=1e-3)


def test_second_derivatives_equal_plain_autograd(monkeypatch):
    """What implicit and sliced score matching differentiate: the gradient of v . (ds/dx) v by the weights."""

    def double_backward(net, x, sigma):
        x = x.clone().requires_grad_(True)
        s = net(x, sigma)
        v = torch.ones_like(x)
        (product,) = torch.autograd.grad((s * v).sum(), x, create_graph=True)
        net.zero_grad()
        (product * v).sum().backward()
        return [weight.grad for weight in net.parameters() if weight.grad is not None]

    net, x, sigma = filled((1, 8, 8)), images((1, 8, 8)), sigmas([1, 8])
    ours = double_backward(net, x, sigma)
    with monkeypatch.context() as patch:
        plain_autograd(patch)
        plain = double_backward(net, x, sigma)
    assert len(ours) == len(plain) > 100
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize("parts", [norm_conv.ELU, norm_conv.LINEAR], ids=["elu", "linear"])
def test_gradcheck(dilation, parts):
    generator = torch.Generator().manual_seed(dilation)

    def draw(*shape):
        return torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_(True)

    inputs = draw(2, 3, 4, 4), draw(2, 9), draw(2, 3, 3, 3), draw(2)
    geometry = sk.networks.convolution.Geometry(1, dilation, dilation, pool=parts is norm_conv.LINEAR)

    def node(x, style, weight, bias):
        return norm_conv.norm_conv(x, style, weight, bias, parts, geometry)

    assert torch.autograd.gradcheck(node, inputs)
    assert torch.autograd.gradgradcheck(node, inputs)


def test_functional_transforms_go_through_the_network():
    net, x, sigma = filled((1, 4, 4)), images((1, 4, 4))[:1], sigmas([4])
    weights = {name: weight.detach() for name, weight in net.named_parameters()}

    def score(y):
        return torch.func.functional_call(net, weights, (y, sigma))

    v = torch.ones_like(x)
    _, forward_mode = torch.func.jvp(score, (x,), (v,))
    jacobian = torch.func.jacrev(score)(x).reshape(16, 16)
    torch.testing.assert_close(forward_mode.flatten(), jacobian @ v.flatten(), rtol=1e-9, atol=1e-9)
    y = x.clone().requires_grad_(True)
    (reverse_mode,) = torch.autograd.grad((net(y, sigma) * v).sum(), y)
    torch.testing.assert_close(reverse_mode.flatten(), v.flatten() @ jacobian, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(torch.func.jacfwd(score)(x).reshape(16, 16), jacobian, rtol=1e-9, atol=1e-9)
    both = torch.stack((x, x + 0.1 * v))
    expected = torch.stack([score(y) for y in both])
    torch.testing.assert_close(torch.func.vmap(score)(both), expected, rtol=1e-9, atol=1e-9)


STATISTICS = norm.statistics


def check_derivative_of_forward_mode():
    """The gradient of |J v|^2 at one pixel against a central difference: what training through a Jacobian needs."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 3, 4, 4), (2, 3, 4, 4), (2, 9), (3, 3, 3, 3))
    x, v, style, weight = (torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes)
    pixel = torch.zeros_like(x)
    pixel[0, 0, 1, 1] = 1e-6
    geometry = sk.networks.convolution.Geometry(1, 1, 1)

    def node(y):
        return norm_conv.norm_conv(y, style, weight, None, norm_conv.ELU, geometry)

    def energy(y):
        return torch.func.jvp(node, (y,), (v,))[1].square().sum()

    difference = (energy(x + pixel) - energy(x - pixel)) / 2e-6
    assert torch.func.grad(energy)(x)[0, 0, 1, 1].item() == pytest.approx(difference.item(), rel=1e-5)


def test_forward_mode_can_be_differentiated(monkeypatch):
    """torch's own layer norm in place of t fails this (torch 2.13), by taking its saved moments for constants."""
    check_derivative_of_forward_mode()

    def constant_spread(x):
        known, centred = STATISTICS(x)
        spread = known.inverse_spread.detach()
        offset = known.mean - known.mean.mean(1, keepdim=True)
        return known._replace(relative_mean=offset * spread, inverse_spread=spread), centred

    monkeypatch.setattr(norm, "statistics", constant_spread)
    with pytest.raises(AssertionError):
        check_derivative_of_forward_mode()
