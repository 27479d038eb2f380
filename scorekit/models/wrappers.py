"""Families made of another one: at the nearest level it knows, and without its log density."""

from typing import final

import torch
from torch import Tensor

from scorekit._kinds import require_kind
from scorekit.base import Generator, ScoreModel, Target, TargetFamily, WrappedFamily


@final
class RoundToLevels(ScoreModel):
    """A model that knows a table of levels, asked at any sigma >= 0: it answers with the score of the nearest one in
    log sigma.

    Args:
        model: the score model; its `noise_levels` are the table.

    Raises:
        TypeError: if it is no score model.
        ValueError: if the model has no table.
    """

    _boundaries: Tensor
    _ascending: Tensor

    def __init__(self, model: ScoreModel):
        require_kind("RoundToLevels", ScoreModel, "DirectScore(network), say", model=model)
        super().__init__()
        if model.noise_levels is None:
            raise ValueError(
                f"RoundToLevels({type(model).__name__}): the model is valid at every sigma: nothing to round to"
            )
        self.model = model
        ascending = model.noise_levels.to(device=model.device, dtype=torch.float64).sort().values
        self.register_buffer("_boundaries", (ascending[1:] * ascending[:-1]).sqrt(), persistent=False)
        self.register_buffer("_ascending", ascending, persistent=False)

    def _apply(self, fn, recurse=True):
        """Move, but keep the table in double precision: in half, close levels would be confused."""
        boundaries, ascending = self._boundaries, self._ascending
        super()._apply(fn, recurse)
        self._boundaries, self._ascending = boundaries.to(self._boundaries.device), ascending.to(self._ascending.device)
        return self

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        """The model's score at the level nearest to each sigma (B,)."""
        nearest = torch.bucketize(sigma.to(self._boundaries.dtype), self._boundaries)
        return self.model(x, self._ascending[nearest].to(torch.promote_types(sigma.dtype, torch.float32)), condition)

    def at(
        self,
        sigma: float,
        *,
        like: Tensor | None = None,
        generator: Generator = None,
        condition: Tensor | None = None,
    ) -> Target:
        """The model's target at the nearest level, with its log density if it knows it."""
        nearest = torch.bucketize(torch.tensor(sigma, dtype=torch.float64), self._boundaries.cpu())
        level = self._ascending[nearest].item()
        if condition is None:  # a model of someone else's need not take any
            return self.model.at(level, like=like, generator=generator)
        return self.model.at(level, like=like, generator=generator, condition=condition)

    @property
    def moments(self) -> tuple[Tensor, Tensor] | None:
        """Its own, if `set_moments` gave it some, else the model's."""
        own = super().moments
        return self.model.moments if own is None else own

    @property
    def inference_mode(self) -> bool:
        """As the model's."""
        return self.model.inference_mode


@final
class ScoreOnly(WrappedFamily):
    """A family without its log density, so that Metropolis kernels go by the score alone: for tests and comparisons.

    Args:
        family: the family whose log density is hidden.

    Raises:
        TypeError: if it is no family.
    """

    def __init__(self, family: TargetFamily):
        require_kind("ScoreOnly", TargetFamily, family=family)
        self._family = family

    @property
    def family(self) -> TargetFamily:
        """The family underneath."""
        return self._family

    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        """The family's target with its score and projection only."""
        target = self._family.at(sigma, like=like, generator=generator)
        return Target(target.score, project=target.project)

    def rows(self, first: int, count: int, shape: tuple[int, ...]) -> TargetFamily:
        """The family's, without its log density."""
        kept = self._family.rows(first, count, shape)
        return self if kept is self._family else ScoreOnly(kept)
