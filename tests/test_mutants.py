"""Every law next to deliberately broken twins that it must reject: a test that cannot fail is a defect.

The tables say which checks see which fault; together they leave none unseen.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from scorekit import (
    AnnealedMCMC,
    Constant,
    Geometric,
    Langevin,
    PerChain,
    SigmaSquared,
    SingleLevel,
    Unadjusted,
    sample,
)
from scorekit.base import NoiseSchedule, ScoreModel, TargetFamily, expand, normal, sum_event, uniform
from scorekit.objective import Loss
from tests.laws import losses
from tests.laws.components import Drift, Levels, Power, Relabel, SignalToNoise, Tracked, Watch
from tests.laws.drivers import exact_law, law_pvalue, neighbour, replay, run, step_sizes
from tests.laws.statistics import ALPHA, BOUND
from tests.laws.targets import gauss3, stiff3

# ------------------------------------------------------------------------------------------------------------------
# denoising score matching


class Twin(nn.Module):
    """The objective written out, in steps that a mutant breaks one at a time."""

    def __init__(self, model: ScoreModel, noise: NoiseSchedule, **broken: Callable):
        super().__init__()
        self.model, self.noise, self.broken = model, noise, broken

    def forward(self, x: Tensor, *, generator: torch.Generator) -> Loss:
        sigma = self.noise.sample(x, generator=generator)
        eps = self._do("draw", normal, x, generator=generator)
        scale = self._do("scale", lambda s: s, sigma)
        noisy = x + expand(scale, x) * eps
        shown, label = self._do("show", lambda noisy, clean: noisy, noisy, x), self._do("label", lambda s: s, sigma)
        score = self._do("score", lambda s: s, self.model(shown, label))
        target = self._do("target", lambda eps, s: -eps / expand(s, eps), eps, scale)
        squares = self._do("reduce", sum_event, (score - target).square())
        per_example = self._do("weigh", torch.square, sigma) * squares / 2
        return Loss(per_example.mean(), per_example, sigma)

    def _do(self, step: str, right: Callable, *args: Tensor, **kwargs: torch.Generator) -> Tensor:
        return self.broken.get(step, right)(*args, **kwargs)


def _uniform_noise(x: Tensor, *, generator: torch.Generator) -> Tensor:
    return (2 * uniform(x, generator=generator) - 1) * 3**0.5


def _next_label(sigma: Tensor) -> Tensor:
    levels = losses.NOISE.levels()
    index = (levels.unsqueeze(0) - sigma.unsqueeze(1)).abs().argmin(1)
    return levels[(index + 1).clamp(max=len(levels) - 1)]


FIX, AFF, FORM, ZERO, VAR = "fixpoint", "affine_w", "closed_form", "zero_net", "batch_variance"
DSM_MUTANTS: dict[str, tuple[dict[str, Callable], tuple[str, ...]]] = {
    "target -eps": ({"target": lambda eps, s: -eps}, (FIX, AFF, FORM, ZERO, VAR)),
    "target -eps/sigma^2": ({"target": lambda eps, s: -eps / expand(s**2, eps)}, (FIX, AFF, FORM, ZERO, VAR)),
    "target eps/sigma": ({"target": lambda eps, s: eps / expand(s, eps)}, (FIX, AFF, FORM)),
    "sigma taken as variance": ({"scale": torch.sqrt}, (FIX, AFF, FORM, ZERO, VAR)),
    "network given clean x": ({"show": lambda noisy, clean: clean}, (FIX, AFF, FORM)),
    "labels shuffled": ({"label": lambda s: s.roll(1)}, (FIX, AFF, FORM)),
    "labels off by one": ({"label": _next_label}, (FIX, AFF, FORM)),
    "uniform noise": ({"draw": _uniform_noise}, (FIX, FORM, VAR)),
    "mean for sum": ({"reduce": lambda v: v.flatten(1).mean(1)}, (AFF, FORM, ZERO, VAR)),
    "weight 1": ({"weigh": torch.ones_like}, (AFF, FORM, ZERO, VAR)),
    "weight sigma": ({"weigh": torch.clone}, (AFF, FORM, ZERO, VAR)),
    "weight sigma^4": ({"weigh": lambda s: s**4}, (AFF, FORM, ZERO, VAR)),
    "1/2 missing": ({"weigh": lambda s: 2 * s**2}, (AFF, FORM, ZERO, VAR)),
    "one eps for the batch": (
        {"draw": lambda x, generator: normal(x, generator=generator)[:1].expand_as(x)},
        (AFF, FORM, VAR),
    ),
    "half the gradient": ({"score": lambda s: (s + s.detach()) / 2}, ("closed_gradient",)),
}


def _rejects(check: str, make: losses.Make, seed: int) -> bool:
    match check:
        case "fixpoint":
            return losses.fixpoint(make, gauss3(), seed) < ALPHA
        case "affine_w":
            return losses.affine_w(make, gauss3(), seed) < ALPHA
        case "closed_form":
            return losses.closed_form(make, seed) > 1e-10
        case "closed_gradient":
            return losses.closed_gradient(make, seed) > 1e-12
        case "zero_net":
            return losses.zero_net(make, seed) > BOUND
        case "batch_variance":
            return losses.batch_variance(make, seed) > BOUND
    raise ValueError(check)


def test_the_unbroken_twin_is_accepted_by_every_check(seed):
    for check in (FIX, AFF, FORM, "closed_gradient", ZERO, VAR):
        assert not _rejects(check, Twin, seed), check


@pytest.mark.parametrize("name", DSM_MUTANTS)
def test_denoising_mutants_are_rejected(name, seed):
    broken, checks = DSM_MUTANTS[name]

    def make(model: ScoreModel, noise: NoiseSchedule) -> nn.Module:
        return Twin(model, noise, **broken)

    for check in checks:
        assert _rejects(check, make, seed), f"{check} lets {name!r} pass"


# ------------------------------------------------------------------------------------------------------------------
# the annealed driver

NOISE = Geometric(1.0, 0.1, 5)
STEPS = 3
RULE = SigmaSquared(2e-3, sigma_min=0.1)
LEVELS = NOISE.levels().tolist()
START = (2.0, -1.0, 0.7)
RIGHT = AnnealedMCMC(Unadjusted(Langevin()), NOISE, RULE, STEPS)

Pair = tuple[AnnealedMCMC, TargetFamily]


def _noise(sampler: AnnealedMCMC, levels: list[float]) -> AnnealedMCMC:
    return replace(sampler, noise=Levels(tuple(levels)))


def _drift(**faults: float | int | bool | None) -> Callable[[TargetFamily], Pair]:
    return lambda family: (replace(RIGHT, kernel=Unadjusted(Drift(**faults))), family)


LAW, REPLAY, CALLS = "short law", "replay", "call log"
DRIVER_MUTANTS: dict[str, tuple[Callable[[TargetFamily], Pair], tuple[str, ...]]] = {
    "levels reversed": (lambda family: (_noise(RIGHT, LEVELS[::-1]), family), (LAW, REPLAY, CALLS)),
    "noise sqrt(h)": (_drift(noise=1.0), (LAW, REPLAY)),
    "half drift": (_drift(drift=0.5), (LAW, REPLAY)),
    "h constant over levels": (lambda family: (replace(RIGHT, step_size=Constant(2e-3)), family), (LAW, REPLAY)),
    "h ~ sigma": (lambda family: (replace(RIGHT, step_size=Power(2e-2, 1)), family), (LAW, REPLAY)),
    "h relative to sigma_1": (
        lambda family: (replace(RIGHT, step_size=SigmaSquared(2e-3, sigma_min=1.0)), family),
        (LAW, REPLAY),
    ),
    "last level skipped": (lambda family: (_noise(RIGHT, LEVELS[:-1]), family), (LAW, REPLAY, CALLS)),
    "first level skipped": (lambda family: (_noise(RIGHT, LEVELS[1:]), family), (LAW, REPLAY, CALLS)),
    "T - 1 steps": (lambda family: (replace(RIGHT, steps_per_level=STEPS - 1), family), (LAW, REPLAY, CALLS)),
    "score of the next level": (
        lambda family: (RIGHT, Relabel(family, dict(pairwise(LEVELS)))),
        (LAW, REPLAY, CALLS),
    ),
    "sigma^2 for sigma": (
        lambda family: (RIGHT, Relabel(family, {sigma: sigma**2 for sigma in LEVELS})),
        (LAW, REPLAY, CALLS),
    ),
    "no noise in the last step": (_drift(quiet_at=STEPS * len(LEVELS)), (LAW, REPLAY)),
}


def _driver_rejects(check: str, make: Callable[[TargetFamily], Pair], seed: int) -> bool:
    x = torch.tensor(START, dtype=torch.float64)
    match check:
        case "short law":
            sampler, family = make(stiff3())
            chains = run(sampler, family, x.expand(20_000, 3), torch.Generator().manual_seed(seed))
            start = torch.zeros(3, 3, dtype=torch.float64)
            return law_pvalue(chains, *exact_law(stiff3(), x, start, LEVELS, step_sizes(RULE, LEVELS), STEPS)) < ALPHA
        case "replay":
            sampler, family = make(stiff3())
            chains = run(sampler, family, x.expand(5, 3), torch.Generator().manual_seed(seed))
            wanted = replay(stiff3(), x.expand(5, 3), LEVELS, step_sizes(RULE, LEVELS), STEPS, seed)
            return not (chains - wanted).abs().max() < 1e-14
        case "call log":
            watch = Watch(stiff3())
            sampler, family = make(watch)
            run(sampler, family, x.expand(5, 3), torch.Generator().manual_seed(seed))
            return watch.calls() != [(sigma, STEPS) for sigma in LEVELS]
    raise ValueError(check)


def test_the_driver_passes_the_short_law_the_replay_and_the_call_log(seed):
    for check in (LAW, REPLAY, CALLS):
        assert not _driver_rejects(check, lambda family: (RIGHT, family), seed), check
        assert not _driver_rejects(check, _drift(), seed), check  # the twin without a fault


@pytest.mark.parametrize("name", DRIVER_MUTANTS)
def test_driver_mutants_are_rejected(name, seed, monkeypatch):
    make, checks = DRIVER_MUTANTS[name]
    monkeypatch.setattr("scorekit.samplers.driver.checked_levels", lambda noise: noise.levels())  # or it would refuse
    for check in checks:
        assert _driver_rejects(check, make, seed), f"{check} lets {name!r} pass"


# ------------------------------------------------------------------------------------------------------------------
# unadjusted Langevin

LANGEVIN_MUTANTS = {
    "noise sqrt(h)": Drift(noise=1.0),
    "noise sqrt(2h) x .97": Drift(noise=2 * 0.97**2),
    "half drift": Drift(drift=0.5),
    "drift sign": Drift(drift=-1.0),
    "stale score": Drift(stale=True),
    "one draw for all chains": Drift(shared=True),
    "no noise in the last step": Drift(quiet_at=20),
}


def _langevin_pvalue(proposal: Langevin | Drift, seed: int) -> float:
    """Twenty steps of h = .1 on gauss3 from a point, 20,000 chains."""
    density, x = gauss3(), torch.tensor(START, dtype=torch.float64)
    sampler = AnnealedMCMC(Unadjusted(proposal), SingleLevel(0.0), Constant(0.1), 20)
    chains = run(sampler, density, x.expand(20_000, 3), torch.Generator().manual_seed(seed))
    return law_pvalue(chains, *exact_law(density, x, torch.zeros(3, 3, dtype=torch.float64), [0.0], [0.1], 20))


def test_langevin_follows_its_exact_law(seed):
    assert _langevin_pvalue(Langevin(), seed) > ALPHA


@pytest.mark.parametrize("name", LANGEVIN_MUTANTS)
def test_langevin_mutants_are_rejected(name, seed):
    assert _langevin_pvalue(replace(LANGEVIN_MUTANTS[name], _scores=[]), seed) < ALPHA


# ------------------------------------------------------------------------------------------------------------------
# faults that no law of one chain can see


def test_a_step_size_averaged_over_the_batch_is_seen_by_the_neighbour_test(seed):
    x = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    own, shared = (
        AnnealedMCMC(Unadjusted(Langevin()), SingleLevel(0.5), SignalToNoise(0.1, mean_over_batch), 10)
        for mean_over_batch in (False, True)
    )
    assert neighbour(own, gauss3(), x, seed)
    assert not neighbour(shared, gauss3(), x, seed)


def test_a_loop_that_keeps_its_steps_is_seen_by_the_memory_test():
    alive: list[int] = []
    sampler = Tracked(AnnealedMCMC(Unadjusted(Langevin()), SingleLevel(0.0), Constant(0.1), 50), alive)
    kept = list(sampler.steps(gauss3(), torch.zeros(2, 3)))
    assert alive[-1] == len(kept) == 50
    alive.clear()
    sample(sampler, gauss3(), (2, 3), generator=PerChain(0))
    assert max(alive) <= 3


def test_a_loop_that_holds_no_grad_open_is_seen_by_its_caller():
    def leaking() -> Iterator[bool]:
        with torch.no_grad():
            yield torch.is_grad_enabled()

    for _ in leaking():
        assert not torch.is_grad_enabled()  # what samplers/test_modes.py asserts the driver never does
