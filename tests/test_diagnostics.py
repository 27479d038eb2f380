import math

import pytest
import torch

import scorekit as sk
from scorekit.base import StepSize
from scorekit.diagnostics import RecordRun, diagnose, fields
from tests.laws.statistics import BOUND
from tests.laws.targets import covariance_of, gauss3, mixture3

NOISE = sk.Geometric(1.0, 0.1, 4)
SAMPLER = sk.annealed_langevin(NOISE, steps_per_level=3, start=sk.Uniform(-1, 1), final=sk.Denoise())


def test_watching_changes_nothing_and_counts_every_evaluation():
    density = sk.densities.Gaussian((0.0, 1.0, 2.0), 0.5)
    record = RecordRun(density)
    watched = sk.sample(SAMPLER, record, (5, 3), generator=sk.PerChain(3))
    assert torch.equal(watched, sk.sample(SAMPLER, density, (5, 3), generator=sk.PerChain(3)))
    assert [row.evaluations for row in record.levels(SAMPLER.step_size)] == [3, 3, 3, 4]  # the last one denoises
    assert [row.sigma for row in record.levels(SAMPLER.step_size)] == NOISE.levels().tolist()


def test_an_energy_is_not_evaluated_more_often_for_being_watched():
    """Log density and score come together, for the price of the score; asked for apart, they would cost twice."""
    model = sk.EnergyModel(sk.networks.ScalarMLP((2,), width=4))
    model.set_moments(torch.zeros(2), torch.ones(2))
    passes: list[int] = []
    model.net.register_forward_hook(lambda module, inputs, output: passes.append(len(output)))
    sampler = sk.annealed_mala(NOISE, steps_per_level=3)
    alone = sk.sample(sampler, model, (5, 2), generator=sk.PerChain(3))
    needed = len(passes)
    record = RecordRun(model)
    assert torch.equal(sk.sample(sampler, record, (5, 2), generator=sk.PerChain(3)), alone)
    assert len(passes) - needed == needed == 4 * (3 + 1)
    assert [row.evaluations for row in record.levels(sampler.step_size)] == [4, 4, 4, 4]


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


# -------------------------------------------------------------------------------------------------- how far to trust it

CLEAN = sk.SingleLevel(0.0)
SPIN = torch.tensor([[-1.0, 0.7], [-0.2, -0.5]], dtype=torch.float64)


def linear(matrix: torch.Tensor):
    """s = A x, on events of any shape."""
    return lambda x: (x.flatten(1) @ matrix.T).reshape(x.shape)


def field(score) -> sk.TargetFamily:
    return sk.from_score(lambda x, sigma: score(x))


