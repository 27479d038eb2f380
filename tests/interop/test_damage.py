"""Wrong, partial and hostile files: each is refused with the rule and the first tensors at fault."""

import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch

from scorekit.checkpoint import CheckpointError
from scorekit.interop import convert, read_ncsn
from tests.interop.authors import adam_of, random, shapes_of, state_of, write
from tests.interop.conftest import document_of

State = dict[str, torch.Tensor]
V1, V2 = "NCSN", "NCSNv2"


def on_state(change: Callable[[State], object]) -> Callable[[list[Any]], object]:
    """A change of the model state."""

    def apply(document):
        change(document[0])
        return document

    return apply


def on_ema(change: Callable[[State], object]) -> Callable[[list[Any]], object]:
    def apply(document):
        change(document[4])
        return document

    return apply


def put(name: str, value: Callable[[torch.Tensor], object]) -> Callable[[State], object]:
    return lambda state: state.__setitem__(name, value(state[name]))


def with_nan(tensor):
    return torch.where(torch.arange(tensor.numel()).view_as(tensor) == 3, torch.nan, tensor)


def doubled_width(state):
    """Half the network of another width."""
    other = random(shapes_of(V1, 3, 4), torch.Generator().manual_seed(0))
    state.update({f"module.{name}": tensor for name, tensor in other.items() if name.startswith("refine")})


def of_another_network(document):
    return [OrderedDict({f"layers.{i}.weight": torch.zeros(2, 2) for i in range(4)}), document[1]]


def unprefixed_half(state):
    for name in list(state)[::2]:
        state[name.removeprefix("module.")] = state.pop(name)


