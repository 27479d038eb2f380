r"""The laws of a kernel that leaves its target invariant, each with one p-value.

Chains that start in the target's law still have it after some steps. What a decision reports is checked against what it
did, and, since detailed balance pairs a move with its reverse,

    E[min(1, e^r) f(r)] = 0        for every odd f.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from scorekit.base import Generator, Info, Kernel, Target
from scorekit.testing.statistics import hotelling, uniform_pvalue
from scorekit.testing.targets import Law


class Made(NamedTuple):
    """One step: the states before and after it, and what the kernel said."""

    before: Tensor
    after: Tensor
    info: Info | None


def steps(
    kernel: Kernel[Any], target: Target, x: Tensor, h: float | Tensor, num_steps: int, generator: Generator
) -> list[Made]:
    """Run a kernel as a sampler does, at one level."""
    size = torch.as_tensor(h, dtype=x.dtype)
    state, made = kernel.init(target.point(x), generator=generator), []
    for _ in range(num_steps):
        before = state.x
        state, info = kernel.step(kernel.point(target, state), state, size, generator=generator)
        made.append(Made(before, state.x, info))
    return made


def stationary(kernel: Kernel[Any], law: Law, h: float | Tensor, seed: int, n: int = 20_000, num: int = 5) -> float:
    """p that chains from the target's law still have it after `num` steps."""
    generator = torch.Generator().manual_seed(seed)
    x = steps(kernel, law.target, law.draw(n, generator), h, num, generator)[-1].after
    return uniform_pvalue(law.pit(x)) if x.isfinite().all() else 0.0


def third_step(kernel: Kernel[Any], law: Law, h: float | Tensor, seed: int) -> Made:
    """The third step of 20,000 chains from the target's law: by then a stale cache shows."""
    generator = torch.Generator().manual_seed(seed)
    return steps(kernel, law.target, law.draw(20_000, generator), h, 3, generator)[-1]


def decided(made: Made) -> Info:
    """What a step decided.

    Raises:
        TypeError: if it decided nothing.
    """
    if made.info is None:
        raise TypeError("a kernel without Info: expected one that accepts and rejects")
    return made.info


def balance_pvalue(info: Info) -> float:
    """p that E[a f(r)] = 0, a = min(1, e^r), for f = tanh r and tanh(3 r) e^-|r|."""
    r = _ratio(info)
    a = r.clamp(max=0).exp()
    return hotelling(torch.stack((a * r.tanh(), a * (3 * r).tanh() * (-r.abs()).exp()), dim=1))


def calibration_pvalue(info: Info) -> float:
    """p that a move is accepted with probability a = min(1, e^r)."""
    a = _ratio(info).clamp(max=0).exp()
    error = info.accepted.double() - a
    return hotelling(torch.stack((error, error * (a - 0.5)), dim=1))


def antisymmetry(kernel: Kernel[Any], law: Law, h: float | Tensor, seed: int) -> float:
    """p that E[a f(r)] = 0, in the third step."""
    return balance_pvalue(decided(third_step(kernel, law, h, seed)))


def accept_calibration(kernel: Kernel[Any], law: Law, h: float | Tensor, seed: int) -> float:
    """p that a move is accepted with probability a; 0 unless exactly the accepted chains moved."""
    made = third_step(kernel, law, h, seed)
    before, after, info = made.before, made.after, decided(made)
    return calibration_pvalue(info) if torch.equal((before != after).any(1), info.accepted) else 0.0


def _ratio(info: Info) -> Tensor:
    """r, and -1000 where a move is rejected whatever it is."""
    return torch.where(info.log_accept.isfinite() & info.trusted, info.log_accept, -1e3)
