"""An energy model as the rest of the library meets it: its boundary, levels, targets, and configuration."""

import json

import pytest
import torch
from torch import Tensor, nn

import scorekit as sk
from scorekit import (
    DirectScore,
    Geometric,
    PerChain,
    RoundToLevels,
    SingleLevel,
    annealed_langevin,
    sample,
)
from scorekit.base import sum_event
from scorekit.config import from_config, to_config
from scorekit.densities import Gaussian
from scorekit.energies import EnergyModel
from scorekit.hookspecs import hookimpl
from scorekit.networks import MLP, InnerProduct, ScalarMLP
from scorekit.registry import Registry
from tests.energies.cases import Closed, draws, levels, scalar


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
