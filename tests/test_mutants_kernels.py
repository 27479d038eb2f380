"""Metropolis kernels and proposals next to deliberately broken twins (`tests/kernels/twins.py`).

The tables say which check sees which fault. `stationary` is blind to whatever is a valid kernel (a wrong number of
leapfrog steps, one that never moves), `linear_law` to whatever goes wrong with the ratio: together they leave none
unseen.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, final

import pytest
import torch
from torch import Tensor

from scorekit import AnnealedMCMC, Constant, Langevin, PerChain, SingleLevel
from scorekit.base import (
    GaussianProposal,
    Generator,
    Kernel,
    Move,
    Point,
    Proposal,
    Target,
    expand,
    sum_event,
    uniform,
)
from scorekit.densities import Gaussian
from scorekit.kernels import MetropolisAdjusted
from scorekit.proposals import Hamiltonian, RandomWalk
from tests.kernels.twins import Leap, Persistent, Retry, Twin, Walk
from tests.laws import kernels as laws
from tests.laws.components import Play
from tests.laws.drivers import neighbour
from tests.laws.statistics import ALPHA, uniform_pvalue
from tests.laws.targets import gauss3, mixture3

# the checks
H = {"gauss3": (0.3, 0.5), "loggamma2": (0.3, 0.18), "gmm2": (0.3, 0.32)}  # of MALA and of HMC with 4 leapfrog steps

STAT, ANTI, CALI, RATIO, LEAP, LINEAR = (
    "stationary", "antisymmetry", "accept_calibration", "log_ratio", "leapfrog", "linear_law",
)  # fmt: skip

DIAGONAL = (0.002, 0.01, 0.05)


def _pvalue(check: str, kernel: Kernel[Any], name: str, seed: int, hmc: bool) -> float:
    """The p of a check; a deterministic one gives 1 or 0."""
    h, n = H[name][hmc], 4 if hmc else 1
    match check:
        case "stationary":
            return laws.stationary(kernel, laws.LAWS[name](), h, seed)
        case "antisymmetry":
            return laws.antisymmetry(kernel, laws.LAWS[name](), h, seed)
        case "accept_calibration":
            return laws.accept_calibration(kernel, laws.LAWS[name](), h, seed)
        case "log_ratio":
            return float(laws.log_ratio(kernel, 0.3, seed) < 1e-9)
        case "leapfrog":
            return float(laws.leapfrog(kernel.proposal, n, 0.1, seed) < 1e-10)
        case "linear_law":
            return laws.linear_law(kernel, n, torch.tensor(DIAGONAL, dtype=torch.float64), seed)
    raise ValueError(check)


def _first_only(u: Tensor) -> Tensor:
    return u[:1].expand_as(u)


def _one_uniform(r: Tensor, *, generator: Generator) -> Tensor:
    return _first_only(uniform(r, generator=generator))


def _one_decision(u: Tensor, r: Tensor) -> Tensor:
    return _first_only(u.log() < r.mean())


ALWAYS = {"decide": lambda u, r: torch.ones_like(r, dtype=torch.bool)}

NEVER = {"decide": lambda u, r: torch.zeros_like(r, dtype=torch.bool)}

ONE_UNIFORM, ONE_DECISION = {"draw": _one_uniform}, {"decide": _one_decision}

NEGATED = {"ratio": lambda difference, q: -(difference + q)}

Row = tuple[Callable[[], Kernel[Any]], tuple[str, ...]]

MALA_MUTANTS: dict[str, Row] = {
    "noise sqrt(h)": (lambda: Twin(Walk(noise=1.0)), (STAT, LINEAR)),
    "q-ratio missing": (lambda: Twin(Walk(ratio=lambda a, b, h: 0 * sum_event(a))), (STAT, ANTI, RATIO, LINEAR)),
    "q-ratio inverted": (
        lambda: Twin(Walk(ratio=lambda a, b, h: sum_event((b - a) / (4 * h)))),
        (STAT, ANTI, RATIO, LINEAR),
    ),
    "q with variance h": (
        lambda: Twin(Walk(ratio=lambda a, b, h: sum_event((a - b) / (2 * h)))),
        (STAT, ANTI, RATIO, LINEAR),
    ),
    "q with event mean for sum": (
        lambda: Twin(Walk(ratio=lambda a, b, h: ((a - b) / (4 * h)).flatten(1).mean(1))),
        (STAT, RATIO, LINEAR),
    ),
    "q(x | y) with the score at x": (lambda: Twin(Walk(here=True)), (STAT, ANTI, RATIO)),
    "r negated": (lambda: Twin(Walk(), NEGATED), (STAT, ANTI, RATIO)),
    "rejects retried": (lambda: Retry(Twin(Walk())), (STAT, CALI)),
    "one uniform for the batch": (lambda: Twin(Walk(), ONE_UNIFORM), (CALI,)),
    "one decision for the batch": (lambda: Twin(Walk(), ONE_DECISION), (CALI,)),
    "always accept": (lambda: Twin(Walk(), ALWAYS), (STAT, CALI)),
    "never accept": (lambda: Twin(Walk(), NEVER), (CALI, LINEAR)),
    # Gaussians miss this one, nine times in ten
    "cached score kept on reject": (lambda: Twin(Walk(), {"score": lambda a, new, old: new}), (STAT, ANTI, RATIO)),
    "cached log_prob kept on reject": (
        lambda: Twin(Walk(), {"log_prob": lambda a, new, old: new}),
        (STAT, ANTI, RATIO),
    ),
}

HMC_MUTANTS: dict[str, Row] = {
    "one leapfrog step too many": (lambda: Twin(Leap(5)), (LINEAR, LEAP)),
    "r negated": (lambda: Twin(Leap(), NEGATED), (STAT, ANTI)),
    "always accept": (lambda: Twin(Leap(), ALWAYS), (STAT, CALI)),
    "never accept": (lambda: Twin(Leap(), NEVER), (CALI, LINEAR)),
    "one uniform for the batch": (lambda: Twin(Leap(), ONE_UNIFORM), (STAT, CALI)),
    "first half kick missing": (lambda: Twin(Leap(first=0.0)), (STAT, LEAP, LINEAR)),
    "last half kick missing": (lambda: Twin(Leap(last=0.0)), (STAT, LEAP, LINEAR)),
    "full kicks": (lambda: Twin(Leap(first=1.0, last=0.0)), (STAT, LEAP, LINEAR)),
    "a full kick at both ends": (lambda: Twin(Leap(first=1.0, last=1.0)), (LEAP, LINEAR)),  # a valid kernel
    "kinetic term dropped": (lambda: Twin(Leap(kinetic=lambda k: 0 * sum_event(k))), (STAT, ANTI, LINEAR)),
    "kinetic mean for sum": (lambda: Twin(Leap(kinetic=lambda k: k.flatten(1).mean(1))), (STAT, LINEAR)),
    "momentum never refreshed": (lambda: Twin(Leap(fresh=False)), (STAT, LINEAR)),
    "momentum x .9": (lambda: Twin(Leap(scale=0.9)), (STAT, LINEAR)),
    "momentum drawn with inverse mass": (lambda: Twin(Leap(scale=DIAGONAL)), (LINEAR,)),
    "momentum of another mass": (lambda: Twin(Leap(scale=(0.5, 2.0))), (STAT,)),
}


@pytest.mark.parametrize("hmc", [False, True], ids=["MALA", "HMC"])
def test_the_unbroken_twins_are_accepted_by_every_check(hmc, seed):
    own: Proposal = Hamiltonian(4, 0.0) if hmc else Langevin()
    checks = (STAT, ANTI, CALI, LINEAR, LEAP if hmc else RATIO)
    for kernel in (Twin(Leap() if hmc else Walk()), MetropolisAdjusted(own)):
        for i, check in enumerate(checks):
            for name in H if check in (STAT, ANTI, CALI) else ("gauss3",):
                assert _pvalue(check, kernel, name, seed + i, hmc) > ALPHA, (kernel, check, name)


@pytest.mark.parametrize("name", MALA_MUTANTS)
def test_mutants_of_mala_are_rejected(name, seed):
    _rejected(name, *MALA_MUTANTS[name], seed, hmc=False)


@pytest.mark.parametrize("name", HMC_MUTANTS)
def test_mutants_of_hmc_are_rejected(name, seed):
    _rejected(name, *HMC_MUTANTS[name], seed, hmc=True)


def _rejected(name: str, make: Callable[[], Kernel[Any]], checks: tuple[str, ...], seed: int, *, hmc: bool) -> None:
    for check in checks:
        assert _pvalue(check, make(), "loggamma2", seed, hmc) < ALPHA, f"{check} lets {name!r} pass"


def test_faults_that_stationarity_cannot_see_are_seen_by_no_other_law_of_the_target(seed):
    """Why `linear_law` is there: these kernels are valid, or look so."""
    for kernel in (Twin(Leap(5)), Twin(Leap(first=1.0, last=1.0)), Twin(Leap(), NEVER)):
        assert _pvalue(STAT, kernel, "loggamma2", seed, hmc=True) > ALPHA
        assert _pvalue(LINEAR, kernel, "loggamma2", seed, hmc=True) < ALPHA


def test_momenta_that_persist_must_turn_round_on_rejection(seed):
    """N(0, 1), leapfrog steps of 1.8, near the limit of stability, where a third of the moves is rejected."""
    right, wrong = (
        laws.stationary(Persistent(turns), laws.gaussian(Gaussian((0.0,))), 1.8**2 / 2, seed) for turns in (True, False)
    )
    assert wrong < ALPHA < right


# what is not finite
NAN_MUTANTS: dict[str, dict[str, Callable]] = {
    "~(log u >= r)": {"decide": lambda u, r: ~(u.log() >= r)},
    "NaN in the ratio taken for 0": {"ratio": lambda difference, q: (difference + q).nan_to_num()},
    "a y + (1 - a) x": {
        "x": lambda a, new, old: expand(a, old) * new + (1 - expand(a, old)) * old,
        "score": lambda a, new, old: expand(a, old) * new + (1 - expand(a, old)) * old,
    },
}


def _bounded(kernel: Kernel[Any], seed: int, law: laws.Law | None = None) -> float:
    """p of the law of exponentials after 5 steps from it; 0 if a state is NaN or outside the support."""
    law, generator = law or laws.exponential2(), torch.Generator().manual_seed(seed)
    made = laws.steps(kernel, law.target, law.draw(20_000, generator), 0.25**2 / 2, 5, generator)
    return uniform_pvalue(law.pit(made[-1].after)) if all((after > 0).all() for _, after, _ in made) else 0.0


def test_the_unbroken_twin_stays_in_a_bounded_support(seed):
    for kernel in (Twin(Leap()), MetropolisAdjusted(Hamiltonian(4, 0.0)), MetropolisAdjusted(Hamiltonian(4, 0.2))):
        assert _bounded(kernel, seed) > ALPHA


@pytest.mark.parametrize("name", NAN_MUTANTS)
def test_mutants_that_let_nan_through_are_rejected(name, seed):
    assert _bounded(Twin(Leap(), NAN_MUTANTS[name]), seed) < ALPHA


def _mended(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: function(x).nan_to_num()


@pytest.mark.parametrize("kernel", [MetropolisAdjusted(Hamiltonian(4, 0.0)), MetropolisAdjusted(Langevin())], ids=repr)
def test_a_score_or_log_density_that_is_mended_is_seen(kernel, seed):
    """A log density that is not mended guards one whose score is; a score alone has no second guard."""
    law = laws.exponential2()
    score, log_prob = law.target.score, law.target.log_prob
    assert log_prob is not None
    right = [law, law.score_only(), replace(law, target=Target(_mended(score), log_prob))]
    wrong = [replace(law, target=Target(_mended(score), each)) for each in (_mended(log_prob), None)]
    assert all(_bounded(kernel, seed, each) > ALPHA for each in right)
    assert all(_bounded(kernel, seed, each) < ALPHA for each in wrong)


@final
@dataclass(frozen=True)
class Repaired(GaussianProposal):
    """A walk that is clamped back into the support."""

    def mean(self, point: Point, step_size: Tensor) -> Tensor:
        return point.x.clamp(min=0.3)


def test_a_state_that_is_repaired_is_seen(seed):
    assert laws.stationary(MetropolisAdjusted(RandomWalk()), laws.exponential2(), 0.3, seed) > ALPHA
    forward = _Forward(Repaired())
    assert laws.stationary(MetropolisAdjusted(forward), laws.exponential2(), 0.3, seed) < ALPHA


@final
@dataclass(frozen=True)
class _Forward(Proposal):
    """Another proposal, with its ratio left out."""

    proposal: Proposal

    def propose(self, point: Point, step_size: Tensor, *, generator: Generator = None) -> Move:
        return self.proposal.propose(point, step_size, generator=generator)

    def log_q_ratio(self, move: Move, step_size: Tensor) -> Tensor:
        return move.path[0].x.new_zeros(move.path[0].x.shape[0])


# chains, precision, reversibility
@pytest.mark.parametrize("broken", [ONE_UNIFORM, ONE_DECISION], ids=["one uniform", "one decision"])
def test_chains_that_decide_together_are_seen(broken, seed):
    """One decision for the batch by the neighbour test, which sees 26 of 30 such runs; one uniform is each chain's own
    function, but not its law."""
    x = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    one, other = (AnnealedMCMC(Twin(Walk(), each), SingleLevel(0.5), Constant(1.0), 20) for each in ({}, broken))
    assert all(neighbour(one, mixture3(), x, seed + i) for i in range(8))
    assert all(neighbour(other, mixture3(), x, seed + i) for i in range(8)) is (broken is ONE_UNIFORM)
    assert _pvalue(CALI, Twin(Walk(), broken), "loggamma2", seed, hmc=False) < ALPHA


@final
@dataclass(frozen=True)
class Half(Proposal):
    """The kinetic energy summed in the type of x."""

    def propose(self, point: Point, step_size: Tensor, *, generator: Generator = None) -> Move:
        return Hamiltonian(3).propose(point, step_size, generator=generator)

    def log_q_ratio(self, move: Move, step_size: Tensor) -> Tensor:
        before, after = move.momenta or (move.path[0].x, move.path[0].x)
        return (sum_event(before.square()) - sum_event(after.square())) / 2


def test_sums_in_bfloat16_are_seen():
    x = torch.randn(20, 3072, generator=torch.Generator().manual_seed(0)).bfloat16()
    point = laws.Target(lambda x: -x).point(x)
    move = Hamiltonian(3).propose(point, torch.tensor(0.02), generator=PerChain(0))
    assert move.momenta is not None
    exact = sum_event(move.momenta[0].double().square() - move.momenta[1].double().square()) / 2
    right, wrong = (proposal.log_q_ratio(move, torch.tensor(0.02)) for proposal in (Hamiltonian(3), Half()))
    assert (right - exact).abs().max() < 1e-3
    assert (wrong - exact).abs().max() > 1


@pytest.mark.parametrize("faults", [{"first": 0.0}, {"last": 0.0}, {"between": 0.9, "first": 0.0}])
def test_trajectories_that_do_not_come_back_are_seen(faults, seed):
    density, h = gauss3(), torch.tensor(0.1, dtype=torch.float64)
    x = density.sample(20, generator=PerChain(seed), dtype=torch.float64)
    assert laws.reversal(Leap(), density.at(0.0), x, h, Play, seed) < 1e-9
    assert laws.reversal(Leap(**faults), density.at(0.0), x, h, Play, seed) > 1e-3
