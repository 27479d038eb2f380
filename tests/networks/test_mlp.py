import pytest
import torch

import scorekit as sk
from scorekit.testing.configuration import round_trip


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


# ---------------------------------------------------------------------------------------------------------- conditions


def test_without_conditions_nothing_has_changed():
    """The same draws for the same seed, and no new name in the state dict."""
    plain, conditional = (
        seeded(lambda kinds=kinds: sk.networks.MLP((2,), width=8, **kinds)) for kinds in ({}, {"num_classes": 3})
    )
    assert list(plain.state_dict()) == [f"layers.{i}.{name}" for i in (0, 2, 4) for name in ("weight", "bias")]
    assert all(torch.equal(conditional.state_dict()[name], value) for name, value in plain.state_dict().items())
    new = conditional.state_dict().keys() - plain.state_dict().keys()
    assert new == {"condition_embedding.map.weight"}
    assert conditional.condition_embedding.map.weight.shape == (3, 8)


def seeded(make):
    torch.manual_seed(1)
    return make()


def check_vectors_are_more_inputs(net):
    """A vector condition is what more coordinates of x would be: the first layer is linear in both."""
    x, sigma, vectors = torch.randn(4, 2), torch.rand(4), torch.randn(4, 3)
    weight, bias = net.layers[0].weight, net.layers[0].bias
    level = torch.log(sigma.square() + 1e-6) / 2
    embedding = net.condition_embedding.map
    inputs = torch.cat((x, level.unsqueeze(1), vectors), 1)
    hidden = inputs @ torch.cat((weight, embedding.weight), 1).mT + bias + embedding.bias
    torch.testing.assert_close(net(x, sigma, vectors), net.layers[1:](hidden))


def test_a_vector_is_as_good_as_more_inputs():
    net = sk.networks.MLP((2,), width=8, condition_dim=3)
    check_vectors_are_more_inputs(net)
    net.condition_embedding.register_forward_hook(lambda module, args, output: 2 * output)
    with pytest.raises(AssertionError):
        check_vectors_are_more_inputs(net)


@pytest.mark.parametrize(
    ("kinds", "condition"),
    [({"num_classes": 3}, torch.tensor([2, 0, 2, 1])), ({"condition_dim": 2}, torch.arange(8.0).reshape(4, 2) - 4)],
    ids=["labels", "vectors"],
)
def test_each_row_has_its_own_condition(kinds, condition):
    net = sk.networks.MLP((2,), width=8, **kinds).double()
    x, sigma, order = torch.ones(4, 2, dtype=torch.float64), torch.ones(4, dtype=torch.float64), [3, 1, 0, 2]
    y = net(x, sigma, condition)
    torch.testing.assert_close(net(x[order], sigma[order], condition[order]), y[order])
    assert not torch.allclose(net(x, sigma, condition[order]), y)
    assert isinstance(round_trip(net), sk.networks.MLP)
    assert round_trip(net).num_classes == net.num_classes


def test_conditions_that_do_not_fit_are_refused():
    x, sigma = torch.zeros(4, 2), torch.ones(4)
    net = sk.networks.MLP((2,), num_classes=3)
    with pytest.raises(TypeError, match=r"MLP was called without a condition: expected labels"):
        net(x, sigma)
    with pytest.raises(ValueError, match=r"MLP: a condition of labels from 0 to 3: expected labels .* 0 to 2"):
        net(x, sigma, torch.arange(4))
    with pytest.raises(TypeError, match=r"MLP: a condition of type torch.float32: expected labels"):
        net(x, sigma, torch.ones(4))
    with pytest.raises(ValueError, match="exactly one of them is given"):
        sk.networks.MLP((2,), num_classes=3, condition_dim=2)
    with pytest.raises(TypeError, match="ScalarMLP takes no condition"):
        sk.networks.ScalarMLP((2,))(x, sigma, torch.zeros(4, dtype=torch.int64))


def landed(labels_in_training, labels, seed, num_steps=400):
    """How many of the samples drawn for `labels` are nearest to their own class's mode, after training with others.

    Classes 0 and 1 are N((-2, 0), .3^2 I) and N((2, 0), .3^2 I).
    """
    torch.manual_seed(seed)
    modes = torch.tensor([[-2.0, 0.0], [2.0, 0.0]])
    x = modes[labels] + 0.3 * torch.randn(len(labels), 2)
    model = sk.ScaledScore(sk.networks.MLP((2,), width=32, activation="silu", num_classes=2))
    objective = sk.Objective(model, sk.DenoisingScoreMatching(), sk.Geometric(4.0, 0.1, 20))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(num_steps):
        rows = torch.randint(len(x), (256,))
        optimizer.zero_grad()
        objective(x[rows], labels_in_training[rows]).loss.backward()
        optimizer.step()
    family = sk.from_score(lambda x, sigma: model(x, x.new_full((len(x),), sigma), labels), moments=(0.0, 1.5))
    drawn = sk.sample(sk.dpm_solver(sk.Geometric(4.0, 0.1, 20)), family, (len(labels), 2), generator=sk.PerChain(seed))
    return ((drawn[:, 0] > 0) == (labels == 1)).float().mean().item()


def test_samples_of_a_class_land_in_its_mode_unless_training_mixed_the_labels_up(seed):
    """512 samples; with labels of another order the classes are one to the network, and half land where they should,
    to 4.9 standard errors of .022, and what the network has learned of chance correlations in 512 labels."""
    labels = torch.arange(512) % 2
    assert landed(labels, labels, seed % 2**31) > 0.97
    mixed = labels[torch.randperm(512)]
    assert landed(mixed, labels, seed % 2**31) < 0.75
