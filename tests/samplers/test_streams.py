"""Chains and their streams: each is its own, in any batch, and no input is changed."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import final

import pytest
import torch
from scipy import stats
from torch import Tensor

from scorekit import (
    AnnealedMCMC,
    Constant,
    Langevin,
    PerChain,
    Unadjusted,
    from_score,
    sample,
)
from scorekit.base import (
    Move,
    Point,
    Proposal,
    normal,
)
from scorekit.densities import Gaussian
from tests.laws.components import (
    Drift,
    Jitter,
    Levels,
    Paint,
    Watch,
)
from tests.laws.drivers import chunking, neighbour, run
from tests.laws.targets import gauss3
from tests.samplers.cases import ALD, NOISE, NOISELESS, SAMPLERS, draws, each_sampler


@each_sampler
def test_a_chain_does_not_depend_on_its_neighbours(sampler, seed):
    assert neighbour(sampler, gauss3(), draws(6), seed)


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
    x, order = draws(6), torch.tensor([3, 1, 5, 0, 2, 4])
    assert torch.equal(run(NOISELESS, gauss3(), x, PerChain(0))[order], run(NOISELESS, gauss3(), x[order], PerChain(0)))


def test_a_chain_alone_with_its_stream_is_the_chain_in_the_batch():
    x = draws(5)
    whole = run(ALD, gauss3(), x, PerChain(2))
    for i in range(5):
        assert (run(ALD, gauss3(), x[i : i + 1], PerChain(2).shift(i)) - whole[i]).abs().max() < 1e-12


def test_reshaping_the_event_commutes_with_sampling():
    flat, shaped = Gaussian(torch.arange(6.0), 0.5), Gaussian(torch.arange(6.0).reshape(1, 2, 3), 0.5)
    x = draws(4, event=(6,))
    for sampler in SAMPLERS.values():
        one = run(sampler, flat, x, PerChain(1))
        two = run(sampler, shaped, x.reshape(4, 1, 2, 3), PerChain(1))
        assert torch.allclose(one, two.flatten(1), rtol=1e-12)


def test_rotating_the_problem_and_its_noise_rotates_the_path(monkeypatch):
    """A Q applied to x, to the target and to the injected noise; 1e-9."""
    q, _ = torch.linalg.qr(draws(3))
    density = gauss3()
    turned = from_score(lambda x, sigma: density.score(x @ q.T, sigma) @ q)
    straight = run(ALD, density, draws(5), torch.Generator().manual_seed(1))
    with monkeypatch.context() as patch:
        patch.setattr("scorekit.base.sampling.normal", lambda like, *, generator: normal(like, generator=generator) @ q)
        rotated = run(ALD, turned, draws(5) @ q, torch.Generator().manual_seed(1))
    assert (rotated @ q.T - straight).abs().max() < 1e-9


def test_the_same_streams_given_twice_give_the_same_chains():
    """Samplers draw from forks alone: what was drawn from the object before makes no difference."""
    streams = PerChain(3)
    one, two = (sample(ALD, gauss3(), (4, 3), generator=streams) for _ in range(2))
    normal(draws(), generator=streams)
    three = sample(ALD, gauss3(), (4, 3), generator=streams)
    assert torch.equal(one, two)
    assert torch.equal(one, three)


@pytest.mark.parametrize("make", [PerChain, lambda s: torch.Generator().manual_seed(s)], ids=["PerChain", "Generator"])
def test_the_noise_of_start_levels_and_steps_is_independent(make, seed, monkeypatch):
    """The start, twelve steps of a walk without drift and four transitions that draw, n = 4,096 x 3: all 136
    correlations. The mutant begins every stream anew."""
    assert _worst_correlation(make(seed)) < WORST
    monkeypatch.setattr("scorekit.samplers.driver.fork", lambda generator, label: make(seed))
    assert _worst_correlation(make(seed)) > WORST


WORST = stats.norm.isf(1e-6 / 2 / 136)  # Bonferroni


def _worst_correlation(generator: torch.Generator | PerChain) -> float:
    """In standard errors."""
    sampler = AnnealedMCMC(Unadjusted(Drift(drift=0.0)), NOISE, Constant(0.5), 3, transition=Jitter(), final=Jitter())
    x = sampler.initial((4096, 3), family=gauss3(), generator=generator, dtype=torch.float64)
    path = [x, *(step.x for step in sampler.steps(gauss3(), x, generator=generator))]
    rows = torch.stack([x, *(b - a for a, b in pairwise(path))]).flatten(1)
    rows[0] = (x - x.mean(0)).flatten()
    correlations = torch.corrcoef(rows) - torch.eye(17)
    return correlations.abs().max().item() * math.sqrt(rows.shape[1])


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
    assert torch.equal(run(wasteful, gauss3(), draws(), PerChain(0)), run(ALD, gauss3(), draws(), PerChain(0)))


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
    x = draws()
    before = x.clone()
    run(sampler, gauss3(), x, PerChain(0))
    assert torch.equal(x, before)


@each_sampler
@pytest.mark.parametrize("make", [PerChain, lambda s: torch.Generator().manual_seed(s)], ids=["PerChain", "Generator"])
def test_every_draw_comes_from_the_generator(sampler, make):
    """Nothing asks the global state, or a family with no generator, even where the family draws."""
    watch = Watch(Paint(gauss3(), torch.tensor([1, 0, 0]), torch.ones(3)))
    state = torch.get_rng_state()
    x = draws(4)
    one, two = (run(sampler, watch, x, make(3)) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(one, two)
    assert all(generator is not None for _, generator in watch.asked)


def test_interleaved_runs_of_one_sampler_do_not_disturb_each_other():
    alone = [step.x for step in ALD.steps(gauss3(), draws(), generator=PerChain(0))]
    one = ALD.steps(gauss3(), draws(), generator=PerChain(0))
    two = ALD.steps(gauss3(), draws(seed=1), generator=PerChain(1))
    for expected, (step, _) in zip(alone, zip(one, two, strict=True), strict=True):
        assert torch.equal(step.x, expected)
