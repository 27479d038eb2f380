"""The classifier: its sizes, what the noise level is to it, its derivatives in x, and what it refuses."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scorekit.networks import ConvClassifier
from scorekit.testing import ConformanceError, check_network

SHAPE = (1, 8, 8)
make = partial(ConvClassifier, SHAPE, 3, width=8)


def draws(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


# -------------------------------------------------------------------------------------------- shapes and the kit's laws


@pytest.mark.parametrize(
    ("image_shape", "num_blocks", "num_features"),
    [
        ((1, 8, 8), 2, 16),
        ((3, 8, 8), 2, 16),
        ((1, 9, 13), 3, 32),
        ((1, 16, 16), 3, 32),
        ((1, 17, 33), 3, 32),
        ((1, 28, 28), 3, 32),
        ((3, 32, 32), 3, 32),
        ((3, 64, 48), 4, 32),
        ((2, 1, 1), 1, 8),
    ],
)
def test_images_of_any_size_have_features_and_logits(image_shape, num_blocks, num_features, generator):
    net = ConvClassifier(image_shape, 5, width=8).double()
    x, sigma = draws(generator, 3, *image_shape), torch.tensor([0.0, 0.1, 50.0], dtype=torch.float64)
    features, logits = net.features(x, sigma), net(x, sigma)
    assert (len(net.blocks), net.num_features) == (num_blocks, num_features)
    assert features.shape == (3, num_features)
    assert logits.shape == (3, 5)
    assert torch.equal(net.head(features), logits)
    assert logits.isfinite().all()
    assert not torch.allclose(net(x.roll(1, 0), sigma), logits)  # it looks at x


@pytest.mark.parametrize("image_shape", [(1, 8, 8), (3, 9, 18)])
def test_it_keeps_the_laws_of_a_network(image_shape):
    check_network(
        partial(ConvClassifier, image_shape, 3, width=8),
        event_shape=image_shape,
        output="logits",
        levels=(0.0, 0.3, 20.0),
    )


class Wrapped(nn.Module):
    """A classifier with its logits spoilt."""

    def __init__(self, spoil: Callable[[Tensor], Tensor]):
        super().__init__()
        self.net, self.spoil = make(), spoil

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.spoil(self.net(x, sigma))


@pytest.mark.parametrize(
    ("spoil", "law"),
    [
        (lambda logits: logits[:, :1], "the shape of the output"),
        (lambda logits: logits[:, 0], "the shape of the output"),
        (lambda logits: logits.unsqueeze(-1), "the shape of the output"),
        (lambda logits: logits.mT, "the shape of the output"),
        (lambda logits: logits.float().half(), "the type of the output"),
        (lambda logits: logits - logits.mean(0), "a row depends on no other row"),
        (lambda logits: logits.detach() + 0 * logits[:, :1].sum().detach().requires_grad_(), "the gradient reaches"),
    ],
)
def test_the_kit_refuses_logits_that_are_none(spoil, law):
    with pytest.raises(ConformanceError, match=law):
        check_network(lambda: Wrapped(spoil), event_shape=SHAPE, output="logits")


def test_the_kit_takes_no_other_output_for_logits():
    with pytest.raises(ConformanceError, match="the shape of the output"):
        check_network(make, event_shape=SHAPE)
    with pytest.raises(ValueError, match=r"output='logit'\): expected one of 'score', 'energy', 'logits'"):
        check_network(make, event_shape=SHAPE, output="logit")


def test_rows_are_independent_in_training_too(generator):
    """Batch norm is the mutant: while it trains, the others of the batch set its statistics."""

    def spread(net: nn.Module) -> float:
        x = draws(generator, 6, *SHAPE)
        return (net.train()(x)[:2] - net(x[:2])).abs().max().item()

    good, bad = make().double(), make().double()
    bad.norm = nn.BatchNorm2d(bad.num_features).double()
    assert spread(good) < 1e-12
    assert spread(bad) > 1e-3


# ------------------------------------------------------------------------------------------------------ the noise level


def test_without_a_sigma_it_is_told_that_images_are_clean(generator):
    net, x = make().double(), draws(generator, 4, *SHAPE)
    assert torch.equal(net(x), net(x, torch.zeros(4, dtype=torch.float64)))
    assert torch.equal(net.features(x), net.features(x, torch.zeros(4, dtype=torch.float64)))
    assert not torch.allclose(net(x), net(x, torch.full((4,), 0.3, dtype=torch.float64)))


def test_each_row_has_its_own_level_by_scale_and_by_embedding(generator):
    net, x = make().double(), draws(generator, 1, *SHAPE).expand(3, -1, -1, -1)
    sigma = torch.tensor([0.1, 1.0, 0.1], dtype=torch.float64)
    logits = net(x, sigma)
    torch.testing.assert_close(logits[0], logits[2], rtol=0, atol=1e-12)
    assert not torch.allclose(logits[0], logits[1])
    scale = (sigma.square() + 0.5**2).rsqrt().reshape(3, 1, 1, 1)
    told = net(x / scale, sigma)  # equal images enter: what is left is the embedding
    assert not torch.allclose(told[0], told[1])
    for block in net.blocks:
        nn.init.zeros_(block.linear.weight)
    deaf = net(x / scale, sigma)
    torch.testing.assert_close(deaf[0], deaf[1], rtol=0, atol=1e-12)
    assert not torch.allclose(net(x, sigma)[0], net(x, sigma)[1])


def test_levels_too_small_for_pixels_are_next_to_clean(generator):
    """A change of level by .001 is nothing at 0 and at 1; between .01 and .1 there is one."""
    net, x = make().double(), draws(generator, 4, *SHAPE)

    def change(sigma: float, other: float) -> float:
        one, two = (net(x, torch.full((4,), each, dtype=torch.float64)) for each in (sigma, other))
        return (one - two).abs().max().item()

    assert change(0.0, 1e-3) < 0.1 * change(0.0, 0.1)
    assert change(1.0, 1.001) < 0.1 * change(0.0, 0.1)


@pytest.mark.parametrize("sigma", [0.0, 0.5, 20.0])
def test_what_enters_the_first_convolution_is_of_order_one_at_every_level(sigma, generator):
    """1000 x 64 normal pixels: 4.9 standard errors of their standard deviation are .014."""

    def spread(net: ConvClassifier) -> float:
        seen: list[Tensor] = []
        net.stem.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
        x = draws(generator, 1000, *SHAPE) * (0.5**2 + sigma**2) ** 0.5
        net(x, torch.full((1000,), sigma, dtype=torch.float64))
        return seen[0].std().item()

    assert spread(make().double()) == pytest.approx(1, abs=0.014)
    assert spread(make(data_std=sigma + 1).double()) < 0.9  # what it is not made for


# ---------------------------------------------------------------------------------------------------------- derivatives


def log_prob(net: nn.Module, sigma: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: -F.cross_entropy(net(x, sigma), labels, reduction="sum")


def test_the_gradient_in_x_by_torch_func_is_autograds_in_every_mode(generator):
    net, x = make().double(), draws(generator, 3, *SHAPE)
    value = log_prob(net, torch.tensor([0.0, 0.3, 5.0], dtype=torch.float64), torch.tensor([0, 1, 2]))
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(value(leaf), leaf)
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode():
            torch.testing.assert_close(torch.func.grad(value)(x), expected, rtol=1e-10, atol=1e-12)
    assert expected.flatten(1).norm(dim=1).min() > 1e-3
    shifts = [1e-6 * direction.reshape(x.shape) for direction in torch.eye(x.numel(), dtype=torch.float64)[::17]]
    slopes = torch.stack([(value(x + each) - value(x - each)) / 2e-6 for each in shifts])
    torch.testing.assert_close(slopes.detach(), expected.flatten()[::17], rtol=1e-5, atol=1e-7)


def test_its_second_derivatives_exist_and_are_symmetric(generator):
    """u' H v = v' H u, and H v is the gradient's slope along v."""
    net, x = make().double(), draws(generator, 2, *SHAPE)
    u, v = draws(generator, *x.shape), draws(generator, *x.shape)
    value = log_prob(net, torch.ones(2, dtype=torch.float64), torch.tensor([0, 1]))

    def along(point: Tensor, direction: Tensor) -> Tensor:
        return torch.func.jvp(torch.func.grad(value), (point,), (direction,))[1]

    with torch.no_grad():
        torch.testing.assert_close((u * along(x, v)).sum(), (v * along(x, u)).sum(), rtol=1e-9, atol=1e-12)
        slope = (torch.func.grad(value)(x + 1e-5 * v) - torch.func.grad(value)(x - 1e-5 * v)) / 2e-5
        torch.testing.assert_close(along(x, v), slope, rtol=1e-4, atol=1e-7)


