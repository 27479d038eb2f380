import itertools
import math
import sys

import pytest
import torch
from scipy import stats
from torch import Tensor

import scorekit as sk
from scorekit import metrics
from scorekit.base import Info, Metric, Step
from scorekit.metrics import _samples, mmd, stein
from scorekit.samplers import Chains
from tests.laws.statistics import BOUND, z_score

MMD, SW = metrics.MaximumMeanDiscrepancy, metrics.SlicedWasserstein


def draws(generator: torch.Generator, *shape: int, mean: float = 0.0) -> Tensor:
    return mean + torch.randn(*shape, dtype=torch.float64, generator=generator)


def uniform_mean_z(pvalues: list[float]) -> float:
    """p-values k / (P + 1) under the null: the mean is about 1/2, the std 1 / sqrt(12)."""
    return z_score(torch.tensor(pvalues, dtype=torch.float64), 0.5, 1 / math.sqrt(12))


# ---------------------------------------------------------------------------------------------------------- all metrics

METRICS = {
    "mmd": MMD(),
    "mmd of a bandwidth": MMD(1.5),
    "sliced": SW(),
    "sliced 1": SW(16, p=1),
    "modes": metrics.ModeWeightError(((0.0, 0.0, 0.0), (3.0, 3.0, 3.0))),
}


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_metric_sees_a_shift_and_not_the_right_law(metric, generator, streams):
    x, same, shifted = draws(generator, 400, 3), draws(generator, 300, 3), draws(generator, 300, 3, mean=2.0)
    right, wrong = metric(x, same, generator=streams), metric(x, shifted, generator=streams)
    assert isinstance(metric, Metric)
    assert wrong > 5 * abs(right)
    assert metric(x, same, generator=streams) == right  # the same streams, whatever was drawn before


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_metric_refuses_what_it_cannot_compare(metric):
    x = torch.zeros(4, 3)
    with pytest.raises(ValueError, match="shape"):
        metric(x, torch.zeros(4, 2))
    with pytest.raises(ValueError, match="1 of the 4 examples"):
        metric(x, torch.cat((torch.full((1, 3), torch.nan), torch.zeros(3, 3))))
    with pytest.raises(ValueError, match="floating-point"):
        metric(x.long(), x.long())
    with pytest.raises(ValueError, match="N >= "):
        metric(x, x[:0])


def test_metrics_are_the_same_in_small_blocks(monkeypatch, generator, streams):
    x, y = draws(generator, 41, 3), draws(generator, 30, 3, mean=0.3)
    score = sk.densities.Gaussian((0.0, 0.0, 0.0)).score

    def values() -> list[float]:
        stein = metrics.kernel_stein_discrepancy(x, score)
        tests = (
            MMD().test(x, y, num_permutations=20, generator=streams),
            metrics.stein_test(x, score, generator=streams),
        )
        each = [metric(x, y, generator=streams) for metric in METRICS.values()]
        return [*each, stein, *(value for test in tests for value in test)]

    whole = values()
    monkeypatch.setattr(_samples, "BLOCK", 200)
    assert values() == pytest.approx(whole, rel=1e-12, abs=1e-14)


# ------------------------------------------------------------------------------------------------------------------ MMD


def written_out(x: Tensor, y: Tensor, bandwidth: float, *, biased: bool = False) -> float:
    def mean(a: Tensor, b: Tensor, same: bool) -> float:
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if biased or not same or i != j]
        return sum(math.exp(-(a[i] - b[j]).square().sum() / (2 * bandwidth**2)) for i, j in pairs) / len(pairs)

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


def exact_mmd(shift: float, bandwidth: float, dimension: int) -> float:
    """Between N(0, I) and N(shift 1, I): x - y has variance 2 in each coordinate."""
    spread = bandwidth**2 + 2
    same = (bandwidth**2 / spread) ** (dimension / 2)
    return 2 * same * (1 - math.exp(-dimension * shift**2 / (2 * spread)))


def test_mmd_is_the_sum_over_pairs(generator):
    x, y = draws(generator, 7, 2, 2), draws(generator, 5, 2, 2, mean=0.5)
    assert MMD(1.3)(x, y) == pytest.approx(written_out(x, y, 1.3), abs=1e-14)


