"""Broken transitions, each rejected by the laws that its row names; unbroken twins pass them all.

The table says which law sees which fault. Bounds: replay 1e-10, golden 1e-9, order within .2 of its own, the weight of
a mode within .006; limit, whose steps are h = log(1000) / 399 = .0173, 2 % for first order (h) and .03 % for second
(h^2).
"""

import math

import pytest

from scorekit.base import Transition
from scorekit.transitions import Ancestral, Denoise, DPMSolverMultistep, Euler, Heun, ReverseDiffusion
from tests.laws import flows
from tests.laws.flows import Coefficient, Multistep, OneStage, TwoStage

REPLAY, GOLDEN, LIMIT, ORDER, WEIGHT = "replay", "golden", "limit", "order", "weight"


def lost(a: float, b: float) -> float:
    return a**2 - b**2


def reverse_noise(a: float, b: float) -> float:
    return lost(a, b) ** 0.5


def ancestral_noise(a: float, b: float) -> float:
    return b / a * lost(a, b) ** 0.5


RIGHT: dict[str, tuple[Transition, Transition, tuple[str, ...]]] = {
    "euler": (Euler(), OneStage(lambda a, b: a * (a - b)), (REPLAY, LIMIT, ORDER)),
    "heun": (Heun(), TwoStage(), (REPLAY, LIMIT, ORDER, WEIGHT)),
    "reverse diffusion": (ReverseDiffusion(), OneStage(lost, reverse_noise), (REPLAY, GOLDEN, LIMIT)),
    "ancestral": (Ancestral(), OneStage(lost, ancestral_noise), (REPLAY, GOLDEN, LIMIT)),
    "2M": (DPMSolverMultistep(0.0), Multistep(0.0), (REPLAY, LIMIT, ORDER, WEIGHT)),
    "stochastic 2M": (DPMSolverMultistep(1.0), Multistep(1.0), (REPLAY, LIMIT)),
}
BY_HAND = {
    "euler": flows.euler, "heun": flows.heun, "reverse diffusion": flows.reverse_diffusion,
    "ancestral": flows.ancestral, "2M": flows.dpm_solver(0.0), "stochastic 2M": flows.dpm_solver(1.0),
}  # fmt: skip
VARIANCES = {"reverse diffusion": (0.0630360305, 0.0629360305), "ancestral": (0.0618720047, 0.0618720047)}
LIMITS = dict.fromkeys(("euler", "reverse diffusion", "ancestral"), 0.02)
LIMITS |= dict.fromkeys(("heun", "2M", "stochastic 2M"), 0.0003)
ORDERS = {"euler": 1, "heun": 2, "2M": 2}


def _rejects(law: str, kind: str, transition: Transition, seed: int) -> bool:
    match law:
        case "replay":
            return not flows.replay(transition, BY_HAND[kind], seed) < 1e-10
        case "golden":
            noisy, clean = VARIANCES[kind]
            errors = flows.golden(transition, transition, noisy), flows.golden(transition, Denoise(), clean)
            return not max(errors) < 1e-9
        case "limit":
            return not flows.limit(transition) < LIMITS[kind]
        case "order":
            return not abs(flows.order(transition) - ORDERS[kind]) < 0.2
        case "weight":
            return not abs(flows.weight(transition)) < 0.006
    raise ValueError(law)


@pytest.mark.parametrize("kind", RIGHT)
def test_the_transition_and_its_unbroken_twin_pass_every_law(kind, seed):
    for transition in RIGHT[kind][:2]:
        for law in RIGHT[kind][2]:
            assert not _rejects(law, kind, transition, seed), (law, transition)


def one(drift: Coefficient = lost, noise: Coefficient = ancestral_noise) -> Transition:
    return OneStage(drift, noise)


