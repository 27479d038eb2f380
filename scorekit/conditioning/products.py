"""Densities made of others by products and powers, level by level."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Literal, final

import torch
from torch import Tensor

from scorekit._kinds import require_kind
from scorekit.base import Generator, Target, TargetFamily, WrappedFamily, fork
from scorekit.conditioning.targets import add, scaled


@final
class Product(TargetFamily):
    """p_sigma(x) = prod_k p_k,sigma(x) / Z: a product of experts, whose scores and log densities add.

    At sigma > 0 it is the product of the noisy densities, not the noisy product: the two agree as sigma goes to 0.
    Hinton, "Training products of experts by minimizing contrastive divergence", Neural Computation 14 (2002).

    It is valid at the levels that are common to all, and has the first one's moments for the start.

    Args:
        families: the experts, two or more. A constraint of one (known coordinates) holds for the product.

    Raises:
        TypeError: if one is no family.
        ValueError: if there are fewer than two, no level is common to all, or they are on different devices.
    """

    def __init__(self, *families: TargetFamily):
        for family in families:
            require_kind("Product", TargetFamily, family=family)
        if len(families) < 2:
            raise ValueError(f"Product of {len(families)} families: expected two or more")
        self._families = families
        _common([family.noise_levels for family in families], self)
        devices = {family.device for family in families} - {None}
        if len(devices) > 1:
            raise ValueError(f"{self}: on the devices {', '.join(sorted(map(str, devices)))}: expected one for all")

    @property
    def noise_levels(self) -> Tensor | None:
        """Those that every family knows."""
        return _common([family.noise_levels for family in self._families], self)

    @property
    def min_sigma(self) -> float:
        """The largest of theirs."""
        return max(family.min_sigma for family in self._families)

    @property
    def moments(self) -> tuple[Tensor, Tensor] | None:
        """The first family's."""
        return self._families[0].moments

    @property
    def refresh(self) -> Literal["level", "step"]:
        """ "step" if it is one of theirs."""
        return "step" if any(family.refresh == "step" for family in self._families) else "level"

    @property
    def inference_mode(self) -> bool:
        """True if it is for all of them."""
        return all(family.inference_mode for family in self._families)

    @property
    def device(self) -> torch.device | None:
        """That of the first one that is bound to one."""
        return next((family.device for family in self._families if family.device is not None), None)

    @property
    def dtype(self) -> torch.dtype | None:
        """That of the first one that computes in one."""
        return next((family.dtype for family in self._families if family.dtype is not None), None)

    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        """The product of their targets at one level; each family draws from a stream of its own."""
        return add(
            *(
                family.at(sigma, like=like, generator=fork(generator, number))
                for number, family in enumerate(self._families)
            )
        )

    def rows(self, first: int, count: int, shape: tuple[int, ...]) -> TargetFamily:
        """The product of their rows."""
        kept = tuple(family.rows(first, count, shape) for family in self._families)
        same = all(new is old for new, old in zip(kept, self._families, strict=True))
        return self if same else Product(*kept)

    def evaluating(self) -> AbstractContextManager[None]:
        """The modules of all of them in evaluation mode."""
        return _all_evaluating(self._families)

    def __repr__(self) -> str:
        return f"Product({', '.join(family.title for family in self._families)})"


@contextmanager
def _all_evaluating(families: tuple[TargetFamily, ...]) -> Iterator[None]:
    with ExitStack() as stack:
        for family in families:
            stack.enter_context(family.evaluating())
        yield


def _common(tables: list[Tensor | None], product: Product) -> Tensor | None:
    """The levels of the first table that are in all of them, to one part in ten thousand; None for any level."""
    known = [table.double().cpu() for table in tables if table is not None]
    if not known:
        return None
    first, *others = known
    for other in others:
        near = torch.isclose(first.unsqueeze(1), other.unsqueeze(0), rtol=1e-4, atol=0).any(1)
        first = first[near]
    if len(first) == 0:
        raise ValueError(f"{product}: no noise level is common to all of them; wrap one in RoundToLevels")
    return first


@final
class Tempered(WrappedFamily):
    """p_sigma(x)^(1/T) / Z: flatter for T > 1, more sharply peaked for T < 1; score and log density are divided by T.

    At sigma > 0 it is the power of the noisy density, not the noisy power: the two agree as sigma goes to 0. Its
    moments are the family's, which is only a start.

    Args:
        family: the densities.
        temperature: T > 0.

    Raises:
        TypeError: if it is no family.
        ValueError: unless 0 < T < inf.
    """

    def __init__(self, family: TargetFamily, temperature: float):
        require_kind("Tempered", TargetFamily, family=family)
        if not 0 < temperature < math.inf:
            raise ValueError(f"Tempered(temperature={temperature}): expected 0 < temperature < inf")
        self._family, self._temperature = family, temperature

    @property
    def family(self) -> TargetFamily:
        """The densities."""
        return self._family

    def at(self, sigma: float, *, like: Tensor | None = None, generator: Generator = None) -> Target:
        """The family's target at one level to the power 1 / T."""
        return scaled(self._family.at(sigma, like=like, generator=generator), 1 / self._temperature)

    def rows(self, first: int, count: int, shape: tuple[int, ...]) -> TargetFamily:
        """The family's rows at the same temperature."""
        kept = self._family.rows(first, count, shape)
        return self if kept is self._family else Tempered(kept, self._temperature)

    def __repr__(self) -> str:
        return f"Tempered({self._family.title}, {self._temperature:g})"
