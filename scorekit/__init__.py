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
from scorekit.estimators import DenoisingScoreMatching
from scorekit.hookspecs import hookimpl
from scorekit.kernels import Unadjusted
from scorekit.models import DirectScore, RoundToLevels, ScaledScore, from_score
from scorekit.noise import Geometric, SingleLevel
from scorekit.objective import Loss, Objective
from scorekit.proposals import Langevin
from scorekit.registry import make, plugins, register, registry
from scorekit.samplers import AnnealedMCMC, Chains, annealed_langevin, collect, langevin, sample
from scorekit.starts import Matched, Uniform
from scorekit.step_sizes import Constant, SigmaSquared
from scorekit.transitions import Denoise, Stay

if TYPE_CHECKING:
    from scorekit import data, diagnostics, networks, pictures, training
    from scorekit.checkpoint import load, save
    from scorekit.training import fit

__version__ = "0.1.0.dev0"

_LAZY = {
    "data": "scorekit.data",
    "diagnostics": "scorekit.diagnostics",
    "fit": "scorekit.training:fit",
    "load": "scorekit.checkpoint:load",
    "networks": "scorekit.networks",
    "pictures": "scorekit.pictures",
    "save": "scorekit.checkpoint:save",
    "training": "scorekit.training",
}

__all__ = [
    "AnnealedMCMC", "Chains", "Constant", "Denoise", "DenoisingScoreMatching", "DirectScore", "GaussianProposal",
    "Geometric", "Langevin", "Loss", "Matched", "Objective", "PerChain", "RoundToLevels", "ScaledScore",
    "ScoreModel", "SigmaSquared", "SingleLevel", "Stay", "TargetFamily", "Unadjusted", "Uniform",
    "annealed_langevin", "base", "collect", "data", "densities", "diagnostics", "fit", "fork", "from_config",
    "from_score", "hookimpl", "langevin", "load", "make", "networks", "pictures", "plugins", "register", "registry",
    "sample", "save", "to_config", "training",
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
