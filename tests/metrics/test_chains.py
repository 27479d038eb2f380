"""Of chains: effective sample size, split R-hat, decisions, tables."""

import math

import pytest
import torch

import scorekit as sk
from scorekit import metrics
from scorekit.base import Info, Step
from scorekit.samplers import Chains
from tests.metrics.cases import ar1, one_level


@pytest.mark.parametrize(("rho", "method"), [(0.0, "bulk"), (0.5, "bulk"), (0.8, "bulk"), (0.8, "mean")])
def test_effective_sample_size_of_ar1_chains(generator, rho, method):
    """40 coordinates of 4 chains of 2,500 states: the mean estimate has a standard error of about 1 %."""
    ess = metrics.effective_sample_size(one_level(ar1(rho, 2500, 4, 40, generator)), method=method)
    wanted = 10_000 * (1 - rho) / (1 + rho)
    assert ess.shape == (40,)
    assert ess.mean().item() == pytest.approx(wanted, rel=0.05)
    assert wanted != pytest.approx(10_000, rel=0.05) or rho == 0  # the bound would reject B T


def test_split_r_hat_sees_chains_that_disagree_and_chains_that_drift(generator):
    x = ar1(0.5, 1000, 4, 2, generator)
    r_hat = metrics.split_r_hat(one_level(x))
    assert r_hat.shape == (2,)
    assert r_hat.max() < 1.01
    apart = x.clone()
    apart[:, 0, 0] += 2
    assert (metrics.split_r_hat(one_level(apart)) > torch.tensor([1.1, 0.0])).all()
    assert metrics.split_r_hat(one_level(apart))[1] < 1.01
    drift = x + torch.linspace(0, 3, 1000, dtype=torch.float64).reshape(-1, 1, 1)  # all alike: only halves differ
    assert (metrics.split_r_hat(one_level(drift)) > 1.1).all()


def test_what_cannot_be_said_is_nan_and_what_should_not_be_asked_is_refused(generator):
    x = ar1(0.5, 20, 2, 3, generator)
    x[:, :, 1] = 4.0
    x[3, 1, 2] = torch.inf
    for statistic in (metrics.effective_sample_size, metrics.split_r_hat):
        assert statistic(one_level(x)).isnan().tolist() == [False, True, True]
        with pytest.raises(ValueError, match="expected 4 at least"):
            statistic(one_level(x[:3]))
        two = Chains(x, torch.tensor([1.0] * 10 + [0.5] * 10, dtype=torch.float64), None)
        with pytest.raises(ValueError, match=r"visit 2 levels, from 1 to 0\.5"):
            statistic(two)
        with pytest.raises(ValueError, match=r"nothing was kept at sigma = 0\.7; the levels are 1, 0\.5"):
            statistic(two, sigma=0.7)
        assert torch.equal(statistic(two, sigma=0.5)[:1], statistic(one_level(x[10:]))[:1])
    with pytest.raises(ValueError, match="method='median'"):
        metrics.effective_sample_size(one_level(x), method="median")  # pyrefly: ignore


NAN, INF = math.nan, math.inf


def step(
    x: list[float], sigma: float, log_accept: list[float] | None = None, accepted=(), trusted=(True, True)
) -> Step:
    x = torch.tensor(x).unsqueeze(1)
    if log_accept is None:
        return Step(x, sigma, None, "transition")
    ratio = torch.tensor(log_accept)
    return Step(x, sigma, Info(torch.tensor(accepted), ratio, ~ratio.isfinite(), torch.tensor(trusted), -ratio), "step")


def two_levels() -> Chains:
    """Chain 0 moves at both levels; chain 1 never at the first, and breaks in every way at the second."""
    steps = [
        step([0.1, 5.0], 2.0, [-0.5, -3.0], [True, False]),
        step([0.2, 5.0], 2.0, [0.25, -2000.0], [True, False], [True, False]),
        step([0.3, 6.0], 1.0),  # a transition decides nothing
        step([0.3, 6.0], 1.0, [-1.0, NAN], [False, False]),
        step([0.4, 6.0], 1.0, [0.5, -INF], [True, False]),
        step([0.5, 7.0], 1.0, [0.5, -1.0], [True, True]),
        step([0.6, 8.0], 0.0),
    ]
    return sk.collect(steps)


