"""The networks of NCSNv2: golden figures, what their output obeys, gradients, and what they refuse."""

import inspect
import re
from functools import partial

import pytest
import torch
import torch.nn.functional as F

import scorekit as sk
from scorekit.networks import norm_conv
from scorekit.networks.norm import InstanceNorm, NoNorm
from scorekit.networks.refinenet import NCSNv2, NCSNv2Deeper, NCSNv2Deepest, blocks, layers, ncsnv2, skeleton

from .golden import WRONG_NORMS, Figures, check_figures, fill, images, sigmas

NOISE = sk.Geometric(50.0, 0.01, 232)
NETS = [NCSNv2, NCSNv2Deeper, NCSNv2Deepest]
SMALLEST = {NCSNv2: (1, 8, 8), NCSNv2Deeper: (1, 8, 8), NCSNv2Deepest: (1, 16, 16)}

# network of width 8 for 32 pixels, labels, figures of its output over sigma
ROWS = {
    NCSNv2: ([0, 231], Figures(-53440.57149, (-0.00041670, -0.00010311, 0.00004349), -14.53825906,
     (0.496781, 3043.069401))),
    NCSNv2Deeper: ([100], Figures(-700.50040233, (0.10018627, 0.12696871, 0.11903499), -0.14285154, (24.454299,))),
}  # fmt: skip
SHAPE = (3, 32, 32)


def check_row(make, dtype=torch.float64, tolerance=1e-6, model=sk.ScaledScore, **options):
    labels, figures = ROWS[make]
    with torch.no_grad():
        net = model(fill(make(SHAPE, width=8, **options), dtype))
        y = net(images(SHAPE, len(labels)).to(dtype), sigmas(labels, NOISE).to(dtype))
    check_figures(y, figures, tolerance)


# ---------------------------------------------------------------------------------------------------------- golden rows


@pytest.mark.parametrize("make", ROWS)
def test_golden_rows(make):
    check_row(make)
    check_row(make, torch.float32, 1e-3)


def without_means(self):
    return self.conv.weight, self.conv.bias, self.geometry


class Unchained(blocks.ChainedMaxima):
    """Each link from the start, not from the link before."""

    def forward(self, x, level):
        start = x = F.elu(x)
        for conv in self.convs:
            x = x + conv(F.max_pool2d(start, 5, stride=1, padding=2))
        return x


class WithoutElu(blocks.ChainedMaxima):
    def forward(self, x, level):
        path = x
        for conv in self.convs:
            path = conv(F.max_pool2d(path, 5, stride=1, padding=2))
            x = x + path
        return x


def parts(norm=InstanceNorm, refine_norm=lambda channels: NoNorm(), pooling=blocks.ChainedMaxima):
    return ncsnv2, "sparsely_normalised", lambda: blocks.Parts(norm, refine_norm, pooling)


