"""The driver: its exact laws, its costs, what it yields and in which order, and what it leaves alone."""

import collections
import inspect
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, pairwise
from typing import Literal, final

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from torch import Tensor, nn

from scorekit import (
    SNR,
    AnnealedMCMC,
    Constant,
    Denoise,
    DirectScore,
    Geometric,
    Langevin,
    Matched,
    MetropolisAdjusted,
    PerChain,
    ScaledScore,
    SigmaSquared,
    SingleLevel,
    Stay,
    Unadjusted,
    Uniform,
    annealed_langevin,
    collect,
    fork,
    from_score,
    langevin,
    sample,
)
from scorekit.base import (
    Info,
    Kernel,
    Move,
    Point,
    Proposal,
    Step,
    StepSize,
    Target,
    TargetFamily,
    Transition,
    normal,
)
from scorekit.densities import Gaussian
from scorekit.kernels import Position
from tests.laws.components import (
    Deciding,
    Drift,
    Jitter,
    Kick,
    Levels,
    Moody,
    Paint,
    Power,
    Shrink,
    SignalToNoise,
    Tracked,
    Watch,
)
from tests.laws.drivers import chunking, exact_law, law_pvalue, neighbour, run, step_sizes
from tests.laws.statistics import ALPHA, BOUND, variance_z_score, z_score
from tests.laws.targets import figure3, gauss3, mixture3

NOISE = Geometric(1.0, 0.1, 4)
LEVELS = NOISE.levels().tolist()
ALD = AnnealedMCMC(Unadjusted(Langevin()), NOISE, SigmaSquared(), 3)
NOISELESS = AnnealedMCMC(Unadjusted(Drift(noise=0.0)), NOISE, SigmaSquared(), 3)
SETTLE = AnnealedMCMC(Deciding(), NOISE, Constant(0.2), 3)


def _x(batch: int = 4, seed: int = 0, event: tuple[int, ...] = (3,)) -> Tensor:
    return torch.randn(batch, *event, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------------------------------------- NCSN's exact recursion

FLAGSHIP = Geometric(1.0, 0.01, 10)


def _recursion(epsilon: float, mean: float, variance: float, data: tuple[float, float], skip: int = 0) -> list[float]:
    """Mean and variance after 10 x 100 steps (less `skip`) of h = epsilon (sigma / .01)^2, then after denoising."""
    mu, s = data
    steps = [sigma for sigma in FLAGSHIP.levels().tolist() for _ in range(100)]
    for sigma in steps[: len(steps) - skip]:
        h = epsilon * (sigma / 0.01) ** 2
        a = 1 - h / (s**2 + sigma**2)
        mean, variance = mu + a * (mean - mu), a**2 * variance + 2 * h
    gain = s**2 / (s**2 + 0.01**2)
    return [mean, variance, gain**2 * variance]


def test_the_recursions_golden_numbers():
    """ncsn 8.4; as released (h = 2e-5) and as printed (h = 1e-5), after 1000 and 999 steps."""
    start, data = (0.5, 1 / 12), (0.3, 0.2)
    assert _recursion(2e-5, *start, data) == pytest.approx([0.3, 0.0413255291, 0.0411196737], abs=5e-11)
    assert _recursion(1e-5, *start, data) == pytest.approx([0.3, 0.0425226721, 0.0423108534], abs=5e-11)
    assert _recursion(2e-5, *start, data, skip=1)[1] == pytest.approx(0.0413267425, abs=5e-11)
    assert _recursion(1e-5, *start, data, skip=1)[1] == pytest.approx(0.0425238784, abs=5e-11)
    assert _recursion(2e-5, *start, (0.5, 0.0))[1] / 1e-4 == pytest.approx(1.1111111, abs=5e-8)
    assert _recursion(1e-5, *start, (0.5, 0.0))[1] / 1e-4 == pytest.approx(1.0526316, abs=5e-8)
    assert _recursion(2e-5, *start, (0.5, 1.0))[1] == pytest.approx(1.0314538935, abs=5e-10)
    assert _recursion(1e-5, *start, (0.5, 1.0))[1] == pytest.approx(1.0614154335, abs=5e-10)


def _flagship_z(epsilon: float, num_chains: int, generator: torch.Generator, data: tuple[float, float]) -> list[float]:
    """z of the mean and variance after the 1,000th step, of the variance under the other convention, and of both after
    denoising: the flagship sampler on N(mu, s^2) from U[0, 1)."""
    sampler = annealed_langevin(FLAGSHIP, step_size=SigmaSquared(epsilon, 0.01), start=Uniform(0, 1), final=Denoise())
    before = x = sampler.initial((num_chains, 1), generator=generator, dtype=torch.float64)
    phase = None
    for step in sampler.steps(Gaussian(data[:1], data[1] ** 2), x, generator=generator):
        before, x, phase = x, step.x, step.phase
    assert phase == "final"
    mean, variance, denoised = _recursion(epsilon, 0.5, 1 / 12, data)
    other = _recursion(3e-5 - epsilon, 0.5, 1 / 12, data)[1]
    before, x = before.flatten(), x.flatten()
    return [
        z_score(before, mean, math.sqrt(variance)),
        variance_z_score(before, variance),
        z_score(x, mean, math.sqrt(denoised)),
        variance_z_score(x, denoised),
        variance_z_score(before, other),
    ]


@pytest.mark.parametrize("epsilon", [2e-5, 1e-5], ids=["released", "printed"])
def test_annealed_langevin_follows_the_recursion(epsilon, generator):
    """20,000 chains, 1,000 steps, with and without the last move; the variance is resolved to 5 %."""
    *right, _ = _flagship_z(epsilon, 20_000, generator, (0.3, 0.2))
    assert max(map(abs, right)) < BOUND


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [2e-5, 1e-5], ids=["released", "printed"])
def test_annealed_langevin_follows_the_recursion_and_not_the_other_convention(epsilon, generator):
    """150,000 chains: the other convention's variance, 2.9 % away, lies 8 standard errors off."""
    *right, other = _flagship_z(epsilon, 150_000, generator, (0.3, 0.2))
    assert max(map(abs, right)) < BOUND < abs(other)


