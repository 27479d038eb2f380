"""Files as the authors' code writes them, from their list of names and shapes: nothing here asks scorekit's networks.

The weights are the portable filling (`tests/networks/golden.py`), so that what a converted model gives is known.
"""

import math
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]
NormShapes = Callable[[str, int], Shapes]


def table_of(num_levels: int) -> NormShapes:
    """The conditional norm's."""
    return lambda name, channels: {f"{name}.embed.weight": (num_levels, 3 * channels)}


def vectors(name: str, channels: int) -> Shapes:
    return {f"{name}.{part}": (channels,) for part in ("alpha", "gamma", "beta")}


def nothing(name: str, channels: int) -> Shapes:
    return {}


def conv(name: str, c_in: int, c_out: int, size: int = 3, *, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (c_out, c_in, size, size)} | ({f"{name}.bias": (c_out,)} if bias else {})


class Kind(NamedTuple):
    """A network: its stages (name, factor, kind of the first block) and refine blocks (name, factor)."""

    stages: tuple[tuple[str, int, str], ...]
    refine: tuple[tuple[str, int], ...]
    norm: str  # in the residual blocks: "table" or "vectors"
    refine_norm: str  # "table", "vectors" or "nothing"
    sigmas: bool
    entries: int  # of the state, as counted in the authors'


_FOUR = (("res1", 1, "plain"), ("res2", 2, "pool"), ("res3", 2, "dilated"), ("res4", 2, "dilated"))
_FOUR_UP = (("refine1", 2), ("refine2", 2), ("refine3", 1), ("refine4", 1))
_THREE = (("res1", 1, "plain"), ("res2", 2, "pool"), ("res3", 2, "pool"))
_WIDE = (("res4", 4, "dilated"), ("res5", 4, "dilated"))
_FIVE_UP = (("refine1", 4), ("refine2", 2), ("refine3", 2), ("refine4", 1), ("refine5", 1))
_SIX_UP = (*_FIVE_UP[:2], ("refine31", 2), *_FIVE_UP[2:])

KINDS = {
    "NCSN": Kind(_FOUR, _FOUR_UP, "table", "table", False, 173),
    "NCSN baseline": Kind(_FOUR, _FOUR_UP, "vectors", "vectors", False, 315),
    "NCSNv2": Kind(_FOUR, _FOUR_UP, "vectors", "nothing", True, 154),
    "NCSNv2Deeper": Kind((*_THREE, *_WIDE), _FIVE_UP, "vectors", "nothing", True, 192),
    "NCSNv2Deepest": Kind((*_THREE, ("res31", 2, "pool"), *_WIDE), _SIX_UP, "vectors", "nothing", True, 230),
}


def shapes_of(kind: str, channels: int, width: int, num_levels: int = 10) -> Shapes:
    """The names and shapes of a model state, without prefix, in the authors' order."""
    net = KINDS[kind]
    norms = {"table": table_of(num_levels), "vectors": vectors, "nothing": nothing}
    norm, refine_norm = norms[net.norm], norms[net.refine_norm]
    shapes: Shapes = {"sigmas": (num_levels,)} if net.sigmas else {}
    shapes |= conv("begin_conv", channels, width) | norm("normalizer", width) | conv("end_conv", width, channels)
    before = width
    for name, factor, first in net.stages:
        after = factor * width
        shapes |= _residual(f"{name}.0", before, after, first, norm) | _residual(
            f"{name}.1", after, after, "plain", norm
        )
        before = after
    skips = [factor * width for _, factor, _ in reversed(net.stages)]
    below: list[int] = []
    for (name, factor), skip in zip(net.refine, skips, strict=True):
        last = name == net.refine[-1][0]
        shapes |= _refine(name, [skip, *below], factor * width, 3 if last else 1, refine_norm)
        below = [factor * width]
    return shapes


def _residual(name: str, c_in: int, c_out: int, first: str, norm: NormShapes) -> Shapes:
    shapes = conv(f"{name}.conv1", c_in, c_in) | norm(f"{name}.normalize2", c_in)
    if first == "pool":
        shapes |= conv(f"{name}.conv2.conv", c_in, c_out) | conv(f"{name}.shortcut.conv", c_in, c_out, 1)
    else:
        shapes |= conv(f"{name}.conv2", c_in, c_out)
        shapes |= conv(f"{name}.shortcut", c_in, c_out) if first == "dilated" else {}
    return shapes | norm(f"{name}.normalize1", c_in)


def _units(name: str, channels: int, blocks: int, norm: NormShapes) -> Shapes:
    shapes: Shapes = {}
    for block in range(1, blocks + 1):
        for stage in (1, 2):
            shapes |= norm(f"{name}.{block}_{stage}_norm", channels)
            shapes |= conv(f"{name}.{block}_{stage}_conv", channels, channels, bias=False)
    return shapes


