import math

import pytest
import torch

import scorekit as sk
from scorekit.base import StepSize
from scorekit.diagnostics import RecordRun

NOISE = sk.Geometric(1.0, 0.1, 4)
SAMPLER = sk.annealed_langevin(NOISE, steps_per_level=3, start=sk.Uniform(-1, 1), final=sk.Denoise())


def test_watching_changes_nothing_and_counts_every_evaluation():
    density = sk.densities.Gaussian((0.0, 1.0, 2.0), 0.5)
    record = RecordRun(density)
    watched = sk.sample(SAMPLER, record, (5, 3), generator=sk.PerChain(3))
    assert torch.equal(watched, sk.sample(SAMPLER, density, (5, 3), generator=sk.PerChain(3)))
    assert [row.evaluations for row in record.levels(SAMPLER.step_size)] == [3, 3, 3, 4]  # the last one denoises
    assert [row.sigma for row in record.levels(SAMPLER.step_size)] == NOISE.levels().tolist()


def test_norm_and_signal_to_noise_of_a_constant_score():
    family = sk.from_score(lambda x, sigma: torch.full_like(x, 3 / sigma))
    record = RecordRun(family)
    sk.sample(SAMPLER, record, (5, 4), generator=sk.PerChain(3), dtype=torch.float64)
    for row in record.levels(SAMPLER.step_size):
        assert row.score_norm == pytest.approx(math.sqrt(4) * 3 / row.sigma)
        assert row.step_size == pytest.approx(row.sigma**2 / 8)
        assert row.signal_to_noise == pytest.approx(math.sqrt(1 / 16) * 3)  # the same at every level


def test_delegates_all_but_the_score():
    model = sk.ScaledScore(torch.nn.Linear(2, 2), noise=NOISE, min_sigma=0.05).double()
    model.set_moments(torch.ones(2), torch.ones(2))
    record = RecordRun(model)
    for name in ("min_sigma", "refresh", "inference_mode", "device", "dtype"):
        assert getattr(record, name) == getattr(model, name)
    assert torch.equal(record.noise_levels, model.noise_levels)
    assert torch.equal(record.moments[0], model.moments[0])
    with record.evaluating():
        assert not model.training
    assert model.training


def test_a_step_size_that_depends_on_the_state_has_no_one_value():
    class ByState(StepSize):
        uses_point = True

        def __call__(self, sigma, point):
            return point.x.square().mean()

    with pytest.raises(ValueError, match="depends on the state"):
        RecordRun(sk.densities.Gaussian((0.0,))).levels(ByState())


def test_keeps_the_states_that_were_evaluated():
    density = sk.densities.Gaussian((0.0, 1.0, 2.0), 0.5)
    record = RecordRun(density, chains=2, every=3)
    x = sk.sample(SAMPLER, record, (8, 3), generator=sk.PerChain(3), batch_size=4)
    start = SAMPLER.initial((8, 3), generator=sk.PerChain(3))
    run = sk.collect(SAMPLER.steps(density, start, generator=sk.PerChain(3)))
    visited = torch.cat([start[None], run.x])[:-1, :2]  # all but the last update; the second batch is not kept
    torch.testing.assert_close(record.states, visited[::3], rtol=0, atol=1e-6)
    torch.testing.assert_close(x, run.x[-1], rtol=0, atol=1e-6)
    assert [row.evaluations for row in record.levels(SAMPLER.step_size)] == [3, 3, 3, 4]


def test_bad_arguments_are_refused():
    for bad in ({"chains": -1}, {"every": 0}):
        with pytest.raises(ValueError, match="chains >= 0 and every >= 1"):
            RecordRun(sk.densities.Gaussian((0.0,)), **bad)


def test_two_runs_at_sigma_zero_are_told_apart():
    density = sk.densities.Gaussian((0.0, 1.0), 0.5)
    record = RecordRun(density, chains=4)
    sk.sample(sk.langevin(step_size=0.1, num_steps=5, start=sk.Uniform(-3, 3)), record, (6, 2), batch_size=4)
    assert record.states.shape == (5, 4, 2)
    (row,) = record.levels(sk.Constant(0.1))
    assert row.evaluations == 5


def test_the_norm_weighs_every_chain_alike():
    family = sk.from_score(lambda x, sigma: x / x.abs())  # |s| = 1 in one dimension, in batches of 4 and 2
    record = RecordRun(family)
    sk.sample(SAMPLER, record, (6, 1), generator=sk.PerChain(0), batch_size=4)
    assert [row.score_norm for row in record.levels(SAMPLER.step_size)] == pytest.approx([1, 1, 1, 1])
    odd = RecordRun(sk.from_score(lambda x, sigma: torch.full_like(x, float(len(x)))))
    sk.sample(SAMPLER, odd, (6, 1), generator=sk.PerChain(0), batch_size=4)
    assert odd.levels(SAMPLER.step_size)[0].score_norm == pytest.approx((4 * 4 + 2 * 2) / 6)


def test_kept_states_do_not_keep_their_batch_alive():
    record = RecordRun(sk.densities.Gaussian((0.0, 1.0), 0.5), chains=2)
    sk.sample(SAMPLER, record, (1000, 2), generator=sk.PerChain(0))
    assert all(state.untyped_storage().nbytes() == 2 * 2 * 4 for state in record._states)
