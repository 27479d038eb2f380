r"""The training objective: an estimator of the Fisher divergence, averaged over the noise levels with a weight.

    L = mean over examples of  weight(sigma) * estimate(s(., sigma), x0 + sigma eps, sigma, eps),    sigma ~
    schedule,  eps ~ N(0, I).

With denoising score matching and weight sigma^2 this is NCSN's 1/2 |sigma s + eps|^2 (Song and Ermon, arXiv
1907.05600, eq. 6): with a score of zero it is D/2 at every level, whatever the data.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias, final

import torch
from torch import Tensor, nn

from scorekit._kinds import require_kind
from scorekit.base import Estimator, Generator, NoiseSchedule, ScoreModel, expand, fork, normal
from scorekit.noise import checked_levels

Weight: TypeAlias = Literal["sigma^2", "sigma", "1"] | Callable[[Tensor], Tensor] | None

_NAMED_WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigma^2": torch.square,
    "sigma": torch.clone,
    "1": torch.ones_like,
}


class Loss(NamedTuple):
    """One evaluation of an objective."""

    loss: Tensor  # (): the mean of per_example
    per_example: Tensor  # (B,): weighted estimates
    sigma: Tensor  # (B,): the level that each example was given


@final
class Objective(nn.Module):
    """What is trained: a score model, an estimator and a noise schedule. The one module that is wrapped for many
    processes.

    Args:
        model: the score model.
        estimator: the functional of its score.
        noise: the levels, and their law in training.
        weight: "sigma^2", "sigma", "1", or a function of sigma (B,) -> (B,); None takes "1" for one level and
            "sigma^2" for several.

    Raises:
        TypeError: if a part is something else: a network for the model, say.
        ValueError: if the schedule's levels do not decrease; if the model is not valid at them, or knows a table of
            levels only and the schedule draws between them; if the estimator regresses on noise and a level is 0, or is
            not valid for the model; if the weight is not finite and positive at a level (a level of weight 0 would
            never be trained), or its name is unknown.
    """

    def __init__(self, model: ScoreModel, estimator: Estimator, noise: NoiseSchedule, weight: Weight = None):
        require_kind(
            "Objective", ScoreModel, "DirectScore(network), say; compile it in place, by model.compile()", model=model
        )
        require_kind("Objective", Estimator, estimator=estimator)
        require_kind("Objective", NoiseSchedule, noise=noise)
        super().__init__()
        self.model, self.estimator, self.noise, self.weight = model, estimator, noise, weight
        levels = checked_levels(noise)
        model.require(levels)
        if noise.continuous and model.noise_levels is not None:
            raise ValueError(
                f"{noise} draws sigma from a continuous law; {model.title} knows its {len(model.noise_levels)} levels "
                "only: train it on a schedule of them"
            )
        if estimator.needs_noise and levels[-1] <= 0:
            raise ValueError(
                f"{estimator} regresses on the noise and needs sigma > 0; {noise} goes down to {levels[-1]:g}"
            )
        estimator.check(model)
        self._weigh = _resolve(weight, num_levels=len(levels))
        weights = self.level_weights
        if weights.shape != levels.shape:
            raise ValueError(
                f"weight {weight!r} maps sigma of shape {tuple(levels.shape)} to {tuple(weights.shape)}: expected a "
                "function (B,) -> (B,)"
            )
        for sigma, value in zip(levels.tolist(), weights.tolist(), strict=True):
            if not 0 < value < math.inf:
                raise ValueError(
                    f"weight {weight!r} is {value:g} at the level sigma = {sigma:g}: expected a finite weight > 0"
                )

    @property
    def level_weights(self) -> Tensor:
        """The weight of each of the schedule's levels (L,)."""
        return torch.as_tensor(self._weigh(checked_levels(self.noise)))

    def forward(self, x: Tensor, condition: Tensor | None = None, *, generator: Generator = None) -> Loss:
        """Draw sigma and eps for each example of x (B, *E), and average the weighted estimates.

        It draws from forks of `generator`: with one `PerChain`, two calls draw the same. Fork it for each step.
        """
        sigma = self.noise.sample(x, generator=fork(generator, "sigma"))
        return self.loss_at(x, sigma, condition, generator=generator)

    def loss_at(
        self, x: Tensor, sigma: Tensor, condition: Tensor | None = None, *, generator: Generator = None
    ) -> Loss:
        """The same at given levels sigma (B,): the loss of each level on held-out data.

        Args:
            x: clean examples (B, *E).
            sigma: their levels (B,).
            condition: what they are conditioned on, a row for each; None for an unconditional model.
            generator: where eps and the estimator's probes are drawn from.

        Raises:
            ValueError: if x is not a floating-point (B, *E), or sigma is not one number for each example, or the
                condition not one row for each.
        """
        if x.ndim < 2 or not x.is_floating_point() or sigma.shape != x.shape[:1]:
            raise ValueError(
                f"an objective takes a floating-point x (B, *E) and sigma (B,); got {tuple(x.shape)} of {x.dtype} and "
                f"{tuple(sigma.shape)}"
            )
        if condition is not None and condition.shape[:1] != x.shape[:1]:
            raise ValueError(f"a condition has one row for each of the {len(x)} examples; got {tuple(condition.shape)}")
        eps = normal(x, generator=fork(generator, "eps"))
        noisy = x + expand(sigma, x) * eps
        estimate = self.estimator(
            lambda y: self.model(y, sigma, condition), noisy, sigma, eps, generator=fork(generator, "probe")
        )
        per_example = self._weigh(sigma) * estimate
        return Loss(per_example.mean(), per_example, sigma)

    def check_score(self, x: Tensor, condition: Tensor | None = None) -> None:
        """Refuse a model whose score the estimator cannot train, as x (B, *E) shows it at the largest level, under the
        examples' conditions.

        Raises:
            ValueError: with the reason. Reading it waits for the device: training does it once, with its first batch.
        """
        sigma = x.new_full(x.shape[:1], self.noise.levels()[0].item())
        with self.model.evaluating():  # nothing is drawn, and no running statistic moves
            self.estimator.check_score(lambda y: self.model(y, sigma, condition), x)

    def extra_repr(self) -> str:
        """The parts that are not modules."""
        return f"estimator={self.estimator}, noise={self.noise}, weight={self.weight!r}"


def _resolve(weight: Weight, num_levels: int) -> Callable[[Tensor], Tensor]:
    if weight is None:
        weight = "1" if num_levels == 1 else "sigma^2"
    if callable(weight):
        return weight
    if weight not in _NAMED_WEIGHTS:
        raise ValueError(
            f"unknown weight {weight!r}: expected one of {', '.join(map(repr, _NAMED_WEIGHTS))}, or a function of sigma"
        )
    return _NAMED_WEIGHTS[weight]
