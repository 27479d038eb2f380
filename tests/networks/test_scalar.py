import pytest
import torch
from torch import Tensor, nn

import scorekit as sk
from scorekit.base import sum_event
from scorekit.densities import Gaussian
from scorekit.energies import EnergyModel
from scorekit.networks import MLP, InnerProduct, RefineNet, ScalarMLP
from scorekit.noise import Geometric

from .golden import images

NOISE = Geometric(1.0, 0.1, 3)


def draws(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# --------------------------------------------------------------------------------------------------------- ScalarMLP


@pytest.mark.parametrize("shape", [(1,), (2,), (3, 4), (2, 3, 4)])
def test_one_number_per_example_for_any_event_and_sigma_from_zero_on(shape):
    net = ScalarMLP(shape, width=8).double()
    sigma = torch.tensor([0.0, 1e-5, 0.1, 1.0, 50.0], dtype=torch.float64)
    energy = net(draws(0, 5, *shape), sigma)
    assert energy.shape == (5,)
    assert energy.isfinite().all()


def test_it_is_the_mlp_but_for_its_last_layer():
    def body(net: MLP | ScalarMLP) -> list[tuple[str, tuple[int, ...]]]:
        return [(name, tuple(weight.shape)) for name, weight in net.named_parameters()][:-1]

    vector, scalar = MLP((2, 2), 8, 3, "silu"), ScalarMLP((2, 2), 8, 3, "silu")
    assert body(scalar) == body(vector)[:-1]
    assert scalar.layers[-1].weight.shape == (1, 8)
    scalar.load_state_dict({k: v[:1] if k == "layers.6.weight" else v for k, v in vector.state_dict().items()
                            if k != "layers.6.bias"})  # fmt: skip
    x, sigma = draws(1, 3, 2, 2).float(), torch.tensor([0.1, 1.0, 2.0])
    torch.testing.assert_close(scalar(x, sigma), vector(x, sigma)[:, 0, 0] - vector.layers[-1].bias[0])


def test_sigma_is_an_input_unless_it_is_to_be_none():
    x = torch.ones(2, 2)
    sigma = torch.tensor([0.1, 1.0])
    conditional, fixed = ScalarMLP((2,), 64)(x, sigma), ScalarMLP((2,), 64, conditional=False)(x, sigma)
    assert (conditional[0] - conditional[1]).abs() > 1e-4  # typically .04
    torch.testing.assert_close(fixed[0], fixed[1])


def test_every_parameter_gets_a_gradient_from_the_score():
    """A last bias would get none, and processes that train together would wait for it."""
    model = EnergyModel(ScalarMLP((2,), 8))
    model(torch.ones(3, 2), torch.ones(3)).square().sum().backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []
    biased = EnergyModel(_Scalar(nn.Linear(2, 1)))
    biased(torch.ones(3, 2), torch.ones(3)).square().sum().backward()
    assert [name for name, weight in biased.named_parameters() if weight.grad is None] == ["net.layer.bias"]


def jump(net: nn.Module, points: Tensor, step: float = 1e-7) -> float:
    """The largest change of an energy's second derivative within `step`, for a single input."""

    def second(x: Tensor) -> Tensor:
        def gradient(y: Tensor) -> Tensor:
            return torch.func.grad(lambda z: net(z, torch.ones(len(z), dtype=z.dtype)).sum())(y)

        return torch.func.jvp(gradient, (x,), (torch.ones_like(x),))[1]

    return (second(points + step) - second(points - step)).abs().max().item()


@pytest.mark.parametrize("activation", ["softplus", "silu", "tanh"])
def test_second_derivatives_are_continuous(activation):
    """At each unit's own kink, where ELU's second derivative jumps by 1 times the weights."""
    net = ScalarMLP((1,), 8, 1, activation, conditional=False).double()
    kinks = (-net.layers[0].bias / net.layers[0].weight[:, 0]).detach().unsqueeze(1)
    assert jump(net, kinks) < 1e-5
    net.layers[1] = nn.ELU()
    assert jump(net, kinks) > 1e-3


def test_it_learns_a_gaussian():
    """400 steps of Adam bring the objective within 10 % of its optimum, 1/2 s^2 / (s^2 + sigma^2) a dimension, and the
    energy to the Gaussian's, -|x|^2 / (2 (s^2 + sigma^2)) up to a constant."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = EnergyModel(ScalarMLP((2,), width=32))
    objective = sk.Objective(model, sk.DenoisingScoreMatching(), sk.SingleLevel(1.0), weight="sigma^2")
    data = Gaussian((0.0, 0.0), 1.0).sample(4000, generator=torch.Generator().manual_seed(0))
    losses = [step.loss for step in sk.fit(objective, data, num_steps=400, batch_size=256, learning_rate=1e-2)]
    assert sum(losses[-100:]) / 100 == pytest.approx(2 * 0.25, rel=0.1)
    assert losses[0] > 0.7
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, -1.0], [1.0, 1.0]])
    energy = model.energy(x, torch.ones(4))
    assert (energy - energy[0]).tolist() == pytest.approx([0.0, 0.25, 0.25, 0.5], abs=0.1)


def test_bad_arguments_are_refused():
    for bad in ({"event_shape": ()}, {"event_shape": (0,)}, {"width": 0}, {"depth": 0}):
        with pytest.raises(ValueError, match=r"^ScalarMLP\(.*every size must be >= 1"):
            ScalarMLP(**{"event_shape": (2,), **bad})
    for activation in ("relu", "elu"):
        with pytest.raises(ValueError, match=rf"'{activation}'\): expected one of 'softplus', 'silu', 'tanh'$"):
            ScalarMLP((2,), activation=activation)
    net = ScalarMLP((2,))
    with pytest.raises(ValueError, match=r"ScalarMLP: x of shape \(4, 3\), expected \(B, 2\)"):
        net(torch.zeros(4, 3), torch.ones(4))
    with pytest.raises(ValueError, match=r"ScalarMLP: sigma of shape \(1,\), expected \(B,\) = \(4,\)"):
        net(torch.zeros(4, 2), torch.ones(1))
    with pytest.raises(TypeError, match="ScalarMLP takes no condition"):
        net(torch.zeros(4, 2), torch.ones(4), torch.ones(4))


# ------------------------------------------------------------------------------------------------------ InnerProduct


def by_autograd(net: nn.Module, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """x as a leaf, and the score there, by plain autograd."""
    leaf = x.detach().requires_grad_()
    return leaf, -torch.autograd.grad(net(leaf, sigma).sum(), leaf, create_graph=True)[0]


def test_a_linear_symmetric_score_keeps_its_meaning():
    matrix = draws(0, 4, 4)
    symmetric = _Matrix(matrix + matrix.T)
    x, sigma = draws(1, 3, 2, 2), torch.ones(3, dtype=torch.float64)
    score = EnergyModel(InnerProduct(symmetric))(x, sigma)
    torch.testing.assert_close(score, symmetric(x, sigma), rtol=1e-12, atol=1e-12)
    skew = _Matrix(matrix)
    torch.testing.assert_close(
        EnergyModel(InnerProduct(skew))(x, sigma), _Matrix((matrix + matrix.T) / 2)(x, sigma), rtol=1e-12, atol=1e-12
    )


def test_the_score_of_an_inner_product_is_half_of_f_and_half_of_its_jacobians_transpose_on_x():
    net = MLP((3,), 8, 1, "silu").double()
    x, sigma = draws(2, 1, 3), torch.tensor([0.5], dtype=torch.float64)
    jacobian = torch.func.jacrev(lambda y: net(y, sigma))(x).reshape(3, 3)
    expected = (net(x, sigma) + x @ jacobian) / 2
    torch.testing.assert_close(EnergyModel(InnerProduct(net))(x, sigma), expected, rtol=1e-12, atol=1e-12)


@pytest.fixture(scope="module")
def refine() -> EnergyModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return EnergyModel(InnerProduct(RefineNet((1, 8, 8), NOISE, width=4))).double()


def test_a_refinenet_within_keeps_its_table(refine):
    assert refine.noise_levels.tolist() == pytest.approx(NOISE.levels().tolist())
    refine.require(NOISE.levels())
    with pytest.raises(ValueError, match=r"sigma = 0.5 is not one of the 3 levels that EnergyModel was made for"):
        refine.require(torch.tensor([0.5], dtype=torch.float64))


def test_a_refinenet_within_gives_the_score_of_plain_autograd(refine):
    """torch.func takes norm_conv's plain path, autograd its node: two codes for one derivative."""
    x, sigma = images((1, 8, 8)).double(), NOISE.levels()[[0, 2]]
    _, expected = by_autograd(refine.net, x, sigma)
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode():
            torch.testing.assert_close(refine(x, sigma), expected, rtol=1e-10, atol=1e-10)
    assert (expected - refine.net.net(x, sigma)).abs().max() > 0.01  # it is not the network's own output


def test_a_refinenet_within_has_second_derivatives_and_trains(refine):
    """v' J v and its gradient in the parameters, by double backward through the model, against plain autograd."""
    x, sigma = images((1, 8, 8)).double(), NOISE.levels()[[0, 2]]
    v = draws(3, *x.shape)
    weights = list(refine.parameters())

    def quadratic(leaf: Tensor, score: Tensor) -> Tensor:
        return sum_event(v * torch.autograd.grad((score * v).sum(), leaf, create_graph=True)[0])

    leaf = x.clone().requires_grad_()
    score = refine(leaf, sigma)
    ours, plain = quadratic(leaf, score), quadratic(*by_autograd(refine.net, x, sigma))
    torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-10)
    loss = (ours + sum_event(score.square()) / 2).sum()
    gradients = torch.autograd.grad(loss, weights)
    assert all(gradient.isfinite().all() for gradient in gradients)
    other, again = by_autograd(refine.net, x, sigma)
    expected = torch.autograd.grad((quadratic(other, again) + sum_event(again.square()) / 2).sum(), weights)
    largest = max(gradient.abs().max() for gradient in expected)
    for mine, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-10 * largest.item())


def test_the_condition_is_handed_on_and_a_network_that_changes_the_shape_refused():
    class Shift(nn.Module):
        def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
            return x if condition is None else x + condition.unsqueeze(1)

    x = torch.ones(2, 3)
    assert InnerProduct(Shift())(x, torch.ones(2)).tolist() == [-1.5, -1.5]
    assert InnerProduct(Shift())(x, torch.ones(2), torch.tensor([1.0, 2.0])).tolist() == [-3.0, -4.5]
    with pytest.raises(ValueError, match=r"InnerProduct: ScalarMLP maps x of shape \(2, 3\) to \(2,\); expected the"):
        InnerProduct(ScalarMLP((3,)))(x, torch.ones(2))


class _Scalar(nn.Module):
    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.layer(x).squeeze(1)


class _Matrix(nn.Module):
    """f(x) = M x on the flattened event."""

    def __init__(self, matrix: Tensor):
        super().__init__()
        self.matrix = matrix

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return (x.flatten(1) @ self.matrix.T).reshape(x.shape)
