"""The toy experiments, with tiny configurations: what they compute, and that it could have come out otherwise."""

import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image

import scorekit as sk
from tests.laws.statistics import BOUND
from tests.scripts import load

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

toys, comparison, sweep, noise, series = (
    load(EXAMPLES / f"{name}.py")
    for name in ("toy_mixture", "compare_samplers", "step_size_sweep", "noise_makes_it_learnable", "time_series")
)


def share_error(share: float, expected: float, count: int) -> float:
    """How many standard errors a share among `count` chains is from what it should be."""
    return abs(share - expected) / math.sqrt(expected * (1 - expected) / count)


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


# ----------------------------------------------------------------------------------------------------- toy_mixture


def test_the_share_of_starts_is_that_of_the_square_where_the_small_mode_is_the_likelier():
    line = (torch.arange(2000, dtype=torch.float64) + 0.5) * 16 / 2000 - 8
    x = torch.cartesian_prod(line, line)
    large, small = (sk.densities.Gaussian((m, m)).log_prob(x) for m in (5.0, -5.0))
    measured = (small + math.log(0.2) > large + math.log(0.8)).double().mean().item()
    equal_weights = (small > large).double().mean().item()
    assert toys.share_of_starts() == pytest.approx(measured, abs=2e-4)  # a line of 2,000 cells: 2.5e-4 is the next
    assert abs(equal_weights - toys.share_of_starts()) > 5e-3


def test_only_annealing_finds_the_weights_and_all_find_the_variance(tmp_path: Path):
    """1,000 chains: 4.9 standard errors of a share are .065 to .078, and the two answers are .26 apart."""
    count = 1000
    rows = {row.name: row for row in toys.figure_3(toys.POINTS, tmp_path, count, num_steps=500)}
    assert next(iter(rows)) == "exact draws"
    assert share_error(rows["exact draws"].small_mode, 0.2, count) < BOUND
    for name in ("MALA, exact score", "Langevin, exact score"):
        assert share_error(rows[name].small_mode, toys.share_of_starts(), count) < BOUND
        assert share_error(rows[name].small_mode, 0.23, count) > 3 * BOUND
    for name in ("annealed Langevin, exact score", "annealed Langevin, learned score"):  # exact, too, in this test
        assert share_error(rows[name].small_mode, 0.23, count) < BOUND  # the sweep's, for 50 steps a level
        assert share_error(rows[name].small_mode, toys.share_of_starts(), count) > 3 * BOUND
    for row in rows.values():
        assert row.variance == pytest.approx(1.02, abs=0.23)  # 1 to 1.04; 2 * 500 coordinates: 4.9 s.e. are .22
    width, height = size(tmp_path / "figure-3.png")
    assert width > 4 * height


def test_sliced_matching_learns_the_score_where_there_are_data(tmp_path: Path):
    """150 steps: far from converged, but far better near the data than a score of 0, whose error is 1."""
    errors = toys.figure_2(toys.learn_data_score(steps=150, seed=0), tmp_path)
    assert errors["over the data"] < 0.5
    assert errors["over the data"] < errors["between the modes"]
    zero = sk.DirectScore(sk.networks.MLP((2,), conditional=False))
    torch.nn.init.zeros_(zero.net.layers[-1].weight)
    torch.nn.init.zeros_(zero.net.layers[-1].bias)
    assert toys.relative_error(zero, toys.DATA.sample(100)) == pytest.approx(1)
    width, height = size(tmp_path / "figure-2.png")
    assert width > 2 * height


def test_denoising_learns_the_noisy_scores():
    """At the first and the last level the network is near the true score; at its start it was not."""
    learned, fresh = toys.learn_noisy_scores(steps=400, seed=0), toys.learn_noisy_scores(steps=1, seed=0)
    for sigma in (20.0, 1.0):
        x = toys.POINTS.sample(500, sigma, generator=sk.PerChain(0))
        true = toys.POINTS.score(x, sigma)
        errors = [((m.at(sigma).score(x) - true).square().sum() / true.square().sum()).item() for m in (learned, fresh)]
        assert errors[0] < 0.3 < errors[1]


