"""The interface of a density in closed form, and the checks that all of them share.

Noise adds variances: where a density is made of Gaussians of variances v, its convolution with N(0, sigma^2 I) is made
of Gaussians of variances v + sigma^2, and `noisy_variances` is all that changes.
"""

import math
from abc import abstractmethod
from functools import partial
from numbers import Integral
from typing import TypeAlias, final

import torch
from torch import Tensor

from scorekit._kinds import require_kind
from scorekit.base import Generator, Target, TargetFamily, expand, normal

Sigma: TypeAlias = float | Tensor


class Density(TargetFamily):
    """A density of clean data on events of shape E, and its convolution with Gaussian noise of any sigma >= 0.

    `score` and `log_prob` take sigma as one Python float, or as a tensor (B,) with one level for each example (or (),
    one for all). A float is checked; the values of a tensor stay on its device, and nothing is asked of them: a
    negative one counts as its absolute value, and where a density has none (a point mass at sigma = 0) the result is
    not finite.
    """

    @property
    @abstractmethod
    def event_shape(self) -> tuple[int, ...]:
        """E."""

    @abstractmethod
    def log_prob(self, x: Tensor, sigma: Sigma = 0.0) -> Tensor:
        """log p_sigma(x), normalised: (B, *E) -> (B,)."""

    @abstractmethod
    def score(self, x: Tensor, sigma: Sigma = 0.0) -> Tensor:
        """grad log p_sigma(x): (B, *E) -> (B, *E)."""

    @abstractmethod
    def draw(self, like: Tensor, sigma: float, *, generator: Generator = None) -> Tensor:
        """Exact, independent draws from p_sigma, with the shape (num_samples, *E), the type and the device of
        `like`."""

    @final
    def sample(
        self,
        num_samples: int,
        sigma: float = 0.0,
        *,
        generator: Generator = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Exact, independent draws from p_sigma: (num_samples, *E).

        Args:
            num_samples: how many.
            sigma: the noise level, >= 0.
            generator: where they are drawn from.
            device, dtype: the density's own, else torch's defaults, unless given.

        Raises:
            ValueError: unless num_samples is an integer >= 0, and 0 <= sigma < inf.
        """
        if not isinstance(num_samples, Integral) or num_samples < 0:
            raise ValueError(f"{type(self).__name__}.sample({num_samples!r}): expected an integer >= 0")
        check_sigma(self, sigma)
        device, dtype = self.device if device is None else device, self.dtype if dtype is None else dtype
        like = torch.empty(num_samples, *self.event_shape, device=device, dtype=dtype)
        return self.draw(like, sigma, generator=generator)

    @final
    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        """The target p_sigma."""
        return Target(partial(self.score, sigma=sigma), partial(self.log_prob, sigma=sigma))

    @final
    @property
    def inference_mode(self) -> bool:
        """True: closed forms need no autograd."""
        return True


class CleanDraws(Density):
    """A density that draws clean data; its draws at sigma are clean ones plus noise."""

    @abstractmethod
    def clean_draw(self, like: Tensor, *, generator: Generator = None) -> Tensor:
        """Exact, independent draws from p_0 with the shape (num_samples, *E), the type and the device of `like`."""

    @final
    def draw(self, like: Tensor, sigma: float, *, generator: Generator = None) -> Tensor:
        """A clean draw + sigma eps: (num_samples, *E)."""
        clean = self.clean_draw(like, generator=generator)
        return clean if sigma == 0 else clean + sigma * normal(clean, generator=generator)


class CleanDensity(CleanDraws):
    """A density known in closed form at sigma = 0 only; its draws are exact at every sigma.

    At another level a float sigma is refused, and where a tensor has one the result is NaN: the score of the clean
    data passed for that of noisy data would be a silent error.
    """

    @abstractmethod
    def clean_log_prob(self, x: Tensor) -> Tensor:
        """log p_0(x), normalised: (B, *E) -> (B,)."""

    @abstractmethod
    def clean_score(self, x: Tensor) -> Tensor:
        """grad log p_0(x): (B, *E) -> (B, *E)."""

    @final
    @property
    def noise_levels(self) -> Tensor:
        """0 alone."""
        return torch.zeros(1, dtype=torch.float64)

    @final
    def log_prob(self, x: Tensor, sigma: Sigma = 0.0) -> Tensor:
        """`clean_log_prob`, at sigma = 0: (B,)."""
        check_event(self, x)
        return self._clean_only(self.clean_log_prob(x), sigma, x)

    @final
    def score(self, x: Tensor, sigma: Sigma = 0.0) -> Tensor:
        """`clean_score`, at sigma = 0: (B, *E)."""
        check_event(self, x)
        return self._clean_only(self.clean_score(x), sigma, x)

    def _clean_only(self, value: Tensor, sigma: Sigma, x: Tensor) -> Tensor:
        noise = noise_of(self, sigma, x)
        if isinstance(sigma, Tensor):
            return torch.where(noise.reshape(-1, *(1 for _ in value.shape[1:])) == 0, value, math.nan)
        if sigma != 0:
            raise ValueError(f"{type(self).__name__} at sigma = {sigma}: it is known in closed form at sigma = 0 only")
        return value


def check_event(density: Density, x: Tensor) -> None:
    """Refuse states that are not events of the density."""
    require_kind(type(density).__name__, Tensor, "of shape (B, *E)", x=x)
    if tuple(x.shape[1:]) != density.event_shape:
        raise ValueError(
            f"x of shape {tuple(x.shape)}: this {type(density).__name__} is on events of shape {density.event_shape}"
        )


def check_sigma(density: Density, sigma: float) -> None:
    """Refuse a number that is no noise level."""
    if not 0 <= sigma < math.inf:
        raise ValueError(f"{type(density).__name__} at sigma = {sigma}: expected 0 <= sigma < inf")


def noise_of(density: Density, sigma: Sigma, x: Tensor) -> Tensor:
    """sigma against the flattened event, in the type and on the device of x: () or (B, 1)."""
    if not isinstance(sigma, Tensor):
        check_sigma(density, sigma)
        return x.new_full((), sigma)
    if sigma.shape not in ((), x.shape[:1]):
        raise ValueError(
            f"sigma of shape {tuple(sigma.shape)} for x of shape {tuple(x.shape)}: expected one number, or one for "
            f"each example, ({x.shape[0]},)"
        )
    return expand(sigma, x.flatten(1))


def noisy_variances(density: Density, variances: Tensor, sigma: Sigma, x: Tensor) -> Tensor:
    """variances (n,) + sigma^2 in the type of x, (n,) or (B, n). None may be 0 (a host check, made only where sigma is
    the float 0)."""
    noise = noise_of(density, sigma, x)
    if not isinstance(sigma, Tensor) and sigma == 0 and not (variances > 0).all():
        raise ValueError(
            f"this {type(density).__name__} is singular: it has no density at sigma = 0, only at sigma > 0"
        )
    return variances.to(x) + noise.square()


def check_finite(density: Density, what: str, numbers: Tensor) -> None:
    """Refuse NaN and infinity among the numbers of a parameter; `what` is how the message begins: "the mean has"."""
    bad = numbers[~numbers.isfinite()]
    if len(bad):
        raise ValueError(
            f"{type(density).__name__}: {what} a number that is not finite: {bad[0].item()}; expected finite numbers"
        )


def check_positive(density: Density, *fields: str) -> None:
    """Refuse a parameter that is not a finite number > 0."""
    for field in fields:
        value = getattr(density, field)
        if not 0 < value < math.inf:
            raise ValueError(f"{type(density).__name__}: {field} = {value}: expected a finite number > 0")


def check_count(density: Density, field: str, least: int) -> None:
    """Refuse a parameter that is not an integer >= least."""
    value = getattr(density, field)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{type(density).__name__}: {field} = {value!r}: expected an integer >= {least}")