def test_decisions_are_counted_per_chain_and_per_level():
    counted = metrics.acceptance_per_level(two_levels())
    assert counted.sigma.tolist() == [2.0, 1.0]
    assert counted.steps.tolist() == [2, 3]
    torch.testing.assert_close(counted.acceptance, torch.tensor([[1, 0], [2 / 3, 1 / 3]], dtype=torch.float64))
    torch.testing.assert_close(counted.energy_error, torch.tensor([[0.125, 1001.5], [0, 1.0]], dtype=torch.float64))
    assert counted.divergent.tolist() == [[0, 1], [0, 1]]
    assert counted.nonfinite.tolist() == [[0, 0], [0, 2]]
    assert counted.untrusted.tolist() == [[0, 1], [0, 0]]
    assert counted.stuck.tolist() == [[False, True], [False, False]]


def test_a_chain_that_moves_between_kept_rejections_is_not_stuck():
    steps = [step([0.0, 5.0], 2.0, [-3.0, -3.0], [False, False]), step([1.0, 5.0], 2.0, [-3.0, -3.0], [False, False])]
    assert metrics.acceptance_per_level(sk.collect(steps)).stuck.tolist() == [[False, True]]


def test_the_tables_show_the_worst_chain():
    heads, *rows = (line.split() for line in str(metrics.acceptance_per_level(two_levels())).splitlines())
    assert " ".join(heads) == "sigma steps acceptance min max energy error max divergent nonfinite untrusted stuck"
    assert [" ".join(row) for row in rows] == [
        "2 2 0.5 0 1 500.8 1002 1 0 1 1",
        "1 3 0.5 0.3333 0.6667 0.5 1 1 2 0 0",
    ]
    mixing, decisions = str(metrics.summary(two_levels())).split("\n\n")
    rows = [line.split() for line in mixing.splitlines()[1:]]
    assert [row[:3] for row in rows] == [["2", "2", "2"], ["1", "4", "2"], ["0", "1", "2"]]
    assert rows[0][3:] == rows[2][3:] == ["-", "-"]
    assert float(rows[1][3]) > 0
    assert decisions == str(metrics.acceptance_per_level(two_levels()))


def test_a_level_where_no_ratio_is_finite_has_no_mean_energy_error():
    counted = metrics.acceptance_per_level(sk.collect([step([0.0, 0.0], 1.0, [NAN, NAN], [False, False])]))
    assert counted.energy_error.isnan().all()
    assert counted.nonfinite.tolist() == [[1, 1]]
    assert " - " in str(counted)


@pytest.mark.parametrize(("states", "chains"), [(10, 3), (20, 50), (100, 4)])
def test_chains_that_never_move_are_worth_nothing_however_well_they_started(generator, states, chains):
    """By the formulas 50 chains that stand still for 20 states are worth 83 draws."""
    still = ar1(0.0, 4, chains, 1, generator)[:1].expand(states, chains, 1).clone()
    assert metrics.effective_sample_size(one_level(still)).isnan().all()
    assert metrics.split_r_hat(one_level(still)).isposinf().all()
    still[-1, 0] += 1  # one chain moves once: there is something to say
    assert metrics.effective_sample_size(one_level(still)).isfinite().all()
    assert metrics.split_r_hat(one_level(still)).item() > 1.1
    assert metrics.split_r_hat(one_level(still[:, :1])).isnan().all()  # one chain alone


def test_summary_of_an_unadjusted_run_has_no_decisions(streams):
    sampler = sk.annealed_langevin(sk.Geometric(1.0, 0.5, 2), steps_per_level=40, final=sk.Denoise())
    density = sk.densities.Gaussian((0.0, 0.0))
    start = sampler.initial((6, 2), family=density, generator=streams)
    chains = sk.collect(sampler.steps(density, start, generator=streams))
    found = metrics.summary(chains)
    assert found.decisions is None
    assert [(row.sigma, row.states, row.chains) for row in found.levels] == [(1.0, 40, 6), (0.5, 40, 6), (0.0, 1, 6)]
    ess = metrics.effective_sample_size(chains, sigma=0.5)
    assert found.levels[1].ess == ess.min().item()
    assert found.levels[1].r_hat == metrics.split_r_hat(chains, sigma=0.5).max().item()
    assert math.isnan(found.levels[2].ess)
    with pytest.raises(ValueError, match="unadjusted"):
        metrics.acceptance_per_level(chains)