RATIOS = {2e-5: 1.1111111, 1e-5: 1.0526316}


@pytest.mark.parametrize(("epsilon", "other"), [(2e-5, 1e-5), (1e-5, 2e-5)], ids=["released", "printed"])
def test_on_a_point_the_last_level_is_wider_by_a_known_ratio_and_denoising_returns_the_point(epsilon, other, generator):
    """n = 60,000, three levels, since a chain forgets within one: the variance over sigma_L^2, and Tweedie exactly. The
    other convention's ratio lies 9 standard errors off."""
    noise = Geometric(0.1, 0.01, 3)
    sampler = annealed_langevin(noise, step_size=SigmaSquared(epsilon, 0.01), start=Uniform(0, 1), final=Denoise())
    x = sampler.initial((60_000, 1), generator=generator, dtype=torch.float64)
    before, last = collections.deque(sampler.steps(Gaussian((0.5,), 0.0), x, generator=generator), maxlen=2)
    variance = before.x.flatten() / 0.01
    assert abs(variance_z_score(variance, RATIOS[epsilon])) < BOUND < abs(variance_z_score(variance, RATIOS[other]))
    assert (last.x - 0.5).abs().max() < 1e-15


def test_the_short_law_in_three_dimensions(generator):
    """Unconverged: 4 levels x 3 steps from a point, every moment of 20,000 chains."""
    x = torch.tensor((2.0, -1.0, 0.7), dtype=torch.float64)
    law = exact_law(gauss3(), x, torch.zeros(3, 3, dtype=torch.float64), LEVELS, step_sizes(SigmaSquared(), LEVELS), 3)
    assert law_pvalue(run(ALD, gauss3(), x.expand(20_000, 3), generator), *law) > ALPHA


# -------------------------------------------------------------------------------------------------------- figure 3


def _figure3(num_chains: int, generator: torch.Generator, annealed: bool) -> tuple[float, float]:
    """The small mode's share and the variance within modes, from U(-8, 8)^2 by 1,000 steps."""
    if annealed:
        sampler = annealed_langevin(
            Geometric(20, 1, 10), step_size=SigmaSquared(0.05, sigma_min=1), steps_per_level=100, start=Uniform(-8, 8)
        )
    else:
        sampler = langevin(sigma=1.0, step_size=0.05, num_steps=1000, start=Uniform(-8, 8))
    x = sample(sampler, figure3(), (num_chains, 2), generator=generator)
    small = x.sum(1) < 0
    within = torch.cat((x[small] + 5, x[~small] - 5))
    return small.double().mean().item(), within.var().item()


FIGURE3 = [(False, 0.492), (True, 0.221)]


@pytest.mark.parametrize(("annealed", "share"), FIGURE3, ids=["Langevin", "annealed"])
def test_the_toy_of_figure_3_in_little(annealed, share, generator):
    """6,000 chains: the share within 4.9 standard errors and the numbers' own .002, the variance within 5 %."""
    fraction, variance = _figure3(6000, generator, annealed)
    assert abs(fraction - share) < 0.002 + BOUND * math.sqrt(share * (1 - share) / 6000)
    assert variance == pytest.approx(1.0256, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("annealed", "share"), FIGURE3, ids=["Langevin", "annealed"])
def test_the_toy_of_figure_3(annealed, share, generator):
    """60,000 chains: plain Langevin leaves the modes as the start had them (.4914 by area), annealing moves them."""
    fraction, variance = _figure3(60_000, generator, annealed)
    assert fraction == pytest.approx(share, abs=0.01)
    assert variance == pytest.approx(1.03, abs=0.03)


# ---------------------------------------------------------------------------------------------------------- costs


@pytest.mark.parametrize("final", [Stay(), Denoise()])
@pytest.mark.parametrize(("num_levels", "num_steps"), [(10, 100), (2, 1), (3, 0)])
def test_annealed_langevin_makes_levels_times_steps_evaluations_and_one_to_denoise(final, num_levels, num_steps):
    noise = Geometric(1.0, 0.01, num_levels)
    watch = Watch(gauss3())
    sampler = annealed_langevin(noise, steps_per_level=num_steps, final=final)
    sample(sampler, watch, (2, 3), generator=torch.Generator())
    denoising = int(final == Denoise())
    assert len(watch.evaluated) == num_levels * num_steps + denoising
    assert [sigma for sigma, _ in watch.asked] == [*noise.levels().tolist(), 0.0]
    expected = [(sigma, num_steps) for sigma in noise.levels().tolist() if num_steps]
    if denoising:
        expected = [*expected[:-1], (0.01, num_steps + 1)]
    assert watch.calls() == expected
    assert sampler.num_updates() == num_levels * num_steps + denoising