def test_a_jacobian_of_the_features_row_by_row(generator):
    """vmap over rows, as diagnostics use it: group norm has a batching rule."""
    net, x = make().double(), draws(generator, 2, *SHAPE)
    with torch.no_grad():
        jacobians = torch.func.vmap(torch.func.jacrev(lambda row: net.features(row.unsqueeze(0)).squeeze(0)))(x)
    assert jacobians.shape == (2, net.num_features, *SHAPE)
    whole = torch.func.jacrev(net.features)(x).detach()
    torch.testing.assert_close(jacobians[1], whole[1, :, 1], rtol=1e-9, atol=1e-12)
    assert whole[1, :, 0].abs().max() == 0  # the other row's pixels


# --------------------------------------------------------------------------------------------------- types and refusals


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_type_of_x_is_kept(dtype, generator):
    net, x = make().double(), draws(generator, 4, *SHAPE)
    sigma = torch.tensor([0.0, 0.1, 1.0, 20.0])
    exact, rough = net(x, sigma.double()), net.to(dtype)(x.to(dtype), sigma)
    assert rough.dtype == dtype
    torch.testing.assert_close(rough.double(), exact, rtol=0, atol=10 * torch.finfo(dtype).eps)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_shape": (8, 8)}, r"image_shape=\(8, 8\)\): expected \(C, H, W\), each >= 1"),
        ({"image_shape": (1, 0, 8)}, r"image_shape=\(1, 0, 8\)\): expected \(C, H, W\)"),
        ({"num_classes": 1}, r"num_classes=1\): expected at least 2"),
        ({"width": 6}, r"width=6\): expected a multiple of 4"),
        ({"width": 0}, r"width=0\): expected a multiple of 4, at least 4"),
        ({"data_std": 0.0}, r"data_std=0.0\): expected 0 < data_std < inf"),
        ({"data_std": float("nan")}, r"data_std=nan\)"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=r"^ConvClassifier\(" + message):
        ConvClassifier(**{"image_shape": SHAPE, "num_classes": 3, **arguments})


