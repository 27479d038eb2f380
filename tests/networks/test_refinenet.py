"""The network of the NCSN paper: golden figures, sizes, names, levels, and what it refuses."""

import re

import pytest
import torch
import torch.nn.functional as F

import scorekit as sk
from scorekit.networks.norm import ConditionalInstanceNorm

from .golden import NOISE, WRONG_NORMS, Figures, check_figures, filled, images, sigmas

# image shape, labels, parameters, figures
ROWS = [
    ((3, 16, 16), [0, 9], 143_795, Figures(260.79933653, (-0.01058528, 0.00091973, -0.02466164), -0.21761850,
     (14.805433, 13.674218))),
    ((1, 28, 28), [3, 7], 143_505, Figures(-141.01957638, (-0.02213654, -0.04087102, -0.02421485), -0.16208081,
     (10.343857, 11.710891))),
]  # fmt: skip


def check_row(row, dtype=torch.float64, tolerance=1e-6):
    shape, labels, _, figures = row
    with torch.no_grad():
        y = filled(shape, dtype)(images(shape).to(dtype), sigmas(labels).to(dtype))
    assert y.shape == (2, *shape)
    check_figures(y, figures, tolerance)


@pytest.mark.parametrize("row", ROWS, ids=["16", "28"])
def test_golden_rows(row):
    check_row(row)
    check_row(row, torch.float32, 1e-3)
    assert sum(weight.numel() for weight in filled(row[0]).parameters()) == row[2]


INTERPOLATE = F.interpolate