def test_a_step_size_that_uses_the_point_shares_its_evaluation():
    watch = Watch(gauss3())
    sampler = AnnealedMCMC(Unadjusted(Langevin()), NOISE, SignalToNoise(0.16), 3)
    run(sampler, watch, _x(), PerChain(0))
    assert len(watch.evaluated) == 4 * 3


def test_a_constant_step_size_is_computed_once_a_level():
    calls = []

    class Counting(StepSize):
        def __call__(self, sigma: float, point: object) -> Tensor:
            calls.append(sigma)
            return torch.tensor(0.01, dtype=torch.float64)

    steps = AnnealedMCMC(Unadjusted(Langevin()), NOISE, Counting(), 5).steps(gauss3(), _x())
    calls.clear()  # the check at the start
    assert len(list(steps)) == 20
    assert calls == LEVELS


@pytest.mark.parametrize("kernel", [Unadjusted(Langevin()), Deciding()])
def test_memory_is_flat_in_the_number_of_steps(kernel):
    """At each of 201 updates no more are alive than the present state, the last one and the level's first."""
    alive: list[int] = []
    sampler = Tracked(AnnealedMCMC(kernel, NOISE, SigmaSquared(), 50, final=Denoise()), alive)
    sample(sampler, gauss3(), (5, 3), generator=PerChain(0))
    assert len(alive) == 201
    assert max(alive) <= 3


# ------------------------------------------------------------------------------------------- what is yielded, and when


def _phases(sampler: AnnealedMCMC) -> list[tuple[str, float]]:
    return [(step.phase, round(step.sigma, 4)) for step in sampler.steps(gauss3(), _x(), generator=PerChain(0))]


def test_every_update_yields_with_its_phase_and_level():
    levels = [round(sigma, 4) for sigma in LEVELS]
    both = AnnealedMCMC(Unadjusted(Langevin()), NOISE, SigmaSquared(), 2, Shrink(), final=Denoise())
    expected = [("step", levels[0])] * 2
    for sigma in levels[1:]:
        expected += [("transition", sigma), ("step", sigma), ("step", sigma)]
    assert _phases(both) == [*expected, ("final", 0.0)]
    assert len(expected) + 1 == both.num_updates()
    assert _phases(ALD) == [("step", sigma) for sigma in levels for _ in range(3)]


def test_with_zero_steps_a_level_the_transitions_are_the_sampler():
    sampler = AnnealedMCMC(Unadjusted(Langevin()), NOISE, SigmaSquared(), 0, Shrink(), final=Denoise())
    steps = list(sampler.steps(gauss3(), _x(), generator=PerChain(0)))
    assert [step.phase for step in steps] == ["transition"] * 3 + ["final"]
    for step, sigma in zip(steps, LEVELS[1:], strict=False):
        assert torch.allclose(step.x, _x() * sigma, rtol=1e-12)
        assert step.sigma == sigma
    assert torch.allclose(steps[-1].x, steps[-2].x + 0.01 * gauss3().score(steps[-2].x, 0.1), rtol=1e-12)
    assert sampler.num_updates() == 4


def test_a_run_without_any_move_yields_nothing():
    assert _phases(AnnealedMCMC(Unadjusted(Langevin()), NOISE, SigmaSquared(), 0)) == []
    x = sample(annealed_langevin(NOISE, steps_per_level=0, start=Uniform()), gauss3(), (2, 3), generator=PerChain(0))
    assert ((x >= 0) & (x < 1)).all()


def test_a_transition_hands_its_history_on_to_the_next_and_to_the_last():
    seen = []

    class History(Transition):
        def move(self, family, point, target, sigma_from, sigma_to, carry=None, *, generator=None):
            seen.append((sigma_from, sigma_to, carry))
            return point.x + 1, (carry or 0) + 1

    sampler = AnnealedMCMC(Unadjusted(Langevin()), NOISE, SigmaSquared(), 1, History(), final=History())
    run(sampler, gauss3(), _x(), PerChain(0))
    assert seen == [
        *((a, b, i or None) for i, (a, b) in enumerate(pairwise(LEVELS))),
        (LEVELS[-1], 0.0, 3),
    ]


def test_a_transition_is_given_the_score_of_its_source_and_the_target_of_its_end():
    class Check(Transition):
        def move(self, family, point, target, sigma_from, sigma_to, carry=None, *, generator=None):
            assert torch.equal(point.score, gauss3().score(point.x, sigma_from))
            assert torch.equal(target.score(point.x), gauss3().score(point.x, sigma_to))
            return point.x.clone(), None

    watch = Watch(gauss3())
    run(AnnealedMCMC(Unadjusted(Langevin()), NOISE, SigmaSquared(), 1, Check()), watch, _x(), PerChain(0))
    assert [sigma for sigma, _ in watch.asked] == [*LEVELS, 0.0]  # each target was made once


def test_a_kernel_may_carry_more_than_a_point_knows():
    """A Metropolis random walk with a counter: L (T + 1) evaluations of the density, exact at any step size."""
    calls = []

    def log_prob(x: Tensor) -> Tensor:
        calls.append(1)
        return -x.square().sum(1) / 2

    class Counted(TargetFamily):
        def at(self, sigma, *, like=None, generator=None):
            return Target(lambda x: -x, log_prob)

    run(SETTLE, Counted(), _x(), PerChain(0))
    assert len(calls) == 4 * (1 + 3)


