"""Every registered sampler, short, and the families that are sampled."""

import inspect

import torch
from torch import Tensor

import scorekit as sk
from scorekit.base import NoiseSchedule, Sampler, TargetFamily
from scorekit.testing.targets import gauss3

NOISE = sk.Geometric(2.0, 0.2, 3)
Y = torch.tensor([1.5, -2.5, 0.25], dtype=torch.float64)


def every_sampler(noise: NoiseSchedule = NOISE) -> dict[str, Sampler]:
    """Each by its own defaults, with few steps; those that stay at one level do so at the last one."""
    offered = {
        "noise": noise,
        "sigma": noise.levels()[-1].item(),
        "kernel": sk.MetropolisAdjusted(sk.Langevin()),
        "num_steps": 4,
        "steps_per_level": 2,
    }
    made = {}
    for name, factory in sk.registry("samplers").items():
        takes = inspect.signature(factory).parameters
        made[name] = sk.make("samplers", name, **{key: value for key, value in offered.items() if key in takes})
    return made


SAMPLERS = every_sampler()


def drawn(sampler: Sampler, family: TargetFamily, batch_size: int | None = None) -> Tensor:
    """Five chains of three numbers."""
    streams = sk.PerChain(3)
    return sk.sample(sampler, family, (5, 3), generator=streams, dtype=torch.float64, batch_size=batch_size)


def family(score_only: bool) -> TargetFamily:
    return sk.ScoreOnly(gauss3()) if score_only else gauss3()
