import pytest
import torch

import scorekit as sk


def test_toy_network_of_the_paper():
    net = sk.networks.MLP(event_shape=(2,), conditional=False)
    assert sum(weight.numel() for weight in net.parameters()) == 17_154
    assert [type(layer).__name__ for layer in net.layers] == ["Linear", "Softplus", "Linear", "Softplus", "Linear"]


@pytest.mark.parametrize("shape", [(1,), (2,), (3, 4), (2, 3, 4)])
def test_any_event_shape_and_sigma_from_zero_on(shape):
    net = sk.networks.MLP(shape, width=8).double()
    x = torch.randn(5, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.0, 1e-5, 0.1, 1.0, 50.0], dtype=torch.float64)
    y = net(x, sigma)
    assert y.shape == x.shape
    assert y.isfinite().all()


def test_conditions_on_sigma_example_by_example():
    net = sk.networks.MLP((2,), width=8).double()
    x = torch.ones(3, 2, dtype=torch.float64)
    y = net(x, torch.tensor([0.1, 1.0, 0.1], dtype=torch.float64))
    torch.testing.assert_close(y[0], y[2], rtol=0, atol=1e-12)  # a matrix product may round its rows differently
    assert not torch.allclose(y[0], y[1])
    fixed = sk.networks.MLP((2,), width=8, conditional=False).double()
    assert torch.equal(fixed(x, torch.ones(3)), fixed(x, torch.zeros(3)))


def test_learns_a_gaussian_score():
    """400 steps of Adam bring the objective within 10 % of its optimum, 1/2 s^2 / (s^2 + sigma^2) a dimension."""
    torch.manual_seed(0)
    model = sk.ScaledScore(sk.networks.MLP((2,), width=32))
    objective = sk.Objective(model, sk.DenoisingScoreMatching(), sk.SingleLevel(1.0), weight="sigma^2")
    data = sk.densities.Gaussian((0.0, 0.0), 1.0).sample(4000, generator=torch.Generator().manual_seed(0))
    losses = [step.loss for step in sk.fit(objective, data, num_steps=400, batch_size=256, learning_rate=3e-3)]
    assert sum(losses[-100:]) / 100 == pytest.approx(2 * 0.25, rel=0.1)
    assert losses[0] > 0.7


def test_bad_arguments_are_refused():
    for bad in ({"event_shape": ()}, {"event_shape": (0,)}, {"width": 0}, {"depth": 0}):
        with pytest.raises(ValueError, match="every size must be >= 1"):
            sk.networks.MLP(**{"event_shape": (2,), **bad})
    with pytest.raises(ValueError, match=r"'relu'.*softplus"):
        sk.networks.MLP((2,), activation="relu")
    net = sk.networks.MLP((2,))
    with pytest.raises(ValueError, match=r"\(4, 3\), expected \(B, 2\)"):
        net(torch.zeros(4, 3), torch.ones(4))
    for sigma in (torch.tensor(1.0), torch.ones(1), torch.ones(4, 1)):
        with pytest.raises(ValueError, match=r"sigma of shape .*, expected \(B,\) = \(4,\)"):
            net(torch.zeros(4, 2), sigma)
    with pytest.raises(TypeError, match="no condition"):
        net(torch.zeros(4, 2), torch.ones(4), torch.ones(4))