MUTANTS = WRONG_NORMS | {
    "maximum for mean in the chained pooling": (
        sk.networks.convolution, "mean_pool", lambda x: F.max_pool2d(x, 5, stride=1, padding=2)
    ),
    "padding not counted in the chained pooling": (
        sk.networks.convolution, "mean_pool", lambda x: F.avg_pool2d(x, 5, 1, 2, count_include_pad=False)
    ),
    "corners not aligned": (
        F, "interpolate",
        lambda h, size, mode, align_corners: INTERPOLATE(h, size=size, mode=mode, align_corners=False)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_miss_the_golden_row(name, monkeypatch):
    monkeypatch.setattr(*MUTANTS[name])
    with pytest.raises(AssertionError):
        check_row(ROWS[0])


PAPER = [
    ((1, 28, 28), 64, 7_638_657, 216_960,
     {"begin_conv": 640, "normalizer": 1_920, "end_conv": 577, "res1": 155_392, "res2": 425_792, "res3": 753_280,
      "res4": 753_280, "refine1": 1_210_368, "refine2": 2_118_400, "refine3": 1_520_768, "refine4": 698_240}),
    ((3, 32, 32), 128, 30_117_635, 433_920,
     {"begin_conv": 3_584, "normalizer": 3_840, "end_conv": 3_459, "res1": 605_696, "res2": 1_678_976,
      "res3": 2_981_120, "res4": 2_981_120, "refine1": 4_780_032, "refine2": 8_365_568, "refine3": 5_990_656,
      "refine4": 2_723_584}),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "width", "count", "in_norms", "parts"), PAPER, ids=["mnist", "32 px"])
def test_parameter_counts_of_the_papers_networks(shape, width, count, in_norms, parts):
    with torch.device("meta"):
        net = sk.networks.RefineNet(shape, NOISE, width=width)
    sizes = {name: weight.numel() for name, weight in net.named_parameters()}
    assert sum(sizes.values()) == count
    assert sum(size for name, size in sizes.items() if name.endswith("embed.weight")) == in_norms
    assert {part: sum(size for name, size in sizes.items() if name.startswith(part + ".")) for part in parts} == parts
    assert len([m for m in net.modules() if isinstance(m, torch.nn.Conv2d)]) == 75
    assert len([m for m in net.modules() if isinstance(m, ConditionalInstanceNorm)]) == 71
    assert len(net.state_dict()) == 173 + 1  # and the levels


def test_parameter_names_are_those_of_the_published_checkpoints():
    with torch.device("meta"):
        net = sk.networks.RefineNet((3, 32, 32), NOISE, width=128)
    shapes = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    pattern = re.compile(
        r"noise_levels|(begin|end)_conv\.(weight|bias)|normalizer\.embed\.weight"
        r"|res[1-4]\.[01]\.(conv[12](\.conv)?\.(weight|bias)|normalize[12]\.embed\.weight|shortcut(\.conv)?\.(weight|bias))"
        r"|refine[1-4]\.(adapt|output)_convs(\.[01])?\.[123]_[12]_(norm\.embed|conv)\.weight"
        r"|refine[2-4]\.msf\.(convs\.[01]\.(weight|bias)|norms\.[01]\.embed\.weight)"
        r"|refine[1-4]\.crp\.(convs\.[01]|norms\.[01]\.embed)\.weight"
    )
    assert [key for key in shapes if not pattern.fullmatch(key)] == []
    assert shapes["normalizer.embed.weight"] == (10, 3 * 128)
    assert shapes["res2.0.conv2.conv.weight"] == (256, 128, 3, 3)
    assert shapes["res2.0.shortcut.conv.weight"] == (256, 128, 1, 1)
    assert shapes["res3.0.shortcut.weight"] == shapes["res4.0.shortcut.weight"] == (256, 256, 3, 3)
    assert shapes["refine1.adapt_convs.0.2_2_conv.weight"] == (256, 256, 3, 3)
    assert shapes["refine4.output_convs.3_2_conv.weight"] == (128, 128, 3, 3)
    assert "res1.0.shortcut.weight" not in shapes
    assert "refine1.msf.convs.0.weight" not in shapes
    block = [key for key in shapes if key.startswith("res3.0.")]
    assert [key.split(".")[2] for key in block[::2]] == ["conv1", "normalize2", "conv2", "shortcut"] or (
        [key.split(".")[2] for key in block]
        == ["conv1", "conv1", "normalize2", "conv2", "conv2", "shortcut", "shortcut", "normalize1"]
    )


def test_feature_shapes():
    net = sk.networks.RefineNet((3, 32, 32), NOISE, width=4)
    seen = {}
    for name in ("begin_conv", "res1.1", "res2.1", "res3.1", "res4.1", "refine1", "refine2", "refine3", "refine4"):
        net.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: seen.__setitem__(name, tuple(output.shape[1:]))
        )
    net(torch.rand(1, 3, 32, 32), torch.tensor([0.1]))
    full, half = (4, 32, 32), (8, 16, 16)
    assert seen == {"begin_conv": full, "res1.1": full, "res2.1": half, "res3.1": half, "res4.1": half, "refine1": half,
                    "refine2": half, "refine3": (4, 16, 16), "refine4": full}  # fmt: skip


def test_sigma_takes_the_nearest_level_in_log_sigma():
    net = filled((1, 8, 8))
    x, levels = torch.rand(10, 1, 8, 8, dtype=torch.float64), NOISE.levels()
    exact = net(x, levels)
    ratio = float(levels[0] / levels[1])
    for factor in (ratio**0.49, ratio**-0.49):
        assert torch.equal(net(x, levels * factor), exact)
    shifted = net(x, levels * ratio**-0.51)
    assert torch.equal(shifted[-1], exact[-1])  # below the smallest level there is no other
    assert not torch.isclose(shifted[:-1], exact[:-1]).flatten(1).all(1).any()
    assert torch.equal(net(x[-1:], torch.zeros(1, dtype=torch.float64)), exact[-1:])


def test_levels_survive_half_precision():
    noise = sk.Geometric(348.0, 0.01, 2311)  # neighbours differ by .45 %, bfloat16 by .4 to .8 %
    net = sk.networks.RefineNet((1, 4, 4), noise, width=2).to(torch.bfloat16).half().double()
    assert net.noise_levels.dtype == torch.float32
    assert torch.equal(net._level(noise.levels()), torch.arange(2311))


