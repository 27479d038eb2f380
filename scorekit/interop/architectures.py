"""The authors' networks, told by the names of their tensors, and measured by the shapes.

Names are those of scorekit's own networks, which follow the published checkpoints; the model states of NCSNv2 also
hold their levels, as `sigmas` (L,). With n the width, c the image's channels and L the number of levels,
`begin_conv.weight` is (n, c, 3, 3) and NCSN's tables `*.embed.weight` are (L, 3 C) for C channels.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple, final

import torch
from torch import Size, Tensor, nn

from scorekit.base import NoiseSchedule, Sampler, ScoreModel
from scorekit.checkpoint import CheckpointError
from scorekit.interop.sampling import baseline_sampler, ncsn_sampler, ncsnv2_sampler
from scorekit.models import DirectScore, ScaledScore
from scorekit.networks import NCSNv2, NCSNv2Deeper, NCSNv2Deepest, RefineNet, RefineNetBaseline
from scorekit.noise import Geometric

SIGMAS = "sigmas"
"""The buffer with NCSNv2's levels; a name that no network of this library has."""

_OWN = "noise_levels"  # the buffer with the levels of scorekit's RefineNet, which the authors' has not
_WIDTH = "begin_conv.weight"
_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_LEAST_SHARE = 0.5  # of the names in either of two sets, those that are in both


class Setting(NamedTuple):
    """What a network is made with."""

    image_shape: tuple[int, int, int]
    width: int
    noise: NoiseSchedule
    centered: bool = True


@final
class Architecture(NamedTuple):
    """One of the authors' networks."""

    name: str  # what messages call it
    make: Callable[[Setting], ScoreModel]  # the model of a setting, with new weights
    levels: str | None  # the tensor with a row for each level; None where the network was trained at a single one
    image_size: int  # of the published checkpoints of colour images, height and width
    sampler: Callable[[NoiseSchedule], Sampler]  # the authors' own, for the levels that the network was trained at

    def __repr__(self) -> str:
        return f"Architecture({self.name!r})"

    @property
    def keeps_sigmas(self) -> bool:
        """Whether a model state holds the levels themselves."""
        return self.levels == SIGMAS


class Measures(NamedTuple):
    """What the shapes tell of a network."""

    channels: int
    width: int
    num_levels: int


_SMALL = Measures(channels=1, width=2, num_levels=2)


def _conditional(setting: Setting) -> ScoreModel:
    return DirectScore(RefineNet(setting.image_shape, setting.noise, setting.width, setting.centered))


def _baseline(setting: Setting) -> ScoreModel:
    net = RefineNetBaseline(setting.image_shape, setting.width, setting.centered)
    return DirectScore(net, setting.noise)


def _scaled(network: Callable[[tuple[int, int, int], int, bool], nn.Module], setting: Setting) -> ScoreModel:
    return ScaledScore(network(setting.image_shape, setting.width, setting.centered))


ARCHITECTURES = (
    Architecture("NCSN", _conditional, "normalizer.embed.weight", 32, ncsn_sampler),
    Architecture("NCSN baseline", _baseline, None, 32, baseline_sampler),
    Architecture("NCSNv2", partial(_scaled, NCSNv2), SIGMAS, 32, ncsnv2_sampler),
    Architecture("NCSNv2Deeper", partial(_scaled, NCSNv2Deeper), SIGMAS, 128, ncsnv2_sampler),
    Architecture("NCSNv2Deepest", partial(_scaled, NCSNv2Deepest), SIGMAS, 256, ncsnv2_sampler),
)


def recognise(path: Path, names: Iterable[str]) -> Architecture:
    """The architecture with the most names in common, so that one name too few or too many can still be told.

    Raises:
        CheckpointError: if none has at least half of all names in common.
    """
    found = set(names)
    shares = {each: _share(found, set(names_of(each))) for each in ARCHITECTURES}
    best = max(shares, key=shares.__getitem__)
    if shares[best] < _LEAST_SHARE:
        known = ", ".join(each.name for each in ARCHITECTURES)
        raise CheckpointError(
            f"{path}: expected the model state of {known}; found one of another network, with {_some(sorted(found))}"
        )
    return best


def measure(path: Path, architecture: Architecture, state: Mapping[str, Tensor]) -> Measures:
    """The channels, the width and the number of levels of a state whose names are the architecture's.

    Raises:
        CheckpointError: if a tensor that they are read from has another number of axes, or a size is too small.
    """
    width, channels = _sizes(path, state, _WIDTH, least=(2, 1, 1, 1))[:2]
    if architecture.levels is None:
        return Measures(channels, width, 1)
    least = (1,) if architecture.keeps_sigmas else (1, 3)
    return Measures(channels, width, _sizes(path, state, architecture.levels, least)[0])