def test_a_deciding_kernel_leaves_the_target_invariant(generator):
    """The driver with a kernel that is exact: 20,000 chains that start in N(mu, S + .01 I) stay in it."""
    density = gauss3()
    x = density.sample(20_000, 0.1, generator=generator, dtype=torch.float64)
    x = run(AnnealedMCMC(Deciding(), SingleLevel(0.1), Constant(0.3), 5), density, x, generator)
    covariance = torch.tensor(density.covariance, dtype=torch.float64) + 0.01 * torch.eye(3, dtype=torch.float64)
    assert law_pvalue(x, torch.tensor(density.mean, dtype=torch.float64), covariance) > ALPHA


# --------------------------------------------------------------------------------------------- streams and purity


SAMPLERS = {
    "langevin": langevin(sigma=0.1, step_size=0.01, num_steps=10),
    "annealed": ALD,
    "deciding": SETTLE,
    "per-chain step": AnnealedMCMC(Unadjusted(Langevin()), NOISE, SignalToNoise(0.16), 3),
    "transitions": AnnealedMCMC(Unadjusted(Langevin()), NOISE, SigmaSquared(), 1, Shrink(), final=Denoise()),
    "draws everywhere": AnnealedMCMC(Kick(), NOISE, SigmaSquared(), 2, Jitter(), final=Jitter()),
}
each_sampler = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)


@each_sampler
def test_a_chain_does_not_depend_on_its_neighbours(sampler, seed):
    assert neighbour(sampler, gauss3(), _x(6), seed)


@each_sampler
def test_chains_are_the_same_in_chunks(sampler):
    assert chunking(sampler, gauss3(), (7, 3), (1, 2, 3, 7, 50)) < 1e-12


def test_chunks_of_one_sequential_generator_are_not():
    """What the streams are for: the mutant check of the test above."""
    whole, parts = (
        sample(ALD, gauss3(), (7, 3), generator=torch.Generator().manual_seed(0), batch_size=size) for size in (None, 3)
    )
    assert (whole - parts).abs().max() > 0.1


def test_permuting_chains_permutes_a_noiseless_run():
    x, order = _x(6), torch.tensor([3, 1, 5, 0, 2, 4])
    assert torch.equal(run(NOISELESS, gauss3(), x, PerChain(0))[order], run(NOISELESS, gauss3(), x[order], PerChain(0)))


def test_a_chain_alone_with_its_stream_is_the_chain_in_the_batch():
    x = _x(5)
    whole = run(ALD, gauss3(), x, PerChain(2))
    for i in range(5):
        assert (run(ALD, gauss3(), x[i : i + 1], PerChain(2).shift(i)) - whole[i]).abs().max() < 1e-12


def test_reshaping_the_event_commutes_with_sampling():
    flat, shaped = Gaussian(torch.arange(6.0), 0.5), Gaussian(torch.arange(6.0).reshape(1, 2, 3), 0.5)
    x = _x(4, event=(6,))
    for sampler in SAMPLERS.values():
        one = run(sampler, flat, x, PerChain(1))
        two = run(sampler, shaped, x.reshape(4, 1, 2, 3), PerChain(1))
        assert torch.allclose(one, two.flatten(1), rtol=1e-12)


def test_rotating_the_problem_and_its_noise_rotates_the_path(monkeypatch):
    """A Q applied to x, to the target and to the injected noise; 1e-9."""
    q, _ = torch.linalg.qr(_x(3))
    density = gauss3()
    turned = from_score(lambda x, sigma: density.score(x @ q.T, sigma) @ q)
    straight = run(ALD, density, _x(5), torch.Generator().manual_seed(1))
    with monkeypatch.context() as patch:
        patch.setattr("scorekit.base.sampling.normal", lambda like, *, generator: normal(like, generator=generator) @ q)
        rotated = run(ALD, turned, _x(5) @ q, torch.Generator().manual_seed(1))
    assert (rotated @ q.T - straight).abs().max() < 1e-9


def test_the_same_streams_given_twice_give_the_same_chains():
    """Samplers draw from forks alone: what was drawn from the object before makes no difference."""
    streams = PerChain(3)
    one, two = (sample(ALD, gauss3(), (4, 3), generator=streams) for _ in range(2))
    normal(_x(), generator=streams)
    three = sample(ALD, gauss3(), (4, 3), generator=streams)
    assert torch.equal(one, two)
    assert torch.equal(one, three)


@pytest.mark.parametrize("make", [PerChain, lambda s: torch.Generator().manual_seed(s)], ids=["PerChain", "Generator"])
def test_the_noise_of_start_levels_and_steps_is_independent(make, seed):
    """Twelve increments of a walk without drift and its start, n = 4,096 x 3: all 78 correlations."""
    sampler = AnnealedMCMC(Unadjusted(Drift(drift=0.0)), NOISE, Constant(0.5), 3)
    generator = make(seed)
    x = sampler.initial((4096, 3), family=gauss3(), generator=generator, dtype=torch.float64)
    path = [x, *(step.x for step in sampler.steps(gauss3(), x, generator=generator))]
    rows = torch.stack([x, *(b - a for a, b in pairwise(path))]).flatten(1)
    rows[0] = (x - x.mean(0)).flatten()
    correlations = torch.corrcoef(rows) - torch.eye(13)
    assert correlations.abs().max() * math.sqrt(rows.shape[1]) < BOUND + 0.8  # Bonferroni over 78 pairs


