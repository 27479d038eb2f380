"""What levels have to be: strictly decreasing, in float64. Asked of every schedule, plugins' included."""

import math
from itertools import pairwise

import torch
from torch import Tensor

from scorekit.base import NoiseSchedule


def checked_levels(noise: NoiseSchedule) -> Tensor:
    """The levels of a schedule, anybody's, once they are what the interface promises: what samplers and objectives ask
    for when they start.

    Raises:
        ValueError: naming the schedule, unless its levels are (L,) in float64, L >= 1, finite, >= 0 and strictly
            decreasing; with the first two that do not decrease.
    """
    levels = noise.levels()
    require_decreasing(levels, str(noise))
    return levels


def require_decreasing(levels: Tensor, what: str) -> None:
    """Refuse levels that are not (L,) in float64, L >= 1, finite, >= 0 and strictly decreasing.

    Raises:
        ValueError: naming `what` and the levels at fault.
    """
    if levels.ndim != 1 or len(levels) < 1 or levels.dtype != torch.float64:
        raise ValueError(
            f"{what}: levels of shape {tuple(levels.shape)} and type {levels.dtype}: expected (L,), L >= 1, in float64"
        )
    values = levels.tolist()
    for sigma in values:
        if not 0 <= sigma < math.inf:
            raise ValueError(f"{what} has the level {sigma}: expected 0 <= sigma < inf")
    for above, below in pairwise(values):
        if below >= above:
            raise ValueError(f"{what} goes from the level {above} to {below}: expected strictly decreasing levels")


def require_ends(
    noise: NoiseSchedule, sigma_max: float, sigma_min: float, num_levels: int, *, zero: bool = False
) -> None:
    """Refuse ends and numbers of levels between which there is no schedule; sigma_min = 0 only where `zero`."""
    if not 0 <= sigma_min < sigma_max < math.inf or (sigma_min == 0 and not zero):
        raise ValueError(f"{noise}: expected 0 {'<=' if zero else '<'} sigma_min < sigma_max < inf")
    if not isinstance(num_levels, int) or num_levels < 2:
        raise ValueError(f"{noise}: expected an integer num_levels >= 2; for one level use SingleLevel")
    checked_levels(noise)  # levels closer than float64 can tell apart
