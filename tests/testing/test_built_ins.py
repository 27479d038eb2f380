"""Every built-in component passes its check."""

from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch

import scorekit as sk
from scorekit import testing
from scorekit.base import (
    sum_event,
)
from scorekit.data import Images, Source, as_source
from scorekit.hookspecs import KINDS
from scorekit.networks import MLP, ScalarMLP
from scorekit.recipes import RECIPES
from scorekit.registry import Registry
from scorekit.testing.targets import gauss3


def pictures(condition: Literal["labels"] | None = None) -> Source:
    """Eight pictures of 8x8, perhaps with two labels."""
    pixels = torch.randint(256, (8, 1, 8, 8), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    images = Images(pixels, labels=torch.tensor([0, 1] * 4))
    return as_source(images, condition=condition)


COARSE, FINE = sk.Geometric(2.0, 0.5, 8), sk.Geometric(5.0, 0.05, 40)
CHECKS: dict[str, Callable[..., None]] = {
    "noise_schedules": testing.check_noise_schedule,
    "estimators": testing.check_estimator,
    "models": testing.check_model,
    "networks": testing.check_network,
    "proposals": testing.check_proposal,
    "line_integrals": testing.check_line_integral,
    "kernels": testing.check_kernel,
    "step_sizes": testing.check_step_size,
    "transitions": testing.check_transition,
    "starts": testing.check_start,
    "samplers": testing.check_sampler,
    "densities": testing.check_density,
    "metrics": testing.check_metric,
    "recipes": testing.check_recipe,
}
FLAT = {"event_shape": (2,)}
# The parameters that a component needs, and what its check has to be told. A module's check takes a factory.
ARGUMENTS: dict[tuple[str, str], tuple[dict[str, Any], dict[str, Any]]] = {
    ("noise_schedules", "single-level"): ({"sigma": 0.3}, {}),
    ("noise_schedules", "levels"): ({"values": (2.0, 0.5, 0.0)}, {}),
    ("estimators", "explicit"): ({"density": gauss3()}, {"density": gauss3()}),
    ("models", "direct-score"): ({"net": lambda: MLP((2,))}, FLAT),
    ("models", "scaled-score"): ({"net": lambda: MLP((2,))}, FLAT),
    ("models", "denoiser"): ({"net": lambda: MLP((2,))}, FLAT),
    ("models", "energy"): ({"net": lambda: ScalarMLP((2,))}, FLAT),
    ("models", "preconditioned"): ({"net": lambda: MLP((2,)), "scale": 0.5, "center": 0.25}, FLAT),
    ("models", "round-to-levels"): ({"model": lambda: sk.DirectScore(MLP((2,)), COARSE)}, FLAT),
    ("networks", "refinenet"): (
        {"image_shape": (1, 8, 8), "noise": COARSE, "width": 4},
        {"event_shape": (1, 8, 8), "levels": (2.0, 0.5)},
    ),
    **{
        ("networks", name): (
            {"image_shape": (1, 16, 16), "width": 4},
            {"event_shape": (1, 16, 16), "levels": (2.0, 0.5)},
        )
        for name in ("refinenet-baseline", "ncsnv2", "ncsnv2-deeper", "ncsnv2-deepest")
    },
    ("networks", "unet"): (
        {"image_shape": (1, 8, 8), "width": 8, "channel_multipliers": (1, 2), "num_blocks": 1},
        {"event_shape": (1, 8, 8)},
    ),
    ("networks", "mlp"): ({"event_shape": (2, 3)}, {"event_shape": (2, 3)}),
    ("networks", "scalar-mlp"): ({"event_shape": (2, 3)}, {"event_shape": (2, 3), "output": "energy"}),
    ("networks", "conv-classifier"): (
        {"image_shape": (1, 8, 8), "num_classes": 3, "width": 8},
        {"event_shape": (1, 8, 8), "output": "logits"},
    ),
    ("networks", "inner-product"): ({"net": lambda: MLP((4,))}, {"event_shape": (4,), "output": "energy"}),
    ("line_integrals", "free-cubic"): ({}, {"step_size": 0.03}),  # at .1 its own error shows
    ("kernels", "unadjusted"): ({"proposal": sk.Langevin()}, {}),
    ("kernels", "metropolis-adjusted"): ({"proposal": sk.Langevin()}, {"score_only": True}),
    ("step_sizes", "constant"): ({"step_size": 0.1}, {}),
    ("step_sizes", "table"): ({"levels": (1.0, 0.5), "step_sizes": (0.2, 0.1)}, {"levels": (1.0, 0.5)}),
    ("step_sizes", "per-coordinate"): ({"step_size": sk.SNR(), "scale": (1.0, 2.0)}, FLAT),
    ("transitions", "stay"): ({}, {"follows": False}),
    ("samplers", "langevin"): ({"step_size": 0.05, "num_steps": 150}, {}),
    ("samplers", "mala"): ({"step_size": 0.2, "num_steps": 40}, {}),
    ("samplers", "hmc"): ({"step_size": 0.1, "num_steps": 30}, {}),
    ("samplers", "random-walk"): ({"step_size": 0.2, "num_steps": 100}, {}),
    ("samplers", "annealed-langevin"): ({"noise": COARSE, "steps_per_level": 10}, {}),
    ("samplers", "annealed-mala"): ({"noise": COARSE, "steps_per_level": 10}, {}),
    ("samplers", "annealed-hmc"): ({"noise": COARSE, "steps_per_level": 5}, {}),
    ("samplers", "predictor-corrector"): (
        {"noise": FINE, "step_size": sk.SigmaSquared(), "steps_per_level": 1},
        {},
    ),
    ("samplers", "annealed-mcmc"): (
        {"kernel": sk.Unadjusted(sk.Langevin()), "noise": COARSE, "steps_per_level": 2, "transition": sk.Heun()},
        {},
    ),
    **{("samplers", name): ({"noise": FINE}, {}) for name in ("ancestral", "reverse-diffusion", "heun", "dpm-solver")},
    ("densities", "gaussian"): ({"mean": ((0.0, 1.0), (2.0, 0.5))}, {}),
    ("densities", "gaussian-mixture"): ({"means": ((0.0, 1.0), (2.0, 3.0))}, {}),
    ("densities", "fig3-mixture"): ({}, {"levels": (0.5, 1.0)}),  # point masses
    ("densities", "box"): ({"low": (0.0, -1.0), "high": (1.0, 2.0)}, {"bounded": True}),
    ("densities", "checkerboard"): ({}, {"bounded": True}),
    ("densities", "banana"): ({}, {"levels": (0.0,)}),
    ("densities", "funnel"): ({}, {"levels": (0.0,)}),
    ("densities", "log-gamma"): ({}, {"levels": (0.0,)}),
    ("densities", "exponential"): ({}, {"levels": (0.0,), "bounded": True}),
    ("metrics", "mode-weight-error"): ({"means": ((-2.0, 0.0), (2.0, 0.0))}, {}),
    **{
        ("recipes", name): ({"width": 8}, {"source": pictures("labels" if "labels" in name else None)})
        for name in RECIPES
    },
}
CELLS = [(kind, name) for kind in KINDS for name in Registry().names(kind)]


def made(kind: str, name: str) -> Any:
    """The component; a factory for a module, so that its parts are new as well."""
    params, _ = ARGUMENTS.get((kind, name), ({}, {}))
    if kind not in ("models", "networks"):
        return Registry().make(kind, name, **params)
    return lambda: Registry().make(
        kind, name, **{key: value() if callable(value) else value for key, value in params.items()}
    )


def test_there_is_a_check_for_every_hook_and_a_cell_for_every_component():
    assert CHECKS.keys() == KINDS.keys()
    assert len(CELLS) == 98
    assert ARGUMENTS.keys() <= set(CELLS)


@pytest.mark.parametrize(("kind", "name"), CELLS, ids=lambda part: part)
def test_every_built_in_component_passes_its_check(kind, name):
    _, options = ARGUMENTS.get((kind, name), ({}, {}))
    CHECKS[kind](made(kind, name), **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("check", "component", "options"),
    [
        (testing.check_estimator, sk.DenoisingScoreMatching("antithetic"), {}),
        (testing.check_estimator, sk.DenoisingScoreMatching("control_variate"), {}),
        (testing.check_estimator, sk.SlicedScoreMatching(False), {}),
        (testing.check_kernel, sk.MetropolisAdjusted(sk.Hamiltonian(3)), {"score_only": True}),
        (testing.check_kernel, sk.MetropolisAdjusted(sk.RandomWalk()), {}),
        (testing.check_kernel, sk.Unadjusted(sk.Hamiltonian(1, 0.0)), {}),
        (testing.check_transition, sk.DPMSolverMultistep(0.0), {}),
        (testing.check_line_integral, sk.GaussLobatto(5), {}),
        (testing.check_noise_schedule, sk.SingleLevel(0.0), {}),
    ],
    ids=repr,
)
def test_their_options_pass_too(check, component, options):
    check(component, **options)


def test_families_made_of_functions_pass():
    testing.check_target_family(sk.from_score(lambda x, sigma: -x / (1 + sigma**2)), event_shape=(2, 3))
    potential = sk.from_log_prob(lambda x, sigma: -sum_event(x.square()) / 2 / (1 + sigma**2))
    testing.check_target_family(potential, event_shape=(2, 3))
    testing.check_target_family(sk.densities.TwoMoons(), event_shape=(2,))
