"""The networks of NCSNv2: how many parameters they have, under which names, and the sizes of their feature maps."""

import re

import pytest
import torch

from scorekit.networks.norm import InstanceNorm
from scorekit.networks.refinenet import NCSNv2, NCSNv2Deeper, NCSNv2Deepest

NETS = [NCSNv2, NCSNv2Deeper, NCSNv2Deepest]

# Parameters at width n with 3 channels: a n^2 + b n + 3. a and b follow from the published 117,323 (n = 8) and
# 29,694,083 (n = 128) for NCSNv2, and 327,979 and 83,445,379 for the deeper one. The deepest has one stage more of
# width 2n: 148 n^2 + 34 n of it are in the residual blocks and 504 n^2 + 4 n in the refine block.
POLYNOMIALS = {NCSNv2: (1811, 177), NCSNv2Deeper: (5091, 269), NCSNv2Deepest: (5091 + 148 + 504, 269 + 34 + 4)}
# published: parameters, state entries without the levels; then: norms
PAPER = {NCSNv2: (29_694_083, 153, 17), NCSNv2Deeper: (83_445_379, 191, 21), NCSNv2Deepest: (94_132_611, 229, 25)}


def count(net):
    return sum(weight.numel() for weight in net.parameters())


def on_meta(make, width, shape=(3, 256, 256)):
    with torch.device("meta"):
        return make(shape, width=width)


@pytest.mark.parametrize("make", NETS)
def test_parameter_counts(make):
    net = on_meta(make, 128)
    parameters, entries, norms = PAPER[make]
    assert count(net) == parameters
    assert len(net.state_dict()) == entries
    assert len([module for module in net.modules() if isinstance(module, InstanceNorm)]) == norms
    a, b = POLYNOMIALS[make]
    for width in (8, 16, 64, 128):
        assert count(on_meta(make, width)) == a * width**2 + b * width + 3
    for channels in (1, 4):  # the first and the last convolution
        difference = count(on_meta(make, 8, (channels, 256, 256))) - count(on_meta(make, 8))
        assert difference == (channels - 3) * (2 * 9 * 8 + 1)


def test_parameter_counts_of_the_parts():
    """NCSN's published counts, whose tables have 30 numbers (10 levels, 3 each) for each channel of a norm; here it is
    3 in the residual blocks and none in the refine blocks."""
    ncsn = {"begin_conv": 3_584, "normalizer": 3_840, "end_conv": 3_459, "res1": 605_696, "res2": 1_678_976,
            "res3": 2_981_120, "res4": 2_981_120, "refine1": 4_780_032, "refine2": 8_365_568, "refine3": 5_990_656,
            "refine4": 2_723_584}  # fmt: skip
    # the channels of all norms of a part, over n
    kept = {"normalizer": 1, "res1": 4, "res2": 6, "res3": 8, "res4": 8}
    dropped = {"refine1": 16, "refine2": 28, "refine3": 24, "refine4": 18}
    expected = {part: size - 128 * (27 * kept.get(part, 0) + 30 * dropped.get(part, 0)) for part, size in ncsn.items()}
    sizes = {name: weight.numel() for name, weight in on_meta(NCSNv2, 128).named_parameters()}
    assert {part: sum(n for name, n in sizes.items() if name.startswith(f"{part}.")) for part in ncsn} == expected