def test_what_one_step_draws_does_not_shift_the_next():
    @final
    class Wasteful(Proposal):
        """Langevin's move, and one draw more that nobody uses."""

        def propose(self, point: Point, step_size: Tensor, *, generator: PerChain) -> Move:
            move = Langevin().propose(point, step_size, generator=generator)
            normal(point.x, generator=generator)
            return move

        def log_q_ratio(self, move: Move, step_size: Tensor) -> Tensor:
            return Langevin().log_q_ratio(move, step_size)

    wasteful = replace(ALD, kernel=Unadjusted(Wasteful()))
    assert torch.equal(run(wasteful, gauss3(), _x(), PerChain(0)), run(ALD, gauss3(), _x(), PerChain(0)))


def test_streams_of_levels_and_steps_do_not_move_with_what_comes_before():
    """The noise of a level's first steps is the same whether the level before takes two steps or four."""
    draws: dict[int, list[Tensor]] = {}
    for num_steps in (2, 4):
        sampler = AnnealedMCMC(Unadjusted(Drift(drift=0.0)), Levels((1.0, 0.5)), Constant(0.5), num_steps)
        steps = [step.x for step in sampler.steps(gauss3(), torch.zeros(3, 3), generator=PerChain(0))]
        increments = [b - a for a, b in zip([torch.zeros(3, 3), *steps], steps, strict=False)]
        draws[num_steps] = [increments[0], increments[1], increments[num_steps], increments[num_steps + 1]]
    for one, two in zip(draws[2], draws[4], strict=True):
        assert torch.allclose(one, two, atol=1e-6)


@each_sampler
def test_sampling_changes_none_of_its_inputs(sampler):
    x = _x()
    before = x.clone()
    run(sampler, gauss3(), x, PerChain(0))
    assert torch.equal(x, before)


@each_sampler
@pytest.mark.parametrize("make", [PerChain, lambda s: torch.Generator().manual_seed(s)], ids=["PerChain", "Generator"])
def test_every_draw_comes_from_the_generator(sampler, make):
    """Nothing asks the global state, or a family with no generator, even where the family draws."""
    watch = Watch(Paint(gauss3(), torch.tensor([1, 0, 0]), torch.ones(3)))
    state = torch.get_rng_state()
    x = _x(4)
    one, two = (run(sampler, watch, x, make(3)) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(one, two)
    assert all(generator is not None for _, generator in watch.asked)


def test_interleaved_runs_of_one_sampler_do_not_disturb_each_other():
    alone = [step.x for step in ALD.steps(gauss3(), _x(), generator=PerChain(0))]
    one = ALD.steps(gauss3(), _x(), generator=PerChain(0))
    two = ALD.steps(gauss3(), _x(seed=1), generator=PerChain(1))
    for expected, (step, _) in zip(alone, zip(one, two, strict=True), strict=True):
        assert torch.equal(step.x, expected)


# ------------------------------------------------------------------------------------------------- autograd and modes


def test_the_callers_autograd_is_as_it_was_between_updates():
    for step in AnnealedMCMC(Unadjusted(Langevin()), NOISE, SigmaSquared(), 2, Shrink(), final=Denoise()).steps(
        gauss3(), _x(), generator=PerChain(0)
    ):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        assert not step.x.requires_grad


@pytest.mark.parametrize("uses_point", [False, True])
def test_no_update_records_a_graph(uses_point):
    rule = SignalToNoise(0.1) if uses_point else SigmaSquared()
    watch = Watch(DirectScore(_Trainable()))
    sampler = AnnealedMCMC(Unadjusted(Langevin()), NOISE, rule, 2, final=Denoise())
    x = _x().requires_grad_()
    assert not run(sampler, watch, x, PerChain(0)).requires_grad
    assert not any(grad for _, grad, _ in watch.evaluated)


def test_neither_start_nor_kernel_nor_transition_records_a_graph():
    """Each evaluates something that depends on a parameter; none of what is yielded does."""
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)

    class Scaled(TargetFamily):
        moments = (0 * scale, scale)

        def at(self, sigma: float, *, like: Tensor | None = None, generator: object = None) -> Target:
            return Target(lambda x: -scale * x, lambda x: -scale * x.square().sum(1) / 2)

    class Uphill(Transition):
        def move(self, family, point, target, sigma_from, sigma_to, carry=None, *, generator=None):
            return point.x + target.score(point.x), carry

    sampler = AnnealedMCMC(Deciding(), NOISE, Constant(0.2), 1, Uphill(), final=Uphill())
    x = sampler.initial((4, 3), family=Scaled(), generator=PerChain(0))
    assert not x.requires_grad
    for step in sampler.steps(Scaled(), x, generator=PerChain(0)):
        assert not step.x.requires_grad
        assert step.info is None or not step.info.log_accept.requires_grad
    inits = []

    class Noting(Kernel):
        def init(self, point: Point, *, generator: object = None) -> Position:
            inits.append((point.score.requires_grad, torch.is_grad_enabled()))
            return Position(point.x)

        def step(self, point, state, step_size, *, generator=None):
            return state, None

    run(replace(sampler, kernel=Noting()), Scaled(), x, PerChain(0))
    assert inits == [(False, False)] * 4