# ------------------------------------------------------------------------------------------------ compare_samplers


EVALUATIONS = {  # at 10 levels x 3 steps, 5 levels, or 10 steps, from the score alone: the documented costs
    "langevin": 10,
    "mala": 2 * 10 + 1,
    "hmc": 2 * 3 * 10 + 1,
    "random-walk": 2 * 10 + 1,
    "annealed-langevin": 10 * 3,
    "annealed-mala": 10 * (2 * 3 + 1),
    "annealed-hmc": 10 * (2 * 3 * 3 + 1),
    "ancestral": 5 - 1,
    "reverse-diffusion": 5 - 1,
    "heun": 2 * (5 - 1),
    "dpm-solver": 5 - 1,
    "predictor-corrector": 10 * 3 + 9,
    "annealed-mcmc": 10 * (2 * 3 + 1) + 9,  # Heun shares the score at its source with the kernel
}


def test_every_registered_sampler_is_compared_at_its_documented_cost():
    runs = comparison.samplers(comparison.Efforts((3,), (5,), (10,)))
    assert runs.keys() == sk.registry("samplers").keys() == EVALUATIONS.keys()
    measured = {name: comparison.measure(name, own[0], 4, seed=0).evaluations for name, own in runs.items()}
    assert measured == EVALUATIONS


def test_samplers_of_plugins_are_compared_if_their_constructors_are_of_the_common_form(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
):
    def mine(noise: sk.base.NoiseSchedule) -> sk.AnnealedMCMC:
        return sk.heun(noise, final=sk.Stay())

    def other(noise: sk.base.NoiseSchedule, secret: int) -> sk.AnnealedMCMC:
        return sk.heun(noise)

    monkeypatch.setattr(sk, "registry", {"samplers": {"mine": mine, "other": other}}.__getitem__)
    comparison.main(out=tmp_path, num_samples=100, smoke=True)
    printed = capsys.readouterr().out
    assert "left out: other" in printed
    assert "left out: mine" not in printed
    rows = json.loads((tmp_path / "samplers.json").read_text())
    assert [(row["sampler"], row["evaluations"]) for row in rows] == [("mine", 8), ("mine", 38)]
    width, height = size(tmp_path / "samplers.png")
    assert width > 2 * height


def test_a_transition_through_the_levels_is_good_and_langevin_at_the_last_one_is_not():
    """4,000 chains: a weight is fixed to .013, two standard errors; Langevin keeps the .054 that its starts are off."""
    chance = 2 * math.sqrt(0.2 * 0.8 / 4000)
    heun, langevin = (
        comparison.measure(name, sampler, 4000, seed=0)
        for name, sampler in (
            ("heun", sk.heun(comparison.ladder(20), final=sk.Stay())),
            ("langevin", sk.langevin(sigma=1.0, step_size=comparison.STEP_SIZE, num_steps=200)),
        )
    )
    assert comparison.good(heun, chance)
    assert not comparison.good(langevin, chance)
    starts = 0.5 * math.erfc(6.139 / math.sqrt(2 * 34))  # P(x_1 + x_2 < -.139), x ~ N((3, 3), 17 I)
    assert share_error(langevin.weight_error + 0.2, starts, 4000) < BOUND
    text = comparison.table([heun, langevin], chance)
    assert [line.split()[:2] for line in text.splitlines()[2:]] == [["heun", "38"], ["langevin", "none"]]


# ------------------------------------------------------------------------------------------------- step_size_sweep


def test_one_level_of_the_prediction_is_ncsnv2s_formula():
    two = sk.Geometric(3.0, 1.5, 2)
    assert sweep.predicted(two, 7, 0.3) == pytest.approx(sk.tuning.variance_ratio(two, 7, 0.3))
    assert sweep.predicted(two, 7, 0.3) != pytest.approx(sk.tuning.variance_ratio(two, 8, 0.3))


