r"""Transitions: how the chains move from one noise level to the next, from a = sigma_from down to b = sigma_to.

x = x0 + sigma eps (variance exploding) is dx = sqrt(d sigma^2 / dt) dw forwards in time. Song et al. (arXiv 2011.13456)
run it backwards, as an equation without noise that has the same marginal laws (the *flow*), or with noise:

    dx / dsigma = -sigma s(x, sigma).

**Tweedie's formula** (Efron, JASA 2011): E[x0 | x] = x + sigma^2 s(x, sigma) =: D(x, sigma), the denoised state.
`Denoise` moves there after the last level; so do the others where b = 0, `ReverseDiffusion` but for its noise.

**In lambda = -log sigma.** sigma^2 s = D - x and dsigma = -sigma dlambda, so the flow is dx = (D - x) dlambda. Langevin
dynamics dx = eta (sigma^2 s dlambda + sqrt(2) sigma dw) leaves p_sigma alone, hence for every eta >= 0

    dx = (1 + eta) (D - x) dlambda + sqrt(2 eta) sigma dw

has the right marginals: eta = 0 is the flow, eta = 1 the reverse-time diffusion. Over a step of length h = log(a / b)
in which D is constant it is solved by

    x <- e^-(1 + eta)h x + (1 - e^-(1 + eta)h) D + b sqrt(1 - e^-2 eta h) z,

which is `Euler` for eta = 0 and `Ancestral` for eta = 1; `DPMSolverMultistep` lets D be linear in lambda instead.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, final

from torch import Tensor

from scorekit.base import Generator, Point, Target, TargetFamily, Transition, normal


@final
@dataclass(frozen=True)
class Stay(Transition):
    """Keep x: the next level's kernel does the work (annealed Langevin)."""

    def move(
        self, family: TargetFamily, point: Point, target: Target, sigma_from: float, sigma_to: float, carry: Any = None,
        *, generator: Generator = None,
    ) -> tuple[Tensor, Any]:  # fmt: skip
        """x itself; no evaluation."""
        return point.x, None


@final
@dataclass(frozen=True)
class Denoise(Transition):
    """x + sigma^2 s(x, sigma), the posterior mean of the clean state: a sampler's last move, one evaluation."""

    only_final: ClassVar[bool] = True

    def move(
        self, family: TargetFamily, point: Point, target: Target, sigma_from: float, sigma_to: float, carry: Any = None,
        *, generator: Generator = None,
    ) -> tuple[Tensor, Any]:  # fmt: skip
        """Tweedie's posterior mean."""
        return _denoised(point, sigma_from), None


@final
@dataclass(frozen=True)
class Euler(Transition):
    """x + a (a - b) s(x, a): one step of Euler's method on the flow, of first order; one evaluation.

    Raises:
        ValueError: when it moves, unless 0 <= sigma_to < sigma_from.
    """

    def move(
        self, family: TargetFamily, point: Point, target: Target, sigma_from: float, sigma_to: float, carry: Any = None,
        *, generator: Generator = None,
    ) -> tuple[Tensor, Any]:  # fmt: skip
        """Euler's step."""
        _require_descent(self, sigma_from, sigma_to)
        return _euler(point, sigma_from, sigma_to), None


@final
@dataclass(frozen=True)
class Heun(Transition):
    """x + (a - b) / 2 (a s(x, a) + b s(y, b)), y = x + a (a - b) s(x, a): Heun's method on the flow, of second order.

    Two evaluations, of which that at the source is shared with whoever asked for it before; where b = 0 it is Euler's
    step, Tweedie's mean, and one evaluation. It is the deterministic sampler of Karras et al. (arXiv 2206.00364,
    Algorithm 1); `Karras` has the levels.

    Raises:
        ValueError: when it moves, unless 0 <= sigma_to < sigma_from.
    """

    def move(
        self, family: TargetFamily, point: Point, target: Target, sigma_from: float, sigma_to: float, carry: Any = None,
        *, generator: Generator = None,
    ) -> tuple[Tensor, Any]:  # fmt: skip
        """Heun's step."""
        _require_descent(self, sigma_from, sigma_to)
        predicted = _euler(point, sigma_from, sigma_to)
        if sigma_to == 0:
            return predicted, None
        slopes = sigma_from * point.score + sigma_to * target.point(predicted).score
        return point.x + (sigma_from - sigma_to) / 2 * slopes, None


