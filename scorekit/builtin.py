"""scorekit's own components: a plugin like any other, registered under the name "scorekit".

Each hook imports what it returns, so that to import this module costs nothing.
"""

from collections.abc import Callable, Mapping

from torch import nn

from scorekit.base import (
    Estimator,
    Kernel,
    NoiseSchedule,
    Proposal,
    Sampler,
    ScoreModel,
    Start,
    StepSize,
    Transition,
)
from scorekit.densities import Density
from scorekit.hookspecs import hookimpl


@hookimpl
def scorekit_noise_schedules() -> Mapping[str, Callable[..., NoiseSchedule]]:
    """Geometric (NCSN) and one level."""
    from scorekit.noise import Geometric, SingleLevel

    return {"geometric": Geometric, "single-level": SingleLevel}


@hookimpl
def scorekit_estimators() -> Mapping[str, Callable[..., Estimator]]:
    """Denoising score matching."""
    from scorekit.estimators import DenoisingScoreMatching

    return {"denoising": DenoisingScoreMatching}


@hookimpl
def scorekit_networks() -> Mapping[str, Callable[..., nn.Module]]:
    """NCSN's RefineNet, and an MLP for toy densities."""
    from scorekit.networks import MLP, RefineNet

    return {"refinenet": RefineNet, "mlp": MLP}


@hookimpl
def scorekit_models() -> Mapping[str, Callable[..., ScoreModel]]:
    """The parametrisations of NCSN and NCSNv2, and rounding to a table of levels."""
    from scorekit.models import DirectScore, RoundToLevels, ScaledScore

    return {"direct-score": DirectScore, "scaled-score": ScaledScore, "round-to-levels": RoundToLevels}


@hookimpl
def scorekit_proposals() -> Mapping[str, Callable[..., Proposal]]:
    """The Euler-Maruyama step of Langevin dynamics."""
    from scorekit.proposals import Langevin

    return {"langevin": Langevin}


@hookimpl
def scorekit_kernels() -> Mapping[str, Callable[..., Kernel]]:
    """Every proposed move is made."""
    from scorekit.kernels import Unadjusted

    return {"unadjusted": Unadjusted}


@hookimpl
def scorekit_step_sizes() -> Mapping[str, Callable[..., StepSize]]:
    """One h, and h proportional to sigma^2 (NCSN)."""
    from scorekit.step_sizes import Constant, SigmaSquared

    return {"constant": Constant, "sigma-squared": SigmaSquared}


@hookimpl
def scorekit_transitions() -> Mapping[str, Callable[..., Transition]]:
    """No move, and Tweedie's posterior mean."""
    from scorekit.transitions import Denoise, Stay

    return {"stay": Stay, "denoise": Denoise}


@hookimpl
def scorekit_starts() -> Mapping[str, Callable[..., Start]]:
    """The data's moments, and NCSN's uniform start."""
    from scorekit.starts import Matched, Uniform

    return {"matched": Matched, "uniform": Uniform}


@hookimpl
def scorekit_samplers() -> Mapping[str, Callable[..., Sampler]]:
    """Langevin dynamics, annealed Langevin dynamics, and the class that both are instances of."""
    from scorekit.samplers import AnnealedMCMC, annealed_langevin, langevin

    return {"langevin": langevin, "annealed-langevin": annealed_langevin, "annealed-mcmc": AnnealedMCMC}


@hookimpl
def scorekit_densities() -> Mapping[str, Callable[..., Density]]:
    """Gaussians and their mixtures."""
    from scorekit.densities import Gaussian, GaussianMixture

    return {"gaussian": Gaussian, "gaussian-mixture": GaussianMixture}