def _refine(name: str, inputs: list[int], channels: int, blocks: int, norm: NormShapes) -> Shapes:
    shapes: Shapes = {}
    for i, c_in in enumerate(inputs):
        shapes |= _units(f"{name}.adapt_convs.{i}", c_in, 2, norm)
    shapes |= _units(f"{name}.output_convs", channels, blocks, norm)
    if len(inputs) > 1:
        for i, c_in in enumerate(inputs):
            shapes |= conv(f"{name}.msf.convs.{i}", c_in, channels)
        for i, c_in in enumerate(inputs):
            shapes |= norm(f"{name}.msf.norms.{i}", c_in)
    for i in (0, 1):
        shapes |= conv(f"{name}.crp.convs.{i}", channels, channels, bias=False)
    for i in (0, 1):
        shapes |= norm(f"{name}.crp.norms.{i}", channels)
    return shapes


# -------------------------------------------------------------------------------------------------------------- filling


def filled(shapes: Shapes, dtype: torch.dtype = torch.float32, sigma_max: float = 50.0) -> dict[str, Tensor]:
    """A model state with the portable weights."""
    return {name: _fill(name, shape, sigma_max).to(dtype) for name, shape in shapes.items()}


def _fill(name: str, shape: tuple[int, ...], sigma_max: float) -> Tensor:
    if name == "sigmas":
        logs = torch.linspace(math.log(sigma_max), math.log(0.01), shape[0], dtype=torch.float64)
        return logs.exp().float()
    j = torch.arange(1, math.prod(shape) + 1, dtype=torch.float64)
    u = torch.sin(12.9898 * j + zlib.crc32(name.encode()) % 1000).reshape(shape)
    if len(shape) == 4:
        return u * math.sqrt(2 / math.prod(shape[1:]))
    ones = torch.zeros(shape, dtype=torch.float64)
    if name.endswith("embed.weight"):
        ones[:, : 2 * shape[1] // 3] = 1
    elif name.endswith((".alpha", ".gamma")):
        ones += 1
    return ones + 0.1 * u


def random(shapes: Shapes, generator: torch.Generator) -> dict[str, Tensor]:
    """A model state with random float32 weights; the levels are levels."""
    return {
        name: _fill(name, shape, 50.0) if name == "sigmas" else torch.randn(shape, generator=generator)
        for name, shape in shapes.items()
    }


# -------------------------------------------------------------------------------------------------------------- layouts


def state_of(tensors: dict[str, Tensor], prefix: str = "module.") -> "OrderedDict[str, Tensor]":
    """A model state, with the versions that torch keeps on it."""
    state = OrderedDict((prefix + name, tensor) for name, tensor in tensors.items())
    vars(state)["_metadata"] = OrderedDict([("", {"version": 1}), ("module", {"version": 1})])
    return state


def adam_of(tensors: dict[str, Tensor], step: int, generator: torch.Generator, count: int | None = 6) -> dict[str, Any]:
    """Adam's state of the first `count` weights, or of all, keyed as torch 1.1 did: by numbers of no meaning."""
    weights = {94_000_000_000_000 + 72 * i: t for i, t in enumerate(list(ema_of(tensors).values())[:count])}
    moments = {
        key: {
            "step": step,
            "exp_avg": torch.randn(weight.shape, generator=generator),
            "exp_avg_sq": torch.rand(weight.shape, generator=generator),
        }
        for key, weight in weights.items()
    }
    group = {"lr": 0.001, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False}
    return {"state": moments, "param_groups": [group | {"params": list(weights)}]}


def ema_of(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The moving average: parameters only, without prefix."""
    return {name: tensor for name, tensor in tensors.items() if name != "sigmas"}


def v1_list(tensors: dict[str, Tensor], generator: torch.Generator, count: int | None = 6) -> list[Any]:
    return [state_of(tensors), adam_of(tensors, 200_000, generator, count)]


def v2_list(
    tensors: dict[str, Tensor], ema: dict[str, Tensor], generator: torch.Generator, count: int | None = 6
) -> list[Any]:
    return [state_of(tensors), adam_of(tensors, 300_000, generator, count), 768, 300_000, ema_of(ema)]


def write(path: Path, document: object, *, legacy: bool = False) -> Path:
    torch.save(document, path, _use_new_zipfile_serialization=not legacy)
    return path


# ------------------------------------------------------------------------------------------------------------ comparing


def differences(one: object, other: object, place: str = "") -> Iterator[str]:
    """Where two documents are not the same in type, order, type and shape of tensors, and bits."""
    if type(one) is not type(other):
        yield f"{place}: {type(one)} and {type(other)}"
    elif isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.dtype != other.dtype or one.shape != other.shape or not _same_bits(one, other):
            yield f"{place}: tensors"
    elif isinstance(one, dict) and isinstance(other, dict):
        if list(one) != list(other):
            yield f"{place}: keys or their order"
        for key in one.keys() & other.keys():
            yield from differences(one[key], other[key], f"{place}[{key!r}]")
        if isinstance(one, OrderedDict) and isinstance(other, OrderedDict):
            yield from differences(vars(one), vars(other), f"{place}.__dict__")
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            yield f"{place}: lengths {len(one)} and {len(other)}"
        for i, (a, b) in enumerate(zip(one, other, strict=False)):
            yield from differences(a, b, f"{place}[{i}]")
    elif one != other and not (one != one and other != other):
        yield f"{place}: {one!r} and {other!r}"


def _same_bits(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.contiguous().flatten().view(torch.uint8), other.contiguous().flatten().view(torch.uint8))
