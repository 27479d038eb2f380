"""scorekit's own components: a plugin like any other, registered under the name "scorekit".

Each hook imports what it returns, so that to import this module costs nothing.
"""

from collections.abc import Callable, Mapping

from torch import nn

from scorekit.base import (
    Estimator,
    Kernel,
    LineIntegral,
    Metric,
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
from scorekit.recipe import Recipe


@hookimpl
def scorekit_noise_schedules() -> Mapping[str, Callable[..., NoiseSchedule]]:
    """Levels in steps that are equal in one sense or another, one level, and a continuous law."""
    from scorekit.noise import Cosine, Geometric, Karras, Levels, Linear, LogNormal, SingleLevel

    return {
        "geometric": Geometric,
        "single-level": SingleLevel,
        "linear": Linear,
        "cosine": Cosine,
        "karras": Karras,
        "levels": Levels,
        "log-normal": LogNormal,
    }


@hookimpl
def scorekit_estimators() -> Mapping[str, Callable[..., Estimator]]:
    """Denoising, implicit, sliced and explicit score matching."""
    from scorekit.estimators import (
        DenoisingScoreMatching,
        ExplicitScoreMatching,
        FiniteDifferenceSliced,
        ImplicitScoreMatching,
        SlicedScoreMatching,
    )

    return {
        "denoising": DenoisingScoreMatching,
        "implicit": ImplicitScoreMatching,
        "sliced": SlicedScoreMatching,
        "finite-difference": FiniteDifferenceSliced,
        "explicit": ExplicitScoreMatching,
    }


@hookimpl
def scorekit_networks() -> Mapping[str, Callable[..., nn.Module]]:
    """RefineNets, a U-Net and a classifier for images, a perceptron for toy densities, energies of one output."""
    from scorekit.networks import (
        MLP,
        ConvClassifier,
        InnerProduct,
        NCSNv2,
        NCSNv2Deeper,
        NCSNv2Deepest,
        RefineNet,
        RefineNetBaseline,
        ScalarMLP,
        UNet,
    )

    return {
        "refinenet": RefineNet,
        "refinenet-baseline": RefineNetBaseline,
        "ncsnv2": NCSNv2,
        "ncsnv2-deeper": NCSNv2Deeper,
        "ncsnv2-deepest": NCSNv2Deepest,
        "unet": UNet,
        "mlp": MLP,
        "scalar-mlp": ScalarMLP,
        "inner-product": InnerProduct,
        "conv-classifier": ConvClassifier,
    }


@hookimpl
def scorekit_models() -> Mapping[str, Callable[..., ScoreModel]]:
    """The parametrisations of the score by a network, and rounding to a table of levels."""
    from scorekit.denoisers import Denoiser
    from scorekit.energies import EnergyModel
    from scorekit.models import DirectScore, RoundToLevels, ScaledScore
    from scorekit.preconditioned import Preconditioned

    return {
        "direct-score": DirectScore,
        "scaled-score": ScaledScore,
        "denoiser": Denoiser,
        "preconditioned": Preconditioned,
        "energy": EnergyModel,
        "round-to-levels": RoundToLevels,
    }


@hookimpl
def scorekit_proposals() -> Mapping[str, Callable[..., Proposal]]:
    """Langevin, Hamiltonian and random-walk moves."""
    from scorekit.proposals import Hamiltonian, Langevin, RandomWalk

    return {
        "langevin": Langevin,
        "hamiltonian": Hamiltonian,
        "random-walk": RandomWalk,
    }


@hookimpl
def scorekit_line_integrals() -> Mapping[str, Callable[..., LineIntegral]]:
    """Quadrature on each segment, and a rule on what a trajectory has evaluated anyway."""
    from scorekit.line_integrals import FreeCubic, GaussLobatto

    return {
        "gauss-lobatto": GaussLobatto,
        "free-cubic": FreeCubic,
    }


@hookimpl
def scorekit_kernels() -> Mapping[str, Callable[..., Kernel]]:
    """Every proposed move is made, or Metropolis decides."""
    from scorekit.kernels import MetropolisAdjusted, Unadjusted

    return {
        "unadjusted": Unadjusted,
        "metropolis-adjusted": MetropolisAdjusted,
    }


@hookimpl
def scorekit_step_sizes() -> Mapping[str, Callable[..., StepSize]]:
    """One h, rules by the level, a table, a rule by the state, and a diagonal preconditioner."""
    from scorekit.step_sizes import SNR, Constant, PerCoordinate, SigmaSquared, Table

    return {
        "constant": Constant,
        "sigma-squared": SigmaSquared,
        "table": Table,
        "snr": SNR,
        "per-coordinate": PerCoordinate,
    }


@hookimpl
def scorekit_transitions() -> Mapping[str, Callable[..., Transition]]:
    """No move, Tweedie's mean, and steps along the flow or the reverse diffusion."""
    from scorekit.transitions import Ancestral, Denoise, DPMSolverMultistep, Euler, Heun, ReverseDiffusion, Stay

    return {
        "stay": Stay,
        "denoise": Denoise,
        "euler": Euler,
        "heun": Heun,
        "reverse-diffusion": ReverseDiffusion,
        "ancestral": Ancestral,
        "dpm-solver-multistep": DPMSolverMultistep,
    }


@hookimpl
def scorekit_starts() -> Mapping[str, Callable[..., Start]]:
    """The data's moments, and NCSN's uniform start."""
    from scorekit.starts import Matched, Uniform

    return {"matched": Matched, "uniform": Uniform}


@hookimpl
def scorekit_samplers() -> Mapping[str, Callable[..., Sampler]]:
    """What a user calls a sampler, and the class that all are instances of."""
    from scorekit.samplers import (
        AnnealedMCMC,
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

    return {
        "langevin": langevin,
        "mala": mala,
        "hmc": hmc,
        "random-walk": random_walk,
        "annealed-langevin": annealed_langevin,
        "annealed-mala": annealed_mala,
        "annealed-hmc": annealed_hmc,
        "ancestral": ancestral,
        "reverse-diffusion": reverse_diffusion,
        "heun": heun,
        "dpm-solver": dpm_solver,
        "predictor-corrector": predictor_corrector,
        "annealed-mcmc": AnnealedMCMC,
    }


@hookimpl
def scorekit_densities() -> Mapping[str, Callable[..., Density]]:
    """Toy densities, most of them in closed form at every level."""
    from scorekit.densities import (
        Banana,
        Box,
        Checkerboard,
        Exponential,
        Funnel,
        Gaussian,
        GaussianMixture,
        LogGamma,
        Ring,
        TwoMoons,
        fig3_mixture,
        toy_mixture,
    )

    return {
        "gaussian": Gaussian,
        "gaussian-mixture": GaussianMixture,
        "toy-mixture": toy_mixture,
        "fig3-mixture": fig3_mixture,
        "ring": Ring,
        "box": Box,
        "checkerboard": Checkerboard,
        "two-moons": TwoMoons,
        "banana": Banana,
        "funnel": Funnel,
        "log-gamma": LogGamma,
        "exponential": Exponential,
    }


@hookimpl
def scorekit_metrics() -> Mapping[str, Callable[..., Metric]]:
    """Distances between the laws of two samples."""
    from scorekit.metrics import FrechetDistance, MaximumMeanDiscrepancy, ModeWeightError, SlicedWasserstein

    return {
        "mmd": MaximumMeanDiscrepancy,
        "sliced-wasserstein": SlicedWasserstein,
        "mode-weight-error": ModeWeightError,
        "frechet-distance": FrechetDistance,
    }


@hookimpl
def scorekit_recipes() -> Mapping[str, Callable[..., Recipe]]:
    """The papers' runs as published, and small ones for two CPU cores."""
    from scorekit.recipes import RECIPES

    return RECIPES
