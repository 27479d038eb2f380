"""Samplers: the driver, its named instances, and the loop around them."""

from scorekit.samplers.driver import AnnealedMCMC
from scorekit.samplers.named import annealed_langevin, langevin
from scorekit.samplers.running import Chains, collect, sample

__all__ = ["AnnealedMCMC", "Chains", "annealed_langevin", "collect", "langevin", "sample"]
