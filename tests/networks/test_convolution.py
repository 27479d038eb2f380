"""Convolutions and their gradients."""

import torch
import torch.nn.functional as F

from scorekit.networks.convolution import Geometry, convolve, convolve_backward


def test_convolution_gradients_in_every_form():
    """Dilated kernels have two other exact forms on small images; each is autograd's own to rounding."""
    generator = torch.Generator().manual_seed(0)
    for size in ((4, 4), (4, 8), (6, 6), (2, 2), (1, 1), (1, 2), (7, 5)):
        for geometry in (Geometry(1, 1, 1), Geometry(1, 2, 2), Geometry(1, 4, 4), Geometry(1, 1, 1, pool=True)):
            x = torch.randn(2, 3, *size, dtype=torch.float64, generator=generator, requires_grad=True)
            weight = torch.randn(5, 3, 3, 3, dtype=torch.float64, generator=generator, requires_grad=True)
            bias = torch.randn(5, dtype=torch.float64, generator=generator, requires_grad=True)
            pooled = F.avg_pool2d(x, 5, 1, 2) if geometry.pool else x
            truth = F.conv2d(pooled, weight, bias, 1, geometry.padding, geometry.dilation)
            torch.testing.assert_close(convolve(x, weight, bias, geometry), truth, rtol=1e-12, atol=1e-12)
            grad = torch.randn(truth.shape, dtype=torch.float64, generator=generator)
            expected = torch.autograd.grad(truth, (x, weight, bias), grad)
            with torch.no_grad():
                got = convolve_backward(grad, x, weight, geometry, (True, True))
            for one, other in zip(got, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
