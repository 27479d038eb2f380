"""The interface of a family of targets, and of one made of another."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, final

import torch
from torch import Tensor

from scorekit._kinds import brief
from scorekit.random import Generator
from scorekit.target import Target


class TargetFamily(ABC):
    """Anything that answers `at(sigma)` with a `Target`: all that a sampler needs."""

    @property
    def noise_levels(self) -> Tensor | None:
        """The only levels (L,) at which it is valid, of any precision and device; None for any sigma >= min_sigma."""
        return None

    @property
    def min_sigma(self) -> float:
        """The smallest sigma at which it is valid."""
        return 0.0

    @property
    def moments(self) -> tuple[Tensor, Tensor] | None:
        """(mean, std) of the clean data, each broadcastable to E, if known: what the matched start uses. Wrappers
        delegate."""
        return None

    @property
    def refresh(self) -> Literal["level", "step"]:
        """How often the driver asks `at` again: once a level, or before every step."""
        return "level"

    @property
    def inference_mode(self) -> bool:
        """True if its scores may be evaluated under `torch.inference_mode`, that is without autograd inside."""
        return False

    @property
    def device(self) -> torch.device | None:
        """The default device of the chains, if it is bound to one."""
        return None

    @property
    def dtype(self) -> torch.dtype | None:
        """The default floating-point type of the chains, if it computes in one."""
        return None

    @property
    def title(self) -> str:
        """What messages call it."""
        return type(self).__name__

    @abstractmethod
    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        """The target at one noise level. It never evaluates the network.

        Args:
            sigma: the noise level, one Python float. Every family answers at 0, even below `min_sigma`: a sampler asks
                the target there for its projection, never for its score.
            like: the chains' x (B, *E), for families that draw something for each chain.
            generator: where those draws come from.
        """

    def rows(self, first: int, count: int, shape: tuple[int, ...]) -> "TargetFamily":
        """The family for `count` of the chains, from number `first` on: how masks, observations and conditions of one
        chain each are cut as the chains are.

        Args:
            first, count: which chains.
            shape: of all chains (B, *E).

        Returns:
            A family for chains (count, *E); itself, where nothing in it belongs to one chain.

        Raises:
            ValueError: if the family is not one for chains of this shape.
        """
        return self

    def evaluating(self) -> AbstractContextManager[None]:
        """A context in which the family's modules are in evaluation mode; their own modes come back at its end."""
        return nullcontext()

    @final
    def require(self, levels: Tensor) -> None:
        """Refuse noise levels at which the family is not valid: checked once, when an `Objective` or a `Sampler`
        starts.

        Raises:
            ValueError: naming the first level that is below `min_sigma` by more than 1e-6 of it, or further than 1e-4
                (relative) from all `noise_levels`.
        """
        for sigma in levels.tolist():
            if sigma < self.min_sigma * (1 - 1e-6):
                raise ValueError(
                    f"sigma = {sigma:g} is below the smallest level {self.min_sigma:g} at which {self.title} is valid"
                )
            if self.noise_levels is not None:
                known = self.noise_levels.double().cpu()
                if not torch.isclose(known, known.new_tensor(sigma), rtol=1e-4, atol=0).any():
                    shown = ", ".join(f"{level:.4g}" for level in known.tolist()[:12]) + (
                        ", ..." if len(known) > 12 else ""
                    )
                    raise ValueError(
                        f"sigma = {sigma:g} is not one of the {len(known)} levels that {self.title} was made for "
                        f"({shown}); a score model in RoundToLevels answers with the nearest one"
                    )


class WrappedFamily(TargetFamily):
    """A family made of another one: all that it does not define itself is the other's."""

    @property
    @abstractmethod
    def family(self) -> TargetFamily:
        """The family underneath."""

    @property
    def title(self) -> str:
        """The wrapped family's."""
        return self.family.title

    @property
    def noise_levels(self) -> Tensor | None:
        """The wrapped family's."""
        return self.family.noise_levels

    @property
    def min_sigma(self) -> float:
        """The wrapped family's."""
        return self.family.min_sigma

    @property
    def moments(self) -> tuple[Tensor, Tensor] | None:
        """The wrapped family's."""
        return self.family.moments

    @property
    def refresh(self) -> Literal["level", "step"]:
        """The wrapped family's."""
        return self.family.refresh

    @property
    def inference_mode(self) -> bool:
        """The wrapped family's."""
        return self.family.inference_mode

    @property
    def device(self) -> torch.device | None:
        """The wrapped family's."""
        return self.family.device

    @property
    def dtype(self) -> torch.dtype | None:
        """The wrapped family's."""
        return self.family.dtype

    def rows(self, first: int, count: int, shape: tuple[int, ...]) -> TargetFamily:
        """Itself, if the wrapped family is one for any chains. A wrapper that can be put around some rows overrides it.

        Raises:
            TypeError: if the wrapped family has to be cut.
        """
        family = self.family
        if family.rows(first, count, shape) is not family:
            raise TypeError(
                f"{type(self).__name__} around {brief(family)}, in which each chain has its own: "
                f"{type(self).__name__} does not define `rows`, so its chains cannot be cut into batches"
            )
        return self

    def evaluating(self) -> AbstractContextManager[None]:
        """The wrapped family's modules in evaluation mode."""
        return self.family.evaluating()
