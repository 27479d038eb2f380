"""The samplers that are tried, and their chains."""

import pytest
import torch
from torch import Tensor, nn

from scorekit import (
    AnnealedMCMC,
    Constant,
    Denoise,
    Geometric,
    Langevin,
    SigmaSquared,
    Unadjusted,
    langevin,
)
from tests.laws.components import (
    Deciding,
    Drift,
    Jitter,
    Kick,
    Shrink,
    SignalToNoise,
)

NOISE = Geometric(1.0, 0.1, 4)
LEVELS = NOISE.levels().tolist()
ALD = AnnealedMCMC(Unadjusted(Langevin()), NOISE, SigmaSquared(), 3)
NOISELESS = AnnealedMCMC(Unadjusted(Drift(noise=0.0)), NOISE, SigmaSquared(), 3)
SETTLE = AnnealedMCMC(Deciding(), NOISE, Constant(0.2), 3)


def draws(batch: int = 4, seed: int = 0, event: tuple[int, ...] = (3,)) -> Tensor:
    return torch.randn(batch, *event, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


SAMPLERS = {
    "langevin": langevin(sigma=0.1, step_size=0.01, num_steps=10),
    "annealed": ALD,
    "deciding": SETTLE,
    "per-chain step": AnnealedMCMC(Unadjusted(Langevin()), NOISE, SignalToNoise(0.16), 3),
    "transitions": AnnealedMCMC(Unadjusted(Langevin()), NOISE, SigmaSquared(), 1, Shrink(), final=Denoise()),
    "draws everywhere": AnnealedMCMC(Kick(), NOISE, SigmaSquared(), 2, Jitter(), final=Jitter()),
}

each_sampler = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)


class Trainable(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return -self.scale * x
