"""scorekit: learn a score function with any estimator, sample it with any gradient sampler.

The names here are all that a script needs; each is documented where it is defined. Each is imported when it is first
used, and so is any module of the package: `import scorekit` itself costs next to nothing, and the command line answers
without torch. Plugins are loaded when a name is first looked up.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:  # for checkers and editors: the same names as in _HOMES below
    from scorekit import (
        base,
        conditioning,
        data,
        densities,
        diagnostics,
        evaluation,
        interop,
        metrics,
        networks,
        pictures,
        plots,
        recipes,
        runs,
        training,
        tuning,
    )
    from scorekit.base import GaussianProposal, PerChain, ScoreModel, TargetFamily, fork
    from scorekit.checkpoint import load, save
    from scorekit.conditioning import Guided, Inpaint, LinearGaussian, Posterior, Product, Tempered
    from scorekit.config import from_config, to_config
    from scorekit.denoisers import Denoiser, from_denoiser
    from scorekit.diagnostics import diagnose
    from scorekit.diffusion import from_noise_prediction, from_variance_preserving
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
    from scorekit.preconditioned import Preconditioned, PreconditionedWeight
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
    from scorekit.training import fit
    from scorekit.transitions import Ancestral, Denoise, DPMSolverMultistep, Euler, Heun, ReverseDiffusion, Stay
    from scorekit.tuning import tune, tune_and_sample

__version__ = "0.1.0.dev0"

_HOMES = {
    "base": "GaussianProposal PerChain ScoreModel TargetFamily fork",
    "checkpoint": "load save",
    "conditioning": "Guided Inpaint LinearGaussian Posterior Product Tempered",
    "config": "from_config to_config",
    "denoisers": "Denoiser from_denoiser",
    "diagnostics": "diagnose",
    "diffusion": "from_noise_prediction from_variance_preserving",
    "energies": "EnergyModel from_log_prob",
    "estimators": "DenoisingScoreMatching ExplicitScoreMatching FiniteDifferenceSliced ImplicitScoreMatching "
    "SlicedScoreMatching",
    "hookspecs": "hookimpl",
    "kernels": "MetropolisAdjusted Unadjusted",
    "line_integrals": "FreeCubic GaussLobatto",
    "models": "DirectScore RoundToLevels ScaledScore ScoreOnly from_score",
    "noise": "Cosine Geometric Karras Levels Linear LogNormal SingleLevel",
    "objective": "Loss Objective",
    "preconditioned": "Preconditioned PreconditionedWeight",
    "proposals": "Hamiltonian Langevin RandomWalk",
    "registry": "make plugins register registry",
    "samplers": "AnnealedMCMC Chains ancestral annealed_hmc annealed_langevin annealed_mala collect dpm_solver heun "
    "hmc langevin mala predictor_corrector random_walk reverse_diffusion sample",
    "starts": "Matched Uniform",
    "step_sizes": "SNR Constant PerCoordinate SigmaSquared Table",
    "training": "fit",
    "transitions": "Ancestral Denoise DPMSolverMultistep Euler Heun ReverseDiffusion Stay",
    "tuning": "tune tune_and_sample",
}
_HOME = {name: f"scorekit.{module}" for module, names in _HOMES.items() for name in names.split()}

__all__ = [
    "SNR", "Ancestral", "AnnealedMCMC", "Chains", "Constant", "Cosine", "DPMSolverMultistep", "Denoise", "Denoiser",
    "DenoisingScoreMatching", "DirectScore", "EnergyModel", "Euler", "ExplicitScoreMatching", "FiniteDifferenceSliced",
    "FreeCubic", "GaussLobatto", "GaussianProposal", "Geometric", "Guided", "Hamiltonian", "Heun",
    "ImplicitScoreMatching", "Inpaint", "Karras", "Langevin", "Levels", "Linear", "LinearGaussian", "LogNormal", "Loss",
    "Matched", "MetropolisAdjusted", "Objective", "PerChain", "PerCoordinate", "Posterior", "Preconditioned",
    "PreconditionedWeight", "Product", "RandomWalk", "ReverseDiffusion", "RoundToLevels", "ScaledScore", "ScoreModel",
    "ScoreOnly", "SigmaSquared", "SingleLevel", "SlicedScoreMatching", "Stay", "Table", "TargetFamily", "Tempered",
    "Unadjusted", "Uniform", "ancestral", "annealed_hmc", "annealed_langevin", "annealed_mala", "base", "collect",
    "conditioning", "data", "densities", "diagnose", "diagnostics", "dpm_solver", "evaluation", "fit", "fork",
    "from_config", "from_denoiser", "from_log_prob", "from_noise_prediction", "from_score", "from_variance_preserving",
    "heun", "hmc", "hookimpl", "interop", "langevin", "load", "make", "mala", "metrics", "networks", "pictures",
    "plots", "plugins", "predictor_corrector", "random_walk", "recipes", "register", "registry", "reverse_diffusion",
    "runs", "sample", "save", "to_config", "training", "tune", "tune_and_sample", "tuning",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name in _HOME:
        value = import_module(_HOME[name]).__dict__[name]
    elif not name.startswith("_") and find_spec(f"scorekit.{name}") is not None:
        value = import_module(f"scorekit.{name}")
    else:
        raise AttributeError(f"module 'scorekit' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


@final
class _Package(ModuleType):
    """Keeps `scorekit.registry` the function: Python binds a module to its package's attribute of the same name once
    it is imported, and there is a module of that name too."""

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _HOME or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
