r"""Noise schedules: the levels sigma_1 > ... > sigma_L, and the law they are drawn from in training.

NCSN's is geometric, sigma_i = sigma_1 (sigma_L / sigma_1)^((i - 1) / (L - 1)), with i uniform on 1..L in training
(Song and Ermon, arXiv 1907.05600, section 4). The index runs from the largest level to the smallest, as in that
paper; the score-SDE papers number them the other way round.

**Variance preserving schedules** are stated for x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) eps. Divided by sqrt(abar_t)
that is x0 + sigma eps with sigma^2 = (1 - abar_t) / abar_t, one over the signal-to-noise ratio. The cosine schedule
(Nichol and Dhariwal, arXiv 2102.09672) has abar_t = cos^2(pi t / 2), and hence sigma = tan(pi t / 2): equal steps of
the angle arctan(sigma). `Cosine` takes its ends from sigma_max and sigma_min, where the paper offsets t.
"""

from scorekit.noise.continuous import LogNormal
from scorekit.noise.discrete import Cosine, DiscreteSchedule, Geometric, Karras, Levels, Linear, SingleLevel, draw_level
from scorekit.noise.rules import checked_levels, require_decreasing

__all__ = [
    "Cosine", "DiscreteSchedule", "Geometric", "Karras", "Levels", "Linear", "LogNormal", "SingleLevel",
    "checked_levels", "draw_level", "require_decreasing",
]  # fmt: skip