def expected(architecture: Architecture, measures: Measures) -> dict[str, Size]:
    """The names and shapes of the architecture's model state, in scorekit's order.

    Every size is a multiple of c, n or L, or fixed; so the shapes of small networks, one for each measure, tell those
    of a large one, which would take as long to make as to load.
    """
    shapes = _small_shapes(architecture, _SMALL)
    steps = [
        _small_shapes(architecture, _SMALL._replace(**{name: least + 1})) for name, least in _SMALL._asdict().items()
    ]
    more = [number - least for number, least in zip(measures, _SMALL, strict=True)]
    return {
        name: Size(
            size + sum(count * (step[name][axis] - size) for count, step in zip(more, steps, strict=True))
            for axis, size in enumerate(shape)
        )
        for name, shape in shapes.items()
    }


def names_of(architecture: Architecture) -> tuple[str, ...]:
    """The names of the architecture's model state, in scorekit's order."""
    return tuple(_small_shapes(architecture, _SMALL))


def with_new_weights(architecture: Architecture, setting: Setting) -> ScoreModel:
    """The model of a setting; torch's generator stays where it was.

    Raises:
        ValueError: if the network cannot have such images.
    """
    with torch.random.fork_rng(devices=[]):  # the weights are drawn and thrown away
        return architecture.make(setting)


def check_names(path: Path, what: str, found: Iterable[str], wanted: Iterable[str]) -> None:
    """Refuse names that are missing or too many.

    Raises:
        CheckpointError: naming the first of each.
    """
    have, need = dict.fromkeys(found), dict.fromkeys(wanted)
    lacking, strange = [name for name in need if name not in have], [name for name in have if name not in need]
    faults = [f"{kind}: {_some(names)}" for kind, names in (("missing", lacking), ("unexpected", strange)) if names]
    if faults:
        raise CheckpointError(f"{path}: expected the {len(need)} tensors of {what}; {'; '.join(faults)}")


def check_tensors(path: Path, what: str, tensors: Mapping[str, Tensor], shapes: Mapping[str, Size]) -> None:
    """Refuse tensors of several types, of a type that is not floating-point, of another shape, or not finite.

    Raises:
        CheckpointError: naming the first of them.
    """
    dtype = tensors[_WIDTH].dtype
    rules: tuple[tuple[str, Callable[[str, Tensor], str | None]], ...] = (
        ("one floating-point type", lambda name, tensor: _type_fault(tensor, dtype)),
        ("one width, and one number of levels,", lambda name, tensor: _shape_fault(tensor, shapes[name])),
        ("finite numbers", lambda name, tensor: None if tensor.isfinite().all() else "not finite"),
    )
    for rule, fault_of in rules:
        faults = [f"{name}: {fault}" for name, tensor in tensors.items() if (fault := fault_of(name, tensor))]
        if faults:
            raise CheckpointError(f"{path}: expected {rule} in {what}; found {_some(faults, '; ')}")


def _sizes(path: Path, state: Mapping[str, Tensor], name: str, least: tuple[int, ...]) -> tuple[int, ...]:
    shape = tuple(state[name].shape)
    if len(shape) != len(least) or any(size < bound for size, bound in zip(shape, least, strict=True)):
        raise CheckpointError(f"{path}: expected {name} of {len(least)} axes, of sizes {least} at least; found {shape}")
    return shape


@cache
def _small_shapes(architecture: Architecture, measures: Measures) -> dict[str, Size]:
    setting = Setting((measures.channels, 8, 8), measures.width, Geometric(num_levels=measures.num_levels))
    state = with_new_weights(architecture, setting).state_dict()
    shapes = {name.removeprefix("net."): tensor.shape for name, tensor in state.items()}
    own = {name: shape for name, shape in shapes.items() if name != _OWN}
    return own | ({SIGMAS: Size((measures.num_levels,))} if architecture.keeps_sigmas else {})


def _share(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)


def _type_fault(tensor: Tensor, dtype: torch.dtype) -> str | None:
    if tensor.dtype != dtype:
        return f"{tensor.dtype}, but {dtype} in {_WIDTH}"
    return None if dtype in _FLOATS else str(dtype)


def _shape_fault(tensor: Tensor, shape: Size) -> str | None:
    return None if tensor.shape == shape else f"{tuple(tensor.shape)}, not {tuple(shape)}"


def _some(names: list[str], separator: str = ", ") -> str:
    """The first three, and how many there are."""
    return separator.join(names[:3]) + (f" ({len(names)} in all)" if len(names) > 3 else "")