@final
@dataclass(frozen=True)
class ReverseDiffusion(Transition):
    """x + (a^2 - b^2) s(x, a) + sqrt(a^2 - b^2) z: the forward step's mirror image (arXiv 2011.13456, appendix E).

    It keeps its noise where b = 0: end with `Denoise` for the mean alone, as the score-SDE code does. One evaluation.

    Raises:
        ValueError: when it moves, unless 0 <= sigma_to < sigma_from.
    """

    def move(
        self, family: TargetFamily, point: Point, target: Target, sigma_from: float, sigma_to: float, carry: Any = None,
        *, generator: Generator = None,
    ) -> tuple[Tensor, Any]:  # fmt: skip
        """The mean and its noise."""
        _require_descent(self, sigma_from, sigma_to)
        lost = _lost_variance(sigma_from, sigma_to)
        return point.x + lost * point.score + math.sqrt(lost) * normal(point.x, generator=generator), None


@final
@dataclass(frozen=True)
class Ancestral(Transition):
    """x + (a^2 - b^2) s(x, a) + sqrt(b^2 (a^2 - b^2) / a^2) z: the law of x_b given x_a and x0 = D.

    It is N(x0 + b^2 / a^2 (x_a - x0), b^2 (a^2 - b^2) / a^2 I). Where b = 0 it is Tweedie's mean. One evaluation.
    Song et al., arXiv 2011.13456, appendix F.

    Raises:
        ValueError: when it moves, unless 0 <= sigma_to < sigma_from.
    """

    def move(
        self, family: TargetFamily, point: Point, target: Target, sigma_from: float, sigma_to: float, carry: Any = None,
        *, generator: Generator = None,
    ) -> tuple[Tensor, Any]:  # fmt: skip
        """The mean and its noise."""
        _require_descent(self, sigma_from, sigma_to)
        if sigma_to == 0:
            return _denoised(point, sigma_from), None
        lost = _lost_variance(sigma_from, sigma_to)
        noise = sigma_to / sigma_from * math.sqrt(lost) * normal(point.x, generator=generator)
        return point.x + lost * point.score + noise, None


@final
@dataclass(frozen=True)
class DPMSolverMultistep(Transition):
    """DPM-Solver++(2M) and its stochastic form (Lu et al., arXiv 2211.01095), one evaluation a move.

        x <- e^-(1 + eta)h x + (1 - e^-(1 + eta)h) (D + h / (2 h') (D - D')) + b sqrt(1 - e^-2 eta h) z

    with D' and h' those of the move before: the bracket is D half a step ahead, extrapolated in lambda. The first move
    takes D alone. Where b = 0 it returns D. Its history is (D', h'), so that it starts afresh after another transition.

    Args:
        eta: how much noise, >= 0: 0 is the flow, of second order; 1 the reverse-time diffusion.

    Raises:
        ValueError: unless 0 <= eta < inf; when it moves, unless 0 <= sigma_to < sigma_from.
    """

    eta: float = 1.0

    def __post_init__(self):
        if not 0 <= self.eta < math.inf:
            raise ValueError(f"{self}: eta must satisfy 0 <= eta < inf")

    def move(
        self, family: TargetFamily, point: Point, target: Target, sigma_from: float, sigma_to: float,
        carry: tuple[Tensor, float] | None = None, *, generator: Generator = None,
    ) -> tuple[Tensor, tuple[Tensor, float] | None]:  # fmt: skip
        """The step, and (D, h) for the next one."""
        _require_descent(self, sigma_from, sigma_to)
        denoised = _denoised(point, sigma_from)
        if sigma_to == 0:
            return denoised, None
        h = math.log(sigma_from / sigma_to)
        ahead = denoised if carry is None else denoised + h / (2 * carry[1]) * (denoised - carry[0])
        x = point.x + _share((1 + self.eta) * h) * (ahead - point.x)
        if self.eta > 0:
            x = x + sigma_to * math.sqrt(_share(2 * self.eta * h)) * normal(point.x, generator=generator)
        return x, (denoised, h)


def _denoised(point: Point, sigma: float) -> Tensor:
    return point.x + sigma**2 * point.score


def _euler(point: Point, sigma_from: float, sigma_to: float) -> Tensor:
    return point.x + sigma_from * (sigma_from - sigma_to) * point.score


def _lost_variance(sigma_from: float, sigma_to: float) -> float:
    """a^2 - b^2, without the cancellation between close levels."""
    return (sigma_from - sigma_to) * (sigma_from + sigma_to)


def _share(t: float) -> float:
    """1 - e^-t."""
    return -math.expm1(-t)


def _require_descent(transition: Transition, sigma_from: float, sigma_to: float) -> None:
    """Refuse a move that does not go down; from clean data to clean data there is nothing to do, which is allowed."""
    if not (0 <= sigma_to < sigma_from < math.inf or sigma_from == sigma_to == 0):
        raise ValueError(
            f"{transition} from sigma = {sigma_from:g} to {sigma_to:g}: expected 0 <= sigma_to < sigma_from < inf"
        )