def test_mmd_is_unbiased_and_its_biased_twin_is_not(generator):
    """500 samples of 10 and 8: the standard error is about .004, the twin's bias .08."""
    pairs = [(draws(generator, 10, 2), draws(generator, 8, 2, mean=0.7)) for _ in range(500)]
    wanted = exact_mmd(0.7, 1.0, 2)
    assert abs(z_score(torch.tensor([MMD(1.0)(x, y) for x, y in pairs]), wanted)) < BOUND
    biased = torch.tensor([written_out(x, y, 1.0, biased=True) for x, y in pairs[:60]])
    assert abs(z_score(biased, wanted)) > BOUND


def test_the_median_rule_is_the_median_distance_and_takes_a_subset_of_many_rows(generator, streams):
    rows = draws(generator, 50, 3)
    distances = [(a - b).norm().item() for a, b in itertools.combinations(rows, 2)]
    assert _samples.median_distance(rows) == pytest.approx(sorted(distances)[(len(distances) - 1) // 2])
    many = torch.arange(3000.0, dtype=torch.float64).unsqueeze(1)  # in order, as chains are: the first 1,000 would lie
    assert _samples.median_distance(many, generator=streams) == pytest.approx(3000 * (1 - math.sqrt(0.5)), rel=0.05)
    with pytest.raises(ValueError, match="give bandwidth="):
        MMD()(torch.zeros(9, 1), torch.ones(1, 1).expand(2, 1))


def test_the_permutation_test_has_its_level_and_power(generator, monkeypatch):
    """300 samples under the null; 150 and 100 examples .5 apart. A twin that never permutes rejects nothing."""
    null = [
        MMD(1.0).test(draws(generator, 12, 1), draws(generator, 9, 1), num_permutations=39, generator=generator).pvalue
        for _ in range(300)
    ]
    assert abs(uniform_mean_z([p - 1 / 80 for p in null])) < BOUND
    x, y = draws(generator, 150, 2), draws(generator, 100, 2, mean=0.5)
    found = MMD().test(x, y, num_permutations=199, generator=generator)
    assert found.statistic == pytest.approx(MMD(_samples.median_distance(torch.cat((x, y))))(x, y))
    assert found.pvalue == 1 / 200
    assert MMD().test(x, draws(generator, 100, 2), num_permutations=199, generator=generator).pvalue > 0.005
    monkeypatch.setattr(mmd, "uniform", lambda like, generator: torch.arange(like.shape[1]).expand_as(like))
    assert MMD().test(x, y, num_permutations=199).pvalue > 0.5  # 1, but for sums in another order


# --------------------------------------------------------------------------------------------------- sliced Wasserstein


@pytest.mark.parametrize(("n", "m"), [(30, 30), (30, 45), (7, 11), (1, 5)])
def test_on_a_line_it_is_the_exact_distance_for_any_sizes(generator, n, m):
    x, y = draws(generator, n, 1), draws(generator, m, 1, mean=1.0)
    exact = stats.wasserstein_distance(x.flatten().numpy(), y.flatten().numpy())
    assert SW(p=1)(x, y) == pytest.approx(exact, rel=1e-12)
    common = math.lcm(n, m)  # W_2 by copies of equal number, sorted
    a, b = (v.repeat_interleave(common // len(v), 0).sort(0).values for v in (x, y))
    assert SW(p=2)(x, y) == pytest.approx((a - b).square().mean().sqrt().item(), rel=1e-12)


def test_copies_of_a_sample_are_at_no_distance(generator):
    x = draws(generator, 20, 3, 2)
    assert SW()(x, x.repeat_interleave(3, 0)[torch.randperm(60, generator=generator)], generator=generator) < 1e-12


def test_a_shift_in_d_dimensions_and_units(generator, streams, monkeypatch):
    """4,000 lines: the standard error of the mean square is 2 % at D = 8. Lines that are no unit vectors give |v|."""
    x = draws(generator, 5, 2, 4)
    v = torch.arange(8.0, dtype=torch.float64).reshape(2, 4)
    distance = SW(4000)(x, x + v, generator=streams)
    tolerance = BOUND * math.sqrt(2 * 7 / 10 / 4000) / 2  # of theta_1^2: variance 2 (D - 1) / (D^2 (D + 2))
    assert distance == pytest.approx(v.norm().item() / math.sqrt(8), rel=tolerance)
    assert SW(4000)(3 * x, 3 * (x + v), generator=streams) == pytest.approx(3 * distance)
    monkeypatch.setattr(SW, "_lines", lambda self, rows, _: draws(generator, 4000, 8))
    assert SW(4000)(x, x + v) != pytest.approx(v.norm().item() / math.sqrt(8), rel=tolerance)


# --------------------------------------------------------------------------------------------------------- mode weights


def test_mode_weight_error_counts_the_nearest_mode():
    modes = metrics.ModeWeightError(((5.0, 5.0), (-5.0, -5.0), (5.0, -5.0)))
    x = torch.tensor([[4.0, 6.0], [9.0, 1.0], [-1.0, -2.0], [5.0, -4.0]])
    assert modes.shares(x).tolist() == [0.5, 0.25, 0.25]
    assert modes(x, x[:1]) == 0.5
    assert modes(x, x[torch.tensor([2, 0, 1, 3])]) == 0


def test_mode_weight_error_of_the_papers_toy(generator):
    """20,000 draws each: a standard error of .004; mode weights .8 and .2 against equal ones are .3 off."""
    toy = sk.densities.GaussianMixture(((5.0, 5.0), (-5.0, -5.0)), (0.8, 0.2))
    even = sk.densities.GaussianMixture(toy.means)
    modes = metrics.ModeWeightError(toy.means)
    x, again, wrong = (density.sample(20_000, generator=generator) for density in (toy, toy, even))
    assert modes(x, again) < BOUND * 0.004
    assert modes(wrong, again) == pytest.approx(0.3, abs=BOUND * 0.005)


# ------------------------------------------------------------------------------------------------------------------ KSD

GAUSS = sk.densities.Gaussian((0.0, 1.0), ((1.0, 0.3), (0.3, 0.5)))


def stein_by_autograd(x: Tensor, y: Tensor, bandwidth: float) -> float:
    def k(a: Tensor, b: Tensor) -> Tensor:
        return (bandwidth**2 + (a - b).square().sum()) ** -0.5

    first, second = torch.func.grad(k, 0), torch.func.grad(k, 1)
    s, t = GAUSS.score(x.unsqueeze(0))[0], GAUSS.score(y.unsqueeze(0))[0]
    cross = torch.func.jacfwd(second, 0)(x, y).trace()
    return ((s @ t) * k(x, y) + s @ second(x, y) + t @ first(x, y) + cross).item()


def test_stein_kernel_is_the_one_that_autograd_gives(generator):
    x = draws(generator, 6, 2)
    table = torch.tensor([[stein_by_autograd(a, b, 0.8) for a in x] for b in x], dtype=torch.float64)
    assert metrics.kernel_stein_discrepancy(x, GAUSS.score, bandwidth=0.8, statistic="v") == pytest.approx(
        table.mean().item(), rel=1e-12
    )
    pairs = (table.sum() - table.trace()).item() / 30
    assert metrics.kernel_stein_discrepancy(x, GAUSS.score, bandwidth=0.8) == pytest.approx(pairs, rel=1e-12)
    events = x.reshape(6, 1, 2)  # an event is an event, whatever its shape
    shaped = metrics.kernel_stein_discrepancy(
        events, lambda v: GAUSS.score(v.flatten(1)).reshape(v.shape), bandwidth=0.8
    )
    assert shaped == pytest.approx(pairs, rel=1e-12)


STEIN_MUTANTS = {
    "score sign": lambda x: -GAUSS.score(x),
    "half the score": lambda x: GAUSS.score(x) / 2,
    "1.6 times the score": lambda x: 1.6 * GAUSS.score(x),
    "shifted by .4": lambda x: GAUSS.score(x - 0.4),
}


def ksd_z(score, samples: list[Tensor], statistic: str = "u") -> float:
    values = [metrics.kernel_stein_discrepancy(x, score, bandwidth=1.0, statistic=statistic) for x in samples]
    return abs(z_score(torch.tensor(values, dtype=torch.float64), 0.0))


def test_ksd_is_zero_in_the_mean_for_the_right_score_and_no_mutant(generator):
    samples = [GAUSS.sample(40, generator=generator, dtype=torch.float64) for _ in range(200)]
    assert ksd_z(GAUSS.score, samples) < BOUND
    for name, mutant in STEIN_MUTANTS.items():
        assert ksd_z(mutant, samples) > BOUND, name
    assert ksd_z(GAUSS.score, samples, "v") > BOUND  # with the diagonal it is biased


def test_the_stein_test_has_its_level_and_power(generator, monkeypatch):
    """200 samples of 60 under the null; shifted by .5 standard deviations, 200 points, at least 19 of 20 are rejected,
    and none by a twin whose signs are all the same."""
    null = [
        metrics.stein_test(draws(generator, 60, 1), torch.neg, bandwidth=1.0, num_bootstrap=39, generator=generator)
        for _ in range(200)
    ]
    assert abs(uniform_mean_z([found.pvalue - 1 / 80 for found in null])) < BOUND
    shifted = [
        metrics.stein_test(draws(generator, 200, 1, mean=0.5), torch.neg, num_bootstrap=99, generator=generator)
        for _ in range(20)
    ]
    assert sum(found.pvalue <= 0.01 for found in shifted) >= 19
    monkeypatch.setattr(stein, "_signs", lambda like, *_: torch.ones_like(like))
    assert metrics.stein_test(draws(generator, 200, 1, mean=0.5), torch.neg, num_bootstrap=99).pvalue == 1


def test_a_chain_needs_signs_that_agree_as_long_as_it_remembers(generator):
    """AR(1) chains of rho = .9 with the right law: signs for independent draws reject nearly always."""
    chains = ar1(0.9, 300, 40, 1, generator).transpose(0, 1)

    def rejections(flip_probability: float) -> int:
        found = [
            metrics.stein_test(
                x, torch.neg, bandwidth=1.0, num_bootstrap=99, flip_probability=flip_probability, generator=generator
            )
            for x in chains
        ]
        return sum(each.pvalue <= 0.05 for each in found)

    assert rejections(0.5) > 20
    assert rejections(0.03) < 10


def test_ksd_is_nearly_blind_to_the_weights_of_modes_far_apart(generator):
    claimed = sk.densities.GaussianMixture(((-9.0,), (9.0,)), (0.9, 0.1))
    x = sk.densities.GaussianMixture(((-9.0,), (9.0,)), (0.5, 0.5)).sample(200, generator=generator)
    assert metrics.stein_test(x, claimed.score, bandwidth=1.0, num_bootstrap=999, generator=generator).pvalue > 0.001
    reference = claimed.sample(200, generator=generator)
    assert metrics.ModeWeightError(claimed.means)(x, reference) > 0.3  # what sees it
    assert MMD().test(x, reference, num_permutations=99, generator=generator).pvalue <= 0.01


# --------------------------------------------------------------------------------------------------------------- chains


def ar1(rho: float, time: int, chains: int, coordinates: int, generator: torch.Generator) -> Tensor:
    """Stationary AR(1) chains (T, B, E) of unit variance."""
    noise = draws(generator, time, chains, coordinates)
    x = [noise[0]]
    for t in range(1, time):
        x.append(rho * x[-1] + math.sqrt(1 - rho**2) * noise[t])
    return torch.stack(x)


def one_level(x: Tensor) -> Chains:
    return Chains(x, torch.ones(len(x), dtype=torch.float64), None)


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


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MMD(0.0), "bandwidth = 0.0"),
        (lambda: MMD(math.nan), "bandwidth = nan"),
        (lambda: SW(0), "num_projections = 0"),
        (lambda: SW(p=0.5), "p = 0.5"),
        (lambda: metrics.ModeWeightError((1.0, 2.0)), r"means of shape \(2,\)"),
        (lambda: metrics.ModeWeightError(((1.0,), (1.0,))), "two modes are the same"),
        (lambda: metrics.kernel_stein_discrepancy(torch.zeros(3, 1), torch.neg, bandwidth=-1), "bandwidth = -1"),
        (lambda: metrics.kernel_stein_discrepancy(torch.zeros(3, 1), torch.neg, statistic="w"), "statistic='w'"),
        (lambda: metrics.kernel_stein_discrepancy(torch.eye(3), lambda x: x.sum(1)), r"has shape \(3,\)"),
        (lambda: metrics.stein_test(torch.eye(3), lambda x: x / 0), "not finite"),
        (lambda: metrics.stein_test(torch.eye(3), torch.neg, flip_probability=0.7), "flip_probability=0.7"),
        (lambda: MMD().test(torch.eye(3), torch.eye(3), num_permutations=0), "num_permutations = 0"),
    ],
)
def test_bad_input_is_refused_with_its_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_without_arviz_stats_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz_stats.base", None)
    with pytest.raises(ImportError, match=r"pip install 'scorekit\[diagnostics\]'"):
        metrics.split_r_hat(one_level(torch.zeros(9, 2, 1)))


def test_metrics_survive_their_repr():
    for metric in METRICS.values():
        assert eval(repr(metric), vars(metrics)) == metric
