"""The built-in names; components and plugins of a third party."""

import types
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from scorekit.base import GaussianProposal, Kernel, Proposal, StepSize
from scorekit.hookspecs import hookimpl
from scorekit.starts import Matched

if TYPE_CHECKING:
    pass

REGISTRY = import_module("scorekit.registry")  # the attribute scorekit.registry is the function

BUILT_IN = {
    "noise_schedules": ["geometric", "single-level", "linear", "cosine", "karras", "levels", "log-normal"],
    "estimators": ["denoising", "implicit", "sliced", "finite-difference", "explicit"],
    "models": ["direct-score", "scaled-score", "denoiser", "preconditioned", "energy", "round-to-levels"],
    "networks": [
        "refinenet", "refinenet-baseline", "ncsnv2", "ncsnv2-deeper", "ncsnv2-deepest", "unet", "mlp", "scalar-mlp",
        "inner-product", "conv-classifier",
    ],
    "proposals": ["langevin", "hamiltonian", "random-walk"],
    "line_integrals": ["gauss-lobatto", "free-cubic"],
    "kernels": ["unadjusted", "metropolis-adjusted"],
    "step_sizes": ["constant", "sigma-squared", "table", "snr", "per-coordinate"],
    "transitions": ["stay", "denoise", "euler", "heun", "reverse-diffusion", "ancestral", "dpm-solver-multistep"],
    "starts": ["matched", "uniform"],
    "samplers": [
        "langevin", "mala", "hmc", "random-walk", "annealed-langevin", "annealed-mala", "annealed-hmc", "ancestral",
        "reverse-diffusion", "heun", "dpm-solver", "predictor-corrector", "annealed-mcmc",
    ],
    "densities": [
        "gaussian", "gaussian-mixture", "toy-mixture", "fig3-mixture", "ring", "box", "checkerboard", "two-moons",
        "banana", "funnel", "log-gamma", "exponential",
    ],
    "metrics": ["mmd", "sliced-wasserstein", "mode-weight-error", "frechet-distance"],
    "recipes": [
        "mnist-ncsn", "cifar10-ncsn", "celeba32-ncsn", "celeba64-ncsn", "mnist-baseline", "cifar10-baseline",
        "celeba32-baseline", "mnist-ncsnv2", "cifar10-ncsnv2", "celeba32-ncsnv2", "celeba64-ncsnv2", "cifar10-unet",
        "digits-ncsn-smoke", "digits-ncsn", "digits-baseline", "mnist-ncsn-small", "cifar10-ncsn-small",
        "mnist-ncsnv2-small", "mnist-unet-small", "mnist-unet-labels-small",
    ],
}  # fmt: skip


@dataclass(frozen=True)
class HalfDamped(GaussianProposal):
    damping: float = 0.5

    def mean(self, point, step_size):
        return point.x + self.damping * step_size * point.score


@dataclass(frozen=True)
class Pair(Kernel):
    """A third party's component, with annotations of its own."""

    first: Proposal
    rule: "StepSize | float | None" = None
    label: str = "langevin"

    def init(self, point, *, generator=None): ...
    def step(self, point, state, step_size, *, generator=None): ...


def plugin_with(**hooks: object) -> types.SimpleNamespace:
    """An object with one hook for each kind given, which returns what is given."""

    def hook(kind: str, value: object) -> Callable[[], object]:
        def implementation():
            return value

        implementation.__name__ = f"scorekit_{kind}"
        return hookimpl(implementation)

    return types.SimpleNamespace(**{f"scorekit_{kind}": hook(kind, value) for kind, value in hooks.items()})


GOOD = plugin_with(proposals={"good": HalfDamped})


def other_good() -> types.SimpleNamespace:
    return plugin_with(starts={"other": Matched})
