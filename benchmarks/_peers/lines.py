r"""The lines: one target, one sampler and one number of chains each, the same for every library.

    mixture     .8 N((5, 5), I) + .2 N((-5, -5), I)
    gauss100    N(0, diag(v)), v from .1 to 1 in 100 equal ratios
    dense100    N(0, Q diag(v) Q'), Q a fixed random rotation: the same law of every sampler, and a full matrix to apply

h is scorekit's step size: x + h s(x) + sqrt(2 h) z, and a leapfrog step of length sqrt(2 h) with unit mass. Chains
start with exact draws from the target, so that what is measured of them is stationary from the first step (Langevin's
own law is off by O(h), the same in every library).
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

MEANS = np.array([[5.0, 5.0], [-5.0, -5.0]])
WEIGHTS = np.array([0.8, 0.2])
VARIANCES = np.geomspace(0.1, 1.0, 100)
ROTATION = np.linalg.qr(np.random.default_rng(0).standard_normal((100, 100)))[0]

Target = Literal["mixture", "gauss100", "dense100"]


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Args:
        target: what is sampled.
        sampler: "langevin", "mala" or "hmc".
        num_chains: how many chains run at once.
        step_size: h.
        num_steps: how many steps one timed block takes, about a quarter of a second of scorekit's.
        num_leapfrog: leapfrog steps a draw, for "hmc".
    """

    target: Target
    sampler: Literal["langevin", "mala", "hmc"]
    num_chains: int
    step_size: float
    num_steps: int
    num_leapfrog: int = 1

    @property
    def size(self) -> int:
        """d, the dimension of the target."""
        return 2 if self.target == "mixture" else len(VARIANCES)

    @property
    def leapfrog_length(self) -> float:
        """sqrt(2 h)."""
        return math.sqrt(2 * self.step_size)

    def start(self, num_chains: int, seed: int) -> np.ndarray:
        """Exact draws from the target: (num_chains, d), float32."""
        draws = np.random.default_rng(seed)
        if self.target != "mixture":
            along = np.sqrt(VARIANCES) * draws.standard_normal((num_chains, self.size))
            return (along if self.target == "gauss100" else along @ ROTATION.T).astype(np.float32)
        component = draws.choice(len(WEIGHTS), size=num_chains, p=WEIGHTS)
        return (MEANS[component] + draws.standard_normal((num_chains, 2))).astype(np.float32)


LINES = {
    "langevin-mixture-10000": Line("mixture", "langevin", 10_000, 0.1, 100),
    "langevin-mixture-1000000": Line("mixture", "langevin", 1_000_000, 0.1, 2),
    "hmc10-gauss100-64": Line("gauss100", "hmc", 64, 0.03125, 200, num_leapfrog=10),
    "hmc10-gauss100-1024": Line("gauss100", "hmc", 1024, 0.03125, 15, num_leapfrog=10),
    "mala-gauss100-64": Line("gauss100", "mala", 64, 0.03125, 800),
    "mala-gauss100-1024": Line("gauss100", "mala", 1024, 0.03125, 80),
    "hmc10-dense100-64": Line("dense100", "hmc", 64, 0.03125, 100, num_leapfrog=10),
    "hmc10-dense100-1024": Line("dense100", "hmc", 1024, 0.03125, 10, num_leapfrog=10),
    "mala-dense100-64": Line("dense100", "mala", 64, 0.03125, 400),
    "mala-dense100-1024": Line("dense100", "mala", 1024, 0.03125, 40),
    "hmc4-mixture-64": Line("mixture", "hmc", 64, 0.72, 400, num_leapfrog=4),
    "hmc4-mixture-1024": Line("mixture", "hmc", 1024, 0.72, 100, num_leapfrog=4),
}

BATCH, WIDTH = 128, 256
"""Of the perceptrons whose losses are timed: examples a batch, units in each of two hidden layers."""


def loss_batch(size: int, seed: int) -> np.ndarray:
    """A batch of clean data (128, size), float32: what an energy is trained on by sliced score matching."""
    return np.random.default_rng(seed).standard_normal((BATCH, size)).astype(np.float32)
