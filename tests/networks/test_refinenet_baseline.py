"""The single-noise baseline of NCSN: its golden figures, and that it is the conditional network with one row."""

import inspect
import re

import pytest
import torch
import torch.nn.functional as F

import scorekit as sk
from scorekit.networks.norm import ConditionalInstanceNorm, InstanceNorm
from scorekit.networks.refinenet import RefineNet, RefineNetBaseline, baseline, blocks

from .golden import NOISE, WRONG_NORMS, Figures, check_figures, fill, images

MNIST = (1, 28, 28)
FIGURES = Figures(-220.56595767, (0.17199820, 0.25486860, 0.29528410), 0.32050760, (10.488752, 8.290099))


def check_mnist(dtype=torch.float64, tolerance=1e-6):
    with torch.no_grad():
        y = fill(RefineNetBaseline(MNIST, width=64), dtype)(images(MNIST).to(dtype), torch.ones(2, dtype=dtype))
    check_figures(y, FIGURES, tolerance)


def test_golden_row():
    check_mnist()
    check_mnist(torch.float32, 1e-3)


MUTANTS = {
    name: WRONG_NORMS[name]
    for name in ("no alpha", "alpha not multiplied by gamma", "biased variance over the channels")
} | {
    "maximum for mean in the chained pooling": (
        sk.networks.convolution, "mean_pool", lambda x: F.max_pool2d(x, 5, stride=1, padding=2)
    ),
    "no norm in the refine blocks": (baseline, "normalised", lambda norm: blocks.sparsely_normalised()),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_miss_the_golden_row(name, monkeypatch):
    monkeypatch.setattr(*MUTANTS[name])
    with pytest.raises(AssertionError):
        check_mnist(torch.float32, 1e-3)


# shape, width, parameters, of which in norms, and b in 1811 n^2 + b n + (channels), the polynomial through both
PAPER = [(MNIST, 64, 7_443_393, 21_696, 399), ((3, 32, 32), 128, 29_727_107, 43_392, 435)]


@pytest.mark.parametrize(("shape", "width", "count", "in_norms", "linear"), PAPER, ids=["mnist", "32 px"])
def test_parameter_counts_of_the_papers_networks(shape, width, count, in_norms, linear):
    with torch.device("meta"):
        net = RefineNetBaseline(shape, width=width)
        others = {n: RefineNetBaseline(shape, width=n) for n in (8, 16, 64, 128)}
    assert sum(weight.numel() for weight in net.parameters()) == count
    assert sum(w.numel() for m in net.modules() if isinstance(m, InstanceNorm) for w in m.parameters()) == in_norms
    assert len([m for m in net.modules() if isinstance(m, torch.nn.Conv2d)]) == 75
    assert len([m for m in net.modules() if isinstance(m, InstanceNorm)]) == 71
    assert len(net.state_dict()) == 315
    for n, other in others.items():
        assert sum(weight.numel() for weight in other.parameters()) == 1811 * n**2 + linear * n + shape[0]


def test_parameter_names_are_the_conditional_networks_with_vectors_for_tables():
    with torch.device("meta"):
        ours = RefineNetBaseline((3, 32, 32), width=4).state_dict()
        conditional = RefineNet((3, 32, 32), NOISE, width=4).state_dict()
    expected = []
    for key in conditional:
        vectors = ("alpha", "gamma", "beta")
        replaced = [re.sub(r"embed\.weight$", vector, key) for vector in vectors] if "embed" in key else [key]
        expected += [] if key == "noise_levels" else replaced
    assert list(ours) == expected


def with_equal_rows(net):
    """The conditional network each row of whose tables are the vectors of the baseline `net`."""
    other = RefineNet(net.image_shape, NOISE, width=net.width).double()
    state = {key: value for key, value in net.state_dict().items() if not key.endswith((".alpha", ".gamma", ".beta"))}
    for name, module in net.named_modules():
        if isinstance(module, InstanceNorm):
            row = torch.cat((module.gamma, module.alpha, module.beta)).detach()
            state[f"{name}.embed.weight"] = row.expand(NOISE.num_levels, -1)
    other.load_state_dict(state | {"noise_levels": other.noise_levels})
    return other


def test_it_is_the_conditional_network_with_equal_rows():
    net = fill(RefineNetBaseline((2, 8, 8), width=4))
    conditional, x, levels = with_equal_rows(net), images((2, 8, 8)), NOISE.levels()[[1, 8]]
    ours, theirs = net(x, levels), conditional(x, levels)
    assert torch.equal(ours, theirs)
    ours.square().sum().backward()
    theirs.square().sum().backward()
    for one, other in (
        (net.normalizer, conditional.normalizer),
        (net.res2[0].normalize2, conditional.res2[0].normalize2),
    ):
        vectors = torch.cat((one.gamma.grad, one.alpha.grad, one.beta.grad))
        torch.testing.assert_close(vectors, other.embed.weight.grad.sum(0), rtol=1e-10, atol=1e-10)


def test_sigma_is_ignored():
    net, x = fill(RefineNetBaseline((1, 8, 8), width=4)), images((1, 8, 8))
    ones = torch.ones(2, dtype=torch.float64)
    assert torch.equal(net(x, 0.01 * ones), net(x, 50 * ones))
    conditional = fill(RefineNet((1, 8, 8), NOISE, width=4))
    assert not torch.allclose(conditional(x, 0.01 * ones), conditional(x, 50 * ones))


def test_permuting_examples_permutes_the_output():
    net, x = fill(RefineNetBaseline((1, 8, 8), width=4)), torch.rand(4, 1, 8, 8, dtype=torch.float64)
    order, ones = torch.tensor([3, 0, 2, 1]), torch.ones(4, dtype=torch.float64)
    y = net(x, ones)
    torch.testing.assert_close(net(x[order], ones), y[order], rtol=0, atol=1e-12)
    others = x.clone()
    others[1:] *= 7
    torch.testing.assert_close(net(others, ones)[0], y[0], rtol=0, atol=1e-12)


def test_the_constructors_arguments_can_be_read_back():
    given = {"image_shape": (3, 16, 32), "width": 4, "centered": False}
    net = RefineNetBaseline(**given)
    assert list(inspect.signature(RefineNetBaseline).parameters) == list(given)
    assert {name: getattr(net, name) for name in given} == given


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"RefineNetBaseline\(image_shape=\(3, 15, 16\)\).*even height and width"):
        RefineNetBaseline((3, 15, 16))
    with pytest.raises(ValueError, match=r"RefineNetBaseline\(width=1\): expected at least 2 channels"):
        RefineNetBaseline((1, 8, 8), width=1)
    for make in (InstanceNorm, lambda channels: ConditionalInstanceNorm(channels, 3)):
        with pytest.raises(ValueError, match="unbiased variance of the channels' means"):
            make(1)
    net = RefineNetBaseline((1, 8, 8), width=2)
    with pytest.raises(ValueError, match=r"RefineNetBaseline: x of shape \(2, 3, 8, 8\)"):
        net(torch.rand(2, 3, 8, 8), torch.ones(2))
    with pytest.raises(TypeError, match="RefineNetBaseline takes no condition"):
        net(torch.rand(2, 1, 8, 8), torch.ones(2), torch.ones(2))