# stages of residual blocks and refine blocks, and the shapes of what tells them apart
NAMES = {
    NCSNv2: ("[1-4]", "[1-4]", {
        "res2.0.conv2.conv.weight": (256, 128, 3, 3), "res2.0.shortcut.conv.weight": (256, 128, 1, 1),
        "res3.0.shortcut.weight": (256, 256, 3, 3), "refine1.crp.convs.1.weight": (256, 256, 3, 3),
        "refine4.output_convs.3_2_conv.weight": (128, 128, 3, 3), "refine3.msf.convs.1.weight": (128, 256, 3, 3),
        "normalizer.alpha": (128,), "res2.0.normalize2.gamma": (128,), "res2.1.normalize1.beta": (256,)}),
    NCSNv2Deeper: ("[1-5]", "[1-5]", {
        "res3.0.shortcut.conv.weight": (256, 256, 1, 1), "res4.0.shortcut.weight": (512, 256, 3, 3),
        "res4.0.conv1.weight": (256, 256, 3, 3), "res4.0.conv2.weight": (512, 256, 3, 3),
        "res5.0.shortcut.weight": (512, 512, 3, 3), "refine1.crp.convs.0.weight": (512, 512, 3, 3),
        "refine2.msf.convs.0.weight": (256, 512, 3, 3), "refine2.msf.convs.1.weight": (256, 512, 3, 3),
        "refine4.msf.convs.1.weight": (128, 256, 3, 3), "refine5.output_convs.3_2_conv.weight": (128, 128, 3, 3)}),
    NCSNv2Deepest: ("([1-5]|31)", "([1-5]|31)", {
        "res31.0.shortcut.conv.weight": (256, 256, 1, 1), "res4.0.shortcut.weight": (512, 256, 3, 3),
        "refine2.msf.convs.1.weight": (256, 512, 3, 3), "refine31.msf.convs.1.weight": (256, 256, 3, 3),
        "refine31.output_convs.1_2_conv.weight": (256, 256, 3, 3)}),
}  # fmt: skip


@pytest.mark.parametrize("make", NETS)
def test_parameter_names_are_those_of_the_published_checkpoints(make):
    residual, refine, some = NAMES[make]
    shapes = {key: tuple(value.shape) for key, value in on_meta(make, 128).state_dict().items()}
    pattern = re.compile(
        r"(begin|end)_conv\.(weight|bias)|normalizer\.(alpha|gamma|beta)"
        rf"|res{residual}\.[01]\.(conv[12](\.conv)?\.(weight|bias)|normalize[12]\.(alpha|gamma|beta)"
        r"|shortcut(\.conv)?\.(weight|bias))"
        rf"|refine{refine}\.(adapt|output)_convs(\.[01])?\.[123]_[12]_conv\.weight"
        rf"|refine{refine}\.(msf\.convs\.[01]\.(weight|bias)|crp\.convs\.[01]\.weight)"
    )
    assert [key for key in shapes if not pattern.fullmatch(key)] == []
    assert {key: shapes[key] for key in some} == some
    three = [key for key in shapes if re.fullmatch(r"refine\d+\.output_convs\.3_1_conv\.weight", key)]
    assert three == [f"refine{4 if make is NCSNv2 else 5}.output_convs.3_1_conv.weight"]
    norm = [key.split(".")[1] for key in shapes if key.startswith("normalizer.")]
    assert norm == ["alpha", "gamma", "beta"]


@pytest.mark.parametrize(
    ("make", "sides"),
    [
        (NCSNv2, {"res1": 32, "res2": 16, "res3": 16, "res4": 16, "refine1": 16, "refine3": 16, "refine4": 32}),
        (NCSNv2Deeper, {"res2": 16, "res3": 8, "res5": 8, "refine2": 8, "refine3": 8, "refine4": 16, "refine5": 32}),
        (NCSNv2Deepest, {"res3": 8, "res31": 4, "res5": 4, "refine2": 4, "refine31": 4, "refine3": 8, "refine4": 16}),
    ],
)
def test_feature_sizes(make, sides):
    net, seen = make((3, 32, 32), width=2), {}
    for name in sides:
        module = net.get_submodule(name if name.startswith("refine") else f"{name}.1")
        module.register_forward_hook(lambda _, inputs, h, name=name: seen.__setitem__(name, h.shape[2]))
    net(torch.rand(1, 3, 32, 32), torch.ones(1))
    assert seen == sides