@pytest.mark.parametrize(("steps", "epsilon"), [(20, 0.1), (10, 0.1)])
def test_the_variance_within_a_mode_is_the_predicted_one(steps: int, epsilon: float):
    """4,000 chains, about 6,300 coordinates: 4.9 standard errors of a ratio of variances are .09 of it."""
    cell = sweep.measure(steps, epsilon, 4000, seed=0)
    assert cell.variance / cell.predicted == pytest.approx(1, abs=BOUND * math.sqrt(2 / 6300))
    halved = sweep.predicted(sweep.NOISE, steps // 2, epsilon)
    assert cell.variance / halved != pytest.approx(1, abs=BOUND * math.sqrt(2 / 6300))


def test_the_sweep_writes_its_table_and_its_map(tmp_path: Path, capsys: pytest.CaptureFixture):
    sweep.main(out=tmp_path, num_samples=50, smoke=True)
    cells = json.loads((tmp_path / "sweep.json").read_text())
    assert [(cell["steps_per_level"], cell["epsilon"]) for cell in cells] == [
        (10, 0.05), (10, 0.25), (100, 0.05), (100, 0.25),
    ]  # fmt: skip
    assert "best epsilon for this T" in capsys.readouterr().out
    width, height = size(tmp_path / "sweep.png")
    assert width > 2 * height


# ------------------------------------------------------------------------------------------ noise_makes_it_learnable


def test_the_network_of_figure_1_is_the_papers():
    net = noise.ResNet(channels=3, width=32)
    assert sum(weight.numel() for weight in net.parameters()) == 1_379_651
    assert len(net.state_dict()) == 92
    x = torch.rand(2, 3, 32, 32)
    assert net(x, torch.zeros(2)).shape == x.shape
    assert [tuple(block(torch.zeros(1, c, 8, 8)).shape[1:]) for block, c in zip(net.blocks, CHANNELS, strict=True)] == [
        (32, 8, 8), (64, 4, 4), (64, 8, 8), (128, 4, 4), (128, 8, 8),
        (128, 8, 8), (64, 16, 16), (64, 8, 8), (32, 16, 16), (32, 8, 8),
    ]  # fmt: skip


CHANNELS = (32, 32, 64, 64, 128, 128, 128, 64, 64, 32)  # into each block


def test_the_bound_of_the_loss_is_met_by_the_score_of_noise_alone(seed: int):
    """4,000 draws of D = 64: for s = -y / sigma^2, a standard error is under 1 % of the bound."""
    sigma, shape = 0.01, (4000, 1, 8, 8)
    eps = sk.base.normal(torch.empty(shape, dtype=torch.float64), generator=sk.PerChain(seed))
    estimator = sk.SlicedScoreMatching(probe="gaussian")
    level = torch.full((4000,), sigma, dtype=torch.float64)
    losses = estimator(lambda y: -y / sigma**2, sigma * eps, level, eps, generator=sk.PerChain(seed).fork("probe"))
    too_steep = estimator(lambda y: -2 * y / sigma**2, sigma * eps, level, eps, generator=sk.PerChain(seed).fork("p"))
    bound, error = -64 / (2 * sigma**2), losses.std().item() / math.sqrt(4000)
    assert abs(losses.mean().item() - bound) < BOUND * error < 0.05 * -bound
    assert abs(too_steep.mean().item() - bound) > 5 * BOUND * error
    text = noise.table([noise.Curve(0.0, torch.ones(10)), noise.Curve(sigma, torch.ones(10))], 64)
    assert [line.split()[-1] for line in text.splitlines()[1:]] == ["nothing", "-3.2e+05"]


def test_jumps_are_seen_in_the_last_fifth_alone():
    smooth = noise.Curve(0.0, -torch.linspace(1, 100, 100, dtype=torch.float64))
    assert smooth.jumps == pytest.approx(1 / 91)
    jumping, early = smooth.losses.clone(), smooth.losses.clone()
    jumping[90] += 50
    early[10] += 50
    assert noise.Curve(0.0, jumping).jumps > 0.5
    assert noise.Curve(0.0, early).jumps == smooth.jumps


def test_the_runs_differ_by_the_noise_alone(tmp_path: Path, capsys: pytest.CaptureFixture):
    """The first loss is taken before the first update: same network, same images, same probes."""
    x = noise.pixels("embedded")
    assert x.shape[1:] == (1, 8, 8)
    assert sorted(x.unique().tolist()) == pytest.approx([k / 16 for k in range(17)])
    curves = [noise.learn(x, sigma, noise.PRESETS["smoke"], seed=0, device="cpu") for sigma in (0.0, 1e-5, 0.1)]
    first, other, far = (curve.losses[0].item() for curve in curves)
    assert other == pytest.approx(first, rel=0.01)
    assert far != pytest.approx(first, rel=0.01)
    noise.main(preset="smoke", out=tmp_path, device="cpu", sigma=0.01)
    assert "-3.2e+05" in capsys.readouterr().out
    width, height = size(tmp_path / "losses.png")
    assert width > 2 * height


# ------------------------------------------------------------------------------------------------------ time_series


def test_the_known_autocovariance_is_that_of_the_data(seed: int):
    """20,000 windows: a standard error of a moment is below .01, since a window's times hang together."""
    x = series.oscillators(20_000, generator=sk.PerChain(seed))
    row = series.judge("data", x)
    assert row.worst < BOUND * 0.01
    assert row.slow == pytest.approx(0.7, abs=BOUND * math.sqrt(0.7 * 0.3 / 20_000))
    assert row.variance == pytest.approx(1, abs=BOUND * 0.01)
    assert series.judge("time reversed", x.flip(1)).worst > 0.5  # the velocity's sign


def test_the_autocovariance_sees_what_is_wrong(seed: int):
    x = series.oscillators(5_000, generator=sk.PerChain(seed))
    shuffled = torch.stack([x[:, t].roll(t, 0) for t in range(series.LENGTH)], dim=1)  # no memory, the same marginals
    assert series.judge("shuffled", shuffled).worst > 0.5
    gaussian = sk.base.normal(torch.empty(5_000, 2), generator=sk.PerChain(seed).fork("other"))
    one_speed = series.judge("one speed", turning(gaussian, (0.7 * series.SLOW + 0.3 * series.FAST)))
    assert one_speed.slow in (0.0, 1.0)
    assert one_speed.worst > 0.1


def turning(first: torch.Tensor, omega: float) -> torch.Tensor:
    """Windows that turn at one speed, without noise: (N, T, C)."""
    z, t = torch.view_as_complex(first), torch.arange(series.LENGTH)
    return torch.view_as_real(z[:, None] * torch.polar(torch.ones(series.LENGTH), omega * t))


def test_the_score_of_windows_can_be_learned(tmp_path: Path, capsys: pytest.CaptureFixture):
    """200 steps: the autocovariances are nearer to the law's than those of white noise, whose error is .9 (lag 1)."""
    model = series.learn(steps=200, seed=0)
    row = series.sample("DPM-Solver", series.samplers()["DPM-Solver"], model, 500, seed=0)
    assert row.evaluations == 20
    white = series.judge("white", sk.base.normal(torch.empty(500, series.LENGTH, 2), generator=sk.PerChain(0)))
    assert row.worst < 0.35 < white.worst
    assert row.variance == pytest.approx(1, abs=0.3)
    series.main(out=tmp_path, smoke=True)
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in printed[3:7]] == ["data", "DPM-Solver", "Heun", "annealed"]
    assert [line[-4] for line in printed[4:7]] == ["20", "119", "501"]  # evaluations
    width, height = size(tmp_path / "windows.png")
    assert width > 2 * height