INTERPOLATE = F.interpolate
MUTANTS = WRONG_NORMS | {
    "a norm in the refine blocks": parts(refine_norm=InstanceNorm),
    "no norm in the residual blocks": parts(norm=lambda channels: NoNorm()),
    "links of the chained pooling from its start": parts(pooling=Unchained),
    "no ELU before the chained pooling": parts(pooling=WithoutElu),
    "means in the chained pooling": (
        F, "max_pool2d", lambda x, size, stride, padding: F.avg_pool2d(x, size, stride, padding)
    ),
    "ReLU in the refine blocks": (F, "elu", F.relu),
    "a stride in place of a mean": (layers.ConvMeanPool, "form", without_means),
    "corners not aligned": (
        F, "interpolate",
        lambda h, size, mode, align_corners: INTERPOLATE(h, size=size, mode=mode, align_corners=False)
    ),
    "one output block at the end": (
        skeleton, "RefineBlock",
        lambda channels_in, channels_out, parts, *, num_output_blocks: blocks.RefineBlock(
            channels_in, channels_out, parts
        )
    ),
    "three output blocks everywhere": (
        skeleton, "RefineBlock",
        lambda channels_in, channels_out, parts, *, num_output_blocks: blocks.RefineBlock(
            channels_in, channels_out, parts, num_output_blocks=3
        )
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_miss_the_golden_row(name, monkeypatch):
    monkeypatch.setattr(*MUTANTS[name])
    with pytest.raises(AssertionError):
        check_row(NCSNv2)


def test_other_uses_of_the_network_miss_the_golden_row():
    with pytest.raises(AssertionError):
        check_row(NCSNv2, model=sk.DirectScore)
    with pytest.raises(AssertionError):
        check_row(NCSNv2, centered=False)


DOWN, STAGES = skeleton.Stage, ncsnv2.FIVE_CASCADES.encoder
PLANS = {
    "res3 dilated, not down": {2: DOWN("res3", 2, dilation=2)},
    "res4 without dilation": {3: DOWN("res4", 4)},
    "res5 with res4's dilation": {4: DOWN("res5", 4, dilation=2)},
    "res3 with an identity for its shortcut": {2: DOWN("res3", 2, down=False)},
}


@pytest.mark.parametrize("name", PLANS)
def test_other_plans_miss_the_golden_row(name, monkeypatch):
    encoder = tuple(PLANS[name].get(place, stage) for place, stage in enumerate(STAGES))
    monkeypatch.setattr(ncsnv2, "FIVE_CASCADES", ncsnv2.FIVE_CASCADES._replace(encoder=encoder))
    with pytest.raises(AssertionError):
        check_row(NCSNv2Deeper)


# ------------------------------------------------------------------------------------------------ what the output obeys


@pytest.mark.parametrize("make", NETS)
def test_the_score_scales_as_one_over_sigma(make):
    net = fill(make(SMALLEST[make], width=4))
    x, ones = images(SMALLEST[make]), torch.ones(2, dtype=torch.float64)
    model = sk.ScaledScore(net)
    for sigma in (2.0**-10, 0.5, 64.0):  # powers of two: exact
        assert torch.equal(net(x, sigma * ones), net(x, ones))
        assert torch.equal(model(x, sigma * ones) * sigma, net(x, ones))
    assert torch.equal(net(x, 0 * ones), net(x, ones))
    assert model.noise_levels is None
    assert not torch.allclose(sk.DirectScore(net)(x, 2 * ones) * 2, net(x, ones))  # what is not divided by sigma


@pytest.mark.parametrize("make", NETS)
def test_permuting_examples_permutes_the_output(make):
    shape, order = SMALLEST[make], torch.tensor([3, 0, 2, 1])
    net, sigma = fill(make(shape, width=4)), torch.ones(4, dtype=torch.float64)
    x = torch.rand(4, *shape, dtype=torch.float64)
    y = net(x, sigma)
    torch.testing.assert_close(net(x[order], sigma), y[order], rtol=0, atol=1e-12)
    others = x.clone()
    others[1:] *= 7
    torch.testing.assert_close(net(others, sigma)[0], y[0], rtol=0, atol=1e-12)
    assert not torch.isclose(net(others, sigma)[1:], y[1:]).flatten(1).all(1).any()


@pytest.mark.parametrize(
    ("make", "shape"),
    [(NCSNv2, (1, 8, 8)), (NCSNv2, (2, 4, 10)), (NCSNv2, (5, 2, 2)), (NCSNv2Deeper, (1, 4, 4)),
     (NCSNv2Deeper, (2, 12, 8)), (NCSNv2Deepest, (1, 8, 8)), (NCSNv2Deepest, (3, 16, 24))],
)  # fmt: skip
def test_any_size_that_can_be_halved_and_any_number_of_channels(make, shape):
    net, x, ones = make(shape, width=3), torch.rand(2, *shape), torch.ones(2)
    y = net(x, ones)
    assert y.shape == (2, *shape)
    assert y.isfinite().all()
    y.square().sum().backward()
    assert all(weight.grad.isfinite().all() for weight in net.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        assert net(x, ones).isfinite().all()
    assert net.bfloat16()(x.bfloat16(), ones).isfinite().all()


def test_centering_is_the_first_thing_and_can_be_turned_off():
    net, plain = fill(NCSNv2((1, 8, 8), width=4)), fill(NCSNv2((1, 8, 8), width=4, centered=False))
    x, ones = images((1, 8, 8)), torch.ones(2, dtype=torch.float64)
    assert torch.equal(plain(2 * x - 1, ones), net(x, ones))


# ------------------------------------------------------------------------------------------------------------ gradients


def plain_autograd(monkeypatch):
    monkeypatch.setattr(norm_conv, "_by_plain_autograd", lambda: True)


def gradients(net, x):
    x = x.clone().requires_grad_(True)
    net.zero_grad()
    net(x, torch.ones_like(x[:, 0, 0, 0])).square().sum().backward()
    return [x.grad, *(weight.grad for weight in net.parameters())]


def double_backward(net, x):
    """What implicit and sliced score matching differentiate: the gradient of v . (ds/dx) v by the weights."""
    x = x.clone().requires_grad_(True)
    s = net(x, torch.ones_like(x[:, 0, 0, 0]))
    (product,) = torch.autograd.grad(s.sum(), x, create_graph=True)
    net.zero_grad()
    product.sum().backward()
    return [weight.grad for weight in net.parameters() if weight.grad is not None]


@pytest.mark.parametrize("differentiate", [gradients, double_backward])
def test_gradients_equal_plain_autograd(differentiate, monkeypatch):
    net, x = fill(NCSNv2((1, 8, 8), width=4)), images((1, 8, 8))
    ours = differentiate(net, x)
    with monkeypatch.context() as patch:
        plain_autograd(patch)
        plain = differentiate(net, x)
    assert len(ours) == len(plain) > 100
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


def test_a_wrong_backward_would_be_seen(monkeypatch):
    net, x = fill(NCSNv2((1, 8, 8), width=4)), images((1, 8, 8))
    right = gradients(net, x)
    of_input = staticmethod(lambda ctx, grad: torch.ops.aten.elu_backward(grad, 1, 1, 1, False, *ctx.saved_tensors))
    monkeypatch.setattr(norm_conv._Elu, "backward", of_input)
    assert not torch.allclose(gradients(net, x)[0], right[0], rtol=1e-3)


def test_a_step_without_norm_keeps_one_tensor_for_the_backward_pass():
    x, weight = torch.rand(2, 4, 8, 8, requires_grad=True), torch.rand(4, 4, 3, 3)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        layers.norm_conv(2 * x - 1, None, weight, None, norm_conv.ELU, layers.Geometry(1, 1))
    assert len({tensor.data_ptr() for tensor in kept if tensor.shape == x.shape}) == 1


def test_functional_transforms_go_through_the_network():
    net, x = fill(NCSNv2((1, 4, 4), width=4)), images((1, 4, 4))[:1]
    ones, v = torch.ones(1, dtype=torch.float64), torch.ones_like(x)
    score = partial(net, sigma=ones)
    _, forward_mode = torch.func.jvp(score, (x,), (v,))
    jacobian = torch.func.jacrev(score)(x).reshape(16, 16)
    torch.testing.assert_close(forward_mode.flatten(), jacobian @ v.flatten(), rtol=1e-9, atol=1e-9)
    y = x.clone().requires_grad_(True)
    (reverse_mode,) = torch.autograd.grad((net(y, ones) * v).sum(), y)
    torch.testing.assert_close(reverse_mode.flatten(), v.flatten() @ jacobian, rtol=1e-9, atol=1e-9)
    both = torch.stack((x, x + 0.1 * v))
    expected = torch.stack([score(y) for y in both])
    torch.testing.assert_close(torch.func.vmap(score)(both), expected, rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------------------------------------- arguments and state


@pytest.mark.parametrize("make", NETS)
def test_the_constructors_arguments_can_be_read_back(make):
    given = {"image_shape": (3, 16, 32), "width": 4, "centered": False}
    net = make(**given)
    assert list(inspect.signature(make).parameters) == list(given)
    assert {name: getattr(net, name) for name in given} == given


@pytest.mark.parametrize(
    ("make", "rule", "bad"),
    [(NCSNv2, "even height and width", (31, 32)), (NCSNv2Deeper, "divisible by 4", (32, 30)),
     (NCSNv2Deepest, "divisible by 8", (28, 32))],
)  # fmt: skip
def test_bad_arguments_are_refused(make, rule, bad):
    for shape in ((3, *bad), (3, *bad[::-1]), (0, 32, 32), (32, 32)):
        with pytest.raises(ValueError, match=rf"{make.__name__}\(image_shape={re.escape(str(shape))}\).*{rule}"):
            make(shape, width=2)
    with pytest.raises(ValueError, match=rf"{make.__name__}\(width=1\): expected at least 2 channels"):
        make((1, 32, 32), width=1)
    net = make((1, 16, 16), width=2)
    with pytest.raises(ValueError, match=r"x of shape \(2, 3, 16, 16\), expected \(B, 1, 16, 16\)"):
        net(torch.rand(2, 3, 16, 16), torch.ones(2))
    for sigma in (torch.tensor(1.0), torch.ones(1), torch.ones(2, 1)):
        with pytest.raises(ValueError, match=r"sigma of shape .*, expected \(B,\) = \(2,\)"):
            net(torch.rand(2, 1, 16, 16), sigma)
    with pytest.raises(TypeError, match="takes no condition"):
        net(torch.rand(2, 1, 16, 16), torch.ones(2), torch.ones(2))


def test_nothing_else_than_parameters_is_in_the_state():
    net = NCSNv2((1, 8, 8), width=2)
    assert list(net.buffers()) == []
    assert set(net.state_dict()) == {name for name, _ in net.named_parameters()}