MUTANTS: dict[tuple[str, str], tuple[Transition, tuple[str, ...]]] = {
    ("euler", "wrong sign"): (one(lambda a, b: -a * (a - b), lambda a, b: 0.0), (REPLAY, LIMIT, ORDER)),
    ("euler", "sigma for sigma^2"): (one(lambda a, b: a - b, lambda a, b: 0.0), (REPLAY, LIMIT, ORDER)),
    ("euler", "b for a"): (one(lambda a, b: b * (a - b), lambda a, b: 0.0), (REPLAY,)),
    ("euler", "the drift of the diffusion"): (one(lost, lambda a, b: 0.0), (REPLAY, LIMIT, ORDER)),
    ("ancestral", "wrong sign"): (one(lambda a, b: -lost(a, b)), (REPLAY, GOLDEN, LIMIT)),
    ("ancestral", "sigma for sigma^2"): (one(lambda a, b: a - b), (REPLAY, GOLDEN, LIMIT)),
    ("ancestral", "half the drift"): (one(lambda a, b: lost(a, b) / 2), (REPLAY, GOLDEN, LIMIT)),
    ("ancestral", "missing noise"): (one(noise=lambda a, b: 0.0), (REPLAY, GOLDEN, LIMIT)),
    ("ancestral", "noise of the reverse diffusion"): (one(noise=reverse_noise), (REPLAY, GOLDEN)),
    ("ancestral", "variance for std"): (one(noise=lambda a, b: ancestral_noise(a, b) ** 2), (REPLAY, GOLDEN, LIMIT)),
    ("reverse diffusion", "noise of the ancestral"): (one(noise=ancestral_noise), (REPLAY, GOLDEN)),
    ("reverse diffusion", "missing noise"): (one(noise=lambda a, b: 0.0), (REPLAY, GOLDEN, LIMIT)),
    ("reverse diffusion", "noise a - b"): (one(noise=lambda a, b: a - b), (REPLAY, GOLDEN, LIMIT)),
    ("heun", "without the average"): (TwoStage(share=1.0), (REPLAY, ORDER)),
    ("heun", "the first slope alone"): (TwoStage(share=0.0), (REPLAY, ORDER, WEIGHT)),
    ("heun", "wrong sign"): (TwoStage(sign=-1.0), (REPLAY, LIMIT, ORDER, WEIGHT)),
    ("heun", "sigma^2 for sigma"): (TwoStage(power=2.0), (REPLAY, LIMIT, ORDER)),
    ("heun", "the source's target twice"): (TwoStage(stale=True), (REPLAY, ORDER)),
    # no law of order sees r inverted: the faults h h' (r - 1 / r) / 2 = (h'^2 - h^2) / 2 of the steps telescope
    ("2M", "r inverted"): (Multistep(0.0, ahead=lambda r: r / 2), (REPLAY,)),
    ("2M", "carry ignored"): (Multistep(0.0, ahead=lambda r: 0.0), (REPLAY, LIMIT, ORDER, WEIGHT)),
    ("2M", "backwards"): (Multistep(0.0, ahead=lambda r: -1 / (2 * r)), (REPLAY, ORDER, WEIGHT)),
    ("2M", "a whole step ahead"): (Multistep(0.0, ahead=lambda r: 1 / r), (REPLAY, ORDER)),
    ("2M", "the diffusion's drift"): (Multistep(0.0, share=lambda eta, h: -math.expm1(-2 * h)), (REPLAY, LIMIT, ORDER)),
    ("stochastic 2M", "missing noise"): (Multistep(1.0, noise=0.0), (REPLAY, LIMIT)),
    ("stochastic 2M", "the flow's drift"): (Multistep(1.0, share=lambda eta, h: -math.expm1(-h)), (REPLAY, LIMIT)),
    ("stochastic 2M", "noise sqrt 2 too small"): (Multistep(1.0, noise=0.5**0.5), (REPLAY, LIMIT)),
    ("stochastic 2M", "carry ignored"): (Multistep(1.0, ahead=lambda r: 0.0), (REPLAY, LIMIT)),
    ("stochastic 2M", "r inverted"): (Multistep(1.0, ahead=lambda r: r / 2), (REPLAY,)),
}


@pytest.mark.parametrize(("kind", "fault"), MUTANTS, ids=[f"{kind}: {fault}" for kind, fault in MUTANTS])
def test_mutants_are_rejected(kind, fault, seed):
    mutant, laws = MUTANTS[kind, fault]
    for law in laws:
        assert _rejects(law, kind, mutant, seed), f"{law} lets {fault!r} pass"