@pytest.mark.parametrize(
    ("family", "inference"),
    [(gauss3(), True), (DirectScore(Moody()), True), (from_score(lambda x, sigma: -x), False)],
    ids=["density", "network", "function"],
)
def test_inference_mode_is_used_where_the_family_allows_it(family, inference):
    watch = Watch(family)
    x = sample(annealed_langevin(NOISE, steps_per_level=1, start=Uniform()), watch, (2, 3), generator=PerChain(0))
    assert {mode for _, _, mode in watch.evaluated} == {inference}
    assert not x.is_inference()
    weight = torch.ones(3, requires_grad=True)
    (x * weight).sum().backward()  # a tensor of inference mode could not be saved for this
    assert torch.allclose(weight.grad, x.sum(0))
    assert torch.is_grad_enabled()


def test_a_tensor_of_inference_mode_would_be_noticed():
    with torch.inference_mode():
        x = torch.ones(2)
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        (x * torch.ones(2, requires_grad=True)).sum()


def test_a_network_samples_in_evaluation_mode_and_gets_its_own_modes_back():
    net = Moody()
    model = ScaledScore(net)
    modes = [module.training for module in model.modules()]
    sampler = annealed_langevin(NOISE, steps_per_level=2, start=Uniform())
    one, two = (sample(sampler, model, (3, 2), generator=PerChain(0)) for _ in range(2))
    assert torch.equal(one, two)  # dropout was off
    assert not any(map(any, net.modes))
    assert [module.training for module in model.modules()] == modes


def test_the_modes_come_back_after_an_error_too():
    model = DirectScore(Moody(fails=True))
    modes = [module.training for module in model.modules()]
    with pytest.raises(ArithmeticError, match="planted"):
        sample(annealed_langevin(NOISE, start=Uniform()), model, (3, 2), generator=PerChain(0))
    assert [module.training for module in model.modules()] == modes
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


# --------------------------------------------------------------------------------------- families that draw and project


def _painting(refresh: Literal["level", "step"], final: Transition) -> tuple[Paint, Tensor]:
    family = Paint(gauss3(), torch.tensor([1, 0, 0]), torch.tensor([7.0, 0.0, 0.0], dtype=torch.float64), refresh)
    return family, run(replace(ALD, final=final), family, _x(), PerChain(0))


@pytest.mark.parametrize("final", [Stay(), Denoise()])
@pytest.mark.parametrize("refresh", ["level", "step"])
def test_known_coordinates_are_exact_at_the_end(refresh, final):
    _, x = _painting(refresh, final)
    assert torch.equal(x[:, 0], torch.full((4,), 7.0, dtype=torch.float64))
    assert len(x[:, 1].unique()) == 4


@pytest.mark.parametrize(("refresh", "draws"), [("level", 4), ("step", 4 * 3)])
def test_the_observation_is_drawn_once_a_level_or_once_a_step(refresh, draws):
    family, _ = _painting(refresh, Stay())
    noisy = [(sigma, y) for sigma, y in family.observed if sigma > 0]
    assert len(noisy) == draws
    assert [sigma for sigma, _ in noisy] == [sigma for sigma in LEVELS for _ in range(draws // 4)]
    values = torch.stack([(y[:, 0] - 7) / sigma for sigma, y in noisy])
    assert len(values.unique()) == values.numel()  # each chain and each draw its own


@pytest.mark.parametrize("refresh", ["level", "step"])
@pytest.mark.parametrize("transition", [Stay(), Shrink()])
def test_every_state_that_is_yielded_meets_the_constraint(refresh, transition):
    """After each update the known coordinate is one of the observations drawn so far at that level."""
    family = Paint(gauss3(), torch.tensor([1, 0, 0]), torch.full((3,), 7.0, dtype=torch.float64), refresh)
    sampler = AnnealedMCMC(Unadjusted(Langevin()), NOISE, SigmaSquared(), 2, transition, final=Denoise())
    for step in sampler.steps(family, _x(), generator=PerChain(0)):
        _, y = family.observed[-1]
        assert torch.equal(step.x[:, 0], y[:, 0])
        assert family.observed[-1][0] == step.sigma
    assert all(family.evaluated_on_it)


def test_a_mask_of_zeros_is_unconditional_sampling_bit_for_bit():
    for refresh in ("level", "step"):
        family = Paint(gauss3(), torch.zeros(3), torch.ones(3), refresh)
        assert torch.equal(run(ALD, family, _x(), PerChain(0)), run(ALD, gauss3(), _x(), PerChain(0)))


def test_a_mask_of_ones_returns_the_observation():
    family = Paint(gauss3(), torch.ones(3), torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), "step")
    x = run(ALD, family, _x(), PerChain(0))
    assert torch.equal(x, torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64).expand(4, 3))


def test_a_family_is_asked_with_the_chains_it_is_to_draw_for():
    shapes = []

    class Asked(TargetFamily):
        def at(self, sigma, *, like=None, generator=None):
            shapes.append((sigma, None if like is None else (like.shape, like.dtype)))
            return gauss3().at(sigma)

    run(ALD, Asked(), _x(), PerChain(0))
    assert shapes == [(sigma, ((4, 3), torch.float64)) for sigma in [*LEVELS, 0.0]]


