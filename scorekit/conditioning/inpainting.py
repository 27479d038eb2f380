r"""Known coordinates: the NCSN paper's Algorithm 2, with any sampler.

Let m be 1 where x0 is known to be y. At each level the known coordinates of the noisy x are drawn around y, and a
kernel moves the others given these:

    x <- (1 - m) x + m (y + sigma z),        the score is (1 - m) s(x, sigma),

so that proposals, momenta, ratios and line integrals need not know: a coordinate without a score that is pasted after
every move does not move. Where the levels end, y itself is pasted.

**What it samples.** At one level an adjusted kernel meets the law of the unknown given the noisy known coordinates.
That is not yet their law given y, of which y + sigma z says less; it becomes so as sigma goes to 0, as far as the steps
at the last levels forget those before, and they are short. So annealed Algorithm 2 is biased towards the prior. For
N(0, [[1, .8], [.8, 1]]) with the first coordinate known to be 1.5, by 10 levels from 4 to .05 with h = sigma^2 / 8 (the
second's mean less the true one, in true standard deviations; its variance over the true one; both in closed form):

    steps a level        10            100           1000
    "level"         -.62   2.24    -.067  1.10    -.009  1.02
    "step"          -.62   2.20    -.067  1.08    -.009  1.02

A transition between the levels is no help there (-.4 with 10 MALA steps of h = sigma^2 / 8), longer steps are: MALA
with h = sigma^2 / 2 has -.15 and 1.2 at 10 steps a level. Where the unknown has modes, the transition is worth more
than anything: of .4, .3, .1, .2 N((+-1, +-2), .35^2 I) with the second coordinate known to be 2, the share of the right
mode is 4/7, and comes out off by -.017 with Algorithm 2 (10 levels from 4 to .05, 20 steps each), by less than .001
with 50 levels, an ancestral transition to each and 3 steps there: 200 evaluations either way.
"""

from typing import Literal, final

import torch
from torch import Tensor

from scorekit._kinds import require_kind
from scorekit.base import Generator, Target, TargetFamily, WrappedFamily, fork, normal
from scorekit.base.families import of_each_chain, rows_of
from scorekit.conditioning.masks import checked_mask


@final
class Inpaint(WrappedFamily):
    """The densities of x given some of its coordinates: p_sigma(x) with x = y + sigma z where the mask is 1.

    Song and Ermon, arXiv 1907.05600, Algorithm 2 (`refresh="level"`).

    Args:
        family: the densities p_sigma.
        mask: 1 or True where x is known, (*E), or (B, *E) for each chain its own; of any type, with no value but 0
            and 1.
        observed: the clean y, (*E) or (B, *E); what it is elsewhere does not matter, be it NaN.
        refresh: how often z is drawn: once a "level", as published, or before every "step".

    Raises:
        TypeError: if a part is of another kind.
        ValueError: if the mask has another value, the observation is not floating-point or not finite where it is
            known, or `refresh` is something else; when sampling, if mask or observation do not fit the chains.
    """

    def __init__(
        self,
        family: TargetFamily,
        mask: Tensor,
        observed: Tensor,
        *,
        refresh: Literal["level", "step"] = "level",
    ):
        require_kind("Inpaint", TargetFamily, family=family)
        require_kind("Inpaint", Tensor, "of shape (*E) or (B, *E)", observed=observed)
        known = checked_mask("Inpaint", mask)
        _check_observed(observed, known)
        if refresh not in ("level", "step"):
            raise ValueError(f"Inpaint(refresh={refresh!r}): expected 'level' or 'step'")
        self._family, self._known, self._observed = family, known, observed
        self._refresh: Literal["level", "step"] = refresh

    @property
    def family(self) -> TargetFamily:
        """The densities without anything known."""
        return self._family

    @property
    def refresh(self) -> Literal["level", "step"]:
        """How often z is drawn; "step" if the family asks for it."""
        return "step" if "step" in (self._refresh, self._family.refresh) else "level"

    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        """The target at one level, with z drawn for the chains `like`; at sigma = 0 the clean observation."""
        if like is None:
            raise ValueError(f"{self}.at({sigma:g}): it draws for each chain: expected like=, their x (B, *E)")
        for what, value in (("the mask", self._known), ("the observation", self._observed)):
            of_each_chain(what, value, tuple(like.shape[1:]), len(like))
        prior = self._family.at(sigma, like=like, generator=generator)
        known, y = self._known.to(like.device), self._observed.to(like)
        if sigma > 0:  # a stream of its own, so that the family draws what it would draw by itself
            y = y + sigma * normal(like, generator=fork(generator, "observation"))
        return _frozen(prior, known, y)

    def rows(self, first: int, count: int, shape: tuple[int, ...]) -> TargetFamily:
        """The family's rows, with their masks and observations."""
        kept, event = self._family.rows(first, count, shape), tuple(shape[1:])
        known = rows_of("the mask", self._known, event, first, count, shape[0])
        observed = rows_of("the observation", self._observed, event, first, count, shape[0])
        same = kept is self._family and known is self._known and observed is self._observed
        return self if same else Inpaint(kept, known, observed, refresh=self._refresh)

    def __repr__(self) -> str:
        share = self._known.double().mean().item()
        return f"Inpaint({self._family.title}, {share:.0%} known, refresh={self._refresh!r})"


def _frozen(prior: Target, known: Tensor, y: Tensor) -> Target:
    """A target on the states that are y where known."""

    def project(x: Tensor) -> Tensor:
        return torch.where(known, y, prior.project(x))

    def score(x: Tensor) -> Tensor:
        return torch.where(known, 0.0, prior.score(x))

    together = prior.value_and_score
    if together is None:
        return Target(score, prior.log_prob, project=project)

    def both(x: Tensor) -> tuple[Tensor, Tensor]:
        value, score = together(x)
        return value, torch.where(known, 0.0, score)

    return Target(score, prior.log_prob, both, project)


def _check_observed(observed: Tensor, known: Tensor) -> None:
    if not observed.is_floating_point():
        raise ValueError(f"Inpaint: an observation of type {observed.dtype}: expected floating-point, as the data")
    small, large = sorted((tuple(known.shape), tuple(observed.shape)), key=len)
    if small not in (large, large[1:]):
        raise ValueError(
            f"Inpaint: a mask of shape {tuple(known.shape)} and an observation of shape {tuple(observed.shape)}: "
            "expected the event's shape (*E), or (B, *E), for each of them"
        )
    missing = (known & ~observed.isfinite()).sum().item()
    if missing:
        raise ValueError(f"Inpaint: the observation is NaN or infinite at {missing} coordinates that are called known")
