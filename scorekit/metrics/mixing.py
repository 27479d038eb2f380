r"""How many independent draws chains are worth, and whether they agree: bulk effective sample size and split R-hat
(Vehtari et al., Bayesian Analysis 16, 2021), by arviz-stats (scorekit[diagnostics]).

    ESS = B T / (1 + 2 sum_t rho_t)         for an AR(1) chain  B T (1 - rho) / (1 + rho)
    R-hat = sqrt(variance of all halves together / mean variance within a half)         1 when they agree

Both are on rank-normalised states and defined for a stationary run: at one noise level, never across levels.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from scorekit.samplers import Chains

if TYPE_CHECKING:
    from arviz_stats.base.array import BaseArray

MIN_STATES = 4  # halves of two states


def effective_sample_size(
    chains: Chains, *, sigma: float | None = None, method: Literal["bulk", "mean", "tail"] = "bulk"
) -> Tensor:
    """The effective sample size of all chains together, for each coordinate.

    Args:
        chains: the kept states (T, B, *E).
        sigma: the level to look at; None if the run has one only.
        method: "bulk" for the middle of the law, "mean" for the mean without ranks, "tail" for the 5 % and 95 %
            quantiles.

    Returns:
        (*E), double precision; NaN for a coordinate that no chain ever changes, or that is not finite somewhere.

    Raises:
        ValueError: if there are several levels and none is named, it is not one of them, it has fewer than four kept
            states, or the method is unknown.
        ImportError: without arviz-stats.
    """
    if method not in ("bulk", "mean", "tail"):
        raise ValueError(f"effective_sample_size(method={method!r}): expected 'bulk', 'mean' or 'tail'")
    states, library = _states(chains, sigma), _array_stats()
    prob = (0.05, 0.95) if method == "tail" else None
    return _by_coordinate(
        states, lambda x: np.asarray(library.ess(x, chain_axis=0, draw_axis=1, method=method, prob=prob))
    )


def split_r_hat(chains: Chains, *, sigma: float | None = None) -> Tensor:
    """Rank-normalised split R-hat of each coordinate; above 1.01 the chains have not mixed.

    Args:
        chains: the kept states (T, B, *E).
        sigma: the level to look at; None if the run has one only.

    Returns:
        (*E), double precision; infinity for a coordinate that no chain ever changes and that is not the same in all of
        them; NaN for one that is, for one that is not finite somewhere, and for one chain alone.

    Raises:
        ValueError: as `effective_sample_size`.
        ImportError: without arviz-stats.
    """
    states, library = _states(chains, sigma), _array_stats()
    return _by_coordinate(
        states, lambda x: np.asarray(library.rhat(x, chain_axis=0, draw_axis=1, method="rank")), stuck=np.inf
    )


def _states(chains: Chains, sigma: float | None) -> Tensor:
    levels = visited(chains)
    if sigma is None and len(levels) > 1:
        raise ValueError(
            f"the chains visit {len(levels)} levels, from {levels[0]:g} to {levels[-1]:g}: name one by sigma="
        )
    x = at_level(chains, levels[0] if sigma is None else sigma).x
    if len(x) < MIN_STATES:
        raise ValueError(f"{len(x)} kept states at the level: expected {MIN_STATES} at least, to compare halves")
    return x


def visited(chains: Chains) -> list[float]:
    """The levels in the order of the visits."""
    return list(dict.fromkeys(chains.sigma.tolist()))


def at_level(chains: Chains, sigma: float) -> Chains:
    """What was kept at one level.

    Raises:
        ValueError: if nothing was, naming the levels that were visited.
    """
    here = torch.isclose(chains.sigma, chains.sigma.new_tensor(sigma), rtol=1e-6, atol=0)
    if not here.any():
        shown = ", ".join(f"{level:.4g}" for level in visited(chains))
        raise ValueError(f"nothing was kept at sigma = {sigma:g}; the levels are {shown}")
    info = None if chains.info is None else type(chains.info)(*(field[here.to(field.device)] for field in chains.info))
    return Chains(chains.x[here.to(chains.x.device)], chains.sigma[here], info)


def _by_coordinate(x: Tensor, statistic: Callable[[np.ndarray], np.ndarray], stuck: float = np.nan) -> Tensor:
    """A statistic of states (chains, draws, D) for each coordinate of x (T, B, *E).

    Where chains differ but none moves it is `stuck`: the estimators would count each start as a draw, or as two.
    """
    states = rearrange(x.detach().double().flatten(2).cpu().numpy(), "time chain coordinate -> chain time coordinate")
    finite, moved = np.isfinite(states).all((0, 1)), (np.ptp(states, axis=1) > 0).any(0)
    usable = finite & moved
    values = np.where(finite & ~moved & (np.ptp(states[:, 0], axis=0) > 0), stuck, np.nan)
    if usable.any():
        values[usable] = statistic(states[:, :, usable])
    return torch.from_numpy(values).reshape(x.shape[2:])


def _array_stats() -> "BaseArray":
    try:
        from arviz_stats.base import array_stats
    except ImportError as error:
        raise ImportError("ESS and R-hat need arviz-stats: pip install 'scorekit[diagnostics]'") from error
    return array_stats
