"""Run a sampler: to its last state (`sample`), or keeping states on the way (`collect`)."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from numbers import Integral
from typing import NamedTuple

import torch
from torch import Tensor

from scorekit._kinds import require_kind
from scorekit.base import Generator, Info, Sampler, Step, TargetFamily, shift
from scorekit.samplers.driver import check_shape


def sample(
    sampler: Sampler,
    family: TargetFamily,
    shape: tuple[int, ...],
    *,
    generator: Generator = None,
    batch_size: int | None = None,
    progress: bool = False,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Run a sampler from its own start to its last update, in flat memory.

    The family's modules are in evaluation mode meanwhile, and each gets its own mode back.

    Args:
        sampler: the sampler.
        family: the targets: a score model, a density, `from_score(...)`, ...
        shape: (B, *E): the number of chains, and the event's shape.
        generator: where randomness comes from. With a `PerChain`, chain i is the same whatever B and batch_size, to
            rounding.
        batch_size: how many chains run at once; None for all. The last batch may be smaller. What belongs to one
            chain in the family (a mask, an observation, a condition) goes with that chain.
        progress: show a progress bar, on a terminal.
        device, dtype: of the chains; the family's own, else torch's defaults, unless given.

    Returns:
        The last state of the chains (B, *E).

    Raises:
        TypeError: if `sampler`, `family`, `shape` or `generator` is something else.
        ValueError: from `sampler.initial` and `sampler.steps`; if batch_size is no integer >= 1; if the family is one
            for other chains.
    """
    check_shape(shape)
    require_kind("sample", Sampler, "langevin(...), say", sampler=sampler)
    require_kind("sample", TargetFamily, "ScaledScore(network), from_score(function), ...", family=family)
    if batch_size is not None and (not isinstance(batch_size, Integral) or batch_size < 1):
        raise ValueError(f"sample(batch_size={batch_size!r}): expected at least one chain at once, or None for all")
    family.rows(0, shape[0], shape)  # refuses what does not fit before anything is drawn
    size = batch_size or shape[0]
    chunks = [(first, min(size, shape[0] - first)) for first in range(0, shape[0], size)]
    parts = []
    with family.evaluating(), _bar(len(chunks) * sampler.num_updates(), progress) as advance, _no_autograd(family):
        for first, count in chunks:
            streams, rows = shift(generator, first), family.rows(first, count, shape)
            x = sampler.initial((count, *shape[1:]), family=rows, generator=streams, device=device, dtype=dtype)
            for step in sampler.steps(rows, x, generator=streams):
                x = step.x
                advance()
            parts.append(x)
    return torch.cat(parts)  # outside inference mode: an ordinary tensor


def _no_autograd(family: TargetFamily) -> AbstractContextManager[None]:
    return torch.inference_mode() if family.inference_mode else torch.no_grad()


@contextmanager
def _bar(total: int, shown: bool) -> Iterator[Callable[[], object]]:
    """A function to call at each update."""
    if not shown:
        yield lambda: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc="sampling", unit="step", disable=None) as bar:
        yield bar.update


class Chains(NamedTuple):
    """States kept from a run, with time as the first axis."""

    x: Tensor  # (T, B, *E)
    sigma: Tensor  # (T,), float64
    info: Info | None  # each field (T, B); None if no kept step decided anything


def collect(steps: Iterable[Step], *, every: int = 1, start: int = 0) -> Chains:
    """Keep the updates number start, start + every, ... (from 0) of a run.

    Args:
        steps: what `Sampler.steps` yields.
        every: keep one update in so many.
        start: the first one kept.

    Returns:
        The kept states. Updates that decide nothing (a transition) have NaN or False in `info` where others decide.

    Raises:
        ValueError: if every < 1, start < 0, or nothing was kept.
    """
    if every < 1 or start < 0:
        raise ValueError(f"collect(every={every}, start={start}): expected every >= 1 and start >= 0")
    kept = [step for number, step in enumerate(steps) if number >= start and (number - start) % every == 0]
    if not kept:
        raise ValueError(f"collect(every={every}, start={start}): the run has too few updates, nothing was kept")
    sigma = torch.tensor([step.sigma for step in kept], dtype=torch.float64)
    return Chains(torch.stack([step.x for step in kept]), sigma, _stack([step.info for step in kept]))


def _stack(infos: list[Info | None]) -> Info | None:
    decided = next((info for info in infos if info is not None), None)
    if decided is None:
        return None
    nothing = Info(*(torch.zeros_like(v) if v.dtype == torch.bool else torch.full_like(v, torch.nan) for v in decided))
    return Info(*map(torch.stack, zip(*(info or nothing for info in infos), strict=True)))