def test_weights_for_other_levels_are_refused():
    net = sk.networks.RefineNet((1, 4, 4), NOISE, width=2)
    for other in (sk.Geometric(5.0, 0.01, 10), sk.Geometric(1.0, 0.01, 9)):
        with pytest.raises(RuntimeError, match="the weights are for the levels"):
            sk.networks.RefineNet((1, 4, 4), other, width=2).load_state_dict(net.state_dict())


def test_a_compiled_network_still_says_its_levels():
    net = sk.networks.RefineNet((1, 4, 4), NOISE, width=2)
    compiled = sk.DirectScore(torch.compile(net))
    assert torch.equal(compiled.noise_levels, net.noise_levels)


def test_permuting_examples_with_their_levels_permutes_the_output():
    net, order = filled((1, 8, 8)), torch.tensor([3, 0, 2, 1])
    x, sigma = torch.rand(4, 1, 8, 8, dtype=torch.float64), sigmas([0, 3, 7, 9])
    y = net(x, sigma)
    torch.testing.assert_close(net(x[order], sigma[order]), y[order], rtol=0, atol=1e-12)
    others = x.clone()
    others[1:] *= 7
    torch.testing.assert_close(net(others, sigma)[0], y[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 4, 10), (3, 12, 6), (5, 2, 2)])
def test_any_even_size_and_number_of_channels(shape):
    net = sk.networks.RefineNet(shape, NOISE, width=3)
    y = net(torch.rand(2, *shape), torch.tensor([1.0, 0.01]))
    assert y.shape == (2, *shape)
    assert y.isfinite().all()
    with torch.autocast("cpu", torch.bfloat16):
        half = net(torch.rand(2, *shape), torch.tensor([1.0, 0.01]))
    assert half.isfinite().all()


def test_centering_is_the_first_thing_and_can_be_turned_off():
    net = filled((1, 8, 8))
    plain = sk.networks.RefineNet((1, 8, 8), NOISE, width=8, centered=False).double()
    plain.load_state_dict(net.state_dict())
    x, sigma = torch.rand(2, 1, 8, 8, dtype=torch.float64), sigmas([2, 5])
    assert torch.equal(plain(2 * x - 1, sigma), net(x, sigma))


def test_bad_arguments_are_refused():
    for shape in ((3, 15, 16), (3, 16, 15), (0, 16, 16), (16, 16)):
        with pytest.raises(ValueError, match="even height and width"):
            sk.networks.RefineNet(shape, NOISE)
    with pytest.raises(ValueError, match="at least 2 channels"):
        sk.networks.RefineNet((1, 8, 8), NOISE, width=1)
    with pytest.raises(ValueError, match="at least 2"):
        ConditionalInstanceNorm(1, 10)
    net = sk.networks.RefineNet((1, 8, 8), NOISE, width=2)
    with pytest.raises(ValueError, match=r"\(2, 3, 8, 8\), expected \(B, 1, 8, 8\)"):
        net(torch.rand(2, 3, 8, 8), torch.ones(2))
    for sigma in (torch.tensor(1.0), torch.ones(1), torch.ones(2, 1)):  # (1,) would broadcast
        with pytest.raises(ValueError, match=r"sigma of shape .*, expected \(B,\) = \(2,\)"):
            net(torch.rand(2, 1, 8, 8), sigma)
    with pytest.raises(TypeError, match="no condition"):
        net(torch.rand(2, 1, 8, 8), torch.ones(2), torch.ones(2))


def test_config_is_the_constructor():
    model = sk.DirectScore(sk.networks.RefineNet((1, 8, 8), NOISE, width=4))
    again = sk.from_config(sk.to_config(model))
    again.load_state_dict(model.state_dict())
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(again(x, torch.ones(2)), model(x, torch.ones(2)))


def test_at_the_models_boundary_unknown_levels_are_refused_or_rounded():
    model = sk.DirectScore(sk.networks.RefineNet((1, 8, 8), NOISE, width=2))
    elsewhere = sk.Geometric(1.0, 0.01, 7)
    with pytest.raises(ValueError, match="RoundToLevels"):
        sk.Objective(model, sk.DenoisingScoreMatching(), elsewhere)
    sk.Objective(sk.RoundToLevels(model), sk.DenoisingScoreMatching(), elsewhere)