def points(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("density", [gauss3(), mixture3()], ids=["gaussian", "mixture"])
def test_a_gradient_has_neither_curl_nor_circulation(density, generator):
    data = density.sample(30, generator=generator, dtype=torch.float64)
    report = diagnose(density, data, sk.Geometric(2.0, 1.0, 2), panels=8, generator=generator)
    for row in report.levels:
        assert row.curl < 1e-12
        assert row.circulation < 1e-10
        assert row.loop_error < 1e-6


def test_a_rotation_has_the_curl_and_the_circulation_of_its_closed_form(generator):
    """Around a triangle the integral of A x is (a21 - a12) times its signed area."""
    data = points(generator, 31, 2)
    (row,) = diagnose(field(linear(SPIN)), data, CLEAN, step_size=sk.Constant(0.1), generator=generator).levels
    assert row.curl == pytest.approx(((SPIN - SPIN.T).norm() / SPIN.norm()).item(), rel=1e-12)
    a, b, c = (data.roll(turn, 0) for turn in (0, 1, 2))
    areas = ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2
    assert row.circulation == pytest.approx((0.9 * areas).abs().median().item(), rel=1e-12)
    assert row.loop_error < 1e-12
    assert row.quadrature < 1e-13


def test_an_open_polygon_is_rejected_by_the_law_of_gradients(generator):
    """The mutant of the circulation: its last edge left out, the integral of a gradient is a difference of log p."""
    density, corners = gauss3(), [points(generator, 20, 3) for _ in range(3)]
    closed = fields.circulation(density.score, corners)
    edges = [
        fields.gauss_legendre(density.score, a, b) for a, b in ((corners[0], corners[1]), (corners[1], corners[2]))
    ]
    assert closed.abs().max() < 1e-12
    torch.testing.assert_close(sum(edges), density.log_prob(corners[2]) - density.log_prob(corners[0]))
    assert sum(edges).abs().min() > 1e-3


def test_the_fisher_column_is_the_implicit_score_matching_loss(generator):
    """For the exact score of N(m, C + sigma^2 I) it is -1/2 tr (C + sigma^2 I)^-1; for half of it, 3/4 of that."""
    density, noise = gauss3(), sk.Geometric(1.0, 0.5, 2)
    data = density.sample(4000, generator=generator, dtype=torch.float64)
    half = sk.from_score(lambda x, sigma: density.score(x, sigma) / 2)
    for family, factor in ((density, 1.0), (half, 0.75)):
        for row in diagnose(family, data, noise, batch_size=4000, generator=generator).levels:
            smoothed = covariance_of(density) + row.sigma**2 * torch.eye(3)
            wanted = -factor * smoothed.inverse().trace().item() / 2
            assert abs(row.fisher - wanted) < BOUND * row.fisher_error
            assert row.fisher_error < 0.03 * abs(wanted)


def sums(matrix: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return matrix.trace(), matrix.square().sum(), (matrix - matrix.T).square().sum()


def departs(values: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Whether a mean is more than 4.9 standard errors off."""
    return (values.mean() - wanted).abs().item() > BOUND * values.std().item() / math.sqrt(len(values))


def test_probes_agree_with_the_whole_jacobian(generator):
    """24 coordinates, 4,000 examples of one Jacobian."""
    matrix = points(generator, 24, 24)
    x = points(generator, 4000, 2, 3, 4)
    found = fields.jacobian_sums(linear(matrix), x, num_probes=3, generator=generator)
    for values, value in zip(found, sums(matrix), strict=True):
        assert values.shape == (4000,)
        assert not departs(values, value)


@pytest.mark.parametrize(
    ("mutant", "column"),
    [
        (lambda x, generator: torch.ones_like(x), 2),  # one probe for all pairs
        (lambda x, generator: torch.rand(x.shape, generator=generator, dtype=x.dtype), 0),
        (lambda x, generator: torch.rand(x.shape, generator=generator, dtype=x.dtype), 1),
    ],
    ids=["shared", "positive: trace", "positive: square"],
)
def test_probe_mutants_are_rejected(mutant, column, monkeypatch):
    own = torch.Generator().manual_seed(5)
    monkeypatch.setattr(fields, "rademacher", lambda x, generator: mutant(x, own))
    matrix = points(own, 24, 24)
    found = fields.jacobian_sums(linear(matrix), points(own, 2000, 24))
    assert departs(found[column], sums(matrix)[column])


def test_the_jacobian_is_taken_whole_up_to_16_coordinates(generator):
    matrix = points(generator, 16, 16)
    found = fields.jacobian_sums(linear(matrix), points(generator, 3, 4, 4))
    for values, value in zip(found, sums(matrix), strict=True):
        torch.testing.assert_close(values, value.expand(3), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("power", "simpson_exact"), [(3, True), (4, False), (15, False)])
def test_quadrature_rules_have_their_degree(power, simpson_exact, generator):
    start, end = points(generator, 10, 2), points(generator, 10, 2)
    exact = (end ** (power + 1) - start ** (power + 1)).sum(1) / (power + 1)

    def score(x):
        return x**power

    torch.testing.assert_close(fields.gauss_legendre(score, start, end), exact, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(
        fields.gauss_legendre(score, start, end, num_nodes=5, panels=60), exact, rtol=1e-9, atol=0
    )
    error = (fields.simpson(score, start, end) - exact).abs().max().item()
    assert (error < 1e-12) is simpson_exact
    trapezoid = ((score(start) + score(end)) / 2 * (end - start)).sum(1)  # the mutant of Simpson's rule
    assert (trapezoid - exact).abs().max() > 1e-3


def test_the_quadrature_column_is_the_error_on_a_langevin_step(generator):
    """s = -x^4 at h = .05, where the error on [a, b] is known: (b - a)^5 f / 2880 with f = 24."""
    data, h = points(generator, 200, 1).abs(), 0.05
    family = field(lambda x: -(x**4))
    (row,) = diagnose(family, data, CLEAN, step_size=sk.Constant(h), generator=sk.PerChain(4)).levels
    eps = sk.base.normal(data, generator=sk.fork(sk.fork(sk.PerChain(4), 0), "step"))
    steps = -h * data**4 + math.sqrt(2 * h) * eps
    errors = (steps**5 * 24 / 2880).abs()
    assert row.quadrature == pytest.approx(errors.median().item(), rel=1e-9)
    assert row.quadrature_rms == pytest.approx(errors.square().mean().sqrt().item(), rel=1e-9)


def test_every_example_has_its_own_streams_whatever_the_batch_size(streams, generator):
    """20 coordinates that mix, and a field of degree 4: every column depends on the draws."""
    mix = points(generator, 20, 20)
    family, noise = field(lambda x: x @ mix.T - x**4), sk.Geometric(1.0, 0.5, 2)
    data = points(generator, 23, 20)
    whole = diagnose(family, data, noise, generator=streams)
    cut = diagnose(family, data, noise, batch_size=7, generator=streams)
    other = diagnose(family, data, noise, generator=sk.PerChain(1))
    for row, same, different in zip(whole.levels, cut.levels, other.levels, strict=True):
        assert row == pytest.approx(same, rel=1e-9, abs=1e-12)
        for column in set(row._fields) - {"sigma", "loop_error"}:
            assert getattr(row, column) != pytest.approx(getattr(different, column), rel=1e-6)


def test_a_network_is_diagnosed_in_evaluation_mode_at_its_own_levels(streams):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Softplus(), torch.nn.Linear(8, 3))
            self.dropout = torch.nn.Dropout(0.9)

        def forward(self, x, sigma):
            return self.dropout(self.layers(x)) - x

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = sk.DirectScore(Net(), noise=sk.Geometric(1.0, 0.25, 3)).double()
    data = gauss3().sample(50, generator=streams, dtype=torch.float64)
    report = diagnose(model, data, generator=streams)
    assert report == diagnose(model, data, generator=streams)
    assert [row.sigma for row in report.levels] == [1.0, 0.5, 0.25]
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert all(0 < row.curl < 1 and row.circulation > 1e3 * row.loop_error for row in report.levels)


def test_a_score_that_is_itself_a_derivative_is_differentiated_again(generator):
    """s = -x^3 as the gradient of an energy: tr J + |s|^2 / 2 = sum(-3 x^2 + x^6 / 2)."""
    energy = sk.from_score(lambda x, sigma: torch.func.grad(lambda v: -(v**4).sum() / 4)(x))
    data = points(generator, 40, 3)
    (row,) = diagnose(energy, data, CLEAN, step_size=sk.Constant(0.01), batch_size=16, generator=generator).levels
    assert row.fisher == pytest.approx((-3 * data**2 + data**6 / 2).sum(1).mean().item(), rel=1e-12)
    assert row.curl < 1e-14


def test_a_report_prints_as_a_table(generator):
    report = diagnose(field(linear(SPIN)), points(generator, 30, 2), CLEAN, step_size=sk.Constant(0.1))
    title, heads, row = str(report).splitlines()
    assert title == "ScoreFunction on 30 examples"
    assert " ".join(heads.split()) == "sigma fisher +- curl circulation loop error quadrature rms"
    assert len(row.split()) == 8


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: diagnose(gauss3(), x), "valid at every sigma: name the levels"),
        (lambda x: diagnose(gauss3(), x[:2], CLEAN), "N >= 3"),
        (lambda x: diagnose(gauss3(), x / 0, CLEAN), "finite"),
        (lambda x: diagnose(gauss3(), x, CLEAN), "give step_size= for clean data"),
        (lambda x: diagnose(gauss3(), x, NOISE, panels=3), "panels=3"),
        (lambda x: diagnose(gauss3(), x, NOISE, num_probes=1), "num_probes=1"),
        (lambda x: diagnose(field(lambda v: -v.detach()), x, NOISE), "no derivative"),
        (lambda x: diagnose(field(lambda v: v / 0), x, NOISE), "at sigma = 1: 9 of 9 values of fisher are NaN"),
    ],
)
def test_what_cannot_be_diagnosed_is_refused(make, message, generator):
    with pytest.raises(ValueError, match=message):
        make(points(generator, 9, 3))


def test_under_inference_mode_the_reason_is_named(generator):
    x = points(generator, 9, 3)
    with torch.inference_mode(), pytest.raises(ValueError, match=r"inference_mode\(\) rules out"):
        diagnose(gauss3(), x, NOISE)
    with torch.no_grad():
        assert diagnose(gauss3(), x, NOISE).examples == 9


def test_data_must_be_a_tensor():
    with pytest.raises(TypeError, match="got list"):
        diagnose(gauss3(), [[0.0, 1.0, 2.0]], CLEAN)
