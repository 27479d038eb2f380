"""scorekit: learn a score function with any estimator, sample it with any gradient sampler.

The names here are all that a script needs; each is documented where it is defined. Training, checkpoints, pictures,
data and networks are imported when first used, so that `import scorekit` costs little more than `import torch`; plugins
are loaded when a name is first looked up.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from scorekit import base, densities
from scorekit.base import GaussianProposal, PerChain, ScoreModel, TargetFamily, fork
from scorekit.config import from_config, to_config
from scorekit.denoisers import Denoiser, from_denoiser
from scorekit.energies import EnergyModel, from_log_prob
from scorekit.estimators import (
    DenoisingScoreMatching,
    ExplicitScoreMatching,
    FiniteDifferenceSliced,
    ImplicitScoreMatching,
    SlicedScoreMatching,
)
from scorekit.hookspecs import hookimpl
from scorekit.kernels import MetropolisAdjusted, Unadjusted
from scorekit.line_integrals import FreeCubic, GaussLobatto
from scorekit.models import DirectScore, RoundToLevels, ScaledScore, ScoreOnly, from_score
from scorekit.noise import Cosine, Geometric, Karras, Levels, Linear, LogNormal, SingleLevel
from scorekit.objective import Loss, Objective
from scorekit.proposals import Hamiltonian, Langevin, RandomWalk
from scorekit.registry import make, plugins, register, registry
from scorekit.samplers import (
    AnnealedMCMC,
    Chains,
    ancestral,
    annealed_hmc,
    annealed_langevin,
    annealed_mala,
    collect,
    dpm_solver,
    heun,
    hmc,
    langevin,
    mala,
    predictor_corrector,
    random_walk,
    reverse_diffusion,
    sample,
)
from scorekit.starts import Matched, Uniform
from scorekit.step_sizes import SNR, Constant, PerCoordinate, SigmaSquared, Table
from scorekit.transitions import Ancestral, Denoise, DPMSolverMultistep, Euler, Heun, ReverseDiffusion, Stay

if TYPE_CHECKING:
    from scorekit import data, diagnostics, metrics, networks, pictures, plots, training, tuning
    from scorekit.checkpoint import load, save
    from scorekit.diagnostics import diagnose
    from scorekit.training import fit
    from scorekit.tuning import tune, tune_and_sample

__version__ = "0.1.0.dev0"

_LAZY = {
    "data": "scorekit.data",
    "diagnose": "scorekit.diagnostics:diagnose",
    "diagnostics": "scorekit.diagnostics",
    "fit": "scorekit.training:fit",
    "load": "scorekit.checkpoint:load",
    "metrics": "scorekit.metrics",
    "networks": "scorekit.networks",
    "pictures": "scorekit.pictures",
    "plots": "scorekit.plots",
    "save": "scorekit.checkpoint:save",
    "training": "scorekit.training",
    "tune": "scorekit.tuning:tune",
    "tune_and_sample": "scorekit.tuning:tune_and_sample",
    "tuning": "scorekit.tuning",
}

__all__ = [
    "SNR", "Ancestral", "AnnealedMCMC", "Chains", "Constant", "Cosine", "DPMSolverMultistep", "Denoise", "Denoiser",
    "DenoisingScoreMatching", "DirectScore", "EnergyModel", "Euler", "ExplicitScoreMatching", "FiniteDifferenceSliced",
    "FreeCubic", "GaussLobatto", "GaussianProposal", "Geometric", "Hamiltonian", "Heun", "ImplicitScoreMatching",
    "Karras", "Langevin", "Levels", "Linear", "LogNormal", "Loss", "Matched", "MetropolisAdjusted", "Objective",
    "PerChain", "PerCoordinate", "RandomWalk", "ReverseDiffusion", "RoundToLevels", "ScaledScore", "ScoreModel",
    "ScoreOnly", "SigmaSquared", "SingleLevel", "SlicedScoreMatching", "Stay", "Table", "TargetFamily", "Unadjusted",
    "Uniform", "ancestral", "annealed_hmc", "annealed_langevin", "annealed_mala", "base", "collect", "data",
    "densities", "diagnose", "diagnostics", "dpm_solver", "fit", "fork", "from_config", "from_denoiser",
    "from_log_prob", "from_score", "heun", "hmc", "hookimpl", "langevin", "load", "make", "mala", "metrics", "networks",
    "pictures", "plots", "plugins", "predictor_corrector", "random_walk", "register", "registry", "reverse_diffusion",
    "sample", "save", "to_config", "training", "tune", "tune_and_sample", "tuning",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'scorekit' has no attribute {name!r}")
    module_name, _, attribute = _LAZY[name].partition(":")
    module = import_module(module_name)
    value = module.__dict__[attribute] if attribute else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