# ------------------------------------------------------------------------------------------------------------ collect


def test_collect_keeps_every_update_by_default():
    steps = list(ALD.steps(gauss3(), _x(), generator=PerChain(0)))
    chains = collect(iter(steps))
    assert torch.equal(chains.x, torch.stack([step.x for step in steps]))
    assert chains.sigma.tolist() == [step.sigma for step in steps]
    assert chains.sigma.dtype == torch.float64
    assert chains.info is None


@pytest.mark.parametrize(("every", "start"), [(1, 0), (2, 0), (5, 0), (3, 2), (1, 11), (50, 4)])
def test_collect_thins_from_its_start(every, start):
    steps = list(ALD.steps(gauss3(), _x(), generator=PerChain(0)))
    assert len(steps) == 12
    kept = steps[start::every]
    chains = collect(steps, every=every, start=start)
    assert torch.equal(chains.x, torch.stack([step.x for step in kept]))
    assert chains.sigma.tolist() == [step.sigma for step in kept]


def test_collect_stacks_what_was_decided_and_marks_what_was_not():
    sampler = AnnealedMCMC(Deciding(), NOISE, Constant(0.2), 2, Shrink(), final=Denoise())
    steps = list(sampler.steps(gauss3(), _x(), generator=PerChain(0)))
    chains = collect(steps)
    assert isinstance(chains.info, Info)
    for t, step in enumerate(steps):
        for name in Info._fields:
            stacked = getattr(chains.info, name)
            assert stacked.shape == (len(steps), 4)
            if step.info is not None:
                assert torch.equal(stacked[t], getattr(step.info, name))
            elif stacked.dtype == torch.bool:
                assert not stacked[t].any()
            else:
                assert stacked[t].isnan().all()
    assert {step.phase for step in steps if step.info is None} == {"transition", "final"}


def test_kept_states_do_not_change_as_the_run_goes_on():
    iterator = ALD.steps(gauss3(), _x(), generator=PerChain(0))
    first = next(iterator).x
    before = first.clone()
    list(iterator)
    assert torch.equal(first, before)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"every": 0}, r"every=0, start=0\): expected every >= 1"),
        ({"start": -1}, r"start=-1\): expected every >= 1 and start >= 0"),
        ({"start": 12}, "too few updates, nothing was kept"),
    ],
)
def test_collect_refuses_what_keeps_nothing(arguments, text):
    with pytest.raises(ValueError, match=text):
        collect(ALD.steps(gauss3(), _x(), generator=PerChain(0)), **arguments)


# ---------------------------------------------------------------------------------------------------------- types


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_chains_have_the_models_type_unless_another_is_given(dtype):
    model = DirectScore(_Trainable().to(dtype))
    sampler = annealed_langevin(NOISE, steps_per_level=1, start=Uniform(), final=Denoise())
    assert sample(sampler, model, (2, 3)).dtype == dtype
    assert sample(sampler, gauss3(), (2, 3), dtype=dtype).dtype == dtype
    assert sampler.initial((2, 3), dtype=dtype).dtype == dtype