# name: kind, what is done to the document, what the message says
DAMAGE = {
    "a missing tensor": (V1, on_state(lambda s: s.pop("module.res3.1.conv2.bias")),
        r"expected the 173 tensors of the model state of NCSN; missing: res3.1.conv2.bias$"),
    "the tensor with the levels missing": (V1, on_state(lambda s: s.pop("module.normalizer.embed.weight")),
        r"173 tensors .*; missing: normalizer.embed.weight$"),
    "an unexpected tensor": (V1, on_state(lambda s: s.update({"module.res9.bias": torch.zeros(1)})),
        r"tensors of the model state of NCSN; unexpected: res9.bias$"),
    "several of both": (V1, on_state(lambda s: [s.__setitem__(n + "x", s.pop(n)) for n in list(s)[:5]]),
        r"missing: begin_conv.weight, begin_conv.bias, normalizer.embed.weight \(5 in all\); unexpected: "
        r"begin_conv.weightx, .* \(5 in all\)$"),
    "a wrong shape": (V1, on_state(put("module.res2.0.conv2.conv.weight", lambda t: t[:, :, :, :2])),
        r"one width, and one number of levels, in the model state of NCSN; found res2.0.conv2.conv.weight: "
        r"\(4, 2, 3, 2\), not \(4, 2, 3, 3\)$"),
    "mixed widths": (V1, on_state(doubled_width),
        r"one width, .*found refine1.adapt_convs.0.1_1_norm.embed.weight: \(10, 24\), not \(10, 12\); .*"
        r" \(\d+ in all\)$"),
    "other numbers of levels": (V1, on_state(put("module.refine4.crp.norms.1.embed.weight", lambda t: t[:9])),
        r"one number of levels, .*found refine4.crp.norms.1.embed.weight: \(9, 6\), not \(10, 6\)$"),
    "a first convolution that is none": (V1, on_state(put("module.begin_conv.weight", lambda t: t[0])),
        r"expected begin_conv.weight of 4 axes, .*found \(3, 3, 3\)$"),
    "a table without rows": (V1, on_state(put("module.normalizer.embed.weight", lambda t: t[:0])),
        r"expected normalizer.embed.weight of 2 axes, of sizes \(1, 3\) at least; found \(0, 6\)$"),
    "a wrong type": (V1, on_state(put("module.res1.0.conv1.weight", lambda t: t.long())),
        r"floating-point type in .*found res1.0.conv1.weight: torch.int64, but torch.float32 in begin_conv.weight$"),
    "another precision": (V1, on_state(put("module.end_conv.bias", lambda t: t.half())),
        r"found end_conv.bias: torch.float16, but torch.float32 in begin_conv.weight$"),
    "integers throughout": (V1, on_state(lambda s: s.update({n: t.long() for n, t in s.items()})),
        r"one floating-point type .*found begin_conv.weight: torch.int64; .*\(173 in all\)$"),
    "a weight that is not a number": (V1, on_state(put("module.refine2.msf.convs.1.weight", with_nan)),
        r"expected finite numbers in the model state of NCSN; found refine2.msf.convs.1.weight: not finite$"),
    "a sparse weight": (V1, on_state(put("module.begin_conv.bias", lambda t: t.to_sparse())),
        r"named, dense tensors as item 0, the model state; found 'module.begin_conv.bias': a tensor .*sparse"),
    "an entry that is no tensor": (V1, on_state(put("module.begin_conv.bias", lambda t: t.tolist())),
        r"named, dense tensors as item 0, the model state; found 'module.begin_conv.bias': a list of 2 \(1 such"),
    "mixed prefixes": (V1, on_state(unprefixed_half),
        r"the prefix 'module.' on all names of item 0, the model state or on none; found 'module.begin_conv.bias' and "
        r"'begin_conv.weight'"),
    "the state of another network": (V1, of_another_network,
        r"expected the model state of NCSN, NCSN baseline, NCSNv2, .*; found one of another network, with "
        r"layers.0.weight, layers.1.weight, layers.2.weight \(4 in all\)$"),
    "an empty list": (V1, lambda d: [], r"expected \[model state, optimiser state\] \(ncsn\), .*; found a list of 0$"),
    "a list of three": (V1, lambda d: [*d, 3], r"found a list of 3$"),
    "a tuple": (V1, tuple, r"found a tuple of 2$"),
    "a tensor": (V1, lambda d: torch.zeros(3), r"found a tensor \(3,\)"),
    "an empty state": (V1, lambda d: [{}, d[1]], r"named tensors as item 0, the model state; found an empty mapping$"),
    "an empty bare state": (V1, lambda d: {}, r"named tensors as the model state; found an empty mapping$"),
    "states in the wrong order": (V1, lambda d: d[::-1], r"named, dense tensors as item 0, the model state; found "
        r"'state': a mapping of 6 .*'param_groups': a list of 1"),
    "no optimiser": (V1, lambda d: [d[0], d[0]], r"an optimiser's state, .*as item 1; found a mapping of 173 with"),
    "a step below zero": (V2, lambda d: [*d[:3], -1, d[4]], r"the step, an integer >= 0, as item 3; found -1$"),
    "an epoch in words": (V2, lambda d: [*d[:2], "two", *d[3:]], r"the epoch, .*as item 2; found 'two'$"),
    "levels that do not decrease": (V2, on_state(put("module.sigmas", lambda t: t.flip(0))),
        r"expected sigmas, the levels, to decrease and to be > 0; found \[0.0.*\] from place 0 on$"),
    "two equal levels": (V2, on_state(put("module.sigmas", lambda t: t[[0, 1, 2, 3, 3, 5, 6, 7, 8, 9]])),
        r"sigmas, the levels, to decrease .* from place 3 on$"),
    "a level of zero": (V2, on_state(put("module.sigmas", lambda t: torch.cat((t[:9], torch.zeros(1))))),
        r"sigmas, the levels, .*to be > 0; found \[0.0\] from place 9 on$"),
    "no levels": (V2, on_state(lambda s: s.pop("module.sigmas")), r"model state of NCSNv2; missing: sigmas$"),
    "levels that are not numbers": (V2, on_state(put("module.sigmas", with_nan)),
        r"expected finite numbers in the model state of NCSNv2; found sigmas: not finite$"),
    "a moving average with names missing": (V2, on_ema(lambda s: [s.pop(n) for n in list(s)[:4]]),
        r"expected the 153 tensors of the EMA of NCSNv2; missing: begin_conv.weight, .* \(4 in all\)$"),
    "a moving average with buffers": (V2, on_ema(lambda s: s.update(sigmas=torch.ones(10))),
        r"of the EMA of NCSNv2; unexpected: sigmas$"),
    "a moving average of another width": (V2, on_ema(put("normalizer.alpha", lambda t: t[:1])),
        r"one width, .*in the EMA of NCSNv2; found normalizer.alpha: \(1,\), not \(2,\)$"),
    "a moving average that is not a number": (V2, on_ema(put("normalizer.alpha", lambda t: t / 0)),
        r"finite numbers in the EMA of NCSNv2; found normalizer.alpha: not finite$"),
    "a moving average in a list": (V2, lambda d: [*d[:4], list(d[4].values())],
        r"named tensors as item 4, the EMA; found a list of 153$"),
    "score_sde_pytorch": (V2, lambda d: {"optimizer": d[1], "model": d[0], "ema": {"shadow_params": []}, "step": 3},
        r"a checkpoint of score_sde_pytorch \(optimizer, model, ema, step\), whose networks scorekit does not have"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named(name, tmp_path, generator):
    kind, damage, message = DAMAGE[name]
    path = write(tmp_path / "bad.pth", damage(document_of(kind, generator)))
    with pytest.raises(CheckpointError, match=message) as caught:
        convert(path, tmp_path / "out")
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < 700
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [V1, V2])
def test_what_is_damaged_there_was_good_before(kind, tmp_path, generator):
    assert read_ncsn(write(tmp_path / "good.pth", document_of(kind, generator))).architecture.name == kind


# ---------------------------------------------------------------------------------------------------------------- bytes


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(legacy, share, tmp_path, generator):
    path = write(tmp_path / "x.pth", document_of(V1, generator), legacy=legacy)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"expected a whole file written by torch.save; it cannot be read \(\w+"):
        read_ncsn(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("content", [b"hello world, a text", b"\x89PNG\r\n\x1a\n" + bytes(99), b"\x80\x04K\x01."])
def test_another_file_is_refused(content, tmp_path):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x.pth: expected a whole file written by torch.save; it cannot be read"):
        read_ncsn(path)


class Code:
    """An object whose pickle runs code when it is read."""

    def __init__(self, folder: str):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_file_is_not_run(legacy, tmp_path, generator):
    mark = tmp_path / "was-here"
    state, optimizer = document_of(V1, generator)
    path = write(tmp_path / "x.pth", [state, {"hook": Code(str(mark)), **optimizer}], legacy=legacy)
    with pytest.raises(
        CheckpointError, match=r"containers only, .*without running code from the file; found \w+.mkdir"
    ):
        read_ncsn(path)
    assert not mark.exists()
    torch.load(path, weights_only=False)  # the file is a live one
    assert mark.exists()


def test_what_json_and_safetensors_cannot_hold_is_refused_when_converting(tmp_path, generator):
    tensors = random(shapes_of(V1, 3, 2), generator)
    itself: list[object] = []
    itself.append(itself)
    for extra, message in (
        ({1, 2}, r"the file\[1\]\['extra'\] = \{1, 2\}: expected tensors, numbers, strings and plain containers"),
        (torch.zeros(2).to_sparse(), r"the file\[1\]\['extra'\] = tensor"),
        ({(1, 2): 3}, r"the file\[1\]\['extra'\] has the key \(1, 2\): expected strings and integers"),
        (itself, r"expected containers 16 deep at most"),
    ):
        document = [state_of(tensors), adam_of(tensors, 3, generator) | {"extra": extra}]
        path = write(tmp_path / "x.pth", document)
        assert read_ncsn(path).step == 3
        with pytest.raises(CheckpointError, match=message):
            convert(path, tmp_path / "out")
        assert not (tmp_path / "out").exists()
