"""Samplers: the driver, its named instances, and the loop around them."""

from scorekit.samplers.driver import AnnealedMCMC, Stage
from scorekit.samplers.named import (
    ancestral,
    annealed_hmc,
    annealed_langevin,
    annealed_mala,
    dpm_solver,
    heun,
    hmc,
    langevin,
    mala,
    predictor_corrector,
    random_walk,
    reverse_diffusion,
)
from scorekit.samplers.running import Chains, collect, sample

__all__ = [
    "AnnealedMCMC", "Chains", "Stage", "ancestral", "annealed_hmc", "annealed_langevin", "annealed_mala", "collect",
    "dpm_solver", "heun", "hmc", "langevin", "mala", "predictor_corrector", "random_walk", "reverse_diffusion",
    "sample",
]  # fmt: skip