def test_the_progress_bar_counts_every_update(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    sampler = annealed_langevin(NOISE, steps_per_level=2, start=Uniform(), final=Denoise())
    quiet = sample(sampler, gauss3(), (4, 3), generator=PerChain(0), batch_size=2)
    assert capsys.readouterr().err == ""
    shown = sample(sampler, gauss3(), (4, 3), generator=PerChain(0), batch_size=2, progress=True)
    assert torch.equal(quiet, shown)
    assert "18/18" in capsys.readouterr().err


def test_chains_start_at_the_first_level():
    """N(mean, std^2 + sigma_1^2), from the stream that is the start's own."""
    sampler = annealed_langevin(Geometric(5.0, 0.1, 3))
    x = sampler.initial((4, 3), family=gauss3(), generator=PerChain(1), dtype=torch.float64)
    like = torch.empty(4, 3, dtype=torch.float64)
    assert torch.equal(x, Matched().draw(like, 5.0, family=gauss3(), generator=fork(PerChain(1), "start")))


# ------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize("shape", [(), (3,), (0, 2), (2, 0), (-1, 2)])
def test_shapes_without_chains_or_events_are_refused(shape):
    sampler = langevin(step_size=0.1, start=Uniform())
    for call in (
        lambda: sampler.initial(shape),
        lambda: sample(sampler, gauss3(), shape),
        lambda: sample(sampler, gauss3(), shape, batch_size=2),
    ):
        with pytest.raises(ValueError, match=r"shape \(.*expected \(B, \*E\)"):
            call()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: annealed_langevin(NOISE, steps_per_level=-1), r"steps_per_level=-1\): expected an integer >= 0"),
        (lambda: langevin(num_steps=2.5, step_size=0.1), r"steps_per_level=2.5\): expected an integer"),
        (lambda: annealed_langevin(NOISE, transition=Denoise()), r"transition=Denoise\(\)\).*use it as final="),
        (lambda: langevin(step_size=0.0), "must be positive"),
        (lambda: sample(ALD, gauss3(), (2, 3), batch_size=0), r"batch_size=0\): expected at least one chain"),
        (lambda: ALD.steps(gauss3(), torch.zeros(3)), r"chains of shape \(3,\)"),
        (lambda: ALD.steps(gauss3(), torch.zeros(2, 3, dtype=torch.long)), "type torch.int64: expected a floating"),
        (lambda: langevin().steps(gauss3(), _x()), r"no step at sigma = 0: give step_size="),
        (lambda: annealed_langevin(NOISE, step_size=Power(-1, 1)).steps(gauss3(), _x()), "gives h = -1 at sigma = 1"),
        (lambda: annealed_langevin(NOISE, step_size=Power(math.nan, 1)).steps(gauss3(), _x()), "gives h = nan"),
        (lambda: annealed_langevin(NOISE, step_size=Power(math.inf, 1)).steps(gauss3(), _x()), "gives h = inf"),
        (lambda: ALD.steps(ScaledScore(_Trainable(), min_sigma=0.5), _x()), "below the smallest level 0.5"),
        (lambda: ALD.steps(DirectScore(_Trainable(), SingleLevel(1.0)), _x()), "not one of the 1 levels"),
    ],
)
def test_wrong_values_and_wrong_pairs_are_refused_before_the_first_step(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_zero_steps_at_sigma_0_need_no_step_size():
    assert list(langevin(num_steps=0).steps(gauss3(), _x())) == []


def test_the_named_samplers_are_their_parts():
    plain = langevin(sigma=0.1, num_steps=5, start=Uniform(), final=Denoise())
    parts = (Unadjusted(Langevin()), SingleLevel(0.1), SigmaSquared(), 5, Stay(), Uniform(), Denoise())
    assert plain == AnnealedMCMC(*parts)
    assert langevin(step_size=0.1) == AnnealedMCMC(Unadjusted(Langevin()), SingleLevel(0.0), Constant(0.1), 1000)
    annealed = annealed_langevin(NOISE, step_size=0.1, transition=Shrink(), start=Uniform(), final=Denoise())
    parts = (Unadjusted(Langevin()), NOISE, Constant(0.1), 100, Shrink(), Uniform(), Denoise())
    assert annealed == AnnealedMCMC(*parts)


def test_every_argument_of_a_named_sampler_has_a_default_but_the_schedule():
    for constructor, needed in ((langevin, []), (annealed_langevin, ["noise"])):
        parameters = inspect.signature(constructor).parameters.values()
        assert [p.name for p in parameters if p.default is p.empty] == needed


# ------------------------------------------------------------------------------------------------ a machine of runs


class Runs(RuleBasedStateMachine):
    """Whatever is advanced, thinned, dropped or begun again, each run's (sigma, h) list is levels x steps in order, and
    each of its states is the one that an undisturbed run has at that place."""

    @initialize(num_levels=st.integers(2, 4), num_steps=st.integers(0, 3), kernel=st.sampled_from(["move", "decide"]))
    def make(self, num_levels: int, num_steps: int, kernel: str) -> None:
        noise = Geometric(1.0, 0.1, num_levels)
        chosen = Unadjusted(Langevin()) if kernel == "move" else Deciding()
        self.sampler = AnnealedMCMC(chosen, noise, SigmaSquared(), num_steps, final=Denoise())
        self.order = [sigma for sigma in noise.levels().tolist() for _ in range(num_steps)] + [0.0]
        self.undisturbed = [step.x for step in self._start()]
        self.runs: list[tuple[Iterator[Step], list[Step]]] = []

    def _start(self) -> Iterator[Step]:
        return self.sampler.steps(mixture3(), _x(2, event=(2,)), generator=PerChain(7))

    @rule()
    def begin(self) -> None:
        self.runs.append((self._start(), []))

    @precondition(lambda self: self.runs)
    @rule(which=st.integers(0, 10), count=st.integers(1, 5))
    def advance(self, which: int, count: int) -> None:
        iterator, seen = self.runs[which % len(self.runs)]
        seen.extend(islice(iterator, count))

    @precondition(lambda self: self.runs)
    @rule(which=st.integers(0, 10), every=st.integers(1, 4))
    def finish_thinned(self, which: int, every: int) -> None:
        iterator, seen = self.runs.pop(which % len(self.runs))
        rest = self.undisturbed[len(seen) :]
        if rest:
            assert torch.equal(collect(iterator, every=every).x, torch.stack(rest[::every]))
        else:
            assert next(iterator, None) is None

    @precondition(lambda self: self.runs)
    @rule(which=st.integers(0, 10))
    def drop(self, which: int) -> None:
        self.runs.pop(which % len(self.runs))

    @invariant()
    def in_order(self) -> None:
        for _, seen in getattr(self, "runs", ()):
            assert [step.sigma for step in seen] == self.order[: len(seen)]
            for step, expected in zip(seen, self.undisturbed, strict=False):
                assert torch.equal(step.x, expected)


TestRuns = Runs.TestCase
TestRuns.settings = settings(stateful_step_count=15)


class _Trainable(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return -self.scale * x


@pytest.mark.parametrize("kernel", [MetropolisAdjusted(Langevin()), Unadjusted(Langevin())])
def test_a_step_size_by_the_state_is_refused_by_a_kernel_that_adjusts(kernel):
    if kernel.adjusted:
        with pytest.raises(ValueError, match=r"MetropolisAdjusted.*SNR.*detailed balance"):
            AnnealedMCMC(kernel, SingleLevel(1.0), SNR())
    else:
        assert AnnealedMCMC(kernel, SingleLevel(1.0), SNR()).kernel == kernel
