import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import scorekit as sk
from scorekit import (
    Denoise,
    DirectScore,
    Geometric,
    PerChain,
    RoundToLevels,
    ScaledScore,
    SingleLevel,
    Uniform,
    annealed_langevin,
    from_score,
    sample,
)
from scorekit.base import expand


class Echo(nn.Module):
    """f(x, sigma) = sigma, so that a score shows which sigma the network was given."""

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return expand(sigma, x).expand_as(x) + (0 if condition is None else expand(condition, x))


class WithTable(nn.Module):
    """A network that knows a table of levels."""

    def __init__(self, levels: list[float]):
        super().__init__()
        self.register_buffer("noise_levels", torch.tensor(levels))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.scale * expand(sigma, x).expand_as(x)


class Linear(nn.Module):
    """A network that computes in low precision under autocast."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.types: list[torch.dtype] = []

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        output = self.layer(x)
        self.types.append(output.dtype)
        return output


X = torch.zeros(3, 2)
SIGMA = torch.tensor([1.0, 0.5, 0.25])


def test_direct_and_scaled_scores():
    assert torch.equal(DirectScore(Echo())(X, SIGMA), SIGMA.unsqueeze(1).expand(3, 2))
    assert torch.equal(ScaledScore(Echo())(X, SIGMA), torch.ones(3, 2))


def test_a_scaled_score_scales_exactly_as_one_over_sigma_whatever_the_rank():
    x = torch.ones(3, 2, 2, 2)
    score = ScaledScore(_Constant())(x, SIGMA)
    for i, sigma in enumerate(SIGMA.tolist()):
        assert torch.equal(score[i], torch.full((2, 2, 2), 1 / sigma))


@pytest.mark.parametrize("model", [DirectScore(Echo()), ScaledScore(Echo())], ids=["direct", "scaled"])
@pytest.mark.parametrize(
    ("x", "sigma"),
    [
        (torch.zeros(3), torch.ones(3)),
        (torch.zeros(()), torch.ones(())),
        (torch.zeros(3, 2), torch.ones(())),
        (torch.zeros(3, 2), torch.ones(2)),
        (torch.zeros(3, 2), torch.ones(1)),
        (torch.zeros(3, 2), torch.ones(3, 1)),
    ],
)
def test_the_boundary_refuses_wrong_shapes_and_shows_both(model, x, sigma):
    with pytest.raises(ValueError, match=r"x of shape \(B, \*E\) and sigma of shape \(B,\); got \("):
        model(x, sigma)


@pytest.mark.parametrize("output", [(3,), (3, 3), (1, 2), (3, 2, 1)])
def test_the_boundary_refuses_a_network_that_changes_the_shape(output):
    net = _Constant(output)
    with pytest.raises(ValueError, match=r"_Constant maps x of shape \(3, 2\) to \(.*a score has the shape of x"):
        DirectScore(net)(X, SIGMA)


def test_the_condition_is_passed_on_where_there_is_one():
    condition = torch.tensor([10.0, 20.0, 30.0])
    assert DirectScore(Echo())(X, SIGMA, condition)[:, 0].tolist() == [11.0, 20.5, 30.25]
    rounded = RoundToLevels(DirectScore(Echo(), noise=Geometric(1, 0.25, 3)))
    assert rounded(X, SIGMA, condition)[:, 0].tolist() == [11.0, 20.5, 30.25]


@pytest.mark.parametrize("make", [DirectScore, ScaledScore])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_score_has_the_type_of_x_whatever_autocast_did(make, dtype):
    net = Linear().to(dtype)
    x = torch.ones(2, 3, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        score = make(net)(x, torch.full((2,), 1e-3, dtype=dtype))
    assert score.dtype == dtype
    assert net.types == [torch.bfloat16 if dtype == torch.float32 else dtype]  # autocast did act, on float32
    assert score.isfinite().all()


def test_the_levels_of_a_model_are_the_schedules_or_the_networks():
    assert DirectScore(Echo()).noise_levels is None
    assert torch.equal(DirectScore(Echo(), noise=Geometric()).noise_levels, Geometric().levels())
    assert DirectScore(WithTable([1.0, 0.1])).noise_levels.tolist() == pytest.approx([1.0, 0.1])


@pytest.mark.parametrize("min_sigma", [0.0, -1.0, math.inf, math.nan])
def test_a_scaled_score_refuses_a_smallest_level_of_0(min_sigma):
    with pytest.raises(ValueError, match=rf"ScaledScore\(min_sigma={min_sigma}\).*0 < min_sigma < inf"):
        ScaledScore(Echo(), min_sigma=min_sigma)


def test_the_smallest_levels():
    assert DirectScore(Echo()).min_sigma == 0
    assert ScaledScore(Echo(), min_sigma=0.2).min_sigma == 0.2


# --------------------------------------------------------------------------------------------------- RoundToLevels


@given(sigma=st.floats(1e-4, 1e3), num_levels=st.integers(2, 12))
def test_rounding_takes_the_nearest_level_in_log_sigma(sigma, num_levels):
    noise = Geometric(10.0, 0.01, num_levels)
    model = RoundToLevels(DirectScore(Echo(), noise=noise))
    asked = torch.full((2,), sigma, dtype=torch.float64)
    given_level = model(torch.zeros(2, 1, dtype=torch.float64), asked)[0, 0].item()
    distance = (noise.levels().log() - math.log(sigma)).abs()
    assert abs(math.log(given_level) - math.log(sigma)) <= distance.min() + 1e-12
    assert given_level in noise.levels().tolist()


def test_rounding_in_log_sigma_is_not_rounding_in_sigma():
    """.4 lies nearer to 1 than to .1 in log sigma, and nearer to .1 in sigma."""
    model = RoundToLevels(DirectScore(Echo(), noise=Geometric(1, 0.1, 2)))
    assert model(torch.zeros(1, 1), torch.tensor([0.4])).item() == 1.0
    assert abs(0.4 - 0.1) < abs(0.4 - 1.0)


@pytest.mark.parametrize("levels", [[1.0, 0.5, 0.1], [0.1, 0.5, 1.0], [0.5, 1.0, 0.1]])
def test_rounding_at_and_beyond_the_ends_and_at_0_whatever_the_tables_order(levels):
    model = RoundToLevels(DirectScore(WithTable(levels)))
    asked = torch.tensor([0.0, 1e-9, 0.05, 0.1, 0.5, 1.0, 2.0, 1e9])
    scores = model(torch.zeros(8, 1), asked)[:, 0]
    assert scores.tolist() == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.5, 1.0, 1.0, 1.0])


def test_rounding_to_one_level():
    model = RoundToLevels(DirectScore(Echo(), noise=SingleLevel(0.3)))
    assert model(torch.zeros(3, 1), SIGMA)[:, 0].tolist() == pytest.approx([0.3] * 3)


def test_a_rounded_model_is_sampled_at_any_levels_and_keeps_the_moments():
    inner = DirectScore(WithTable([1.0, 0.1]))
    inner.set_moments(torch.zeros(2), torch.ones(2))
    model = RoundToLevels(inner)
    assert model.noise_levels is None
    assert model.min_sigma == 0
    assert model.inference_mode is inner.inference_mode
    assert [moment.tolist() for moment in model.moments] == [[0.0, 0.0], [1.0, 1.0]]
    x = sample(annealed_langevin(Geometric(2, 0.05, 4), steps_per_level=2), model, (3, 2), generator=PerChain(0))
    assert x.isfinite().all()
    with pytest.raises(ValueError, match="in RoundToLevels answers"):
        sample(annealed_langevin(Geometric(2, 0.05, 4), steps_per_level=2), inner, (3, 2))


def test_the_table_of_a_rounded_model_is_no_part_of_its_state():
    """It follows from the wrapped model, so a checkpoint of another float type or device restores."""
    model = RoundToLevels(DirectScore(WithTable([1.0, 0.1])))
    assert set(model.state_dict()) == {"model.net.noise_levels", "model.net.scale"}


def test_there_must_be_something_to_round_to():
    with pytest.raises(ValueError, match=r"RoundToLevels\(DirectScore\): the model is valid at every sigma"):
        RoundToLevels(DirectScore(Echo()))


# ------------------------------------------------------------------------------------------------------- from_score


def test_a_function_is_handed_the_float():
    seen = []

    def function(x: Tensor, sigma: float) -> Tensor:
        seen.append(sigma)
        return -x / (1 + sigma**2)

    family = from_score(function)
    x = torch.ones(2, 2)
    assert torch.equal(family.at(2.0).point(x).score, -x / 5)
    assert seen == [2.0]
    assert isinstance(seen[0], float)


def test_a_function_may_differentiate_when_sampled():
    def energy_gradient(x: Tensor, sigma: float) -> Tensor:
        with torch.enable_grad():
            y = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(y.square().sum() / (2 * (1 + sigma**2)), y)
        return -gradient

    sampler = annealed_langevin(Geometric(1, 0.1, 3), steps_per_level=3, start=Uniform(), final=Denoise())
    by_autograd = sample(sampler, from_score(energy_gradient), (4, 2), generator=PerChain(0))
    closed = sample(sampler, from_score(lambda x, sigma: -x / (1 + sigma**2)), (4, 2), generator=PerChain(0))
    assert torch.allclose(by_autograd, closed, atol=1e-6)


def test_a_log_density_in_the_place_of_a_score_is_refused():
    with pytest.raises(ValueError, match=r"maps x of shape \(2, 2\) to \(2,\): a score has the shape of x"):
        from_score(lambda x, sigma: -x.square().sum(1)).at(1.0).point(torch.ones(2, 2)).score  # noqa: B018


def test_a_score_of_another_type_is_refused():
    """It would turn float32 chains into float64 ones without a word."""
    weights = torch.ones(2, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"maps x of type torch.float32 to torch.float64: a score has the type of x"):
        from_score(lambda x, sigma: -x * weights).at(1.0).point(torch.ones(2, 2)).score  # noqa: B018


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"function": 3}, TypeError, r"from_score\(3\): expected a function"),
        ({"min_sigma": -1}, ValueError, r"min_sigma=-1\): expected 0 <= min_sigma < inf"),
        ({"min_sigma": math.nan}, ValueError, "min_sigma=nan"),
        ({"moments": (0.0, -1.0)}, ValueError, r"moments=\(0.0, -1.0\)\): expected finite values and std >= 0"),
        ({"moments": (math.nan, 1.0)}, ValueError, "finite values"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, text):
    with pytest.raises(error, match=text):
        from_score(**{"function": lambda x, sigma: -x, **arguments})


def test_a_function_family_states_its_limits():
    family = from_score(lambda x, sigma: -x, min_sigma=0.1, moments=(0.5, 2.0))
    assert family.min_sigma == 0.1
    assert [moment.item() for moment in family.moments] == [0.5, 2.0]
    assert family.inference_mode is False
    assert repr(family).startswith("from_score(<function")
    with pytest.raises(ValueError, match=r"sigma = 0.0774264 is below the smallest level 0.1 at which ScoreFunction"):
        sample(annealed_langevin(Geometric()), family, (2, 2))


class _Constant(nn.Module):
    def __init__(self, shape: tuple[int, ...] | None = None):
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return torch.ones(self.shape or x.shape)


def test_rounding_keeps_its_table_in_half_precision():
    noise = sk.Geometric(50.0, 0.01, 1000)  # neighbours differ by .86 %, bfloat16 by .4 to .8 %
    seen = []

    class Look(torch.nn.Module):
        def forward(self, x, sigma):
            seen.append(sigma)
            return x

    levels = noise.levels()
    rounding = sk.RoundToLevels(sk.DirectScore(Look(), noise=noise)).bfloat16().half()
    rounding(torch.zeros(1000, 1), levels.float())
    assert torch.allclose(seen[0].double(), levels, rtol=1e-6)


def test_rounding_has_the_moments_of_its_model():
    inner = sk.DirectScore(torch.nn.Linear(2, 2), noise=sk.Geometric())
    rounding = sk.RoundToLevels(inner)
    assert rounding.moments is None
    inner.set_moments(torch.ones(2), torch.ones(2))
    assert torch.equal(rounding.moments[0], torch.ones(2))
    rounding.set_moments(torch.zeros(2), torch.ones(2))
    assert torch.equal(rounding.moments[0], torch.zeros(2))


def test_a_schedule_that_contradicts_the_networks_own_table_is_refused():
    net = sk.networks.RefineNet(image_shape=(1, 4, 4), noise=Geometric(1.0, 0.1, 3), width=2)
    same = DirectScore(net, noise=Geometric(1.0, 0.1, 3))
    assert same.noise_levels.tolist() == Geometric(1.0, 0.1, 3).levels().tolist()
    for other in (Geometric(1.0, 0.1, 4), Geometric(2.0, 0.1, 3)):
        with pytest.raises(ValueError, match=r"RefineNet keeps a table of its own, of 3 levels from 1 to 0.1"):
            DirectScore(net, noise=other)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("order", [1, -1])
def test_a_schedule_agrees_with_the_same_table_rounded_or_in_another_order(dtype, order):
    noise = sk.Levels((2.0, 1.0, 0.3))
    net = WithTable([2.0, 1.0, 0.3][::order]).to(dtype)
    assert torch.equal(DirectScore(net, noise=noise).noise_levels, noise.levels())
    with pytest.raises(ValueError, match="of 3 levels from 2 to"):
        DirectScore(net, noise=sk.Levels((2.0, 1.0, 0.297)))


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.optim.swa_utils.AveragedModel])
def test_a_table_is_found_through_the_wrappers_of_several_processes_and_of_averages(wrap):
    net = wrap(WithTable([1.0, 0.5]))
    assert DirectScore(net).noise_levels.tolist() == [1.0, 0.5]
    with pytest.raises(ValueError, match="keeps a table of its own"):
        DirectScore(net, noise=sk.Levels((2.0, 1.0)))


def test_rounding_to_levels_keeps_the_log_density():
    noise = Geometric(1.0, 0.1, 3)
    energy = sk.EnergyModel(sk.networks.ScalarMLP(event_shape=(2,), width=4), noise=noise).double()
    x = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found, wanted = (family.at(sigma).point(x) for family, sigma in ((RoundToLevels(energy), 0.13), (energy, 0.1)))
    assert torch.equal(found.log_prob, wanted.log_prob)
    assert torch.equal(found.score, wanted.score)
    assert RoundToLevels(DirectScore(nn.Linear(2, 2), noise=noise)).at(0.13).log_prob is None


def test_a_model_compiled_in_place_trains_and_samples_as_it_was():
    data, noise = torch.randn(40, 2, generator=torch.Generator().manual_seed(0)), Geometric(1.0, 0.1, 3)
    found = []
    for compiled in (False, True):
        torch.manual_seed(0)
        model = ScaledScore(sk.networks.MLP((2,), width=4))
        if compiled:
            model.compile(backend="eager")
        for _ in sk.fit(sk.Objective(model, sk.DenoisingScoreMatching(), noise), data, num_steps=3, batch_size=20):
            pass
        found.append(sample(annealed_langevin(noise, steps_per_level=2), model, (5, 2), generator=PerChain(0)))
        assert list(model.state_dict()) == ["data_mean", "data_std", *(f"net.layers.{i}.{part}" for i in (0, 2, 4)
                                            for part in ("weight", "bias"))]  # fmt: skip
    torch.testing.assert_close(*found)
    wrapped = torch.compile(model, backend="eager")
    with pytest.raises(TypeError, match=r"compile it in place, by model\.compile\(\)"):
        sk.Objective(wrapped, sk.DenoisingScoreMatching(), noise)
