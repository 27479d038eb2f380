import json
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import scorekit as sk
from scorekit import (
    Constant,
    DenoisingScoreMatching,
    DirectScore,
    Geometric,
    Objective,
    PerChain,
    RoundToLevels,
    SingleLevel,
    Uniform,
    annealed_langevin,
    from_score,
    langevin,
    sample,
)
from scorekit.base import expand, sum_event
from scorekit.config import from_config, to_config
from scorekit.densities import Gaussian, GaussianMixture
from scorekit.energies import EnergyModel, from_log_prob, value_and_score
from scorekit.hookspecs import hookimpl
from scorekit.networks import MLP, InnerProduct, ScalarMLP
from scorekit.registry import Registry
from tests.laws import losses
from tests.laws.statistics import ALPHA
from tests.laws.targets import gauss3, mixture3

EVENTS = st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple)
SEEDS = st.integers(0, 2**16 - 1)
MODES = [torch.enable_grad, torch.no_grad, torch.inference_mode]


def draws(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def levels(seed: int, batch: int) -> Tensor:
    return 0.1 + torch.rand(batch, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def scalar(event: tuple[int, ...], seed: int = 0) -> ScalarMLP:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ScalarMLP(event, width=6, activation="tanh").double()


class Closed(nn.Module):
    """E = sum sin(a x) / (1 + sigma^2), whose gradient is a cos(a x) / (1 + sigma^2). It counts its calls."""

    def __init__(self, a: float = 1.5):
        super().__init__()
        self.a, self.calls = nn.Parameter(torch.tensor(a, dtype=torch.float64)), 0

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        self.calls += 1
        return sum_event((self.a.to(x.dtype) * x).sin()) / (1 + sigma**2) * (1 if condition is None else condition)

    def score(self, x: Tensor, sigma: Tensor) -> Tensor:
        return -self.a * (self.a * x).cos() / expand(1 + sigma**2, x)


# ---------------------------------------------------------------------------------------------------- -grad of energy


def gradient_error(score: Callable[[Tensor, Tensor], Tensor], net: Closed, x: Tensor, sigma: Tensor) -> float:
    """The law: the largest difference between a score and -grad E in closed form."""
    return (score(x, sigma) - net.score(x, sigma)).abs().max().item()


@pytest.mark.parametrize("mode", MODES)
@given(seed=SEEDS, batch=st.integers(1, 4), event=EVENTS)
def test_the_score_is_minus_the_gradient_of_the_energy_with_autograd_on_or_off(mode, seed, batch, event):
    net = Closed()
    with mode():
        assert gradient_error(EnergyModel(net), net, draws(seed, batch, *event), levels(seed, batch)) < 1e-10


def test_the_law_of_the_gradient_rejects_its_mutants():
    net = Closed()
    x, sigma = draws(1, 3, 2), levels(1, 3)

    def broken(reduce: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda x, sigma: torch.func.grad(lambda y: reduce(net(y, sigma)))(x)

    assert gradient_error(broken(lambda energy: -energy.sum()), net, x, sigma) < 1e-10
    for reduce in (torch.sum, lambda energy: -energy.mean(), lambda energy: -energy[0], lambda e: -(e**2).sum() / 2):
        assert gradient_error(broken(reduce), net, x, sigma) > 1e-3


@given(seed=SEEDS, batch=st.integers(1, 3), event=EVENTS)
def test_the_score_is_the_slope_of_the_energy_by_finite_differences(seed, batch, event):
    model, x, sigma = EnergyModel(scalar(event)), draws(seed, batch, *event), levels(seed, batch)
    v, step = draws(seed + 1, batch, *event), 1e-5
    with torch.no_grad():
        slope = (model.energy(x + step * v, sigma) - model.energy(x - step * v, sigma)) / (2 * step)
        assert torch.allclose(sum_event(model(x, sigma) * v), -slope, rtol=1e-6, atol=1e-8)


def test_its_jacobian_is_symmetric_and_a_score_networks_is_not():
    def asymmetry(model: nn.Module) -> float:
        sigma = torch.ones(1, dtype=torch.float64)
        jacobian = torch.func.jacrev(lambda x: model(x, sigma))(draws(0, 1, 3)).reshape(3, 3)
        return (jacobian - jacobian.T).abs().max().item()

    assert asymmetry(EnergyModel(scalar((3,)))) < 1e-12
    assert asymmetry(EnergyModel(InnerProduct(MLP((3,), 6).double()))) < 1e-12
    assert asymmetry(DirectScore(MLP((3,), 6).double())) > 1e-3


@pytest.mark.parametrize("mode", MODES)
def test_a_chain_depends_on_its_own_row_only(mode):
    model, x, sigma = EnergyModel(scalar((2,))), draws(0, 4, 2), levels(0, 4)
    with mode():
        others = torch.cat((x[:1], 7 * x[1:]))
        torch.testing.assert_close(model(others, sigma)[0], model(x, sigma)[0], rtol=1e-12, atol=1e-12)


def test_nothing_is_recorded_or_left_behind_where_autograd_is_off():
    model, x = EnergyModel(Closed()), draws(0, 3, 2)
    with torch.no_grad():
        score = model(x, levels(0, 3))
        target = model.at(0.5).point(x)
        assert not any(value.requires_grad for value in (score, target.score, target.log_prob))
    assert not x.requires_grad
    assert model.net.a.grad is None
    assert model(x, levels(0, 3)).requires_grad  # and it is where autograd is on
    with torch.inference_mode():  # where x is an inference tensor
        inside = model(x.clone(), levels(0, 3))
    assert torch.equal(inside, score)


# ------------------------------------------------------------------------------------------------------------ training


def written_out(net: nn.Module, x: Tensor, sigma: Tensor) -> Tensor:
    """The score by plain autograd, at an x that is a leaf or depends on one."""
    y = x if x.requires_grad else x.detach().requires_grad_()
    return -torch.autograd.grad(net(y, sigma).sum(), y, create_graph=True)[0]


def denoising(score: Callable[[Tensor], Tensor], x: Tensor, sigma: Tensor, eps: Tensor) -> Tensor:
    return sum_event((score(x) + eps / expand(sigma, x)).square()) / 2


def sliced(score: Callable[[Tensor], Tensor], x: Tensor, sigma: Tensor, eps: Tensor) -> Tensor:
    """v' J v + |s|^2 / 2 by double backward."""
    x = x.detach().requires_grad_()
    value = score(x)
    (pulled,) = torch.autograd.grad((value * eps).sum(), x, create_graph=True)
    return sum_event(pulled * eps) + sum_event(value.square()) / 2


def implicit(score: Callable[[Tensor], Tensor], x: Tensor, sigma: Tensor, eps: Tensor) -> Tensor:
    """tr J + |s|^2 / 2, a row of the Jacobian at a time."""
    x = x.detach().requires_grad_()
    value = score(x)
    rows = value.flatten(1).unbind(1)
    trace = sum(torch.autograd.grad(row.sum(), x, create_graph=True)[0].flatten(1)[:, i] for i, row in enumerate(rows))
    return trace + sum_event(value.square()) / 2


def forward_mode(score: Callable[[Tensor], Tensor], x: Tensor, sigma: Tensor, eps: Tensor) -> Tensor:
    """v' J v + |s|^2 / 2 by torch.func.jvp."""
    value, pushed = torch.func.jvp(score, (x,), (eps,))
    return sum_event(pushed * eps) + sum_event(value.square()) / 2


FORMS = {"denoising": denoising, "sliced": sliced, "implicit": implicit, "forward mode": forward_mode}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_estimator_trains_it(form):
    """The gradient in the parameters is that of the loss written out by plain autograd, and is not 0."""
    estimate, net = FORMS[form], scalar((3,))
    x, sigma, eps = draws(0, 5, 3), levels(0, 5), draws(1, 5, 3)
    model, weights = EnergyModel(net), list(net.parameters())
    ours = torch.autograd.grad(estimate(lambda y: model(y, sigma), x, sigma, eps).mean(), weights)
    plain = sliced if form == "forward mode" else estimate
    expected = torch.autograd.grad(plain(lambda y: written_out(net, y, sigma), x, sigma, eps).mean(), weights)
    for mine, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)
        assert theirs.abs().max() > 1e-6


@pytest.mark.parametrize("form", FORMS)
def test_a_few_steps_lower_every_forms_loss(form):
    """Adam on one batch of standard normals at sigma = 1: the estimate falls by .1 at least, where the true score is
    worth .25 a dimension."""
    model = EnergyModel(scalar((2,)))
    clean, sigma, eps = draws(0, 256, 2), torch.ones(256, dtype=torch.float64), draws(1, 256, 2)
    x = clean + eps if form == "denoising" else 2**0.5 * clean  # elsewhere eps is a probe, independent of x
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    values = []
    for _ in range(25):
        loss = FORMS[form](lambda y: model(y, sigma), x, sigma, eps).mean()
        values.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert values[-1] < values[0] - 0.1


class ProbeEnergy(nn.Module):
    """The energy of a Gaussian, plus theta times functions of x and sigma: exact at theta = 0."""

    def __init__(self, density: Gaussian, theta: nn.Parameter, sign: float = 1.0):
        super().__init__()
        self.theta, self.sign = theta, sign
        covariance = torch.tensor(density.covariance, dtype=torch.float64)
        self.mean = torch.tensor(density.mean, dtype=torch.float64)
        self.variances, self.basis = torch.linalg.eigh(covariance)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        z = (x - self.mean) @ self.basis
        exact = self.sign * (z.square() / (self.variances + sigma.square().unsqueeze(1))).sum(1) / 2
        d = x.shape[1]
        frequencies = 1 + torch.arange(d, dtype=x.dtype) / 2
        waves = (x.unsqueeze(2) * frequencies).sin().flatten(1)
        a, e, f = self.theta[:3]
        linear = waves @ self.theta[3 : 3 + d * d] + x @ self.theta[3 + d * d :]
        return exact * (1 + a + f * sigma.log()) + e * x.cosh().log().sum(1) + linear


@pytest.mark.parametrize("mutant", [False, True])
def test_the_expected_gradient_is_zero_at_the_true_energy(seed, mutant):
    """Denoising through the model object, 60 batches of 200; the mutant has the energy's sign wrong."""

    def make(model, noise):
        net = ProbeEnergy(gauss3(), model.theta, -1.0 if mutant else 1.0)
        return Objective(EnergyModel(net), DenoisingScoreMatching(), noise)

    p = losses.fixpoint(make, gauss3(), seed, batches=60)
    assert (p < ALPHA) is mutant


# ------------------------------------------------------------------------------------------------------------ boundary


class Shaped(nn.Module):
    def __init__(self, *shape: int):
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return x.sum() * torch.ones(self.shape)


@pytest.mark.parametrize("output", [(3, 1), (3, 2), (1,), (2,), (), (1, 3)])
def test_an_energy_of_another_shape_is_refused_with_both_shapes(output):
    text = rf"^Shaped maps x of shape \(3, 2\) to \({', '.join(map(str, output))},?\): an energy is one number per"
    model, x, sigma = EnergyModel(Shaped(*output)), torch.zeros(3, 2), torch.ones(3)
    for call in (model, model.energy):
        with pytest.raises(ValueError, match=text) as caught:
            call(x, sigma)
        assert "here (3,) (a score, of the shape of x, belongs in DirectScore)" in str(caught.value)
    assert EnergyModel(Shaped(3)).energy(x, sigma).shape == (3,)


def test_an_energy_in_the_place_of_a_score_is_refused():
    with pytest.raises(ValueError, match=r"Closed maps x of shape \(3, 2\) to \(3,\): a score has the shape of x"):
        DirectScore(Closed())(torch.zeros(3, 2), torch.ones(3))


@pytest.mark.parametrize(
    ("x", "sigma"),
    [
        (torch.zeros(3), torch.ones(3)),
        (torch.zeros(3, 2), torch.ones(())),
        (torch.zeros(3, 2), torch.ones(2)),
        (torch.zeros(3, 2), torch.ones(3, 1)),
    ],
)
def test_the_boundary_refuses_wrong_shapes_and_shows_both(x, sigma):
    model = EnergyModel(Closed())
    for call in (model, model.energy):
        with pytest.raises(ValueError, match=r"x of shape \(B, \*E\) and sigma of shape \(B,\); got \("):
            call(x, sigma)


def test_an_energy_that_cannot_be_differentiated_is_refused():
    """Its score would be 0 everywhere, in silence."""

    class Detached(nn.Module):
        def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
            return sum_event(x.detach())

    with pytest.raises(ValueError, match=r"log density of shape \(3,\) that cannot be differentiated.*detach\(\)"):
        EnergyModel(Detached())(torch.zeros(3, 2), torch.ones(3))


def test_the_condition_is_passed_on_where_there_is_one():
    net, x, sigma = Closed(), draws(0, 3, 2), levels(0, 3)
    condition = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    model = EnergyModel(net)
    torch.testing.assert_close(model.energy(x, sigma, condition), condition * model.energy(x, sigma))
    torch.testing.assert_close(model(x, sigma, condition), condition.unsqueeze(1) * model(x, sigma))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_score_has_the_type_of_x_and_the_energy_digits_enough_for_a_ratio(dtype):
    model = EnergyModel(scalar((2,))).to(dtype)
    x, sigma = draws(0, 3, 2).to(dtype), torch.ones(3, dtype=dtype)
    assert model(x, sigma).dtype == dtype
    assert model.energy(x, sigma).dtype == (torch.float32 if dtype == torch.bfloat16 else dtype)
    assert model.dtype == dtype
    assert model.device == torch.device("cpu")


def test_autocast_within_leaves_types_and_training_alone():
    """The weights that autocast keeps from an evaluation without autograd do not cut off the gradient after it."""
    model, x, sigma = EnergyModel(scalar((3,)).float()), draws(0, 16, 3).float(), torch.ones(16)
    plain = torch.autograd.grad(model(x, sigma).square().sum(), list(model.parameters()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with torch.no_grad():
            assert model.energy(x, sigma).dtype == torch.float32
            assert (model(x, sigma) - DirectScore(MLP((3,)))(x, sigma)).dtype == torch.float32
        score = model(x, sigma)
    assert score.dtype == torch.float32
    for cast, full in zip(torch.autograd.grad(score.square().sum(), list(model.parameters())), plain, strict=True):
        assert 0 < (cast - full).norm() < 0.05 * full.norm()


# ----------------------------------------------------------------------------------------------------- levels, targets


def test_the_levels_are_the_schedules_or_the_networks_however_it_is_wrapped():
    assert EnergyModel(Closed()).noise_levels is None
    assert torch.equal(EnergyModel(Closed(), noise=Geometric()).noise_levels, Geometric().levels())
    table = Closed()
    table.register_buffer("noise_levels", torch.tensor([1.0, 0.5]))
    compiled = torch.compile(table, backend="eager")
    for net in (table, InnerProduct(table), compiled, InnerProduct(compiled)):
        assert EnergyModel(net).noise_levels.tolist() == [1.0, 0.5]
    apart = nn.Module()
    apart.part = table  # not the same network behind another name
    assert EnergyModel(apart).noise_levels is None
    rounded = RoundToLevels(EnergyModel(table))
    assert not rounded.inference_mode
    x = draws(0, 2, 2)
    torch.testing.assert_close(
        rounded(x, torch.tensor([0.9, 0.3])), table.score(x, torch.tensor([1.0, 0.5])), check_dtype=False
    )


def test_the_target_knows_its_log_density_and_gets_both_from_one_evaluation():
    net = Closed()
    target = EnergyModel(net).at(0.5)
    x, sigma = draws(0, 3, 2), torch.full((3,), 0.5, dtype=torch.float64)
    assert torch.equal(target.log_prob(x), -net(x, sigma))
    torch.testing.assert_close(target.score(x), net.score(x, sigma), rtol=1e-12, atol=1e-12)
    for first, second in (("score", "log_prob"), ("log_prob", "score")):
        point, before = target.point(x), net.calls
        values = {name: getattr(point, name) for name in (first, second)}
        assert net.calls == before + 1
        assert torch.equal(values["log_prob"], target.log_prob(x))
        assert torch.equal(values["score"], target.score(x))


def test_what_sampling_asks_of_it_and_sampling():
    """Chains by the energy are the closed form's, draw for draw; dropout is off meanwhile and on again after."""
    density = Gaussian((0.5, -1.0), 0.7)

    class Exact(nn.Module):
        def __init__(self):
            super().__init__()
            self.dropout = nn.Dropout(0.5)

        def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
            return sum_event(self.dropout(x - x.new_tensor(density.mean)).square()) / (0.7 + sigma**2) / 2

    model = EnergyModel(Exact())
    assert not model.inference_mode
    model.set_moments(torch.tensor(density.mean), torch.full((2,), 0.7**0.5))
    sampler = annealed_langevin(Geometric(2.0, 0.1, 4), steps_per_level=5)
    by_energy, closed = (
        sample(sampler, family, (50, 2), generator=PerChain(0), dtype=torch.float64) for family in (model, density)
    )
    torch.testing.assert_close(by_energy, closed, rtol=1e-6, atol=1e-6)  # the model's moments are float32
    assert model.net.dropout.training


# ------------------------------------------------------------------------------------------- configuration, checkpoints


class Plugin:
    @hookimpl
    def scorekit_networks(self):
        return {"scalar": ScalarMLP, "product": InnerProduct}

    @hookimpl
    def scorekit_models(self):
        return {"an-energy": EnergyModel}


MODELS = {
    "scalar": lambda: EnergyModel(ScalarMLP((2, 3), 5, 3, "silu", False), SingleLevel(0.5)),
    "product": lambda: EnergyModel(InnerProduct(MLP((2, 3), 5))),
}


@pytest.fixture(scope="module")
def registry() -> Registry:
    made = Registry()
    made.register(Plugin(), "energies")
    return made


@pytest.mark.parametrize("name", MODELS)
def test_a_models_configuration_is_its_constructors_arguments(registry, name):
    model = MODELS[name]()
    config = json.loads(json.dumps(to_config(model, registry=registry), allow_nan=False))
    again = from_config(config, registry=registry)
    assert type(again) is EnergyModel
    assert to_config(again, registry=registry) == config
    if name == "scalar":
        assert config["params"]["net"]["params"] == {
            "event_shape": [2, 3], "width": 5, "depth": 3, "activation": "silu", "conditional": False
        }  # fmt: skip
        assert config["params"]["noise"]["params"] == {"sigma": 0.5}


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_model_comes_back(registry, name, tmp_path, monkeypatch):
    monkeypatch.setattr("scorekit.config.default_registry", lambda: registry)
    model, x, sigma = MODELS[name]().double(), draws(0, 4, 2, 3), levels(0, 4)
    model.set_moments(torch.zeros(2, 3), torch.ones(2, 3))
    sk.save(tmp_path, model)
    again = sk.load(tmp_path)
    assert torch.equal(again(x, sigma), model(x, sigma))
    assert torch.equal(again.moments[1], model.moments[1])


# ------------------------------------------------------------------------------------------------------ from_log_prob


@pytest.mark.parametrize("density", [gauss3(), mixture3()], ids=["gaussian", "mixture"])
@pytest.mark.parametrize("mode", MODES)
def test_a_log_densitys_score_is_the_closed_form(density, mode):
    family = from_log_prob(density.log_prob)
    with mode():
        x = draws(0, 7, *density.event_shape)
        for sigma in (0.0, 0.3, 2.0):
            point = family.at(sigma).point(x)
            assert torch.equal(point.log_prob, density.log_prob(x, sigma))
            torch.testing.assert_close(point.score, density.score(x, sigma), rtol=1e-10, atol=1e-10)
            torch.testing.assert_close(family.at(sigma).score(x), density.score(x, sigma), rtol=1e-10, atol=1e-10)


def test_a_log_density_is_handed_the_float_and_evaluated_once_for_both():
    seen = []

    def function(x: Tensor, sigma: float) -> Tensor:
        seen.append(sigma)
        return -sum_event(x.square()) / 2 / (1 + sigma**2)

    point = from_log_prob(function).at(2.0).point(torch.ones(2, 2))
    assert point.score.tolist() == [[pytest.approx(-0.2)] * 2] * 2
    assert point.log_prob.tolist() == pytest.approx([-0.2] * 2)
    assert seen == [2.0]
    assert isinstance(seen[0], float)


@pytest.mark.parametrize("batch", [2, 3])  # with two chains of two coordinates all of a shape's numbers are alike
def test_a_score_in_the_place_of_a_log_density_is_refused_with_both_shapes(batch):
    target = from_log_prob(lambda x, sigma: -x / (1 + sigma**2)).at(1.0)
    shape = rf"\({batch}, 2\)"
    text = rf"maps x of shape {shape} to {shape}: expected one number per example, here \({batch},\) \(a score"
    for ask in (target.score, target.log_prob, target.value_and_score):
        with pytest.raises(ValueError, match=text):
            ask(torch.ones(batch, 2))
    with pytest.raises(ValueError, match=rf"to \({batch}, 1\): expected one number per example"):
        from_log_prob(lambda x, sigma: -x[:, :1]).at(1.0).log_prob(torch.ones(batch, 2))
    with pytest.raises(ValueError, match=rf"to \({batch},\): a score has the shape of x"):
        from_score(lambda x, sigma: -sum_event(x)).at(1.0).score(torch.ones(batch, 2))


@pytest.mark.parametrize(
    "function",
    [
        torch.no_grad()(lambda x, sigma: -sum_event(x.square())),
        lambda x, sigma: -sum_event(x.detach().square()),
        lambda x, sigma: torch.where(x[:, 0] > 0, 0.0, -math.inf),
    ],
    ids=["no_grad", "detached", "flat"],
)
def test_a_log_density_without_a_gradient_is_refused_rather_than_given_the_score_zero(function):
    target = from_log_prob(function).at(1.0)
    assert target.log_prob(torch.ones(3, 2)).shape == (3,)
    with pytest.raises(
        ValueError, match=r"shape \(3,\) that cannot be differentiated.*add 0 \* x.flatten\(1\).sum\(1\)"
    ):
        target.score(torch.ones(3, 2))


def test_a_flat_density_says_so():
    family = from_log_prob(lambda x, sigma: torch.where(x[:, 0] > 0, 0.0, -math.inf) + 0 * x.flatten(1).sum(1))
    point = family.at(1.0).point(torch.tensor([[1.0], [-1.0]]))
    assert point.log_prob.tolist() == [0.0, -math.inf]
    assert point.score.tolist() == [[0.0], [0.0]]


def test_the_score_keeps_the_type_of_x_where_the_log_density_is_wider():
    weights = torch.ones(2, dtype=torch.float64)
    point = from_log_prob(lambda x, sigma: -sum_event(x.square() * weights)).at(1.0).point(torch.ones(2, 2))
    assert point.score.dtype == torch.float32
    assert point.log_prob.dtype == torch.float64


def test_chains_by_a_log_density_are_those_by_its_score():
    sampler = langevin(step_size=Constant(0.05), num_steps=20, start=Uniform(-1.0, 1.0))
    density = GaussianMixture(((1.0, 1.0), (-1.0, 0.0)), stds=0.6)
    one, two = (
        sample(sampler, family, (20, 2), generator=PerChain(3), dtype=torch.float64)
        for family in (from_log_prob(density.log_prob), from_score(density.score))
    )
    torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"function": 3}, TypeError, r"from_log_prob\(3\): expected a function \(x, sigma\) -> log density"),
        ({"min_sigma": -1}, ValueError, r"from_log_prob\(min_sigma=-1\): expected 0 <= min_sigma < inf"),
        ({"moments": (0.0, -1.0)}, ValueError, r"from_log_prob\(moments=\(0.0, -1.0\)\): expected finite values"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, text):
    with pytest.raises(error, match=text):
        from_log_prob(**{"function": lambda x, sigma: -sum_event(x), **arguments})


def test_a_log_density_states_its_limits():
    family = from_log_prob(lambda x, sigma: -sum_event(x), min_sigma=0.1, moments=(0.5, 2.0))
    assert family.min_sigma == 0.1
    assert [moment.item() for moment in family.moments] == [0.5, 2.0]
    assert family.inference_mode is False
    assert repr(family).startswith("from_log_prob(<function")
    with pytest.raises(ValueError, match=r"sigma = 0.05 is below the smallest level 0.1 at which LogProbFunction"):
        family.require(torch.tensor([0.05], dtype=torch.float64))


def test_value_and_score_differentiates_again():
    x = draws(0, 3, 2).requires_grad_()
    value, score = value_and_score(lambda y: -sum_event(y**4) / 4, x)
    torch.testing.assert_close(value, -sum_event(x**4) / 4)
    (curvature,) = torch.autograd.grad(score.sum(), x)
    torch.testing.assert_close(curvature, -3 * x**2)
