r"""A vector field seen by its Jacobian and by its line integrals: how far it is from a gradient.

**Jacobian.** With independent probes u, v of covariance I and J = ds/dx,

    E v'Jv = tr J        E|J'v|^2 = |J|^2        E (v'Ju - u'Jv)^2 = |J - J'|^2

(Frobenius norms), so that K probes, one vector-Jacobian product each, give all three; up to `EXACT` coordinates the
unit vectors take their place, and the values are exact.

**Line integrals** are by Gauss-Legendre quadrature of n nodes, exact for polynomials of degree 2n - 1 along a segment,
or by Simpson's rule, which is what a Metropolis kernel without a log density uses.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scorekit.base import Generator, TensorFunction, fork, rademacher, sum_event

EXACT = 16  # coordinates up to which the whole Jacobian is taken: as many products as coordinates


class JacobianSums(NamedTuple):
    """For each example, (B,) in double precision."""

    trace: Tensor  # tr J
    squares: Tensor  # |J|^2
    asymmetry: Tensor  # |J - J'|^2


def jacobian_sums(
    score: TensorFunction, x: Tensor, *, num_probes: int = 4, generator: Generator = None
) -> JacobianSums:
    """Trace, square and asymmetry of the Jacobian at each x (B, *E): exact for up to 16 coordinates, else unbiased.

    Args:
        score: the field; its examples must not depend on one another.
        x: where, (B, *E).
        num_probes: how many Rademacher probes, >= 2, where the Jacobian is not taken whole.
        generator: where they are drawn from.

    Raises:
        ValueError: if autograd finds no way from the score back to x, or inference mode rules it out.
    """
    dimension = x.shape[1:].numel()
    if dimension <= EXACT:
        basis = torch.eye(dimension, dtype=x.dtype, device=x.device).reshape(dimension, 1, *x.shape[1:])
        rows = torch.stack(_products(score, x, [unit.expand_as(x) for unit in basis]), dim=1)  # row i: grad s_i
        return JacobianSums(
            rows.diagonal(dim1=1, dim2=2).sum(1), rows.square().sum((1, 2)), (rows - rows.mT).square().sum((1, 2))
        )
    probes = [rademacher(x, generator=fork(generator, i)) for i in range(num_probes)]
    flat = torch.stack([probe.flatten(1).double() for probe in probes], dim=1)
    products = torch.stack(_products(score, x, probes), dim=1)
    pairs = products @ flat.mT  # v_i' J v_j
    differences = (pairs - pairs.mT).square().sum((1, 2)) / (num_probes * (num_probes - 1))
    trace = pairs.diagonal(dim1=1, dim2=2).mean(1)
    return JacobianSums(trace, products.square().sum(2).mean(1), differences)


def _products(score: TensorFunction, x: Tensor, vectors: list[Tensor]) -> list[Tensor]:
    """J'v (B, D) in double precision, for each v (B, *E)."""
    if torch.is_inference_mode_enabled():
        raise ValueError("the score is differentiated, which torch.inference_mode() rules out: use torch.no_grad()")
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = score(x)
        if not value.requires_grad:
            raise ValueError("the score has no derivative: autograd finds no way from it back to x (is it detached?)")
        products = [torch.autograd.grad(value, x, v, retain_graph=True, allow_unused=True)[0] for v in vectors]
    if any(product is None for product in products):
        raise ValueError("the score has no derivative: it does not depend on x in a way that autograd follows")
    return [product.flatten(1).double() for product in products]


def gauss_legendre(score: TensorFunction, start: Tensor, end: Tensor, *, num_nodes: int = 8, panels: int = 1) -> Tensor:
    """The line integral of the score along each segment from start to end (B, *E): (B,) in double precision.

    Args:
        score: the field.
        start, end: the segments' ends.
        num_nodes: nodes of a panel.
        panels: equal pieces that each segment is cut into.
    """
    nodes, weights = np.polynomial.legendre.leggauss(num_nodes)
    places = [((1 + float(node)) / 2 + panel) / panels for panel in range(panels) for node in nodes]
    return _along(score, start, end, places, np.tile(weights / (2 * panels), panels).tolist())


def simpson(score: TensorFunction, start: Tensor, end: Tensor) -> Tensor:
    """The same by Simpson's rule, which is 3-node Gauss-Lobatto: (B,) in double precision."""
    return _along(score, start, end, [0.0, 0.5, 1.0], [1 / 6, 4 / 6, 1 / 6])


def circulation(score: TensorFunction, corners: list[Tensor], *, num_nodes: int = 8, panels: int = 1) -> Tensor:
    """The line integral of the score around each closed polygon: 0 for a gradient.

    Args:
        score: the field.
        corners: the polygons' corners in their order, (B, *E) each.
        num_nodes, panels: as in `gauss_legendre`, for each edge.
    """
    edges = zip(corners, corners[1:] + corners[:1], strict=True)
    return torch.stack([gauss_legendre(score, a, b, num_nodes=num_nodes, panels=panels) for a, b in edges]).sum(0)


def _along(score: TensorFunction, start: Tensor, end: Tensor, places: list[float], weights: list[float]) -> Tensor:
    step = end - start
    with torch.no_grad():
        terms = [
            weight * sum_event((score(start + place * step) * step).double())
            for place, weight in zip(places, weights, strict=True)
        ]
    return torch.stack(terms).sum(0)
