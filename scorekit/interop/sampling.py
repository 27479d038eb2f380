r"""How the authors sampled, in their own figures, and what their files do not say of the images.

NCSN (arXiv 1907.05600, as released): x_0 uniform on [0, 1], T = 100 steps at each of the levels,
h = 2e-5 (sigma / sigma_L)^2, no denoising. Its single-noise baseline: 1,000 steps of h = 2e-5 at sigma = .01.

NCSNv2 (arXiv 2006.09011): x_0 uniform on [0, 1], T steps at each level, h = epsilon (sigma / sigma_L)^2 with epsilon by
its technique 4, and Tweedie's denoising at the end.

    data        pixels   sigma_1   L       T
    CIFAR-10    32       50        232     5
    CelebA      64       90        500     5
    church      96       140       788     4
    bedroom     128      190       1,086   3
    FFHQ        256      348       2,311   3
"""

from typing import NamedTuple

import torch

from scorekit.base import NoiseSchedule
from scorekit.noise import Geometric
from scorekit.samplers import AnnealedMCMC, annealed_langevin, langevin
from scorekit.starts import Uniform
from scorekit.step_sizes import SigmaSquared
from scorekit.transitions import Denoise
from scorekit.tuning.ncsnv2 import epsilon_for

EPSILON = 2e-5
"""NCSN's h at its smallest level."""

_STEPS = 5
_BASELINE_STEPS = 1000


class Published(NamedTuple):
    """What goes with a ladder of levels that was published."""

    image_size: int
    steps_per_level: int


LADDERS = {
    232: Published(32, 5),
    500: Published(64, 5),
    788: Published(96, 4),
    1086: Published(128, 3),
    2311: Published(256, 3),
}
"""NCSNv2's published ladders, told by the number of levels."""


def ncsn_sampler(noise: NoiseSchedule) -> AnnealedMCMC:
    """NCSN's annealed Langevin dynamics."""
    rule = SigmaSquared(EPSILON, sigma_min=_ends(noise)[1])
    return annealed_langevin(noise, step_size=rule, steps_per_level=100, start=Uniform(0, 1))


def baseline_sampler(noise: NoiseSchedule) -> AnnealedMCMC:
    """Langevin dynamics at the single level of NCSN's baseline."""
    return langevin(sigma=_ends(noise)[0], step_size=EPSILON, num_steps=_BASELINE_STEPS, start=Uniform(0, 1))


def ncsnv2_sampler(noise: NoiseSchedule) -> AnnealedMCMC:
    """NCSNv2's annealed Langevin dynamics.

    Raises:
        ValueError: if the ratio of neighbouring levels is not constant, for which technique 4 has no epsilon.
    """
    levels = noise.levels()
    steps = LADDERS[len(levels)].steps_per_level if len(levels) in LADDERS else _STEPS
    geometric = _as_geometric(noise)
    rule = SigmaSquared(epsilon_for(geometric, steps), sigma_min=geometric.sigma_min)
    return annealed_langevin(noise, step_size=rule, steps_per_level=steps, start=Uniform(0, 1), final=Denoise())


def _as_geometric(noise: NoiseSchedule) -> Geometric:
    levels = noise.levels()
    if len(levels) < 2 or levels[-1] <= 0 or not torch.allclose(levels.log().diff(), levels.log().diff()[0], rtol=1e-3):
        raise ValueError(
            f"{len(levels)} levels from {levels[0]:g} to {levels[-1]:g}: expected a constant ratio, for which NCSNv2's "
            "technique 4 gives the step size; choose a sampler yourself"
        )
    return Geometric(*_ends(noise), num_levels=len(levels))


def _ends(noise: NoiseSchedule) -> tuple[float, float]:
    levels = noise.levels()
    return levels[0].item(), levels[-1].item()
