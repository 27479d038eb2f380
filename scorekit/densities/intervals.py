r"""A uniform variable on [a, b] plus N(0, sigma^2), elementwise.

Its density is Z / (b - a) with Z = Phi((x - a) / sigma) - Phi((x - b) / sigma), a difference that cancels in both
tails. Reflect x about the centre so that it is on the side of b, say, and put w = (x - b) / sigma (negative inside the
interval), u = (x - a) / sigma >= |w| and g = (u^2 - w^2) / 2 >= 0. Then, with phi the normal density and
R(t) = (1 - Phi(t)) / phi(t) the Mills ratio, sqrt(pi / 2) erfcx(t / sqrt 2),

    Z = (erf(u / sqrt 2) - erf(w / sqrt 2)) / 2       inside: both terms are >= 0,
    Z = phi(w) (R(w) - R(u) exp(-g))                  outside: no underflow however far,
    d log Z / dx = -(phi(w) - phi(u)) / (sigma Z) = -(phi(w) / Z) (1 - exp(-g)) / sigma.

The relative rounding error is about that of the type times (1 + sigma / (b - a)).
"""

import math

import torch
from torch import Tensor

from scorekit.base import wide


def noisy_uniform(x: Tensor, low: Tensor, high: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """The log density and its derivative of uniform variables on [low, high] plus `noise` times a normal one.

    The four arguments broadcast. Where noise is 0, the log density is -inf outside the interval and the derivative 0
    everywhere. Types narrower than float32 are computed in float32: the Mills ratio has no other.
    """
    kind = x.dtype
    x, low, high, noise = wide(x), wide(low), wide(high), wide(noise)
    clean, left = noise == 0, x < (low + high) / 2
    sigma, width = torch.where(clean, 1.0, noise.abs()), high - low
    w = torch.where(left, low - x, x - high) / sigma
    u = torch.where(left, high - x, x - low) / sigma
    g = width / sigma * (u + w) / 2
    w_in, w_out = w.clamp(max=0), w.clamp(min=0)  # each branch stays finite where the other one holds
    z = (torch.erf(u / _ROOT2) - torch.erf(w_in / _ROOT2)) / 2
    z_by_phi = _mills(w_out) - _mills(u) * torch.exp(-g)
    log_z = torch.where(w < 0, z.log(), z_by_phi.log() - w_out.square() / 2 - _LOG_ROOT_2PI)
    phi_by_z = torch.where(w < 0, torch.exp(-w_in.square() / 2 - _LOG_ROOT_2PI) / z, 1 / z_by_phi)
    derivative = torch.where(left, 1.0, -1.0).to(x) * phi_by_z * -torch.expm1(-g) / sigma
    hard = torch.where(w <= 0, 0.0, -math.inf).to(x)
    return (torch.where(clean, hard, log_z) - width.log()).to(kind), torch.where(clean, 0.0, derivative).to(kind)


def _mills(t: Tensor) -> Tensor:
    return math.sqrt(math.pi / 2) * torch.special.erfcx(t / _ROOT2)


_ROOT2 = math.sqrt(2)
_LOG_ROOT_2PI = math.log(2 * math.pi) / 2
