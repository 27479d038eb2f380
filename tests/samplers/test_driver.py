"""What the driver evaluates, yields and hands on, in which order, and what it refuses."""

import math
from collections.abc import Iterator
from itertools import islice, pairwise

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from torch import Tensor

from scorekit import (
    SNR,
    AnnealedMCMC,
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
    langevin,
    sample,
)
from scorekit.base import (
    Step,
    StepSize,
    Target,
    TargetFamily,
    Transition,
)
from tests.laws.components import (
    Deciding,
    Power,
    Shrink,
    SignalToNoise,
    Tracked,
    Watch,
)
from tests.laws.drivers import run
from tests.laws.targets import gauss3, mixture3
from tests.samplers.cases import ALD, LEVELS, NOISE, SETTLE, Trainable, draws


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
    run(sampler, watch, draws(), PerChain(0))
    assert len(watch.evaluated) == 4 * 3


def test_a_constant_step_size_is_computed_once_a_level():
    calls = []

    class Counting(StepSize):
        def __call__(self, sigma: float, point: object) -> Tensor:
            calls.append(sigma)
            return torch.tensor(0.01, dtype=torch.float64)

    steps = AnnealedMCMC(Unadjusted(Langevin()), NOISE, Counting(), 5).steps(gauss3(), draws())
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


def _phases(sampler: AnnealedMCMC) -> list[tuple[str, float]]:
    return [(step.phase, round(step.sigma, 4)) for step in sampler.steps(gauss3(), draws(), generator=PerChain(0))]


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
    steps = list(sampler.steps(gauss3(), draws(), generator=PerChain(0)))
    assert [step.phase for step in steps] == ["transition"] * 3 + ["final"]
    for step, sigma in zip(steps, LEVELS[1:], strict=False):
        assert torch.allclose(step.x, draws() * sigma, rtol=1e-12)
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
    run(sampler, gauss3(), draws(), PerChain(0))
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
    run(AnnealedMCMC(Unadjusted(Langevin()), NOISE, SigmaSquared(), 1, Check()), watch, draws(), PerChain(0))
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

    run(SETTLE, Counted(), draws(), PerChain(0))
    assert len(calls) == 4 * (1 + 3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_chains_have_the_models_type_unless_another_is_given(dtype):
    model = DirectScore(Trainable().to(dtype))
    sampler = annealed_langevin(NOISE, steps_per_level=1, start=Uniform(), final=Denoise())
    assert sample(sampler, model, (2, 3)).dtype == dtype
    assert sample(sampler, gauss3(), (2, 3), dtype=dtype).dtype == dtype
    assert sampler.initial((2, 3), dtype=dtype).dtype == dtype


def test_chains_start_at_the_first_level():
    """N(mean, std^2 + sigma_1^2), from the stream that is the start's own."""
    sampler = annealed_langevin(Geometric(5.0, 0.1, 3))
    x = sampler.initial((4, 3), family=gauss3(), generator=PerChain(1), dtype=torch.float64)
    like = torch.empty(4, 3, dtype=torch.float64)
    assert torch.equal(x, Matched().draw(like, 5.0, family=gauss3(), generator=fork(PerChain(1), "start")))


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
        (lambda: langevin().steps(gauss3(), draws()), r"no step at sigma = 0: give step_size="),
        (
            lambda: annealed_langevin(NOISE, step_size=Power(-1, 1)).steps(gauss3(), draws()),
            "gives h = -1 at sigma = 1",
        ),
        (lambda: annealed_langevin(NOISE, step_size=Power(math.nan, 1)).steps(gauss3(), draws()), "gives h = nan"),
        (lambda: annealed_langevin(NOISE, step_size=Power(math.inf, 1)).steps(gauss3(), draws()), "gives h = inf"),
        (lambda: ALD.steps(ScaledScore(Trainable(), min_sigma=0.5), draws()), "below the smallest level 0.5"),
        (lambda: ALD.steps(DirectScore(Trainable(), SingleLevel(1.0)), draws()), "not one of the 1 levels"),
    ],
)
def test_wrong_values_and_wrong_pairs_are_refused_before_the_first_step(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_zero_steps_at_sigma_0_need_no_step_size():
    assert list(langevin(num_steps=0).steps(gauss3(), draws())) == []


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
        return self.sampler.steps(mixture3(), draws(2, event=(2,)), generator=PerChain(7))

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


@pytest.mark.parametrize("kernel", [MetropolisAdjusted(Langevin()), Unadjusted(Langevin())])
def test_a_step_size_by_the_state_is_refused_by_a_kernel_that_adjusts(kernel):
    if kernel.adjusted:
        with pytest.raises(ValueError, match=r"MetropolisAdjusted.*SNR.*detailed balance"):
            AnnealedMCMC(kernel, SingleLevel(1.0), SNR())
    else:
        assert AnnealedMCMC(kernel, SingleLevel(1.0), SNR()).kernel == kernel