def test_what_is_no_shape_and_no_batch_of_its_images_is_refused():
    with pytest.raises(TypeError, match=r"ConvClassifier\(image_shape=8\): expected Sequence"):
        ConvClassifier(8, 3)
    net = make()
    with pytest.raises(ValueError, match=r"x of shape \(2, 3, 8, 8\), expected \(B, 1, 8, 8\)"):
        net(torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"x of shape \(1, 8, 8\), expected"):
        net.features(torch.zeros(1, 8, 8))
    for sigma in (torch.tensor(1.0), torch.ones(1), torch.ones(2, 1)):
        with pytest.raises(ValueError, match=r"sigma of shape .*, expected \(B,\) = \(2,\)"):
            net(torch.zeros(2, *SHAPE), sigma)


def test_forward_mode_takes_images_with_the_channels_last_in_memory(generator):
    net, x = ConvClassifier((2, 8, 8), 3, width=4).double(), draws(generator, 2, 2, 8, 8)
    last, direction, sigma = x.contiguous(memory_format=torch.channels_last), torch.ones_like(x), x.new_ones(2)
    found = torch.func.jvp(lambda y: net(y, sigma), (last,), (direction,))[1]
    torch.testing.assert_close(found, torch.func.jvp(lambda y: net(y, sigma), (x,), (direction,))[1])
